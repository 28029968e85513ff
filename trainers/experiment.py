"""The story of a run: settings, data, training, one look at the test part, dumps and figures."""

import argparse
import contextlib
import dataclasses
import json
import sys
from functools import partial
from pathlib import Path

import torch

from models import ModelError, check_input_size, freeze, model_info
from trainers.check import print_check
from trainers.folds import PARTS, FoldedRun, begin, pooled_dump, reopen, settings_of, train_fold, train_folds
from trainers.learner import Learner
from trainers.outcome import publish
from trainers.trainer import newest_intact, train_split
from utils.augment import GROWS_BY, size_in_epoch
from utils.checkpoint import Checkpoint, load_checkpoint, network, network_options
from utils.cli import Parser, run_cli
from utils.config import FIELDS, MAY_CHANGE, Config, differing, load_config, other_folder
from utils.datasets.faces import Split
from utils.distillation import check_teacher_unseen
from utils.distributed import ALONE, Team, open_team
from utils.errors import Interrupted, UserError
from utils.inference import Recognizer
from utils.inflation import inflation, inflation_text
from utils.labels import TITLES
from utils.predictions import load_predictions
from utils.runs import RunFiles, find_run, list_runs, new_run, run_files
from utils.runtime import StopRequest, as_member, processors, resolve
from utils.settings import allowed
from utils.splits import load_splits
from utils.splits.protocols import GROUPED
from utils.splits.split_file import save_split_file
from utils.transfer import check_unseen, find_origin
from Visualization.people import inflation_figure
from Visualization.saving import save_figure


def main(default_config: str) -> None:
    """The command line that the ``main_*.py`` programs share.

    Args:
        default_config: the file that is read when ``--config`` is not given.
    """
    run_cli(partial(_main, default_config))


def _main(default_config: str) -> None:
    with open_team() as team:
        with team.agreed():
            arguments, config = _read_command_line(default_config, team)
        if arguments.compare_protocols:
            compare_protocols(config, arguments.jobs, arguments.resume)
        elif arguments.resume is not None:
            changed = [text.partition("=")[0] for text in arguments.settings]
            resume(arguments.resume, config, changed, arguments.jobs, arguments.fold, team)
        elif arguments.check:
            check(config)
        else:
            run(config, arguments.jobs, team)


def _read_command_line(default_config: str, team: Team) -> tuple[argparse.Namespace, Config]:
    settings = "\n".join(
        f"  {name}={json.dumps(f.default)}: {f.metadata['doc']}; {allowed(f)}" for name, f in FIELDS.items()
    )
    parser = Parser(
        "Train a network, keep its best checkpoint, judge it once on the test part.",
        epilog=f"settings and their defaults:\n{settings}",
    )
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings on top of the file's")
    parser.add_argument("--config", default=default_config, help=f"settings file (default {default_config})")
    parser.add_argument("--check", action="store_true", help="read everything, say what would be done, and stop")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run, by its name; its finished folds are kept")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="folds that are trained side by side (1)")
    parser.add_argument("--fold", type=int, metavar="N", help="with --resume: only this fold, e.g. on another machine")
    parser.add_argument(
        "--compare-protocols",
        action="store_true",
        help="train under protocol random too, and show by how much the same people in train and test flatter",
    )
    arguments = parser.parse_intermixed_args()
    config = load_config(arguments.config, arguments.settings)
    _check_options(arguments, team)
    return arguments, config


