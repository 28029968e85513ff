"""Pictures with a box around each face and what it expresses."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from utils.pictures import Face
from utils.pictures.records import said
from Visualization.style import BLUE, MUTED, ink_on

_LINE = 1 / 220  # of the picture's shorter side
_TEXT = 1 / 6  # of a face's side
_SMALLEST, _LARGEST = 13, 48  # pixels of text


def draw_faces(image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of ``image`` with a blue box around each face; a grey one where the network had better say nothing.

    Args:
        image: uint8 [H, W, 3].
        faces: what was found in it.

    Returns:
        uint8 [H, W, 3].
    """
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    width = max(2, round(min(picture.size) * _LINE))
    for face in faces:
        colour = BLUE if face.label else MUTED
        left, top, right, bottom = face.box.corners()
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="white", width=width + 2)  # for dark pictures
        pen.rectangle((left, top, right, bottom), outline=colour, width=width)
        _label(pen, picture.size, face, colour)
    return np.asarray(picture)


def _label(pen: ImageDraw.ImageDraw, size: tuple[int, int], face: Face, colour: str) -> None:
    """The caption on a plate above the box; below its upper edge where there is no room, and never beyond the sides."""
    number = "" if face.track is None else f"{face.track} "
    text, font = number + said(face), _font(round(min(_LARGEST, max(_SMALLEST, face.box.side * _TEXT))))
    ascent, descent = font.getmetrics()
    margin = max(2, descent)
    width, height = round(pen.textlength(text, font=font)) + 2 * margin, ascent + descent + margin
    left, top, _, _ = face.box.corners()
    left = max(0, min(left, size[0] - width))
    top = top - height if top >= height else max(0, top)
    pen.rectangle((left, top, left + width, top + height), fill=colour)
    ink = ink_on([channel / 255 for channel in ImageColor.getrgb(colour)])
    pen.text((left + margin, top + margin // 2), text, font=font, fill=ink)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)  # comes with Pillow, so a picture is the same on every machine
    assert isinstance(font, ImageFont.FreeTypeFont)  # it is where a size is given
    return font
