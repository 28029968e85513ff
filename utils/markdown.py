"""The committed dumps of one data set as tables in Markdown."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models import count_parameters
from utils.agreement import voted
from utils.checkpoint import network
from utils.commands import command_of, settings_today
from utils.config import config_from_dict
from utils.datasets.ferplus import DROPPED, Votes
from utils.ensemble import table
from utils.inflation import Inflation, difference, inflation, network_name
from utils.metrics import Scores
from utils.pooling import spread
from utils.predictions import Predictions, combine
from utils.report import judge, share
from utils.splits.protocols import SAME_PEOPLE
from utils.transfer import NONE

MIXED_ENSEMBLE = "ensemble_random"  # the average of networks that have seen the test part's people

Runs = Mapping[str, tuple[Predictions, Predictions]]


def results_text(runs: Runs, folder: str, configs: Path, votes: Votes | None = None) -> str:
    """The tables of one data set, as Markdown.

    Args:
        runs: (validation, test) of each run, by its name.
        folder: where the dumps lie, for the command that averages them.
        configs: the folder of the shipped settings files, from which commands start.
        votes: FER+'s on the test images, to judge by them too; not of folds.

    Raises:
        UserError: a test image without votes.
    """
    folded = any("fold_of" in test.meta for _, test in runs.values())
    lines = _folds_lines(runs) if folded else _official_lines(runs, votes)
    apart, pairs = honest(runs), twins(runs)
    shown = dict.fromkeys([*apart, *(pairs[name] for name in apart if name in pairs), *runs])
    ordered = [runs[name][1] for name in shown]
    commands = [command_of(settings_today(test.meta, configs.parent), configs) for test in ordered]
    for average, named in ((best_average(runs)[1], ""), (mixed_average(runs), f" --name {MIXED_ENSEMBLE}")):
        if average is not None and "members" in average.meta:
            dumps = " ".join(f"{folder}/{name}.test.npz" for name in average.meta["members"])
            commands.append(f"python gen_ensemble.py {dumps} --out {folder}{named}")
    return "\n".join([*lines, "", "Commands, in the order of the tables:", "", "```", *commands, "```"])


def honest(runs: Runs) -> dict[str, tuple[Predictions, Predictions]]:
    """The runs whose protocol keeps persons apart."""
    return {name: pair for name, pair in runs.items() if SAME_PEOPLE not in pair[1].meta["protocol"]}


def best_average(runs: Runs) -> tuple[str, Predictions]:
    """What is drawn for a set: the average of the runs that keep persons apart, those that began with another set's
    weights if there are any; or the only such run."""
    apart = honest(runs)
    tests = {name: test for name, (_, test) in apart.items()}
    members = {name: test for name, test in tests.items() if _from_elsewhere(test)} or tests
    if len(members) == 1:
        name, test = next(iter(members.items()))
        return name, test
    return f"average of {len(members)} networks", combine(list(members.values()), list(members))


def _from_elsewhere(test: Predictions) -> bool:
    """Whether a network began with a run of another data set."""
    origin = test.meta.get("origin") or {}
    return origin.get("dataset", test.meta["dataset"]) != test.meta["dataset"]


def mixed_average(runs: Runs) -> Predictions | None:
    """The average of the same networks as `best_average`, with the same people in train and test; None without them."""
    pairs = twins(runs)
    members = [pairs.get(name) for name in best_average(runs)[1].meta.get("members", ())]
    names = [name for name in members if name is not None]
    return combine([runs[name][1] for name in names], names) if names and len(names) == len(members) else None


def twins(runs: Runs) -> dict[str, str]:
    """Of each run that keeps persons apart, the run of the same settings that does not, where there is one."""
    mixed = {name: test for name, (_, test) in runs.items() if SAME_PEOPLE in test.meta["protocol"]}
    found = {}
    for name, (_, test) in honest(runs).items():
        if like := [other for other, its in mixed.items() if not difference(test, its)]:
            found[name] = like[0]
    return found


def inflations(runs: Runs) -> list[Inflation]:
    """Each run that has one of `twins` beside it, and the average beside that of the twins."""
    rows = [inflation(runs[name][1], runs[twin][1]) for name, twin in twins(runs).items()]
    if (mixed := mixed_average(runs)) is not None:
        name, average = best_average(runs)
        rows.append(inflation(average, mixed, name))
    return rows


def all_views(judged: dict[str, Scores]) -> Scores:
    """Of `judge`'s figures those over all views that were dumped."""
    return judged.get("views", judged["clean"])


