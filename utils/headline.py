"""The first table of the README: what was reached, one line each."""

from collections.abc import Callable, Mapping, Sequence

from utils.ensemble import greedy
from utils.labels import TITLES
from utils.markdown import Runs, all_views, fresh_of, honest, short_names
from utils.metrics import Scores
from utils.pooling import spread
from utils.predictions import Predictions, combine
from utils.report import judge

Facts = Callable[[Predictions], tuple[str, str]]


def headline_text(
    groups: Sequence[Runs], shipped: Sequence[tuple[str, Predictions]], folded: Mapping[str, Runs], facts: Facts
) -> str:
    """As Markdown; in each line what validation chose, and what the test part said of it.

    Args:
        groups: selections of FER2013's runs, two lines for each; the last is all of them.
        shipped: the networks that come with the package: name, test dump; their runs are among those.
        folded: data set → its runs, of which those count that keep persons apart.
        facts: of a test dump, what stands under "other pictures" and "trained on".
    """
    lines = [
        "| data set | network | other pictures | trained on | **test** | 95 % interval | without copies |",
        "|---|---|---|---|---|---|---|",
    ]
    every = groups[-1]
    names = short_names(list(every))
    for runs in groups:
        best = _best(runs)
        chosen = [list(runs)[index] for index in greedy([validation for validation, _ in runs.values()], list(runs))]
        average = combine([runs[name][1] for name in chosen], chosen)
        lines.append(_line("FER2013", f"`{names[best]}`, the best of {len(runs)}", runs[best][1], facts(runs[best][1])))
        lines.append(_line("FER2013", f"average of {len(chosen)} of these {len(runs)}", average, facts(average)))
    for name, test in shipped:
        behind = facts(every[test.meta["run"]][1])  # a shipped file does not say where it was trained
        lines.append(_line("FER2013", f"`{name}`, in this package, one view", test, behind, one_view=True))
    for dataset, runs in folded.items():
        apart = honest(runs)
        test = apart[_best(apart)][1]
        what = f"`{test.meta['arch']}`, the best of {len(apart)}"
        lines.append(_line(f"{TITLES[dataset]}, other people", what, test, facts(test)))
    return "\n".join(lines)


def _best(runs: Runs) -> str:
    """The run that is best on validation."""
    return max(runs, key=lambda name: all_views(judge(runs[name][0])).accuracy)


def _line(dataset: str, what: str, test: Predictions, behind: tuple[str, str], one_view: bool = False) -> str:
    judged = judge(test)
    scores = judged["clean"] if one_view else all_views(judged)
    low, high = spread(test).interval or scores.interval
    fresh = fresh_of(judged, one_view)
    cells = [
        dataset,
        what,
        *behind,
        f"**{_percent(scores)}**",
        f"{100 * low:.1f} – {high:.1%}",
        _percent(fresh) if fresh else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _percent(scores: Scores) -> str:
    return f"{scores.accuracy:.1%}"
