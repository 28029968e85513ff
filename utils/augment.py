"""From stored uint8 images to what a network sees: transformed as a whole batch, normalised, resized."""

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from utils.config import Config
from utils.normalizing import as_floats, full_range, normalized, scaled
from utils.photometric import grain, relit
from utils.randomness import CHOICE, stream_seed, uniforms


@dataclass(frozen=True)
class Affine:
    """One transform per image: mirror, then rotate, scale and shift; all float32 [B].

    ``flip`` is -1 (mirrored) or 1, ``angle`` in degrees, ``scale`` a factor, shifts a share of the side.
    """

    flip: torch.Tensor
    angle: torch.Tensor
    scale: torch.Tensor
    shift_x: torch.Tensor
    shift_y: torch.Tensor


# Test-time views as (mirrored, degrees, shift x, shift y), each followed by the same of the mirrored image.
# Fixed, so that a number can be had again; the first is the clean image, the second its mirror image.
_TRANSFORMS = (
    (0.0, 0.0, 0.0),
    (6.0, 0.0, 0.0),
    (-6.0, 0.0, 0.0),
    (0.0, 0.04, 0.04),
    (0.0, -0.04, -0.04),
    (0.0, 0.04, -0.04),
    (0.0, -0.04, 0.04),
    (12.0, 0.0, 0.0),
    (-12.0, 0.0, 0.0),
)
VIEWS = tuple((flip, *transform) for transform in _TRANSFORMS for flip in (1.0, -1.0))

GROWS_BY = 8  # pixels

# Each change as (setting, the columns of a sample's draws that it takes, the draw that leaves an image as it is).
_CHANGES = (
    ("rotation", (1,), 0.5),
    ("scale", (2,), 0.5),
    ("shift", (3, 4), 0.5),
    ("erase", (9,), 1.0),
    ("brightness", (11,), 0.5),
    ("contrast", (12,), 0.5),
    ("blur", (13,), 0.0),
    ("noise", (14,), 0.0),
)


def training_batch(images: torch.Tensor, samples: torch.Tensor, epoch: int, config: Config) -> torch.Tensor:
    """Augment a batch.

    Args:
        images: uint8 [B, H, W] or [B, H, W, 3]; B may be 0.
        samples: int64 [B], the images' indices in the training part: with seed and epoch they alone decide
            what is drawn.
        epoch: counts from 0.
        config: ``augment`` and its strengths, ``image_size``, ``start_size``, ``in_channels``, ``normalize``.

    Returns:
        float32 [B, in_channels, S, S], S as `size_in_epoch` says.
    """
    config = dataclasses.replace(config, image_size=size_in_epoch(config, epoch))
    if len(images) == 0:  # which no affine grid can be made for
        return torch.empty(0, config.in_channels, config.image_size, config.image_size, device=images.device)
    if config.augment == "none":
        return _fitted(normalized(images, config), config)
    draws = uniforms(config.seed, epoch, samples, 15)
    if config.flip_mode == "alternate":
        draws[:, 0] = _alternating(samples, epoch, config.seed)
    if config.random_changes > 0:
        draws = _only_some(draws, samples, epoch, config)
    pixels = relit(as_floats(images), draws[:, 11:14], config)
    side, noise = pixels.shape[-1], None
    if config.noise > 0:
        noise = full_range(pixels, config) * grain(samples, epoch, side, draws[:, 14], config)
    affine = _drawn_affine(draws, config)
    if config.sharp > 0:
        moved = config.image_size if config.augment == "classic" else side  # the side of what is shifted
        affine = _by_whole_pixels(affine, draws[:, 10] < config.sharp, moved)
    return _transformed(scaled(pixels, config), affine, config, erase=draws[:, 5:10], noise=noise)