def fresh_of(judged: dict[str, Scores], one_view: bool = False) -> Scores | None:
    """Of `judge`'s figures those of the images that have no copy in the training part; None where no image has one."""
    clean = judged.get("clean, no copies")
    return clean if one_view else judged.get("views, no copies", clean)


def _official_lines(runs: Runs, votes: Votes | None) -> list[str]:
    names, tests = list(runs), [test for _, test in runs.values()]
    lines = [
        "| network | validation | test, clean | test, views | 95 % interval | without copies "
        + ("| FER+ plurality " if votes else "")
        + "| balanced | macro F1 | ECE | parameters | time to the best epoch |",
        "|---|---|---|---|---|---|---|---|---|---|---|" + "---|" * bool(votes),
    ]
    short = short_names(names)
    for name, (validation, test) in runs.items():
        seen = _plurality_share(test, votes)
        lines.append(_row(f"`{short[name]}`, {_particulars(test)}", _cost(test), judge(validation), judge(test), seen))
    if len(runs) > 1:
        together = combine(tests, names), combine([validation for validation, _ in runs.values()], names)
        seen, judged = _plurality_share(together[0], votes), [judge(one) for one in together]
        lines.append(_row(f"**average of the {len(runs)}**", ("", ""), judged[1], judged[0], seen))
        lines += ["", *_ensemble_lines(table(tests, names, together[0]))]
    lines += ["", _copies_line(tests[0])]
    rows = {f"`{short[name]}`": test for name, test in zip(names, tests, strict=True)}
    if len(runs) > 1:
        rows["**average**"] = together[0]
    lines += ["", *_recall_lines(rows)]
    return lines


def _folds_lines(runs: Runs) -> list[str]:
    apart = honest(runs)
    mean = f"mean ± sd of {len(next(iter(apart.values()))[1].meta['folds'])} folds"
    lines = [
        "Other people in train and test:",
        "",
        f"| network | validation | **test** | 95 % interval over persons | {mean} | balanced | macro F1 | ECE "
        "| training |",
        "|---|---|---|---|---|---|---|---|---|",
        *[_folds_row(network_name(test), val, test) for val, test in apart.values()],
    ]
    name, average = best_average(runs)
    if "members" in average.meta:
        lines.append(_folds_row(f"**{name}**", None, average))
        members = {n: test for n, (_, test) in apart.items() if n in average.meta["members"]}
        lines += ["", *_ensemble_lines(table(list(members.values()), list(members), average))]
    lines += ["", *_recall_lines({**{network_name(t): t for _, t in apart.values()}, f"**{name}**": average})]
    if rows := inflations(runs):
        lines += ["", "The same networks, when the same people stand in train and test:", ""]
        lines += ["| network | other people | same people in train and test | inflation, points |", "|---|---|---|---|"]
        lines += [_inflation_row(row) for row in rows]
    return lines


def _folds_row(name: str, val: Predictions | None, test: Predictions) -> str:
    judged, found = all_views(judge(test)), spread(test)
    low, high = found.interval or judged.interval
    cells = [
        name,
        "" if val is None else f"{all_views(judge(val)).accuracy:.2%}",
        f"**{judged.accuracy:.2%}**",
        f"{low:.2%} – {high:.2%}",
        f"{found.mean:.2%} ± {100 * found.sd:.2f}",
        f"{judged.balanced_accuracy:.2%}",
        f"{judged.macro_f1:.3f}",
        f"{judged.ece:.3f}",
        "" if val is None else f"{test.meta['training_seconds'] / 60:.0f} min",
    ]
    return "| " + " | ".join(cells) + " |"


def _inflation_row(row: Inflation) -> str:
    low, high = row.difference_interval
    return (
        f"| {f'**{row.name}**' if row.name.startswith('average') else row.name} | {row.apart:.2%} | {row.mixed:.2%} "
        f"| **{100 * row.difference:+.2f}** [{100 * low:+.2f}, {100 * high:+.2f}] |"
    )


