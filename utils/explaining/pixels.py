"""Maps at the resolution of the input, through captum: what each pixel does to the class."""

import torch
from captum.attr import IntegratedGradients, Occlusion, Saliency
from torch import Tensor, nn

STEPS = 64  # of integrated gradients
SAMPLES, NOISE = 32, 0.15  # of SmoothGrad: how many noisy copies, and their noise as a share of the image's range
PATCHES, OVERLAP = 6, 2  # of occlusion: patches along a side, and how many lie over each pixel of a row


def occlusion(model: nn.Module, x: Tensor, targets: Tensor, at_once: int) -> Tensor:
    """By how many nats the class's log-probability falls under a flat patch (Zeiler and Fergus, ECCV 2014).

    Args:
        model: in evaluation mode.
        x: float32 [N, C, S, S].
        targets: int64 [N], the class that each map is about.
        at_once: images in one forward pass.

    Returns:
        float32 [N, S, S], mean over the patches that cover a pixel; below 0 where the class gains by the patch.
    """
    channels, side = x.shape[1], x.shape[3]
    patch = max(1, round(side / PATCHES))
    stride = max(1, patch // OVERLAP)
    found = Occlusion(lambda x: model(x).log_softmax(1)).attribute(
        x,
        sliding_window_shapes=(channels, patch, patch),
        strides=(channels, stride, stride),
        baselines=flat(x),
        target=targets,
        perturbations_per_eval=max(1, at_once // len(x)),
    )
    return found[:, 0]  # a patch covers all channels, so they all say the same


def integrated_gradients(model: nn.Module, x: Tensor, targets: Tensor, at_once: int) -> Tensor:
    """How much each pixel adds to the class's logit on the way from a flat grey image (Sundararajan et al., ICML 2017).

    Arguments as for `occlusion`; the gradient is taken at `STEPS` points of the way.

    Returns:
        float32 [N, S, S], summed over channels; a map adds up to the logit less that of the flat image.
    """
    found = IntegratedGradients(model).attribute(
        x, baselines=flat(x), target=targets, n_steps=STEPS, internal_batch_size=max(at_once, len(x))
    )
    return found.sum(1).float()


def smoothgrad(model: nn.Module, x: Tensor, targets: Tensor, at_once: int) -> Tensor:
    """Size of the logit's gradient, averaged over noisy copies of the image (Smilkov et al., arXiv 1706.03825).

    Arguments as for `occlusion`; the noise is the same for every image and at every call.

    Returns:
        float32 [N, S, S], summed over channels, nothing below 0.
    """
    noise = torch.randn((SAMPLES, *x.shape[1:]), generator=torch.Generator().manual_seed(0)).to(x.device)
    maps = []
    for image, target in zip(x, targets, strict=True):
        noisy = image + NOISE * (image.max() - image.min()) * noise
        parts = [part.detach().requires_grad_() for part in noisy.split(at_once)]
        gradients = [Saliency(model).attribute(part, int(target), abs=False) for part in parts]
        maps.append(torch.cat(gradients).detach().mean(0).abs().sum(0))
    return torch.stack(maps)


def flat(x: Tensor) -> Tensor:
    """Images without anything on them: each channel [N, C, S, S] at its mean."""
    return x.mean((2, 3), keepdim=True).expand_as(x)
