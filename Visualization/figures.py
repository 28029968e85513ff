"""Arrays in, matplotlib figures out, all in one style; nothing here reads, saves or opens a window."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from Visualization.style import (
    BLUE,
    BODY,
    EMPTY,
    MUTED,
    ORANGE,
    SEQUENTIAL,
    SMALL,
    WIDTH,
    entitle,
    inches,
    ink_on,
    plain,
    short,
    style,
)

_LEGEND = "large: share of the images of the true class (a row adds up to 100%); small: their number"
_MOST_WRITTEN_CLASSES = 40  # beyond, the cells are colour alone


def confusion_matrix_figure(matrix: np.ndarray, classes: Sequence[str], title: str, subtitle: str = "") -> Figure:
    """Which class was taken for which: rows are the true classes, columns the predicted ones.

    A cell's colour and large figure are its share of the row; the small figure is its number of images.

    Args:
        matrix: int64 [C, C], how many images of class ``row`` were called ``column``.
        classes: C names, in the order of the rows.
        title: one line or more in bold.
        subtitle: a quieter line below it.

    Raises:
        ValueError: the matrix is not square, or not as large as the classes are many.
    """
    count = len(classes)
    if count == 0 or matrix.shape != (count, count):
        raise ValueError(f"a matrix of shape {matrix.shape} for {count} classes")
    totals = matrix.sum(1)
    shares = np.divide(100.0 * matrix, totals[:, None], out=np.full(matrix.shape, np.nan), where=totals[:, None] > 0)
    names = [short(name) for name in classes]
    rows = [f"{plain(name)}\nn={total:,}" for name, total in zip(names, totals.tolist(), strict=True)]
    margin = 0.4 + inches([*names, "n=00,000"])
    across = min(max(WIDTH - margin, 0.48 * count), 20.0)
    height = 1.5 + min(max(0.52 * count, min(1.3 * count, 2.6)), 20.0)
    with style():
        figure = Figure(figsize=(margin + across, height), layout="constrained")
        axes = figure.add_subplot()
        colours = matplotlib.colormaps[SEQUENTIAL].with_extremes(bad=EMPTY)
        axes.imshow(np.ma.masked_invalid(shares), cmap=colours, vmin=0, vmax=100, aspect="auto")
        _name_classes(axes, names, rows, across)
        if count <= _MOST_WRITTEN_CLASSES:
            _write_cells(axes, matrix, shares)
            figure.supxlabel(plain(_LEGEND), fontsize=SMALL, color=MUTED)
        axes.set_xlabel("predicted class", labelpad=6)
        axes.set_ylabel("true class", labelpad=6)
        entitle(axes, title, subtitle, across)
    return figure


def training_curves_figure(
    history: Sequence[Mapping[str, float]], title: str, *, select_by: str = "accuracy"
) -> Figure:
    """How a training went: accuracy, loss and learning rate over the epochs, the best epoch marked.

    Args:
        history: one row an epoch with ``epoch`` (from 1), ``lr``, ``train_loss``, ``train_accuracy``,
            ``val_loss``, ``val_accuracy``; accuracies lie in [0, 1].
        title: one line or more in bold.
        select_by: see `best_epoch`.

    Raises:
        ValueError: the history has no row.
    """
    if not history:
        raise ValueError("a history without an epoch cannot be drawn")
    column = {key: np.array([row[key] for row in history], dtype=float) for key in history[0]}
    best = best_epoch(history, select_by)
    epochs = column["epoch"]
    with style():
        figure = Figure(figsize=(WIDTH, 6.2), layout="constrained")
        panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
        for axes, key, scale in ((panels[0], "accuracy", 100.0), (panels[1], "loss", 1.0)):
            _pair_of_curves(axes, epochs, scale * column[f"train_{key}"], scale * column[f"val_{key}"], best)
            axes.set_ylabel(key)
        panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(f"{value:g}%")))
        panels[0].legend(loc="lower right")
        _rate_curve(panels[2], epochs, column["lr"])
        _mark_best(panels, epochs, best, 100.0 * column["val_accuracy"][best])
        entitle(panels[0], title, " ", WIDTH - 0.9)  # the best epoch is written in place of a subtitle
        figure.align_ylabels()
    return figure


def best_epoch(history: Sequence[Mapping[str, float]], select_by: str) -> int:
    """The first row with the best ``val_<select_by>``: the lowest ``loss``, or the highest of anything else."""
    values = [row[f"val_{select_by}"] for row in history]
    return int(np.argmin(values) if select_by == "loss" else np.argmax(values))


def faces_sheet_figure(images: np.ndarray, row_names: Sequence[str], title: str) -> Figure:
    """A contact sheet: one row of pictures for each name.

    Args:
        images: uint8 [R, K, S, S] grey, or [R, K, S, S, 3] colour.
        row_names: R names.
        title: above the sheet; may be empty.

    Raises:
        ValueError: another number of rows than of names, or not an array of such pictures.
    """
    if images.ndim not in (4, 5) or len(images) != len(row_names) or images.size == 0:
        raise ValueError(f"pictures of shape {images.shape} for {len(row_names)} rows")
    rows, columns, size = images.shape[:3]
    gap = max(1, size // 16)
    step = size + gap
    sheet = np.full((rows * step - gap, columns * step - gap, *images.shape[4:]), 255, np.uint8)
    for row, column in np.ndindex(rows, columns):
        sheet[row * step : row * step + size, column * step : column * step + size] = images[row, column]
    names = [short(name) for name in row_names]
    margin = 0.35 + inches(names)
    across = max(WIDTH - margin, 0.35 * columns)
    down = across * sheet.shape[0] / sheet.shape[1] + (0.5 if title else 0.1)
    with style():
        figure = Figure(figsize=(margin + across, down), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        axes.set_xticks([])
        axes.set_yticks(np.arange(rows) * step + (size - 1) / 2, [plain(name) for name in names])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if title:
            entitle(axes, title, "", across)
    return figure


def labelled_images_figure(images: np.ndarray, names: Sequence[str]) -> Figure:
    """A grid of pictures, each under its name; images: uint8 [N, S, S, 1 or 3], N names."""
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    with style():
        figure = Figure(figsize=(1.1 * columns, 1.3 * rows), layout="constrained")
        for place in range(rows * columns):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.set_axis_off()
            if place < len(images):
                axes.imshow(images[place].squeeze(-1) if images.shape[-1] == 1 else images[place], cmap="gray")
                axes.set_title(plain(short(names[place])), fontsize=8)
    return figure


def _name_classes(axes: Axes, columns: Sequence[str], rows: Sequence[str], across: float) -> None:
    """Name columns and rows of a matrix ``across`` inches wide; rule white lines between the cells."""
    places = range(len(columns))
    axes.set_xticks(places, [plain(name) for name in columns])
    if inches(columns) > across / len(columns):
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, rows)
    edges = np.arange(len(columns) + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _write_cells(axes: Axes, matrix: np.ndarray, shares: np.ndarray) -> None:
    """Write each cell's share, large, over its number of images, small, in ink that shows on its colour."""
    count = len(matrix)
    decimals, large = (1, 11.5) if count <= 8 else (0, 10.5)
    colours = matplotlib.colormaps[SEQUENTIAL]
    for row, column in np.ndindex(count, count):
        share = shares[row, column]
        if np.isnan(share):
            axes.text(column, row, "–", ha="center", va="center", color=MUTED)
            continue
        weight = "bold" if row == column else "normal"
        written = (
            (f"{share:.{decimals}f}%", large, weight, 5),
            (f"{matrix[row, column]:,}", SMALL, "normal", -9),
        )
        for text, size, weight, lift in written:
            axes.annotate(
                plain(text),
                (column, row),
                (0, lift),
                textcoords="offset points",
                ha="center",
                va="center",
                color=ink_on(colours(float(share) / 100)),
                fontsize=size,
                fontweight=weight,
            )


