"""Bars with names and numbers: recall of each class, the most frequent mistakes, and whatever else is ranked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from Visualization.style import BLUE, INK, MEAN, ORANGE, SMALL, WIDTH, broken, entitle, inches, plain, short, style

_ROW = 0.3  # inches
_ROOM = 0.3  # a bar with less than this share of the axis has its words behind it
PERCENT = FuncFormatter(lambda value, _: plain(f"{value:g}%"))


@dataclass(frozen=True)
class Bar:
    """One row: its name, the length of its bar and what is written there; and where known, an interval."""

    name: str
    length: float
    words: str
    interval: tuple[float, float] | None = None


def recall_figure(matrix: np.ndarray, classes: Sequence[str], intervals: Sequence, title: str, subtitle: str) -> Figure:
    """The share of each class's images that were called by its name, best class first; a line at their mean.

    Args:
        matrix: int64 [C, C], how many images of class ``row`` were called ``column``.
        classes: C names, in the order of the rows.
        intervals: C pairs of shares in [0, 1]; those of classes without images are not looked at.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: not as many rows, columns and intervals as classes, or no image at all.
    """
    count = len(classes)
    if matrix.shape != (count, count) or len(intervals) != count or not matrix.sum():
        raise ValueError(f"a matrix of shape {matrix.shape} and {len(intervals)} intervals for {count} classes")
    totals, right = matrix.sum(1), np.diag(matrix)
    there = np.flatnonzero(totals).tolist()
    share = 100 * right / np.maximum(totals, 1)
    rows = [
        Bar(
            classes[c],
            float(share[c]),
            f"{share[c]:.1f}%  ({right[c]:,} of {totals[c]:,})",
            (100 * intervals[c][0], 100 * intervals[c][1]),
        )
        for c in sorted(there, key=lambda c: -share[c])
    ]
    rows += [Bar(classes[c], 0.0, "no images") for c in np.flatnonzero(totals == 0).tolist()]
    label = "images called by their class, with 95% interval (orange); dashed: mean of the classes"
    return bars_figure(rows, title, subtitle, label, line=float(share[there].mean()), percent=True)


def confused_pairs_figure(
    matrix: np.ndarray, classes: Sequence[str], title: str, subtitle: str, most: int = 10
) -> Figure:
    """Which class was taken for which, the most frequent mistakes first.

    Args:
        matrix: int64 [C, C], how many images of class ``row`` were called ``column``.
        classes: C names, in the order of the rows.
        title: one line or more in bold.
        subtitle: a quieter line below it.
        most: kinds of mistakes that are drawn; those that never happened are left out.

    Raises:
        ValueError: not as many rows and columns as classes, or no mistake.
    """
    count = len(classes)
    wrong = matrix - np.diag(np.diag(matrix)) if matrix.shape == (count, count) else np.zeros(0)
    if not wrong.sum():
        raise ValueError(f"a matrix of shape {matrix.shape} for {count} classes, or one without a mistake")
    ranked = [divmod(int(place), count) for place in np.argsort(-wrong, axis=None, kind="stable")[:most]]
    rows = [
        Bar(
            f"{short(classes[true])} → {short(classes[called])}",
            float(wrong[true, called]),
            f"{wrong[true, called]:,}  ({wrong[true, called] / matrix[true].sum():.1%} of {short(classes[true])})",
        )
        for true, called in ranked
        if wrong[true, called]
    ]
    drawn = int(sum(row.length for row in rows))
    label = f"images: true class → predicted class ({drawn:,} of all {wrong.sum():,} mistakes)"
    return bars_figure(rows, title, subtitle, label)


def bars_figure(
    rows: Sequence[Bar], title: str, subtitle: str, label: str, *, line: float | None = None, percent: bool = False
) -> Figure:
    """Horizontal bars from top to bottom, each with its name beside it and its words on it.

    Args:
        rows: one at least.
        title: one line or more in bold.
        subtitle: a quieter line below it.
        label: what the length of a bar means.
        line: where a line is drawn through all bars.
        percent: the axis runs from 0 to 100 %; else to the longest bar.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("no bars, nothing to draw")
    names = [row.name for row in rows]
    margin = 0.3 + inches(names)
    longest = 100.0 if percent else 1.02 * max(row.length for row in rows)
    with style():
        figure = Figure(figsize=(WIDTH, 1.5 + _ROW * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(range(len(rows)), [row.length for row in rows], height=0.72, color=BLUE)
        for place, row in enumerate(rows):
            _write(axes, place, row, longest)
        axes.set_yticks(range(len(rows)), [plain(name) for name in names])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, longest)
        if percent:
            axes.xaxis.set_major_formatter(PERCENT)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(plain(broken(label, (WIDTH - margin) / inches([label]))))
        if line is not None:
            axes.axvline(line, **MEAN)
        axes.spines[["top", "right", "left"]].set_visible(False)
        entitle(axes, title, subtitle, WIDTH - margin)
    return figure


def _write(axes: Axes, place: int, row: Bar, longest: float) -> None:
    """The words of a row, in the bar where there is room; and its interval at the end of the bar."""
    inside = row.length > _ROOM * longest
    behind = row.length if row.interval is None else max(row.length, row.interval[1])
    axes.annotate(
        plain(row.words),
        (0 if inside else behind, place),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color="white" if inside else INK,
    )
    if row.interval is not None:
        axes.plot(row.interval, [place, place], color=ORANGE, linewidth=2.2, solid_capstyle="butt")
