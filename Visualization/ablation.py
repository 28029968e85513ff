"""The figure of an ablation: what each change to a recipe is worth."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from utils.ablation import ONE_SEED_SHOWS, Gain, Row
from Visualization.style import BLUE, INK, MUTED, SMALL, WIDTH, entitle, inches, plain, style

_ROW = 0.27  # inches
_FURTHEST = 10.0  # points; what is further has an arrow, so that the others stay apart


def ablation_figure(changes: Sequence[Row], title: str) -> Figure:
    """One row a change, from top to bottom: its gain in accuracy and the interval of that gain; beside it the gain by
    FER+'s raters where they judged.

    Args:
        changes: not the base.
        title: in bold.

    Raises:
        ValueError: no changes.
    """
    if not changes:
        raise ValueError("a comparison of nothing cannot be drawn")
    names = [_named(row) for row in changes]
    margin = 0.3 + inches(names)
    with style():
        figure = Figure(figsize=(WIDTH, 1.5 + _ROW * len(names)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, row in enumerate(changes):
            assert row.gain is not None  # not the base
            colour = BLUE if row.proven else MUTED
            axes.plot([_near(row.gain.low), _near(row.gain.high)], [place, place], color=colour, linewidth=2)
            mark = _mark(row.gain, "o")
            axes.plot(_near(row.gain.mean), place, mark, color=colour, markersize=6, markeredgecolor="white")
            if (seen := row.plurality_gain) is not None:
                mark = _mark(seen, "D")
                axes.plot(_near(seen.mean), place + 0.3, mark, color="white", markersize=4, markeredgecolor=INK)
            gain = 100 * row.gain.mean
            words = plain(f"{gain:+.1f}" if abs(gain) >= 0.05 else "0.0")
            beside = axes.get_yaxis_transform()  # right of all bars and lines
            axes.text(1.08, place, words, transform=beside, ha="right", va="center", fontsize=SMALL)
        axes.set_yticks(range(len(names)), [plain(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.05)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(f"{value:+g}" if value else "0")))
        axes.set_xlabel("gain in validation accuracy, points")
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        what = (
            "bar: 95% interval over the images, one seed where no number is said; blue: it leaves zero out, with two "
            f"seeds or by more than {100 * ONE_SEED_SHOWS:g} points"
        )
        if any(row.plurality_gain for row in changes):
            what += "; white: gain by FER+'s plurality, no interval drawn"
        if any(gain and 100 * abs(gain.mean) > _FURTHEST for row in changes for gain in (row.gain, row.plurality_gain)):
            what += f"; arrow: more than {_FURTHEST:g}"
        entitle(axes, title, what, WIDTH - margin)
    return figure


def _near(share: float) -> float:
    """A share in points, not beyond `_FURTHEST`."""
    return min(max(100 * share, -_FURTHEST), _FURTHEST)


def _mark(gain: Gain, near: str) -> str:
    points = 100 * gain.mean
    return near if abs(points) <= _FURTHEST else "<" if points < 0 else ">"


def _named(row: Row) -> str:
    """A change, and with how many seeds where that is more than one."""
    return row.file.replace("_", " ") + (f" ({len(row.seeds)} seeds)" if len(row.seeds) > 1 else "")
