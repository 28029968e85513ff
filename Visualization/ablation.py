"""The figure of an ablation: what each change to a recipe is worth."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from Visualization.style import BLUE, INK, MUTED, SMALL, WIDTH, entitle, inches, plain, style

_ROW = 0.27  # inches


def ablation_figure(changes: Sequence[tuple[str, float, float, float]], title: str) -> Figure:
    """One row a change, from top to bottom: its gain in accuracy and the interval of that gain.

    Args:
        changes: name, gain, and the ends of its 95 % interval, as shares of the images.
        title: in bold.

    Raises:
        ValueError: no changes.
    """
    if not changes:
        raise ValueError("a comparison of nothing cannot be drawn")
    names = [name.replace("_", " ") for name, *_ in changes]
    margin = 0.3 + inches(names)
    with style():
        figure = Figure(figsize=(WIDTH, 1.5 + _ROW * len(names)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, (_, *values) in enumerate(changes):
            gain, low, high = (100 * value for value in values)
            colour = BLUE if low > 0 or high < 0 else MUTED
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot(gain, place, "o", color=colour, markersize=6, markeredgecolor="white")
            words = plain(f"{gain:+.1f}")
            label = axes.annotate(words, (high, place), (5, 0), textcoords="offset points", va="center", fontsize=SMALL)
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        axes.set_yticks(range(len(names)), [plain(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(f"{value:+g}" if value else "0")))
        axes.set_xlabel("gain in validation accuracy, points")
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        what = "bar: 95% interval over the images, both with the same seeds; blue: it leaves zero out"
        entitle(axes, title, what, WIDTH - margin)
    return figure
