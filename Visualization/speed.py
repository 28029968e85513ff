"""Figures about speed: how many times as fast ours is as others."""

import itertools
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from Visualization.style import BLUE, BODY, CYCLE, INK, MUTED, ORANGE, WIDTH, entitle, inches, plain, style

_TICKS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)


def ratio_figure(bars: Sequence[tuple[str, str, bool, float]], subtitle: str = "") -> Figure:
    """One row a case and peer: a point for how its users run it, another for equal settings; 1 means as fast as ours.

    Args:
        bars: (case, peer, at equal settings, how many times as good ours is, above 0).
        subtitle: a quieter line below the title.

    Raises:
        ValueError: no bars.
    """
    if not bars:
        raise ValueError("a comparison with nobody cannot be drawn")
    names = list(dict.fromkeys((case, peer) for case, peer, _, _ in bars))
    labels = [f"{case}: {peer}" for case, peer in names]
    margin = 0.3 + inches(labels)
    across = max(WIDTH + 2.0 - margin, 4.2)
    with style():
        figure = Figure(figsize=(margin + across, 1.6 + 0.34 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        for case, peer, equal, times in bars:
            place = names.index((case, peer)) + (0.14 if equal else -0.14)
            colour = ORANGE if equal else BLUE
            axes.plot([1, times], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
            axes.plot(times, place, "D" if equal else "o", color=colour, markersize=6)
            axes.annotate(
                plain(f"{times:.3g}"),
                (times, place),
                (7 if times >= 1 else -7, 0),
                textcoords="offset points",
                ha="left" if times >= 1 else "right",
                va="center",
                fontsize=BODY - 2,
                color=INK,
            )
        axes.axvline(1, color=MUTED, linewidth=1)
        axes.set_xscale("log")
        values = [times for *_, times in bars]
        axes.set_xlim(min(0.7, 0.6 * min(values)), max(2.0, 1.8 * max(values)))
        axes.xaxis.set_major_locator(FixedLocator(_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(f"{value:g}")))
        axes.set_yticks(range(len(names)), [plain(label) for label in labels])
        axes.set_ylim(len(names) - 0.5, -0.6)
        axes.set_xlabel("how many times as fast ours is")
        axes.grid(True, axis="x")
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        for colour, mark, text in ((BLUE, "o", "as its users run it"), (ORANGE, "D", "equal settings")):
            axes.plot([], [], mark, color=colour, markersize=6, label=text)
        figure.legend(loc="outside lower left", ncols=2, frameon=False)
        entitle(axes, "Speed beside others", subtitle or " ", across)
    return figure


def time_to_accuracy_figure(points: Sequence[tuple[str, str, float, float]]) -> Figure:
    """One line a training, coloured by program; accuracy of the validation part over minutes.

    Args:
        points: (program, run, minutes since it began, accuracy as a share), in the order of time within a run.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("no training, nothing to draw")
    programs = list(dict.fromkeys(program for program, *_ in points))
    colours = dict(zip(programs, itertools.cycle(CYCLE), strict=False))
    with style():
        figure = Figure(figsize=(WIDTH + 1.5, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for run in dict.fromkeys(run for _, run, *_ in points):
            (program, *_), *_ = own = [point for point in points if point[1] == run]
            axes.plot([p[2] for p in own], [100 * p[3] for p in own], color=colours[program], linewidth=1.5)
            axes.plot(own[-1][2], 100 * own[-1][3], "o", color=colours[program], markersize=5)
        for program in programs:
            ends = {run: (minutes, share) for name, run, minutes, share in points if name == program}
            mean = sum(share for _, share in ends.values()) / len(ends)
            runs = f"{len(ends)} seeds" if len(ends) > 1 else "1 seed"
            label = f"{program}: {mean:.1%} after {max(m for m, _ in ends.values()):.1f} minutes ({runs})"
            axes.plot([], [], color=colours[program], linewidth=2.5, label=plain(label))
        axes.set_xlabel("minutes since the training began")
        axes.set_ylabel(plain("accuracy on PublicTest, clean images (%)"))
        axes.set_xlim(0)
        axes.grid(True)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower left", frameon=False)
        facts = "FER2013, two cores; the plain loop trains the same network for as long"
        entitle(axes, "Accuracy against time", facts, WIDTH + 1.5)
    return figure
