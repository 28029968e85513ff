"""Faces as points in the plane: arrays in, a figure out."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from Visualization.style import CYCLE, INK, MUTED, SMALL, WIDTH, entitle, plain, short, style

_COLOURS = (*CYCLE, INK, "#8C7B00")  # beyond these, marks alone tell classes apart
_MARKS = "osD^vPX*"


def embedding_figure(
    points: np.ndarray, labels: np.ndarray, right: np.ndarray, classes: Sequence[str], title: str, subtitle: str
) -> Figure:
    """A point for each face in its true class's colour and mark, hollow where the network is wrong.

    Args:
        points: float [N, 2].
        labels: int [N], true classes.
        right: bool [N], whether the network says so too.
        classes: C names.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: not as many points, labels and answers, or none.
    """
    if not len(points) or points.shape != (len(labels), 2) or right.shape != labels.shape:
        raise ValueError(f"points of shape {points.shape} for {len(labels)} labels and {len(right)} answers")
    with style():
        figure = Figure(figsize=(WIDTH + 1.5, WIDTH + 0.6), layout="constrained")
        axes = figure.add_subplot()
        for label in np.unique(labels):
            colour, mark = _COLOURS[label % len(_COLOURS)], _MARKS[label % len(_MARKS)]
            own = labels == label
            for part, face in ((own & right, colour), (own & ~right, "none")):
                x, y = points[part].T
                axes.scatter(x, y, s=20, marker=mark, facecolors=face, edgecolors=colour, linewidths=0.9, alpha=0.85)
            share = f"{short(classes[label])}: {right[own].sum():,} of {own.sum():,} right"
            axes.plot([], [], mark, color=colour, label=plain(share))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", "datalim")
        axes.spines[:].set_color(MUTED)
        axes.set_xlabel(
            plain("close: alike to the network; the axes have no meaning. Hollow: taken for another class"),
            fontsize=SMALL,
            color=MUTED,
        )
        figure.legend(loc="outside right upper", frameon=False)
        entitle(axes, title, subtitle, WIDTH - 0.8)
    return figure
