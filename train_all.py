"""Train what several settings files say, one after the other: python train_all.py configs/zoo/*.json."""

import dataclasses
import sys
from collections.abc import Callable

from models import ModelError
from trainers import experiment
from trainers.folds import settings_of
from trainers.trainer import newest_intact
from utils.cli import Parser, run_cli
from utils.config import MAY_CHANGE, Config, differing, load_config, other_folder
from utils.errors import SaidElsewhere, UserError
from utils.runs import RunFiles, find_run, list_runs

# What a run settles for itself where a file leaves it open; of the others a checkpoint keeps what was asked for.
OPEN = {"precision": "auto", "batch_size": 0, "micro_batch": None}


def main() -> None:
    """Train each file that has no run yet, go on with those that were interrupted, leave alone those that have ended.

    A file that cannot be trained is said, and the next one has its turn; the exit code is that of the last such file.
    """
    parser = Parser(
        "Train each settings file that has no run yet, go on with those that were interrupted, skip those that ended."
    )
    parser.add_argument("files", nargs="+", metavar="FILE|key=value", help="settings files; settings on top of each")
    parser.add_argument("--list", action="store_true", help="only say how each of them stands")
    arguments = parser.parse_args()
    overrides = [text for text in arguments.files if "=" in text]
    configs = {path: load_config(path, overrides) for path in arguments.files if "=" not in path}
    if not configs:
        raise UserError("no settings file; expected some, e.g. configs/fer2013_fast_config.json")
    failed = None
    for path, config in configs.items():
        found = run_like(config)
        print(f"{path}: {standing(found)}", flush=True)
        if not arguments.list:
            failed = train(path, config, found) or failed
    if failed is not None:
        raise SaidElsewhere(failed.exit_code)


def train(path: str, config: Config, found: RunFiles | None) -> UserError | ModelError | None:
    """Train as the settings file ``path`` says, or go on with its run ``found``, unless that one has ended.

    Returns:
        What kept it from being trained, which has been said; None where nothing did.
    """
    if found is not None and has_ended(found):
        return None
    try:
        experiment.run(config) if found is None else experiment.resume(found.name, config, [])
    except (UserError, ModelError) as error:
        print(f"{path}: {error}", file=sys.stderr, flush=True)
        return error
    return None


def run_like(config: Config, fits: Callable[[RunFiles], bool] = lambda _: True) -> RunFiles | None:
    """The run with the settings of ``config``: the newest that has ended, or else the newest; None without any.

    Args:
        config: what a run settles for itself counts only where this says it.
        fits: what else is asked of a run.
    """
    wanted = dataclasses.asdict(config)
    free = {*MAY_CHANGE, *(key for key, value in OPEN.items() if wanted[key] == value)}
    alike = []
    for name in reversed(list_runs(config)):
        files = find_run(name, config)
        try:
            settings = settings_of(files) if files.settings.is_file() else newest_intact(files)[0].config
        except UserError:
            continue  # a run that cannot be read is none to go on with
        theirs = dataclasses.asdict(settings)
        if not differing(theirs, wanted, free) and not other_folder(theirs, wanted) and fits(files):
            alike.append(files)
    return next(filter(has_ended, alike), alike[0] if alike else None)


def has_ended(files: RunFiles) -> bool:
    """Whether a run was trained to its end and judged."""
    return files.report.is_file()


def standing(files: RunFiles | None) -> str:
    """How a run stands, in words."""
    if files is None:
        return "not begun"
    return f"{files.name} has ended" if has_ended(files) else f"{files.name} was interrupted"


if __name__ == "__main__":
    run_cli(main)
