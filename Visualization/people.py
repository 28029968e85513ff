"""Figures about people: how well each is recognised, and what it is worth to know them beforehand."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure

from Visualization.bars import PERCENT, Bar, bars_figure
from Visualization.style import (
    BLUE,
    BODY,
    INK,
    MEAN,
    MUTED,
    ORANGE,
    RULE,
    SMALL,
    WIDTH,
    broken,
    entitle,
    inches,
    plain,
    short,
    style,
)

_MOST_NAMED = 40  # persons that each get a row of their own


class Compared(Protocol):
    """What `inflation_figure` draws; `utils.inflation.Inflation` is one."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def images(self) -> int: ...  # noqa: D102
    @property
    def persons(self) -> int: ...  # noqa: D102
    @property
    def apart(self) -> float: ...  # noqa: D102
    @property
    def apart_interval(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def mixed(self) -> float: ...  # noqa: D102
    @property
    def mixed_interval(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def difference(self) -> float: ...  # noqa: D102


def person_accuracy_figure(persons: Sequence[tuple[str, int, int]], title: str, subtitle: str = "") -> Figure:
    """How many images of each person were classified rightly, best person first.

    Up to 40 persons each have a row with name and numbers. More are drawn as columns of equal width, and the five that
    are recognised worst are named.

    Args:
        persons: (name, right, images) of each, images > 0.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: nobody.
    """
    if not persons:
        raise ValueError("an accuracy of nobody cannot be drawn")
    ranked = sorted(persons, key=lambda person: (-person[1] / person[2], -person[2], person[0]))
    mean = 100 * sum(right for _, right, _ in ranked) / sum(images for _, _, images in ranked)
    with style():
        draw = _rows_of_persons if len(ranked) <= _MOST_NAMED else _columns_of_persons
        return draw(ranked, mean, title, subtitle)


def inflation_figure(rows: Sequence[Compared], dataset: str, title: str = "") -> Figure:
    """Accuracy on people never seen in training against accuracy on people who are in it, one row a network.

    Args:
        rows: the networks, from top to bottom; what has equal ``images`` and ``persons``.
        dataset: named in the title.
        title: another one than the figure's own.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("a comparison of nothing cannot be drawn")
    names = [" ".join(row.name.split()) for row in rows]
    margin = 0.3 + inches(names)
    across = max(WIDTH + 1.0 - margin, 4.7)
    lowest = min(min(row.apart_interval[0], row.mixed_interval[0]) for row in rows)
    with style():
        figure = Figure(figsize=(margin + across, 1.75 + 0.62 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            _compare(axes, place, row)
        axes.set_yticks(range(len(rows)), [plain(name) for name in names])
        axes.set_ylim(len(rows) - 0.5, -0.75)
        axes.set_xlim(max(0.0, 10 * np.floor(10 * lowest - 0.15)), 101)
        axes.xaxis.set_major_formatter(PERCENT)
        axes.set_xlabel("images classified rightly (bar: 95% interval, drawing whole persons)")
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        for colour, text in ((BLUE, "other people in train and test"), (ORANGE, "same people in train and test")):
            axes.plot([], [], "o", color=colour, markersize=8, label=text)
        figure.legend(loc="outside lower left", ncols=2, frameon=False)
        what = f"{dataset}, {rows[0].images:,} images of {rows[0].persons} persons; every image judged once"
        entitle(axes, title or "What knowing the people is worth", what, across)
    return figure


def _compare(axes, place: int, row: Compared) -> None:  # type: ignore[no-untyped-def]
    """One row of the comparison: two points with their intervals, and the distance between them in words."""
    points = ((row.apart, row.apart_interval, BLUE, 0.0), (row.mixed, row.mixed_interval, ORANGE, 0.0))
    axes.plot(
        [100 * row.apart, 100 * row.mixed], [place, place], color=RULE, linewidth=5, solid_capstyle="butt", zorder=1
    )
    for value, (low, high), colour, _ in points:
        axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=2, zorder=2)
        axes.plot(100 * value, place, "o", color=colour, markersize=9, markeredgecolor="white", zorder=3)
        axes.annotate(
            plain(f"{100 * value:.1f}"),
            (100 * value, place),
            (0, -17),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
            color=INK,
        )
    axes.annotate(
        plain(f"{100 * row.difference:+.1f} points"),
        (50 * (row.apart + row.mixed), place),
        (0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=BODY,
        fontweight="bold",
    )


def _rows_of_persons(ranked: Sequence[tuple[str, int, int]], mean: float, title: str, subtitle: str) -> Figure:
    rows = [
        Bar(short(name), 100 * right / images, f"{100 * right / images:.0f}%  ({right} of {images})")
        for name, right, images in ranked
    ]
    label = "images of this person classified rightly; dashed: all images"
    return bars_figure(rows, title, subtitle, label, line=mean, percent=True)


def _columns_of_persons(ranked: Sequence[tuple[str, int, int]], mean: float, title: str, subtitle: str) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.add_subplot()
    shares = np.array([100 * right / images for _, right, images in ranked])
    axes.bar(range(1, len(ranked) + 1), shares, width=0.86, color=BLUE)
    whole = int((shares == 100).sum())
    worst = ranked[-5:][::-1]
    words = ", ".join(f"{short(name)} {right} of {images}" for name, right, images in worst)
    axes.set_xlim(0.2, len(ranked) + 0.8)
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_ylabel("images classified rightly")
    worst_lines = broken(f"worst: {words}", (WIDTH - 0.9) / inches([f"worst: {words}"]))
    axes.set_xlabel(plain(f"the {len(ranked)} persons, best first; {whole} of them without an error\n{worst_lines}"))
    axes.axhline(mean, **MEAN)
    text = plain(f"dashed: all images, {mean:.1f}%")
    axes.text(len(ranked) + 0.5, 104, text, ha="right", fontsize=SMALL, color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    entitle(axes, title, subtitle, WIDTH - 0.9)
    return figure