def _pair_of_curves(axes: Axes, epochs: np.ndarray, train: np.ndarray, validation: np.ndarray, best: int) -> None:
    """Draw training and validation over the epochs [E], and a point on the best validation epoch."""
    mark = "o" if len(epochs) == 1 else ""
    axes.plot(epochs, train, color=ORANGE, linewidth=1.4, marker=mark, label="training")
    axes.plot(epochs, validation, color=BLUE, marker=mark, label="validation")
    axes.plot(epochs[best], validation[best], "o", color=BLUE, markersize=7, markeredgecolor="white", zorder=4)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    _quieten(axes)


def _rate_curve(axes: Axes, epochs: np.ndarray, rate: np.ndarray) -> None:
    """Draw the learning rate [E]; on a logarithmic axis where it spans more than one power of ten."""
    axes.plot(
        epochs,
        rate,
        color=MUTED,
        linewidth=1.2,
        drawstyle="steps-mid",
        marker="o" if len(epochs) == 1 else "",
    )
    if rate.min() > 0 and rate.max() / rate.min() > 10:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.2 * rate.max() or 1.0)
    axes.set_ylabel("learning\nrate")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    pad = max(0.5, 0.02 * (epochs[-1] - epochs[0]))
    axes.set_xlim(epochs[0] - pad, epochs[-1] + pad)
    _quieten(axes)


def _mark_best(panels: Sequence[Axes], epochs: np.ndarray, best: int, accuracy: float) -> None:
    """A line through all panels at the best epoch, and its name above the first."""
    for axes in panels:
        axes.axvline(epochs[best], color=BLUE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    place = (epochs[best] - epochs[0]) / max(epochs[-1] - epochs[0], 1)
    side = "center" if len(epochs) == 1 or 0.25 < place < 0.75 else "left" if place < 0.5 else "right"
    text = plain(f"best epoch {epochs[best]:.0f}: validation accuracy {accuracy:.1f}%")
    across = panels[0].get_xaxis_transform()
    panels[0].text(epochs[best], 1.02, text, transform=across, ha=side, va="bottom", color=BLUE, fontsize=BODY)


def _quieten(axes: Axes) -> None:
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
