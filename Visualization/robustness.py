"""How accuracy falls as pictures get worse: arrays in, a figure out."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from Visualization.style import BLUE, BODY, MUTED, SMALL, WIDTH, head, plain, style


def robustness_figure(
    names: Sequence[str], worst: Sequence[str], accuracy: np.ndarray, clean: float, title: str, subtitle: str
) -> Figure:
    """A small panel for each corruption: accuracy over its strength, beside that on the pictures as they are.

    Args:
        names: K names; worst: what the highest strength of each is.
        accuracy: float [K, S], shares at strengths 1 to S.
        clean: share on the pictures as they are.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: not one row of shares for each name.
    """
    if accuracy.ndim != 2 or len(accuracy) != len(names) or not len(names):
        raise ValueError(f"accuracies of shape {accuracy.shape} for {len(names)} corruptions")
    across = min(4, len(names))
    down = -(-len(names) // across)
    strengths = np.arange(accuracy.shape[1] + 1)
    with style():
        figure = Figure(figsize=(WIDTH + 1.5, 0.5 + 1.7 * down), layout="constrained")
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes in panels.flat[len(names) :]:
            axes.set_visible(False)
        for axes, name, most, shares in zip(panels.flat, names, worst, accuracy, strict=False):
            axes.axhline(100 * clean, color=MUTED, linewidth=0.9, linestyle="--")
            axes.plot(strengths, 100 * np.concatenate([[clean], shares]), color=BLUE, marker="o", markersize=3.5)
            axes.set_title(plain(name), loc="left", fontsize=BODY)
            words = plain(f"{len(shares)}: {most}")
            axes.text(0.04, 0.06, words, transform=axes.transAxes, fontsize=SMALL, color=MUTED)
            axes.set_xticks(strengths)
            axes.set_ylim(0, 100)
            axes.grid(True, axis="y")
            axes.spines[["top", "right"]].set_visible(False)
        figure.supxlabel("strength (0, and dashed: as it is)", fontsize=BODY)
        figure.supylabel(plain("accuracy (%)"), fontsize=BODY)
        head(figure, title, subtitle)
    return figure
