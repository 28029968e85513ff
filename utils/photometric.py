"""Focus, light and grain of whole batches: how strong each is, is drawn for each image, as RandAugment's (Cubuk, 2020).

What is drawn depends on (seed, epoch, sample) alone, like the geometry of `utils.augment`.
"""

import torch

from utils.config import Config
from utils.randomness import GRAIN, coarse_uniforms, stream_seed


def relit(pixels: torch.Tensor, draws: torch.Tensor, config: Config) -> torch.Tensor:
    """Blur, then change contrast and brightness; what leaves the range is lost, as in a camera.

    Args:
        pixels: float32 [B, C, S, S], values 0 to 255.
        draws: float32 [B, 3] in [0, 1): for brightness, contrast and blur.
        config: ``brightness``, ``contrast``, ``blur``: the most of each.

    Returns:
        float32 [B, C, S, S], values 0 to 255.
    """
    if config.blur > 0:
        pixels = blurred(pixels, config.blur * draws[:, 2] * pixels.shape[-1])
    if config.brightness == config.contrast == 0:
        return pixels
    signed = (draws * 2 - 1)[:, :, None, None, None]
    added, factor = 255 * config.brightness * signed[:, 0], 1 + config.contrast * signed[:, 1]
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return (pixels * factor).add_(mean * (1 - factor) + added).clamp_(0, 255)


def blurred(pixels: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur, for each image of its own width; at the edges only what lies inside the image counts.

    As a product of matrices, since that needs no limit to the width and no loop over images.

    Args:
        pixels: float32 [B, C, S, S].
        sigma: float32 [B], standard deviations in pixels; 0 changes nothing.
    """
    places = torch.arange(pixels.shape[-1], device=pixels.device)
    squares = (places[:, None] - places).square() / -2
    exponents = squares / sigma.clamp_min(1e-3).square()[:, None, None]  # [B, to, from]
    # e to the -40th is nothing beside 1; smaller numbers become subnormal, and slow
    weights = exponents.clamp_(min=-40).exp_()
    weights = weights.div_(weights.sum(-1, keepdim=True))[:, None]
    with torch.autocast(pixels.device.type, enabled=False):  # which would multiply in bf16
        return weights @ pixels @ weights.mT


def grain(samples: torch.Tensor, epoch: int, side: int, draws: torch.Tensor, config: Config) -> torch.Tensor:
    """Noise from pixel to pixel, alike in all channels.

    Evenly distributed, which is quicker than normal noise and the same on every device; the sums that a first
    convolution makes of it are nearly normal.

    Args:
        samples: int64 [B]; with seed and epoch they alone decide what is drawn.
        side: of the images, in pixels.
        draws: float32 [B] in [0, 1): how strong it is.
        config: ``noise``: the largest standard deviation.

    Returns:
        float32 [B, 1, side, side]: shares of the range from black to white.
    """
    even = coarse_uniforms(stream_seed(config.seed, GRAIN), epoch, samples, side * side).view(-1, 1, side, side)
    return even * (12**0.5 * config.noise * draws)[:, None, None, None]
