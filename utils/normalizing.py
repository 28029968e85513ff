"""From stored uint8 images to floats, scaled as a network wants them."""

import functools
import math

import torch

from models import model_info
from utils.config import Config


def normalized(images: torch.Tensor, config: Config) -> torch.Tensor:
    """uint8 [B, H, W(, 3)] to float32 [B, 1 or 3, H, W], scaled as ``config.normalize`` says."""
    return scaled(as_floats(images), config)


def as_floats(images: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W(, 3)] to float32 [B, 1 or 3, H, W], contiguous, values 0 to 255."""
    pixels = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return pixels.to(torch.float32, memory_format=torch.contiguous_format)


def scaled(pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """Values 0 to 255 (contiguous; overwritten) as ``config.normalize`` says."""
    if config.normalize == "per_image":
        return _standardized(pixels)
    pixels = pixels.div_(255)
    if config.normalize == "imagenet":
        mean, std = _imagenet_statistics(config.arch, pixels.device)
        return (pixels - mean).div_(std)
    return pixels


def full_range(pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """float32 [B or 1, C, 1, 1]: how far apart black and white are once ``pixels`` (values 0 to 255) are `scaled`."""
    if config.normalize == "per_image":
        flat = pixels.flatten(1)
        return 255 / _divisor(flat - flat.mean(1, keepdim=True))[:, :, None, None]
    if config.normalize == "imagenet":
        _, std = _imagenet_statistics(config.arch, pixels.device)
        return 1 / std[None]
    return torch.ones(1, 1, 1, 1, device=pixels.device)


@functools.cache  # moving them to a GPU at every step would keep it waiting
def _imagenet_statistics(arch: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    facts = model_info(arch)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (facts.mean, facts.std))
    return mean, std


def _standardized(pixels: torch.Tensor) -> torch.Tensor:
    """Each image (values 0 to 255, contiguous; overwritten) by its own mean and standard deviation."""
    flat = pixels.flatten(1)
    flat -= flat.mean(1, keepdim=True)
    flat /= _divisor(flat)
    return pixels


def _divisor(flat: torch.Tensor) -> torch.Tensor:
    """float32 [B, 1]: what pixels [B, N] whose mean is 0 are divided by: nearly their standard deviation.

    A norm reads the pixels once and vectorised; `Tensor.std` takes five times as long.
    """
    std = torch.linalg.vector_norm(flat, dim=1, keepdim=True) / math.sqrt(flat.shape[1] - 1)
    # the constant keeps an all-black image, of which FER2013 has twelve, from becoming noise
    return std + 0.04 * 255
