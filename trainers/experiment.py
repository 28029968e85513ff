"""The story of a run: settings, data, training, one look at the test part, dumps and figures."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from trainers.check import print_check
from trainers.learner import Learner
from trainers.logs import RunLog
from trainers.trainer import Trainer, newest_intact
from utils.checkpoint import Checkpoint, network
from utils.cli import Parser, run_cli
from utils.config import FIELDS, Config, load_config
from utils.datasets import Split, load_split
from utils.errors import Interrupted, MachineError, UserError
from utils.files import write_atomically
from utils.inference import Recognizer
from utils.predictions import save_predictions
from utils.report import as_json, confusion, judge, scores_table
from utils.runs import RunFiles, find_run, new_run, run_files
from utils.runtime import StopRequest, resolve
from utils.settings import allowed
from Visualization.figures import confusion_matrix_figure, training_curves_figure
from Visualization.saving import save_figure

# A resumed run keeps its settings; only where it runs and where its data lie may change.
MAY_CHANGE = ("data_path", "cache_dir", "checkpoint_dir", "device", "threads", "num_workers")


def main(default_config: str) -> None:
    """The command line that the ``main_*.py`` programs share.

    Args:
        default_config: the file that is read when ``--config`` is not given.
    """
    run_cli(partial(_main, default_config))


def _main(default_config: str) -> None:
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
    parser.add_argument("--resume", metavar="RUN", help="go on with a run, by its name")
    arguments = parser.parse_intermixed_args()
    config = load_config(arguments.config, arguments.settings)
    if arguments.resume is not None:
        _refuse_changes(arguments.settings)
        if arguments.check:
            raise UserError("command line: --check looks at a new run; leave out --resume")
        resume(arguments.resume, config, [text.partition("=")[0] for text in arguments.settings])
    elif arguments.check:
        check(config)
    else:
        run(config)


def run(config: Config) -> None:
    """Train as ``config`` says, from the start to the figures."""
    check_network(config)
    config = resolve(config)
    split = load_split(config)
    learner = Learner(config, split.train)  # whatever is wrong with network or weights shows before anything is written
    _train(learner, split, new_run(config), None)


def resume(name: str, config: Config, changed: list[str]) -> None:
    """Go on with the run ``name`` as if it had never stopped.

    Args:
        name: the run's name, or the path of its checkpoint folder.
        config: says where runs are kept; its settings named in ``changed`` replace the run's own.
    """
    found = find_run(name, config)
    checkpoint, warning = newest_intact(found)
    if warning:
        print(warning, file=sys.stderr)
    config = dataclasses.replace(checkpoint.config, **{key: getattr(config, key) for key in changed})
    config = dataclasses.replace(config, checkpoint_dir=str(found.checkpoints.parent))
    files = run_files(found.name, config)
    if checkpoint.progress["finished"] and files.report.is_file():
        print(f"run {files.name} has ended, and the test part was opened then: {files.report}")
        return
    config = resolve(config)
    split = load_split(config)
    _train(Learner(config, split.train, fresh=False), split, files, checkpoint)


def check(config: Config) -> None:
    """Resolve everything, read the data, and print what a training would be; nothing is written but the cache."""
    check_network(config)
    config = resolve(config)
    print_check(config, load_split(config))


def check_network(config: Config) -> None:
    """Refuse a network that is unknown, or cannot be built for these images, before any data is read.

    Raises:
        ModelError: unknown name, an option that it has not, or a size that it cannot take.
    """
    with torch.device("meta"):  # shapes only: no memory, no time
        network(config, weights="none")


def _train(learner: Learner, split: Split, files: RunFiles, checkpoint: Checkpoint | None) -> None:
    """Train from the start, or from ``checkpoint`` on, and judge the best weights."""
    config = learner.config
    files.prepare()
    with files.locked(), StopRequest().listening() as stop:
        text = json.dumps(dataclasses.asdict(config), indent=2)
        log = RunLog(
            files.logs, text, config.max_epoch_num, split.train.classes, checkpoint.epoch + 1 if checkpoint else 0
        )
        log.say(f"run {files.name}: {config.arch} on {config.dataset}, {config.device}, {config.precision}")
        trainer = Trainer(learner, split, files, log, stop)
        if checkpoint:
            trainer.resume(checkpoint)
        try:
            trainer.fit()
        finally:
            log.close()
        try:
            finish(files, split, config, trainer.progress.history, stop)
        except Interrupted as signal:
            saved = f"training has ended; --resume {files.name} goes on with testing"
            raise Interrupted(signal.signal_number, saved) from None


def finish(
    files: RunFiles, split: Split, config: Config, history: Sequence[dict[str, float]], stop: StopRequest
) -> None:
    """After training: open the test part once with the best checkpoint; write dumps, report and figures."""
    recognizer = Recognizer(files.best, device=config.device)
    best = recognizer.checkpoint
    report = {"run": files.name, "best_epoch": best.epoch, "selection": best.selection}
    for part in ("val", "test"):
        if part in split.parts():
            predictions = recognizer.predict(split, part, between_batches=stop.check)
            save_predictions(predictions, files.dump(part))
            judged = judge(predictions)
            report[part] = as_json(judged)
            matrix, subtitle = confusion(predictions)
            figure = confusion_matrix_figure(matrix, predictions.classes, f"{files.name}, {part}", subtitle)
            save_figure(figure, files.figures / f"{files.name}.{part}.png")
            role = "chose the epoch" if part == "val" else "opened once, now"
            print(f"\n{part} ({role})\n{scores_table(judged, predictions.classes, len(predictions.logits))}")
    try:
        save_figure(training_curves_figure(history, files.name, select_by=config.select_by), files.curves)
        write_atomically(files.report, json.dumps(report, indent=2).encode())
    except MachineError as error:  # a log that cannot be written spoils no result
        print(error, file=sys.stderr)
    print(_what_next(files, config))


def _what_next(files: RunFiles, config: Config) -> str:
    return f"""
checkpoint        {files.best}  (epoch chosen on validation; {files.last.name} is the newest)
logs              {files.logs}  (tensorboard --logdir {config.log_dir})
curves            {files.curves}
predictions       {files.dump("test")}
confusion matrix  {files.figures / f"{files.name}.test.png"}

next, after '. .venv/bin/activate':
  python -m models                          the networks that there are
  python main_fer.py arch=NAME key=value    train one of them on FER2013; says how to get the data
  python gen_ensemble.py                    average the runs that you have"""


def _refuse_changes(settings: list[str]) -> None:
    for text in settings:
        key = text.partition("=")[0]
        if key not in MAY_CHANGE:
            raise UserError(f"command line: a resumed run keeps its settings; only {', '.join(MAY_CHANGE)} may change")


def default_path(name: str) -> str:
    """The shipped settings file ``name``, wherever the program is started from."""
    return str(Path(__file__).resolve().parent.parent / "configs" / name)
