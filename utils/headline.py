"""The first table of the README: what was reached, one line each."""

from collections.abc import Callable, Mapping, Sequence

from utils.inflation import network_name
from utils.labels import TITLES
from utils.markdown import Runs, all_views, honest
from utils.metrics import Scores, score
from utils.pooling import spread
from utils.predictions import Predictions
from utils.report import judge
from utils.study import Study


def headline_text(
    studies: Mapping[str, Study],
    shipped: Sequence[tuple[str, Predictions]],
    folded: Mapping[str, Runs],
    machine: Callable[[Predictions], str],
) -> str:
    """As Markdown; in each line what validation chose, and what the test part said of it.

    Args:
        studies: what the networks of each were trained on → the study of FER2013's networks.
        shipped: the networks that come with the package: name, test dump.
        folded: data set → its runs, of which those count that keep persons apart.
        machine: what the network of a dump was trained on.
    """
    lines = ["| data set | network | trained on | **test** | 95 % interval |", "|---|---|---|---|---|"]
    for trained_on, found in studies.items():
        best = score(found.members.test[found.best], found.members.targets)
        lines.append(_line("FER2013", f"the best of {len(found.members.names)}", trained_on, best))
        lines.append(_line("FER2013", f"{len(found.order)} of them, averaged", trained_on, found.rows[1].test))
    for name, test in shipped:
        what = f"`{name}`, which comes with the package, one view"
        lines.append(_line("FER2013", what, machine(test), judge(test)["clean"]))
    for dataset, runs in folded.items():
        apart = honest(runs)
        test = apart[max(apart, key=lambda name: all_views(judge(apart[name][0])).accuracy)][1]
        title = f"{TITLES[dataset]}, other people in train and test"
        what = f"{network_name(test)}, the best of {len(apart)}"
        lines.append(_line(title, what, machine(test), all_views(judge(test)), spread(test).interval))
    return "\n".join(lines)


def _line(dataset: str, what: str, trained_on: str, scores: Scores, persons: tuple[float, float] | None = None) -> str:
    low, high = persons or scores.interval
    return f"| {dataset} | {what} | {trained_on} | **{scores.accuracy:.1%}** | {100 * low:.1f} – {high:.1%} |"
