"""Class activation maps: where, in the last feature map of a network, the evidence for a class lies.

captum has only Grad-CAM of these; grad-cam, which has all, needs ttach, which nobody maintains. They differ in how they
weigh one and the same pair of tensors, so all are written here side by side; a test holds Grad-CAM to captum's, and the
others to figures computed by hand.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.errors import UserError
from utils.explaining.watching import watching


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Each channel by its mean gradient (Selvaraju et al., ICCV 2017)."""
    return (gradient.mean((2, 3), keepdim=True) * activation).sum(1)


def gradcam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Each channel by its positive gradients, pixels weighed so that a small spot counts as much as a large one.

    Chattopadhay et al., WACV 2018, eq. 10 and 19 for the exponential of a logit, whose own value cancels out.
    """
    squared = gradient**2
    below = 2 * squared + activation.sum((2, 3), keepdim=True) * gradient**3
    alpha = torch.where(below == 0, 0.0, squared / torch.where(below == 0, 1.0, below))
    weights = (alpha * F.relu(gradient)).sum((2, 3), keepdim=True)
    return (weights * activation).sum(1)


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Each pixel of each channel by its own positive gradient (Jiang et al., IEEE TIP 2021)."""
    return (F.relu(gradient) * activation).sum(1)


def by_gradient(
    weigh: Callable[[Tensor, Tensor], Tensor], model: nn.Module, x: Tensor, targets: Tensor, layer: str
) -> Tensor:
    """A map from a layer's output and the gradient of the target's logit with respect to it.

    Args:
        weigh: one of the functions above: both float [N, K, h, w] to float [N, h, w].
        model: in evaluation mode.
        x: float32 [N, C, S, S].
        targets: int64 [N], the class that each map is about.
        layer: dotted path of a layer whose output is [N, K, h, w].

    Returns:
        float32 [N, S, S], nothing below 0.

    Raises:
        UserError: no such layer, or one whose output is no feature map.
    """
    with torch.enable_grad(), watching(model, layer) as seen:
        logits = model(x.detach().requires_grad_())
        activation = _feature_map(seen[layer][-1].output, layer)
        chosen = logits.gather(1, targets[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, activation)
    return _enlarged(F.relu(weigh(activation, gradient).detach()), x)


@torch.no_grad()
def scorecam(model: nn.Module, x: Tensor, targets: Tensor, layer: str, at_once: int) -> Tensor:
    """Each channel by the logit of the image seen through it (Wang et al., CVPR Workshops 2020); no gradients.

    Args:
        model, x, targets, layer: as for `by_gradient`.
        at_once: images in one forward pass.

    Returns:
        float32 [N, S, S], nothing below 0.
    """
    with watching(model, layer) as seen:
        model(x)
    activations = _feature_map(seen[layer][-1].output, layer)
    maps = []
    for image, activation, target in zip(x, activations, targets, strict=True):
        windows = F.interpolate(activation[:, None], x.shape[2:], mode="bilinear", align_corners=False)
        low, high = windows.amin((2, 3), keepdim=True), windows.amax((2, 3), keepdim=True)
        windows = (windows - low) / (high - low).clamp_min(1e-12)
        scores = torch.cat([model(part * image)[:, target] for part in windows.split(at_once)])
        maps.append((scores.softmax(0)[:, None, None] * activation).sum(0))
    return _enlarged(F.relu(torch.stack(maps)), x)


def _feature_map(output: Tensor, layer: str) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 4:
        raise UserError(f"layer '{layer}' gives no feature map [N, K, h, w]; name another with --layer")
    return output


def _enlarged(maps: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(maps[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
