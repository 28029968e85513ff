"""How several trainings went, in one picture: arrays in, a figure out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from Visualization.figures import best_epoch
from Visualization.style import CYCLE, WIDTH, entitle, plain, style

_MARKS = "osD^vP"  # one for each colour, so that runs stay apart in grey
MOST_RUNS = len(_MARKS)


@dataclass(frozen=True)
class Training:
    """What `training_curves_figure` takes of one run: its name, its rows and what chose its best epoch."""

    name: str
    history: Sequence[dict[str, float]]
    select_by: str = "accuracy"


def several_curves_figure(runs: Sequence[Training], title: str, subtitle: str) -> Figure:
    """Accuracy and loss of several runs over their epochs, validation and training, the best epoch of each marked.

    Args:
        runs: one to `MOST_RUNS`, each with a row or more as in `Visualization.figures.training_curves_figure`.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: no runs, more of them than stay apart, or one without an epoch.
    """
    if not 1 <= len(runs) <= MOST_RUNS or not all(run.history for run in runs):
        raise ValueError(f"{len(runs)} runs with {[len(run.history) for run in runs]} epochs")
    with style():
        figure = Figure(figsize=(WIDTH + 1.5, 6.0 + 0.22 * len(runs)), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        for run, colour, mark in zip(runs, CYCLE, _MARKS, strict=False):
            _curves(above, run, "accuracy", 100.0, colour, mark)
            _curves(below, run, "loss", 1.0, colour, mark)
        above.set_ylabel(plain("accuracy (%)"))
        below.set_ylabel("loss")
        below.set_xlabel("epoch (thick: validation; thin, dashed: training; large mark: best epoch)")
        below.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
        for axes in (above, below):
            axes.grid(True)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.legend(*above.get_legend_handles_labels(), loc="outside lower left", frameon=False)
        entitle(above, title, subtitle, WIDTH + 0.6)
        figure.align_ylabels()
    return figure


def _curves(axes: Axes, run: Training, key: str, scale: float, colour: str, mark: str) -> None:
    """One run's validation and training values of ``key``; its best epoch is what the legend names it by."""
    epochs = np.array([row["epoch"] for row in run.history])
    training, validation = (
        scale * np.array([row[f"{part}_{key}"] for row in run.history]) for part in ("train", "val")
    )
    best = best_epoch(run.history, run.select_by)
    axes.plot(epochs, training, color=colour, linewidth=0.9, linestyle=(0, (4, 2)))
    every = max(1, len(epochs) // 8)
    axes.plot(epochs, validation, color=colour, marker=mark, markersize=3.5, markevery=every)
    accuracy = 100 * run.history[best]["val_accuracy"]
    words = f"{run.name}: {accuracy:.1f}% on validation at epoch {epochs[best]:.0f} of {len(epochs)}"
    axes.plot(
        epochs[best],
        validation[best],
        mark,
        color=colour,
        markersize=9,
        markeredgecolor="white",
        zorder=4,
        label=plain(words),
    )
