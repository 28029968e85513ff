"""What happens to pictures on their way to a classifier, each in five strengths; after Hendrycks and Dietterich (2019).

Lengths are shares of the image's side, so that a strength means the same at every size.
"""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter

STRENGTHS = 5

Picture = np.ndarray  # uint8 [H, W] or [H, W, 3]
Corruption = Callable[[Picture, float, np.random.Generator], Picture]


def blurred(picture: Picture, sigma: float, _random: np.random.Generator) -> Picture:
    """Gaussian blur of standard deviation ``sigma``, a share of the side."""
    radius = sigma * max(picture.shape[:2])
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


def noisy(picture: Picture, deviation: float, random: np.random.Generator) -> Picture:
    """Gaussian noise of standard deviation ``deviation``, a share of the range, alike in all channels."""
    noise = random.normal(0, 255 * deviation, picture.shape[:2])
    return _as_pixels(picture + (noise[..., None] if picture.ndim == 3 else noise))


def compressed(picture: Picture, quality: float, _random: np.random.Generator) -> Picture:
    """Written as JPEG of this quality, and read again."""
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, "JPEG", quality=int(quality))
    return np.asarray(Image.open(stored))


def brighter(picture: Picture, added: float, _random: np.random.Generator) -> Picture:
    """Brighter by ``added``, a share of the range; what exceeds the range is lost."""
    return _as_pixels(picture + 255 * added)


def darker(picture: Picture, taken: float, _random: np.random.Generator) -> Picture:
    """Darker by ``taken``, a share of the range; what falls below it is lost."""
    return _as_pixels(picture - 255 * taken)


def turned(picture: Picture, degrees: float, random: np.random.Generator) -> Picture:
    """Turned to either side by ``degrees``; the corners take the mean grey."""
    grey = tuple(int(value) for value in np.atleast_1d(picture.mean((0, 1))))
    sign = 1 if random.random() < 0.5 else -1
    image = Image.fromarray(picture)
    return np.asarray(
        image.rotate(sign * degrees, Image.Resampling.BILINEAR, fillcolor=grey if picture.ndim == 3 else grey[0])
    )


def occluded(picture: Picture, area: float, random: np.random.Generator) -> Picture:
    """A grey square over ``area``, a share of the picture, anywhere within it."""
    height, width = picture.shape[:2]
    side = min(round((area * height * width) ** 0.5), height, width)
    top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
    covered = picture.copy()
    covered[top : top + side, left : left + side] = 128
    return covered


def coarse(picture: Picture, share: float, _random: np.random.Generator) -> Picture:
    """Taken at ``share`` of the resolution, and enlarged again."""
    image = Image.fromarray(picture)
    small = image.resize([max(1, round(share * side)) for side in image.size], Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))


# (what is done, its five strengths from mild to severe, how a person reads them)
CORRUPTIONS: Mapping[str, tuple[Corruption, tuple[float, ...], str]] = MappingProxyType(
    {
        "blur": (blurred, (0.01, 0.02, 0.03, 0.045, 0.06), "sigma {:.1%} of the side"),
        "noise": (noisy, (0.03, 0.06, 0.1, 0.15, 0.2), "sd {:.0%} of the range"),
        "jpeg": (compressed, (50, 30, 20, 10, 5), "quality {:.0f}"),
        "brighter": (brighter, (0.1, 0.2, 0.3, 0.4, 0.5), "+{:.0%} of the range"),
        "darker": (darker, (0.1, 0.2, 0.3, 0.4, 0.5), "-{:.0%} of the range"),
        "rotation": (turned, (5, 10, 20, 30, 45), "{:.0f} degrees"),
        "occlusion": (occluded, (0.05, 0.1, 0.2, 0.3, 0.4), "{:.0%} of the picture"),
        "low resolution": (coarse, (0.75, 0.5, 0.375, 0.25, 0.1875), "{:.0%} of the side"),
    }
)


def corrupted(images: np.ndarray, name: str, strength: int, seed: int = 0) -> np.ndarray:
    """``images`` after one of `CORRUPTIONS`.

    Args:
        images: uint8 [N, H, W] or [N, H, W, 3].
        name: which one.
        strength: 1 to 5.
        seed: what is drawn for an image depends on this and its place alone.

    Returns:
        uint8, the same shape.

    Raises:
        KeyError: no such name.
        ValueError: no such strength.
    """
    apply, values, _ = CORRUPTIONS[name]
    if not 1 <= strength <= len(values):
        raise ValueError(f"strength is {strength}; expected 1 to {len(values)}")
    value = values[strength - 1]
    return np.stack(
        [apply(np.asarray(image), value, np.random.default_rng([seed, place])) for place, image in enumerate(images)]
    )


def _as_pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
