"""Every number and table of the README, from the committed dumps: python make_results.py."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models import count_parameters
from utils.checkpoint import network
from utils.cli import Parser, run_cli
from utils.config import config_from_dict, load_config
from utils.ensemble import ENSEMBLE, table
from utils.errors import UserError
from utils.files import write_atomically
from utils.metrics import Scores
from utils.predictions import Predictions, combine, load_predictions
from utils.report import confusion, judge
from Visualization.figures import confusion_matrix_figure
from Visualization.saving import save_figure

# What a run resolves or where it lies, rather than what was asked for.
NOT_TYPED = (
    "device",
    "channels_last",
    "data_path",
    "cache_dir",
    "log_dir",
    "checkpoint_dir",
    "results_dir",
    "figures_dir",
)
ROOT = Path(__file__).resolve().parent
BEGIN, END = "<!-- begin generated: {} -->", "<!-- end generated: {} -->"


def main() -> None:
    """Rewrite the generated parts of README.md and the files beside the dumps; ``--check`` only compares."""
    parser = Parser("Every number and table of the README, from the committed dumps.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 2 where the README differs")
    arguments = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    new = text
    for folder in sorted(path for path in (ROOT / "results").glob("*") if path.is_dir()):
        name, runs = folder.name, load_runs(folder)
        new = replaced(new, name, results_text(runs))
        if not arguments.check:
            draw(runs, folder)
    if arguments.check and new != text:
        raise UserError("README.md: differs from the committed dumps; run 'make results'")
    if not arguments.check:
        write_atomically(readme, new.encode())
        print(f"{readme.name}: written")


def load_runs(folder: Path) -> dict[str, tuple[Predictions, Predictions]]:
    """(validation, test) dumps of every run in ``folder``, by name, best on validation first."""
    runs = {}
    for path in sorted(folder.glob("*.test.npz")):
        test = load_predictions(path)
        if test.meta["run"] != ENSEMBLE:
            runs[path.name.removesuffix(".test.npz")] = (
                load_predictions(path.with_name(path.name.replace(".test.", ".val."))),
                test,
            )
    if not runs:
        raise UserError(f"{folder}: no dumps *.test.npz")
    return dict(sorted(runs.items(), key=lambda item: -_all_views(judge(item[1][0])).accuracy))


def results_text(runs: dict[str, tuple[Predictions, Predictions]]) -> str:
    """The tables of one data set, as Markdown."""
    names, tests = list(runs), [test for _, test in runs.values()]
    lines = [
        "| network | parameters | time to the best epoch | validation | test, clean | test, views | 95 % interval "
        "| without copies | balanced | macro F1 | ECE |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for validation, test in runs.values():
        lines.append(_row(_name(test), _cost(test), judge(validation), judge(test)))
    if len(runs) > 1:
        together = combine(tests, names), combine([validation for validation, _ in runs.values()], names)
        lines.append(_row(f"**average of the {len(runs)}**", ("", ""), judge(together[1]), judge(together[0])))
        lines += ["", *_ensemble_lines(table(tests, names, together[0]))]
    lines += ["", _copies_line(tests[0])]
    lines += ["", *_recall_lines(runs)]
    lines += ["", "Commands, in the order of the table:", "", "```", *[_command(test) for test in tests], "```"]
    return "\n".join(lines)


def replaced(text: str, name: str, block: str) -> str:
    """``text`` with what stands between the marks of ``name`` replaced by ``block``.

    Raises:
        UserError: the marks are not there.
    """
    begin, end = BEGIN.format(name), END.format(name)
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(f"README.md: expected '{begin}' and '{end}', each once")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{block}\n{end}{tail}"


def draw(runs: dict[str, tuple[Predictions, Predictions]], folder: Path) -> None:
    """The confusion matrix of the average (or of the only run) on the test part."""
    test = combine([test for _, test in runs.values()], list(runs))
    matrix, subtitle = confusion(test)
    what = f"average of {len(runs)} networks" if len(runs) > 1 else next(iter(runs))
    figure = confusion_matrix_figure(matrix, test.classes, f"{_title(test)}: {what}", subtitle)
    save_figure(figure, folder / "confusion_matrix.png")


def _row(name: str, cost: tuple[str, str], val: dict[str, Scores], test: dict[str, Scores]) -> str:
    shown = _all_views(test)
    fresh = test.get("views, no copies", test.get("clean, no copies", shown))
    low, high = shown.interval
    cells = [
        name,
        *cost,
        f"{_all_views(val).accuracy:.2%}",
        f"{test['clean'].accuracy:.2%}" if cost[0] else "",
        f"**{shown.accuracy:.2%}**",
        f"{low:.2%} – {high:.2%}",
        f"{fresh.accuracy:.2%}",
        f"{shown.balanced_accuracy:.2%}",
        f"{shown.macro_f1:.3f}",
        f"{shown.ece:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _recall_lines(runs: dict[str, tuple[Predictions, Predictions]]) -> list[str]:
    classes = next(iter(runs.values()))[1].classes
    lines = ["| recall on test | " + " | ".join(classes) + " |", "|---" * (len(classes) + 1) + "|"]
    rows = {_name(test): test for _, test in runs.values()}
    if len(runs) > 1:
        rows["**average**"] = combine(list(rows.values()), list(rows))
    for name, test in rows.items():
        recall = _all_views(judge(test)).recall
        lines.append(f"| {name} | " + " | ".join(f"{value:.1%}" for value in recall) + " |")
    return lines


def _ensemble_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    ensemble = rows[-1]
    best = next(row for row in rows if row["best_member"])
    gain = 100 * (ensemble["accuracy"] - best["accuracy"])
    p = ensemble["mcnemar_p_against_best_member"]
    verdict = "distinguishable" if p < 0.05 else "not distinguishable"
    return [f"The average lies {gain:+.2f} points from its best member ({verdict}: McNemar p = {p:.2g})."]


def _copies_line(test: Predictions) -> str:
    copies = len(test.meta["copies_in_train"])
    share = copies / len(test.targets)
    return f"{copies} of the {len(test.targets)} test images ({share:.1%}) have an exact copy in the training part."


def _all_views(judged: dict[str, Scores]) -> Scores:
    return judged.get("views", judged["clean"])


def _name(test: Predictions) -> str:
    config = test.meta["config"]
    return f"`{config['arch']}`, {config['image_size']} px" + (f", seed {config['seed']}" if config["seed"] else "")


def _title(test: Predictions) -> str:
    return f"{test.meta['dataset']}, {test.meta['split']}"


def _cost(test: Predictions) -> tuple[str, str]:
    """(parameters, time that the training took up to the epoch that was kept)."""
    config = config_from_dict(test.meta["config"], "dump")
    minutes = test.meta["training_seconds"] / 60
    threads = f"{config.threads} thread{'s' if config.threads > 1 else ''}"
    return (
        f"{count_parameters(network(config, weights='none')) / 1e6:.2f} M",
        f"{minutes:.0f} min on {threads} (epoch {test.meta['epoch']} of {config.max_epoch_num})",
    )


def _command(test: Predictions) -> str:
    """What was typed: the shipped settings file nearest to the run's settings, and what differs from it."""
    wanted = test.meta["config"]
    best: tuple[int, str, list[str]] | None = None
    for path in sorted((ROOT / "configs").glob("*_config.json")):
        shipped = asdict(load_config(path))
        differing = [key for key in wanted if key not in NOT_TYPED and shipped[key] != wanted[key]]
        changes = [f"{key}={json.dumps(wanted[key]).strip(chr(34))}" for key in differing]
        if best is None or len(changes) < best[0]:
            best = len(changes), f"configs/{path.name}", changes
    assert best is not None
    return " ".join(["python main_fer.py --config", best[1], *best[2]])


if __name__ == "__main__":
    run_cli(main)