def run(config: Config, jobs: int = 1, team: Team = ALONE) -> RunFiles:
    """Train as ``config`` says, from the start to the figures; folds one by one, or ``jobs`` of them side by side.

    The processes of a ``team`` train one network together. Where `torchrun` has started them anew because one was
    lost, they go on with the run that was under way.
    """
    begun = team.led(team.remembered)
    if begun is not None and team.led(lambda: begun in list_runs(config)):
        return resume(begun, config, ["threads"] if config.threads else [], jobs, team=team)
    with team.agreed():
        check_network(config)
    config = _resolved(config, jobs, team, config.threads > 0)
    with team.agreed():  # whatever is wrong with data, network or weights shows before a file is made
        splits, learner = _ready(config, team)
    files = team.led(lambda: new_run(config) if begun is None else run_files(begun, config))
    team.remember(files.name)
    if len(splits) > 1:
        _train_folds(begin(files, config, splits, learner.origin), jobs)
    else:
        with team.agreed():
            if team.leads and config.protocol != "official":
                save_split_file(files.splits, splits, config.dataset)
        _train(learner, splits[0], files, None)
    return files


def resume(
    name: str, config: Config, changed: list[str], jobs: int = 1, fold: int | None = None, team: Team = ALONE
) -> RunFiles:
    """Go on with the run ``name`` as if it had never stopped.

    Args:
        name: the run's name, or the path of its checkpoint folder.
        config: says where runs are kept; its settings named in ``changed`` replace the run's own.
        jobs: as for `run`.
        fold: only this one, counted from 1.
        team: the processes that train together, any number of them; the leading one reads the files.
    """
    found, checkpoint = team.led(lambda: _found(name, config, fold))
    changes = {key: getattr(config, key) for key in changed}
    if checkpoint is None:
        with team.agreed():
            _refuse_folds(team)
        folded = reopen(found, changes)
        folded = dataclasses.replace(folded, config=resolve(_shared(folded.config, jobs, "threads" in changed), print))
        _train_folds(folded, jobs) if fold is None else _train_one_fold(folded, fold)
        return folded.files
    config = dataclasses.replace(checkpoint.config, **(changes | {"checkpoint_dir": str(found.checkpoints.parent)}))
    files = run_files(found.name, config)
    if checkpoint.progress["finished"] and team.led(files.report.is_file):
        if team.leads:
            print(f"run {files.name} has ended, and the test part was opened then: {files.report}")
        return files
    config = _resolved(config, 1, team, "threads" in changed)
    with team.agreed():
        (split,) = load_splits(config)
        learner = Learner(config, split.train, fresh=False, team=team)
    _train(learner, split, files, checkpoint)
    return files


def compare_protocols(config: Config, jobs: int = 1, name: str | None = None) -> None:
    """Train the same network under the protocol of ``config``, which keeps persons apart, and under ``random``.

    Args:
        config: the settings; with ``name`` they only say where runs are kept.
        jobs: as for `run`.
        name: a comparison that was interrupted, by its run that keeps persons apart: it is gone on with, and so is the
            other run where it has begun.

    Raises:
        UserError: the protocol does not keep persons apart.
    """
    if name is not None:
        found = find_run(name, config)
        if not found.settings.is_file():
            raise UserError(f"{found.checkpoints}: has no folds, so it is no run to compare with another protocol")
        config = dataclasses.replace(settings_of(found), checkpoint_dir=str(found.checkpoints.parent))
    if config.protocol not in GROUPED:
        raise UserError(f"--compare-protocols: protocol is {config.protocol}; expected {' or '.join(GROUPED)}")
    folds = len(load_splits(config))
    mixed = dataclasses.replace(config, protocol="random", folds=folds, split_file="none")
    try:
        honest = run(config, jobs) if name is None else resume(name, config, [], jobs)
        begun = None if name is None else _run_like(mixed)
        known = run(mixed, jobs) if begun is None else resume(begun, config, [], jobs)
    except Interrupted as signal:
        hint = f"{signal.saved}, and --compare-protocols --resume RUN with the comparison, RUN being its first run"
        raise Interrupted(signal.signal_number, hint) from None
    row = inflation(load_predictions(honest.dump("test")), load_predictions(known.dump("test")))
    picture = honest.figures / f"{honest.name}.inflation.png"
    save_figure(inflation_figure([row], TITLES[config.dataset]), picture)
    print(f"\n{inflation_text(row)}\n{picture}")