def size_in_epoch(config: Config, epoch: int) -> int:
    """Side of the training images in ``epoch`` (from 0), in pixels: `Config.start_size` growing in steps of `GROWS_BY`.

    Small images are quick, and enough for a network that knows little yet (progressive resizing; Howard, 2018).
    """
    start = config.start_size
    if start is None or start >= config.image_size:
        return config.image_size
    grown = (config.image_size - start) * epoch / (0.75 * config.max_epoch_num)
    return min(config.image_size, start + GROWS_BY * int(grown // GROWS_BY))


def view_batch(images: torch.Tensor, view: int, config: Config) -> torch.Tensor:
    """One deterministic view of each image (uint8 [B, H, W(, 3)]): `VIEWS[view]`, shaped as for training."""
    pixels = normalized(images, config)
    if view == 0:
        return _fitted(pixels, config)
    flip, angle, shift_x, shift_y = VIEWS[view]
    ones = torch.ones(len(images), device=images.device)
    return _transformed(pixels, Affine(flip * ones, angle * ones, ones, shift_x * ones, shift_y * ones), config)


def network_input(pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """What a network sees of float32 [B, 1 or 3, H, W] (values 0 to 255, contiguous; overwritten): scaled, to size."""
    return _fitted(scaled(pixels, config), config)


def _alternating(samples: torch.Tensor, epoch: int, seed: int) -> torch.Tensor:
    """float32 [B] in [0, 1): below and above one half in turn, epoch by epoch; where an image begins is drawn.

    So a network sees an image and its mirror image equally often, instead of one of them several times in a row
    (Jordan, 94 % on CIFAR-10 in 3.29 seconds, 2024).
    """
    first = uniforms(seed, 0, samples, 1)[:, 0]
    return (first + (epoch % 2) / 2) % 1


def _only_some(draws: torch.Tensor, samples: torch.Tensor, epoch: int, config: Config) -> torch.Tensor:
    """``draws`` (float32 [B, 15]; overwritten) with all but ``random_changes`` of each image's changes left out.

    In the manner of RandAugment (Cubuk, Zoph, Shlens and Le, 2020): each image is changed in few ways at once. Unlike
    there, no change is drawn twice, and how strong it is, is drawn too.
    """
    possible = [change for change in _CHANGES if getattr(config, change[0]) > 0]
    lots = uniforms(stream_seed(config.seed, CHOICE), epoch, samples, len(possible))
    left_out = lots.argsort(1).argsort(1) >= config.random_changes
    for number, (_, columns, neutral) in enumerate(possible):
        for column in columns:
            draws[:, column].masked_fill_(left_out[:, number], neutral)
    return draws


def _drawn_affine(draws: torch.Tensor, config: Config) -> Affine:
    """draws: float32 [B, >=5] in [0, 1)."""
    signed = draws * 2 - 1
    flip = torch.where((draws[:, 0] < 0.5) & config.flip, -1.0, 1.0)
    return Affine(
        flip,
        config.rotation * signed[:, 1],
        1 + config.scale * signed[:, 2],
        config.shift * signed[:, 3],
        config.shift * signed[:, 4],
    )


def _by_whole_pixels(affine: Affine, chosen: torch.Tensor, side: int) -> Affine:
    """``affine`` without rotation and scale, and with whole shifts, where ``chosen`` (bool [B]).

    Interpolation blurs. A network that has seen nothing else is at its best on images that are blurred too, and
    those that it is judged by are not.
    """
    return dataclasses.replace(
        affine,
        angle=torch.where(chosen, 0.0, affine.angle),
        scale=torch.where(chosen, 1.0, affine.scale),
        shift_x=torch.where(chosen, (affine.shift_x * side).round() / side, affine.shift_x),
        shift_y=torch.where(chosen, (affine.shift_y * side).round() / side, affine.shift_y),
    )


def _transformed(
    pixels: torch.Tensor,
    affine: Affine,
    config: Config,
    erase: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
) -> torch.Tensor:
    """Classic order: resize, then transform. Fast order: transform at native size, then resize.

    Noise is of native size and is added as late as that allows: interpolation would smooth it.
    """
    if config.augment == "classic":
        pixels = _resized(pixels if noise is None else pixels + noise, config.image_size)
    pixels = apply_affine(pixels, affine)
    if config.augment == "fast" and noise is not None:
        pixels = pixels + noise
    if erase is not None and config.erase > 0:
        pixels = _erased(pixels, erase, config.erase)
    return _fitted(pixels, config)


def apply_affine(pixels: torch.Tensor, affine: Affine) -> torch.Tensor:
    """Mirror, rotate (counter-clockwise), scale and shift about the centre; bilinear, zeros from outside.

    ``pixels`` float32 [B, C, H, W] with H == W; the result has the same shape.
    """
    side = pixels.shape[-1]
    radians = affine.angle * (math.pi / 180)
    # grid_sample asks where each output pixel comes from, so this is the inverse transform
    cos, sin = torch.cos(radians) / affine.scale, torch.sin(radians) / affine.scale
    x, y = -2 * affine.shift_x, -2 * affine.shift_y
    # rows of the inverse's matrix for (x, y), each float32 [B, 2]: what multiplies x, what multiplies y, what is added
    by_x = torch.stack([cos * affine.flip, sin], dim=1)
    by_y = torch.stack([-sin * affine.flip, cos], dim=1)
    added = torch.stack([(cos * x - sin * y) * affine.flip, sin * x + cos * y], dim=1)
    places = (2 * torch.arange(side, device=pixels.device) + 1) / side - 1  # of pixel centres, from -1 to 1
    # x and y as two planes, in one pass over them. `affine_grid` takes several times as long, and multiplies matrices,
    # which autocast would do in bf16: an error of a tenth of a pixel.
    columns = by_x[:, :, None, None] * places
    rows = by_y[:, :, None, None] * places[:, None] + added[:, :, None, None]
    grid = (columns + rows).permute(0, 2, 3, 1)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _erased(pixels: torch.Tensor, draws: torch.Tensor, chance: float) -> torch.Tensor:
    """Blank a rectangle of 10-45 % of the side each way in a share of ``pixels``, in place; draws float32 [B, 5]."""
    places = torch.arange(pixels.shape[-1], device=pixels.device) / pixels.shape[-1]
    height, width = 0.1 + 0.35 * draws[:, 0], 0.1 + 0.35 * draws[:, 1]
    rows = (places - draws[:, 2, None]).abs() < height[:, None] / 2
    columns = (places - draws[:, 3, None]).abs() < width[:, None] / 2
    rows &= (draws[:, 4] < chance)[:, None]
    inside = rows[:, :, None] & columns[:, None, :]
    return pixels.masked_fill_(inside[:, None], 0.0)


def _fitted(pixels: torch.Tensor, config: Config) -> torch.Tensor:
    """Resize and repeat or average channels, as the network wants them."""
    pixels = _resized(pixels, config.image_size)
    if pixels.shape[1] == config.in_channels:
        return pixels
    if pixels.shape[1] == 1:
        return pixels.expand(-1, config.in_channels, -1, -1)
    return pixels.mean(1, keepdim=True).expand(-1, config.in_channels, -1, -1)


def _resized(pixels: torch.Tensor, size: int) -> torch.Tensor:
    if pixels.shape[-1] == size and pixels.shape[-2] == size:
        return pixels
    return F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
