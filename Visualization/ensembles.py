"""Pictures of an ensemble: what members add, which of them differ, and whether its probabilities can be believed."""

import itertools
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.metrics import BINS
from Visualization.style import (
    BLUE,
    BODY,
    CYCLE,
    MUTED,
    ORANGE,
    RULE,
    SEQUENTIAL,
    SMALL,
    WIDTH,
    entitle,
    head,
    inches,
    ink_on,
    plain,
    style,
)

FEW = 20  # images, of fewer of which a share says little


def members_figure(drawn: np.ndarray, chosen: np.ndarray, title: str, subtitle: str) -> Figure:
    """Accuracy of averages over their number of members.

    Args:
        drawn: float [M, 3], mean and 5 % and 95 % quantile of members drawn at random, for 1 to M of them.
        chosen: float [K], accuracy after each member that was chosen on validation, in that order.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: no members.
    """
    if not len(drawn):
        raise ValueError("an ensemble of nothing cannot be drawn")
    number = np.arange(1, len(drawn) + 1)
    with style():
        figure = Figure(figsize=(WIDTH + 1.5, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(number, 100 * drawn[:, 0], color=BLUE, marker="o", label="drawn at random: mean")
        what = plain("middle 90% of the draws")
        axes.fill_between(number, *100 * drawn[:, 1:].T, color=BLUE, alpha=0.15, linewidth=0, label=what)
        axes.plot(number[: len(chosen)], 100 * chosen, color=ORANGE, marker="D", label="chosen on validation")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("members averaged")
        axes.set_ylabel(plain("accuracy (%)"))
        _quieten(axes)
        figure.legend(loc="outside lower left", ncols=3, frameon=False)
        entitle(axes, title, subtitle, WIDTH + 1.0)
    return figure


def pairs_figure(
    names: Sequence[str], p_values: np.ndarray, differing: np.ndarray, title: str, subtitle: str
) -> Figure:
    """Every pair of members: above the diagonal how often they differ, below it whether one of them is better.

    Args:
        names: M names, the best member first.
        p_values: float [M, M], of McNemar's test; differing: float [M, M], shares of the images.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: not a matrix of as many members.
    """
    count = len(names)
    if not count or p_values.shape != (count, count) or differing.shape != (count, count):
        raise ValueError(f"matrices of shapes {p_values.shape} and {differing.shape} for {count} members")
    margin, across = 0.4 + inches(names), max(0.53 * count, 3.6)
    shown = np.where(np.triu(np.ones((count, count), bool), 1), differing / max(differing.max(), 1e-9), np.nan)
    with style():
        figure = Figure(figsize=(margin + across, 1.2 + 0.34 * count), layout="constrained")
        axes = figure.add_subplot()
        colours = matplotlib.colormaps[SEQUENTIAL].with_extremes(bad="white")
        axes.imshow(np.ma.masked_invalid(shown), cmap=colours, vmin=0, vmax=1.6, aspect="auto")
        for row in range(count):
            for column in range(count):
                if row != column:
                    _write_pair(axes, row, column, p_values, differing, colours(shown[row, column] / 1.6))
        axes.set_yticks(range(count), [f"{plain(name)}  {n}" for n, name in enumerate(names, 1)])
        axes.set_xticks(range(count), [str(n) for n in range(1, count + 1)])
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        words = plain("above the diagonal: images on which two differ, %; below it: McNemar's p, bold where below 0.05")
        figure.supxlabel(words, fontsize=SMALL, color=MUTED)
        head(figure, title, subtitle)
    return figure


def reliability_figure(
    before: np.ndarray, after: np.ndarray, targets: np.ndarray, names: tuple[str, str], title: str, subtitle: str
) -> Figure:
    """Accuracy over confidence, two sets of probabilities side by side; on the dashed line they mean what they say.

    Args:
        before, after: float [N, C]; targets: int [N].
        names: what to call the two.
        title: one line or more in bold.
        subtitle: a quieter line below it.
    """
    few = False
    with style():
        figure = Figure(figsize=(WIDTH + 1.5, 4.2), layout="constrained")
        grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
        for column, (probabilities, name) in enumerate(zip((before, after), names, strict=True)):
            confidence, hit = probabilities.max(1), probabilities.argmax(1) == targets
            index = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
            counts = np.bincount(index, minlength=BINS)
            there = counts > 0
            meant = np.bincount(index, weights=confidence, minlength=BINS)[there] / counts[there]
            right = np.bincount(index, weights=hit, minlength=BINS)[there] / counts[there]
            axes, below = grid[0, column], grid[1, column]
            axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle="--")
            sure = counts[there] >= FEW
            few |= not sure.all()
            axes.vlines(100 * meant[sure], 100 * meant[sure], 100 * right[sure], color=ORANGE, linewidth=2.5)
            axes.plot(100 * meant[sure], 100 * right[sure], color=BLUE, marker="o", markersize=4.5)
            axes.plot(100 * meant[~sure], 100 * right[~sure], "o", color=BLUE, markersize=4.5, fillstyle="none")
            axes.set_title(plain(name), loc="left", fontsize=BODY)
            below.bar(100 * (np.arange(BINS) + 0.5) / BINS, counts, width=90 / BINS, color=BLUE)
            below.set_xlabel(plain("confidence (%)"))
            for panel in (axes, below):
                _quieten(panel)
        grid[0, 0].set_ylabel(plain("accuracy (%)"))
        grid[1, 0].set_ylabel("images")
        head(figure, title, subtitle + (f"; hollow: fewer than {FEW} images" if few else ""))
    return figure


def risk_coverage_figure(curves: Sequence[tuple[str, np.ndarray]], title: str, subtitle: str) -> Figure:
    """Error on the most confident share of the images, over that share.

    Args:
        curves: (name, float [N], the error among the n most confident images for n from 1 to N).
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: no curves.
    """
    if not curves:
        raise ValueError("no curves, nothing to draw")
    with style():
        figure = Figure(figsize=(WIDTH + 1.5, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for (name, risk), colour, line in zip(curves, itertools.cycle(CYCLE), itertools.cycle("-:"), strict=False):
            coverage = 100 * np.arange(1, len(risk) + 1) / len(risk)
            steady = coverage >= 2  # of a handful of images the error says nothing
            label = f"{name}: {risk[-1]:.1%} if it answers all; area under the curve {risk.mean():.1%}"
            axes.plot(coverage[steady], 100 * risk[steady], color=colour, linestyle=line, label=plain(label))
        axes.set_xlabel(plain("images answered, the most confident first (%)"))
        axes.set_ylabel(plain("error among them (%)"))
        axes.set_xlim(0, 100)
        axes.set_ylim(0)
        _quieten(axes)
        figure.legend(loc="outside lower left", frameon=False)
        entitle(axes, title, subtitle, WIDTH + 1.0)
    return figure


def _write_pair(axes, row, column, p_values, differing, colour) -> None:  # type: ignore[no-untyped-def]
    above = column > row
    p = p_values[row, column]
    text = f"{100 * differing[row, column]:.1f}" if above else ("<0.001" if p < 0.001 else f"{p:.2g}")
    axes.text(
        column,
        row,
        plain(text),
        ha="center",
        va="center",
        fontsize=SMALL,
        color=ink_on(colour) if above else MUTED,
        fontweight="bold" if not above and p < 0.05 else "normal",
    )


def _quieten(axes) -> None:  # type: ignore[no-untyped-def]
    axes.grid(True, color=RULE)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
