"""One image file from anywhere as an array of bytes; what is not a plain still image is refused by name."""

import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utils.datasets.tables import shown
from utils.errors import UserError
from utils.files import require_file

# What Pillow is allowed to try, by suffix: some of its other readers start programs.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
MOST_PIXELS = 50_000_000  # a large photo; more is a mistake or an attack
# What Pillow's readers raise on damaged files: whatever a wrong byte leads them to.
UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)  # one line on a damaged file is enough, and it is ours


def read_image(
    file: Path,
    *,
    formats: Sequence[str] = ("PNG", "JPEG"),
    size: tuple[int, int] | None = None,
    colour: bool = False,
) -> np.ndarray:
    """The pixels of one image file, turned as its EXIF tag says.

    Args:
        file: the image; palette, transparent, CMYK and bitonal ones are converted.
        formats: the formats that are tried, in Pillow's names.
        size: (width, height) that it must have; None: any, up to 50 million pixels.
        colour: three channels instead of one.

    Returns:
        uint8 [H, W], or [H, W, 3] with ``colour``.

    Raises:
        UserError: not a readable still image of 8 bits a channel and of that size; the size is looked at in the
            header, before any memory is taken.
        MachineError: it may not be read.
    """
    kind = "RGB" if colour else "L"
    return _read(file, tuple(formats), lambda file, image: _check_header(file, image, size), lambda i: i.convert(kind))


def read_photo(file: Path) -> np.ndarray:
    """A picture as people have them: more kinds than data sets are made of are read, and always as colours.

    Args:
        file: the picture; 16 bits a channel become 8, as do numbers from 0 to 1; what is transparent is seen on white,
            and of several pictures in one file (many cameras keep a preview there) the first is taken.

    Returns:
        uint8 [H, W, 3], turned as its EXIF tag says.

    Raises:
        UserError: not a readable image, or one of more than 50 million pixels.
        MachineError: it may not be read.
    """
    return _read(file, tuple(dict.fromkeys(FORMATS.values())), _check_pixels, _as_seen)


def image_files(folder: Path, suffixes: Sequence[str] = tuple(FORMATS)) -> list[Path]:
    """What in ``folder`` is named like an image, sorted; hidden files (``._a.png`` of a Mac) are passed over."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))


def resized(image: np.ndarray, side: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """A square of an image at another size, without aliasing.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        side: width and height of the result.
        box: the part of the image that is kept: left, top, right, bottom; None: the largest square in its middle.

    Returns:
        uint8 [side, side] or [side, side, 3].
    """
    height, width = image.shape[:2]
    if box is None:
        short = min(height, width)
        left, top = (width - short) // 2, (height - short) // 2
        box = left, top, left + short, top + short
    left, top, right, bottom = box
    kept = Image.fromarray(image[top:bottom, left:right])  # Pillow's own box lets pixels beside it shine in
    # Hamming is as sharp as bicubic when it makes smaller, and does not overshoot at edges.
    return np.asarray(kept.resize((side, side), Image.Resampling.HAMMING))


def _read(
    file: Path,
    formats: tuple[str, ...],
    check: Callable[[Path, Image.Image], None],
    convert: Callable[[Image.Image], Image.Image],
) -> np.ndarray:
    require_file(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes that are refused here, and of damaged EXIF tags
            with Image.open(file, formats=formats) as image:
                check(file, image)
                return np.asarray(convert(ImageOps.exif_transpose(image)))
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{file}: not a readable image ({shown(reason, 120)})") from None


def _as_seen(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, whose values Pillow would clip to 255
        return Image.fromarray((np.clip(np.asarray(image), 0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # nor is what is not a number
            raise ValueError(f"floating-point pixels from {values.min():.4g} to {values.max():.4g}; expected 0 to 1")
        return Image.fromarray((255 * values).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _check_pixels(file: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UserError(f"{file}: {width}x{height} pixels; expected at most {MOST_PIXELS // 10**6} million")


def _check_header(file: Path, image: Image.Image, size: tuple[int, int] | None) -> None:
    if size is not None and image.size != size:
        raise UserError(f"{file}: {image.width}x{image.height} pixels, expected {size[0]}x{size[1]}")
    _check_pixels(file, image)
    if image.mode not in EIGHT_BIT:  # convert() would clip 16 bits to white
        raise UserError(f"{file}: pixels of kind {image.mode}; expected 8 bits a channel")
    if getattr(image, "n_frames", 1) != 1:
        raise UserError(f"{file}: {getattr(image, 'n_frames', 0)} pictures in one file; expected one")
