"""The look of every picture: colours, sizes, and text that stands in a figure as it was written."""

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

# Colours that stay apart for colour-blind readers (Okabe and Ito, 2008).
ORANGE, BLUE = "#E69F00", "#0072B2"
CYCLE = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
INK, MUTED, RULE, EMPTY = "#1A1A1A", "#595959", "#D0D0D0", "#EEEEEE"
SEQUENTIAL = "Blues"
MEAN: Any = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 3))}  # a line that is no interval

TITLE, BODY, SMALL = 10.5, 9.5, 8.0
WIDTH = 6.0  # inches: 600 pixels at 100 dpi, one page column of text
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so a picture is the same on every machine
    "font.size": BODY,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.labelsize": BODY,
    "xtick.labelsize": BODY,
    "ytick.labelsize": BODY,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.edgecolor": "white",
    "legend.framealpha": 0.9,
    "legend.fontsize": BODY,
    "lines.linewidth": 1.8,
}
_LONGEST_NAME = 20
_TEX = str.maketrans({c: f"\\{c}" for c in "%&#_${}"} | {"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}"})


def style() -> AbstractContextManager[None]:
    """What is drawn within it has this project's look; with TeX, in TeX's own serif fonts."""
    return matplotlib.rc_context(STYLE | ({"font.family": "serif"} if matplotlib.rcParams["text.usetex"] else {}))


def entitle(axes: Axes, title: str, subtitle: str, across: float) -> None:
    """Title in bold over the subtitle, broken to ``across`` inches, both beginning where the axes do."""
    quiet = broken(subtitle, across / inches([subtitle])) if subtitle.strip() else subtitle  # " " keeps a line free
    axes.set_title(plain(quiet), loc="left", color=MUTED, fontsize=BODY, pad=6)
    axes.annotate(
        plain(broken(title, across / inches([title], TITLE, "bold"))),
        (0, 1),
        (0, 8 + 1.25 * BODY * (quiet.count("\n") + 1 if quiet else 0)),
        xycoords="axes fraction",
        textcoords="offset points",
        va="bottom",
        fontsize=TITLE,
        fontweight="bold",
    )


def head(figure: Figure, title: str, subtitle: str) -> None:
    """Title in bold over the subtitle, broken to the width of a whole figure, which is made higher by both.

    Args:
        figure: of several panels or of a sheet, with everything else in place, in constrained layout.
    """
    width, drawn = figure.get_size_inches()
    kinds = ((title, TITLE, "bold", INK), (subtitle, BODY, "normal", MUTED))
    rows = [
        (broken(text, (width - 0.2) / inches([text], size, weight)), size, weight, ink)
        for text, size, weight, ink in kinds
        if text
    ]
    heights = [(text.count("\n") + 1) * 1.3 * size / 72 for text, size, _, _ in rows]
    whole = drawn + sum(heights) + 0.12
    figure.set_figheight(whole)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, drawn / whole))
    top = whole - 0.08
    for (text, size, weight, ink), height in zip(rows, heights, strict=True):
        figure.text(0.1 / width, top / whole, plain(text), va="top", fontsize=size, fontweight=weight, color=ink)
        top -= height


def broken(text: str, part: float) -> str:
    """``text`` in lines, of which each may hold ``part`` of its width."""
    return "\n".join(textwrap.wrap(text, max(10, int(0.99 * part * len(text))), break_on_hyphens=False))


def inches(texts: Sequence[str], size: float = BODY, weight: str = "normal") -> float:
    """Width of the widest of ``texts``, in inches."""
    font = FontProperties(family=STYLE["font.sans-serif"], size=size, weight=weight)
    # between two strokes, so that an empty text has a width too
    paths = [TextPath((0, 0), f"|{text.replace('$', 'S')}|", prop=font) for text in texts]
    return max(path.get_extents().width for path in paths) / 72


def short(name: str) -> str:
    """``name`` on one line, its middle left out where it is too long to stand beside a picture."""
    name = " ".join(name.split())
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[1 - half :]}"


def plain(text: str) -> str:
    """``text`` such that it stands in the picture as it stands here: no mathematics, no TeX commands."""
    if matplotlib.rcParams["text.usetex"]:
        return text.translate(_TEX)
    return text.replace("$", r"\$")


def ink_on(colour: Sequence[float]) -> str:
    """White or dark ink, whichever has more contrast on an RGBA colour (WCAG 2.2, relative luminance)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / (0.0103 + 0.05) else INK