def _plurality_share(test: Predictions, votes: Votes | None) -> list[str]:
    """The cell of the share of the images that FER+ gives a class on which a dump gives its plurality's answer; no
    cell without votes."""
    if votes is None:
        return []
    labels = voted(votes, test.ids, "plurality")
    return [share((test.probabilities().argmax(1) == labels)[labels != DROPPED].mean())]


def _row(name: str, cost: tuple[str, str], val: dict[str, Scores], test: dict[str, Scores], seen: Sequence[str]) -> str:
    shown = all_views(test)
    fresh = fresh_of(test) or shown
    low, high = shown.interval
    cells = [
        name,
        f"{all_views(val).accuracy:.2%}",
        f"{test['clean'].accuracy:.2%}" if cost[0] else "",
        f"**{shown.accuracy:.2%}**",
        f"{low:.2%} – {high:.2%}",
        f"{fresh.accuracy:.2%}",
        *seen,
        f"{shown.balanced_accuracy:.2%}",
        f"{shown.macro_f1:.3f}",
        f"{shown.ece:.3f}",
        *cost,
    ]
    return "| " + " | ".join(cells) + " |"


def _recall_lines(rows: Mapping[str, Predictions]) -> list[str]:
    classes = next(iter(rows.values())).classes
    lines = ["| recall on test | " + " | ".join(classes) + " |", "|---" * (len(classes) + 1) + "|"]
    for name, test in rows.items():
        recall = all_views(judge(test)).recall
        lines.append(f"| {name} | " + " | ".join(map(share, recall)) + " |")
    return lines


def _ensemble_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    ensemble = rows[-1]
    best = next(row for row in rows if row["best_member"])
    gain = 100 * (ensemble["accuracy"] - best["accuracy"])
    p = ensemble["mcnemar_p_against_best_member"]
    verdict = "distinguishable" if p < 0.05 else "not distinguishable"
    return [
        f"The average is {abs(gain):.2f} points {'above' if gain >= 0 else 'below'} the member that is best on test "
        f"({verdict}: McNemar p = {p:.2g})."
    ]


def _copies_line(test: Predictions) -> str:
    copies = len(test.meta["copies_in_train"])
    share = copies / len(test.targets)
    return f"{copies} of the {len(test.targets)} test images ({share:.1%}) have an exact copy in the training part."


def short_names(runs: Sequence[str]) -> dict[str, str]:
    """Each run's name, without the time that it began where that leaves it different from all others."""
    short = {run: _without_date(run) for run in runs}
    return {run: name if list(short.values()).count(name) == 1 else run for run, name in short.items()}


def _particulars(test: Predictions) -> str:
    settings = config_from_dict(test.meta["config"], "dump")
    parts = [f"{settings.image_size} px, seed {settings.seed}"]
    if settings.weights != NONE:
        parts.append(f"from `{Path(settings.weights).stem}`")
    if origin := test.meta.get("origin"):
        parts.append(f"from `{_without_date(origin['run'])}`")
    if settings.distil_from != NONE:
        parts.append(f"taught by `{_without_date(Path(settings.distil_from).name)}`")
    return ", ".join(parts)


def _without_date(name: str) -> str:
    """The file name of a dump, up to the time that its run began: ``quick_vgg_zoo``."""
    return re.split(r"_\d{8}_\d{6}|\.", name)[0]


def _cost(test: Predictions) -> tuple[str, str]:
    """(parameters, time that the training took up to the epoch that was kept)."""
    config = config_from_dict(test.meta["config"], "dump")
    minutes = test.meta["training_seconds"] / 60
    if config.device.startswith("cuda"):
        machine = test.meta["environment"]["accelerator"]
    else:
        processor = re.sub(r"\(R\)| Processor", "", test.meta["environment"]["processor"])
        machine = f"{config.threads} thread{'s' if config.threads > 1 else ''}, {processor}"
    if earlier := test.meta["environment"].get("earlier"):
        machine = f"{earlier}, then {machine}"
    return (
        f"{count_parameters(network(config, weights='none')) / 1e6:.2f} M",
        f"{minutes:.0f} min on {machine} (epoch {test.meta['epoch']} of {config.max_epoch_num})",
    )