def check(config: Config) -> None:
    """Resolve everything, read the data, and print what a training would be; nothing is written but the cache."""
    check_network(config)
    config = resolve(config, print)
    print_check(config, *_ready(config))


def _ready(config: Config, team: Team = ALONE) -> tuple[list[Split], Learner]:
    """The splits of a new run, and the network that its first one begins with.

    Raises:
        UserError: what is wrong with data, network or weights, or with all of them together.
    """
    splits = load_splits(config)
    if len(splits) > 1:
        _refuse_folds(team)
        if not config.judge_test:
            raise UserError("judge_test is false: every fold tests what others train on; leave it true")
    check_teacher_unseen(config, splits)
    learner = Learner(config, splits[0].train, team=team)
    if learner.origin is not None:
        for split in splits:
            check_unseen(learner.origin, config, split)
    return splits, learner


def _found(name: str, config: Config, fold: int | None) -> tuple[RunFiles, Checkpoint | None]:
    """The run ``name`` and the checkpoint to resume from; None where it has folds."""
    found = find_run(name, config)
    if found.settings.is_file():
        return found, None
    if fold is not None:
        raise UserError(f"{found.checkpoints}: has no folds; leave out --fold")
    checkpoint, warning = newest_intact(found)
    judged = checkpoint.progress["finished"] and found.report.is_file()
    if checkpoint.progress["best_epoch"] and not judged:
        try:  # now rather than when training has ended, and there is nothing to judge
            load_checkpoint(found.best)
        except UserError as error:
            then = f"delete {found.checkpoints}, and start the run anew"
            raise UserError(f"{error}; it had the best weights so far: {then}") from None
    if warning:
        print(warning, file=sys.stderr)
    return found, checkpoint


def _resolved(config: Config, jobs: int, team: Team, asked: bool) -> Config:
    """``config`` without an 'auto': the leading process decides, the others are told; ``asked`` as in `_shared`."""
    config = team.led(lambda: resolve(_shared(config, jobs * team.local_size, asked), print))
    with team.agreed():
        return as_member(config, team)


def check_network(config: Config) -> None:
    """Refuse a network that cannot be built for these images, or begun with, before any data is read.

    Raises:
        ModelError: unknown name, an option that it has not, a size that it cannot take, or fewer stages to freeze.
        UserError: what it should begin with is not there, or is another network; or ``refit_size`` for nothing.
    """
    if config.refit_size is not None and not config.refit_norms:
        raise UserError(f"refit_size is {config.refit_size}, but refit_norms is false; set it to true")
    find_origin(config)
    sizes = {size_in_epoch(config, epoch) for epoch in range(config.max_epoch_num)} | {config.image_size}
    if config.refit_size is not None:
        sizes.add(config.refit_size)
    with torch.device("meta"):  # shapes only: no memory, no time
        model = network(dataclasses.replace(config, image_size=min(sizes)), weights="none")
    for size in sorted(sizes):
        try:
            check_input_size(config.arch, size, network_options(config))
        except ModelError as error:
            if size in (config.image_size, config.start_size, config.refit_size):
                raise
            grown = f"images grow from start_size {config.start_size} by {GROWS_BY} pixels at a time"
            raise ModelError(f"{grown}: {error}; start_size=null keeps one size") from None
    freeze(model, model_info(config.arch), config.freeze_stages)


def _train(learner: Learner, split: Split, files: RunFiles, checkpoint: Checkpoint | None) -> None:
    """Train on the only split, from the start or from ``checkpoint`` on, and judge the best weights."""
    config, team = learner.config, learner.team
    with StopRequest().listening() as stop, contextlib.ExitStack() as held:
        with team.agreed():
            if team.leads:
                files.prepare()
                held.enter_context(files.locked())
        train_split(learner, split, files, checkpoint, stop)
        if not team.leads:
            return
        try:
            recognizer = Recognizer(files.best, device=config.device)
            opened = [part for part in PARTS if part in split.parts() and (part != "test" or config.judge_test)]
            parts = {part: recognizer.predict(split, part, between_batches=stop.check) for part in opened}
        except Interrupted as signal:
            saved = f"training has ended; --resume {files.name} goes on with testing"
            raise Interrupted(signal.signal_number, saved) from None
        publish(files, config, parts, f"{files.best}  (epoch chosen on validation; {files.last.name} is the newest)")


