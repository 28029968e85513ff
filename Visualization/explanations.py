"""Pictures of what a network looks at: maps over faces, and what masks do. Arrays in, figures out."""

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from Visualization.style import (
    BLUE,
    BODY,
    CYCLE,
    MUTED,
    ORANGE,
    SMALL,
    WIDTH,
    broken,
    head,
    inches,
    plain,
    style,
)

_TILE = 192  # pixels of a face in a sheet: 1 inch at the resolution that figures are saved in
_ACROSS = 6  # faces of a grid beside each other
_STRONGEST = 0.8  # how much of the face the strongest colour hides
_FULL = 99  # per cent of the pixels are weaker than full colour: one strong pixel must not make all others pale
_LINE = 0.5  # the line runs at this share of full colour, so that a map reads without colour
SCALE = "full colour: the strongest hundredth; the line: half of it"
_HEAT = "cividis"  # even steps of lightness, for a printer and for colour-blind eyes


def overlaid(image: np.ndarray, values: np.ndarray, size: int = _TILE) -> np.ndarray:
    """A face under its map: orange above 0, blue below, the more colour the farther from it.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        values: float [S, S]; the strongest hundredth of its pixels has full colour, a white line runs at half of it.
        size: width and height of the result.

    Returns:
        uint8 [size, size, 3].
    """
    face = _face(image, size).astype(np.float64)
    sizes = np.abs(values)
    full = float(np.percentile(sizes, _FULL)) or float(sizes.max())
    strength = _resized(values, size) / max(full, 1e-30)
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
    captions: Mapping[tuple[int, int], str] = MappingProxyType({}),
) -> Figure:
    """A sheet of square pictures with named rows and columns.

    Args:
        tiles: uint8 [R, C, P, P, 3].
        row_names: R names of one line or more; column_names: C names.
        title, subtitle, note: as for `maps_figure`.
        captions: a few letters upon the lower edge of the tile in (row, column).

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
        height = side * rows + 0.19 * lines + 0.2 + 0.3 * (len(note) > 0)
        figure = Figure(figsize=(margin + across, height), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(sheet, interpolation="antialiased")
        axes.set_anchor("W")
        for (row, column), text in captions.items():
            place = column * step + (size - 1) / 2, row * step + size - 4
            plate = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
            axes.text(*place, plain(text), ha="center", va="bottom", fontsize=SMALL, bbox=plate)
        axes.set_yticks(np.arange(rows) * step + (size - 1) / 2, [plain(name) for name in row_names])
        axes.set_xticks(np.arange(columns) * step + (size - 1) / 2, [plain(name) for name in headings])
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if note:
            small = broken(note, (margin + across - 0.3) / inches([note], SMALL))
            figure.supxlabel(plain(small), fontsize=SMALL, color=MUTED)
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
            and output of one face and stage share a scale from 0; a mask has its own, from its least value to its
            largest, which are written on it.
        row_names: R names.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: no stages, or another number of maps or names than of faces.
    """
    if not stages or any(maps.shape[:2] != (len(images), 3) for _, maps in stages) or len(row_names) != len(images):
        shapes = [maps.shape for _, maps in stages]
        raise ValueError(f"maps of shapes {shapes} and {len(row_names)} names for {len(images)} faces")
    tiles, ranges = [], {}
    for row, image in enumerate(images):
        for name, kind in (("input", 0), ("mask", 1), ("output", 2)):
            tiles.append([_face(image, _TILE)] if kind == 0 else [np.full((_TILE, _TILE, 3), 255, np.uint8)])
            for column, (_, maps) in enumerate(stages, 1):
                own = maps[row, [1] if name == "mask" else [0, 2]]
                least, most = float(own.min()) if name == "mask" else 0.0, float(own.max())
                if name == "mask":
                    ranges[len(tiles) - 1, column] = f"{least:.3g} to {most:.3g}"
                tiles[-1].append(_heat((maps[row, kind] - least) / max(most - least, 1e-30)))
    kinds = [
        f"{name}\n{kind}" if kind == "input" else kind for name in row_names for kind in ("input", "mask", "output")
    ]
    note = "light: much. Input and output of a stage share a scale from 0; each mask has its own, written on it"
    headings = ["", *(name for name, _ in stages)]
    return tiles_figure(np.array(tiles), kinds, headings, title, subtitle, note, ranges)


def deletion_insertion_figure(
    curves: Sequence[tuple[str, np.ndarray, np.ndarray]],
    chance: tuple[np.ndarray, np.ndarray],
    title: str,
    subtitle: str,
) -> Figure:
    """The class's probability as what maps mark is taken away, and as it comes back; beside a random order.

    Args:
        curves: (name, deletion, insertion) of each method, float [K] from no pixel to all of them.
        chance: deletion and insertion, float [K], in random order.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: no curves.
    """
    if not curves:
        raise ValueError("no curves, nothing to draw")
    with style():
        figure = Figure(figsize=(WIDTH + 1.5, 3.6), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for side, (axes, what) in enumerate(
            zip(panels, ("deletion: low is good", "insertion: high is good"), strict=True)
        ):
            for (name, *both), colour in zip(curves, itertools.cycle(CYCLE), strict=False):
                share = 100 * np.linspace(0, 1, len(both[side]))
                axes.plot(share, 100 * both[side], color=colour, label=plain(name))
            axes.plot(share, 100 * chance[side], color=MUTED, linestyle="--", label="random order")
            axes.set_title(what, loc="left", fontsize=BODY)
            axes.set_xlabel(plain(("pixels taken away (%)", "pixels back (%)")[side]))
            axes.set_xlim(0, 100)
            axes.set_ylim(0, 100)
            axes.grid(True)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(plain("probability of the class, not calibrated (%)"))
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=4, frameon=False)
        head(figure, title, subtitle)
    return figure


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
        figure = Figure(figsize=(width, (1.3 + 0.16 * lines) * rows + 0.2), layout="constrained")
        for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.imshow(_face(image, _TILE))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.set_xlabel(plain(caption), loc="left", fontsize=SMALL, labelpad=3)
        head(figure, title, subtitle)
    return figure


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
