"""Pictures of what a network looks at: maps over faces, and what masks do. Arrays in, figures out."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from Visualization.style import (
    BLUE,
    BODY,
    MUTED,
    ORANGE,
    SMALL,
    WIDTH,
    broken,
    inches,
    plain,
    style,
)

_TILE = 192  # pixels of a face in a sheet: 1 inch at the resolution that figures are saved in
_ACROSS = 6  # faces of a grid beside each other
_STRONGEST = 0.8  # how much of the face the strongest colour hides
_LINE = 0.5  # the line runs where a map has this share of its maximum, so that it reads without colour
_HEAT = "cividis"  # even steps of lightness, for a printer and for colour-blind eyes


def overlaid(image: np.ndarray, values: np.ndarray, size: int = _TILE) -> np.ndarray:
    """A face under its map: orange above 0, blue below, the more colour the farther from it.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        values: float [S, S], scaled here by its largest absolute value; a white line runs at half of it.
        size: width and height of the result.

    Returns:
        uint8 [size, size, 3].
    """
    face = _face(image, size).astype(np.float64)
    strength = _resized(values, size) / max(float(np.abs(values).max()), 1e-30)
    for colour, share in ((ORANGE, strength), (BLUE, -strength)):
        cover = _STRONGEST * np.clip(share, 0, 1)[..., None]
        face = face * (1 - cover) + 255 * np.array(to_rgb(colour)) * cover
    if np.ptp(values) > 0:
        inside = np.abs(strength) > _LINE
        face[_edge(inside, 2)] = 40
        face[_edge(inside, 1)] = 255
    return face.round().astype(np.uint8)


def maps_figure(
    images: Sequence[np.ndarray],
    maps: np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str],
    title: str,
    subtitle: str,
    note: str = "",
) -> Figure:
    """One row a face: the face itself, then each of its maps over it.

    Args:
        images: R faces, uint8 [H, W] or [H, W, 3], of any sizes.
        maps: float [R, K, S, S]; see `overlaid`.
        row_names: R names of one line or more; column_names: K names.
        title: one line or more in bold.
        subtitle: a quieter line below it.
        note: small print below the sheet.

    Raises:
        ValueError: not as many maps as faces and names, or none.
    """
    if maps.ndim != 4 or not maps.size or maps.shape[:2] != (len(images), len(column_names)):
        raise ValueError(f"maps of shape {maps.shape} for {len(images)} faces and {len(column_names)} columns")
    tiles = [
        [_face(image, _TILE), *(overlaid(image, one) for one in own)] for image, own in zip(images, maps, strict=True)
    ]
    return tiles_figure(np.array(tiles), row_names, ["", *column_names], title, subtitle, note)


def tiles_figure(
    tiles: np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str],
    title: str,
    subtitle: str,
    note: str = "",
) -> Figure:
    """A sheet of square pictures with named rows and columns.

    Args:
        tiles: uint8 [R, C, P, P, 3].
        row_names: R names of one line or more; column_names: C names.
        title, subtitle, note: as for `maps_figure`.

    Raises:
        ValueError: another number of names than of rows or columns.
    """
    if tiles.ndim != 5 or tiles.shape[:2] != (len(row_names), len(column_names)):
        raise ValueError(f"tiles of shape {tiles.shape} for {len(row_names)} rows and {len(column_names)} columns")
    rows, columns, size = tiles.shape[:3]
    step = size + size // 16
    sheet = np.full((rows * step - size // 16, columns * step - size // 16, 3), 255, np.uint8)
    for row, column in np.ndindex(rows, columns):
        sheet[row * step : row * step + size, column * step : column * step + size] = tiles[row, column]
    margin = 0.3 + inches([line for name in row_names for line in name.split("\n")])
    side = min(max((WIDTH + 1.5 - margin) / columns, 0.75), 1.5)
    headings = [broken(name, 0.92 * side / inches([name])) if name else "" for name in column_names]
    lines = max(name.count("\n") for name in headings) + 1 if any(headings) else 0
    across = max(side * columns, 3.4)
    with style():
        height = side * rows + 0.19 * lines + 0.75 + 0.16 * (len(note) > 0)
        figure = Figure(figsize=(margin + across, height), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(sheet, interpolation="antialiased")
        axes.set_anchor("W")
        axes.set_yticks(np.arange(rows) * step + (size - 1) / 2, [plain(name) for name in row_names])
        axes.set_xticks(np.arange(columns) * step + (size - 1) / 2, [plain(name) for name in headings])
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if note:
            figure.supxlabel(plain(_fitting(note, margin + across, SMALL)), fontsize=SMALL, color=MUTED)
        head(figure, title, subtitle)
    return figure


def masks_figure(
    images: Sequence[np.ndarray],
    stages: Sequence[tuple[str, np.ndarray]],
    row_names: Sequence[str],
    title: str,
    subtitle: str,
) -> Figure:
    """What masks do to feature maps: for each face and stage what comes in, the mask, and what goes on.

    Args:
        images: R faces, uint8 [H, W] or [H, W, 3].
        stages: (name, float [R, 3, h, w]) of each; the second axis is input, mask and output, nothing below 0. Input
            and output of one face and stage share a scale; a mask has its own.
        row_names: R names.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: no stages, or another number of maps or names than of faces.
    """
    if not stages or any(maps.shape[:2] != (len(images), 3) for _, maps in stages) or len(row_names) != len(images):
        shapes = [maps.shape for _, maps in stages]
        raise ValueError(f"maps of shapes {shapes} and {len(row_names)} names for {len(images)} faces")
    tiles = []
    for row, image in enumerate(images):
        for name, kind in (("input", 0), ("mask", 1), ("output", 2)):
            tiles.append([_face(image, _TILE)] if kind == 0 else [np.full((_TILE, _TILE, 3), 255, np.uint8)])
            for _, maps in stages:
                most = maps[row, 1].max() if name == "mask" else maps[row, [0, 2]].max()
                tiles[-1].append(_heat(maps[row, kind] / max(float(most), 1e-30)))
    kinds = [
        f"{name}\n{kind}" if kind == "input" else kind for name in row_names for kind in ("input", "mask", "output")
    ]
    note = "light: much. Input and output of a stage share one scale, its mask has its own"
    return tiles_figure(np.array(tiles), kinds, ["", *(name for name, _ in stages)], title, subtitle, note)


def captioned_faces_figure(images: Sequence[np.ndarray], captions: Sequence[str], title: str, subtitle: str) -> Figure:
    """A grid of faces, each over its caption.

    Args:
        images: R faces, uint8 [H, W] or [H, W, 3], of any sizes.
        captions: R texts of one line or more, of some 20 letters each.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: no faces, or another number of captions.
    """
    if not len(images) or len(images) != len(captions):
        raise ValueError(f"{len(captions)} captions for {len(images)} faces")
    columns = min(_ACROSS, len(images))
    rows = -(-len(images) // columns)
    lines = max(caption.count("\n") for caption in captions) + 1
    width = max(1.3 * columns, 4.0)
    with style():
        figure = Figure(figsize=(width, (1.3 + 0.16 * lines) * rows + 0.8), layout="constrained")
        for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.imshow(_face(image, _TILE))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_xlabel(plain(caption), loc="left", fontsize=SMALL, labelpad=3)
        head(figure, title, subtitle)
    return figure


def head(figure: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle over a whole figure, broken to its width."""
    lines = "\n".join(_fitting(text, figure.get_figwidth(), BODY) for text in (title, subtitle) if text)
    figure.suptitle(plain(lines), fontsize=BODY, x=0.01, ha="left")


def _fitting(text: str, width: float, size: float) -> str:
    return broken(text, (width - 0.3) / inches([text], size))


def _face(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [size, size, 3], grey where the image is."""
    picture = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture.convert("RGB"))


def _heat(values: np.ndarray) -> np.ndarray:
    """A map in [0, 1] in colours, its own pixels left to be seen."""
    coarse = np.asarray(Image.fromarray(values.astype(np.float32)).resize((_TILE, _TILE), Image.Resampling.NEAREST))
    return (255 * matplotlib.colormaps[_HEAT](coarse)[..., :3]).round().astype(np.uint8)


def _resized(values: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))


def _edge(inside: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a bool mask that have one outside of it within ``width`` steps; the picture's border is none."""
    shrunk = inside.copy()
    for _ in range(width):
        padded = np.pad(shrunk, 1, mode="edge")
        shrunk = shrunk & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~shrunk