def _train_folds(run: FoldedRun, jobs: int) -> None:
    """Train the folds that are not finished, and judge all of them together."""
    files = run.files
    files.prepare()
    with files.locked(), StopRequest().listening() as stop:
        train_folds(run, jobs, stop)
        parts = {part: pooled_dump(run, part) for part in PARTS}
        publish(files, run.config, parts, f"{files.checkpoints}/fold-*/best.pt")


def _train_one_fold(run: FoldedRun, number: int) -> None:
    if not 1 <= number <= len(run.splits):
        raise UserError(f"--fold: {run.files.name} has folds 1 to {len(run.splits)}; got {number}")
    with StopRequest().listening() as stop:
        train_fold(run, number, stop)


def _run_like(config: Config) -> str | None:
    """The newest run of folds with the settings of ``config``; where it ran and what it is called may differ."""
    for name in reversed(list_runs(config)):
        files = find_run(name, config)
        if files.settings.is_file():
            try:
                found = settings_of(files)
            except UserError:
                continue
            theirs, wanted = dataclasses.asdict(found), dataclasses.asdict(config)
            if not differing(theirs, wanted, MAY_CHANGE) and not other_folder(theirs, wanted):
                return name
    return None


def _refuse_folds(team: Team) -> None:
    if team.size > 1:
        raise UserError(
            "folds are not trained by torchrun; leave it out, and train N of them side by side with --jobs N"
        )


def _shared(config: Config, jobs: int, asked: bool) -> Config:
    """``config`` with threads for ``jobs`` processes on this machine, unless the user has ``asked`` for so many.

    A run that goes on may have settled on more when it had the machine to itself. OMP_NUM_THREADS does not count here:
    torchrun sets it to 1, which would leave processors idle.
    """
    if jobs == 1 or asked:
        return config
    most = max(1, processors() // jobs)
    return dataclasses.replace(config, threads=min(config.threads or most, most))


def _check_options(arguments: argparse.Namespace, team: Team) -> None:
    if arguments.jobs < 1:
        raise UserError(f"--jobs must be a whole number from 1; got {arguments.jobs}")
    if arguments.fold is not None and arguments.resume is None:
        raise UserError("command line: --fold goes with --resume RUN")
    if arguments.check and (arguments.resume is not None or arguments.compare_protocols):
        raise UserError("command line: --check looks at a new run; leave out --resume and --compare-protocols")
    if arguments.compare_protocols and arguments.fold is not None:
        raise UserError("command line: --compare-protocols needs every fold; leave out --fold")
    if arguments.compare_protocols and arguments.resume is not None and arguments.settings:
        raise UserError("command line: a comparison that is gone on with keeps its settings")
    if arguments.resume is not None and not arguments.compare_protocols:
        _refuse_changes(arguments.settings)
    if team.size > 1:
        if arguments.jobs > 1 or arguments.fold is not None or arguments.compare_protocols:
            _refuse_folds(team)
        if arguments.check:
            raise UserError("command line: --check is for one process; leave out torchrun, and add distributed=false")


def _refuse_changes(settings: list[str]) -> None:
    for text in settings:
        key = text.partition("=")[0]
        if key not in MAY_CHANGE:
            raise UserError(f"command line: a resumed run keeps its settings; only {', '.join(MAY_CHANGE)} may change")


def default_path(name: str) -> str:
    """The shipped settings file ``name``, wherever the program is started from."""
    return str(Path(__file__).resolve().parent.parent / "configs" / name)
