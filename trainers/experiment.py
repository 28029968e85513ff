"""The story of a run: settings, data, training, one look at the test part, dumps and figures."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path

from models import check_input_size, model_info
from trainers.check import print_check
from trainers.logs import RunLog
from trainers.trainer import Trainer, newest_intact
from utils.cli import Parser, run_cli
from utils.config import FIELDS, Config, load_config
from utils.datasets import Split, load_split
from utils.errors import UserError
from utils.files import write_atomically
from utils.inference import Recognizer
from utils.metrics import confusion_matrix
from utils.predictions import save_predictions
from utils.report import as_json, judge, scores_table
from utils.runs import RunFiles, find_run, new_run, run_files
from utils.runtime import StopRequest, resolve
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
    settings = "\n".join(f"  {name}={json.dumps(f.default)}: {f.metadata['doc']}" for name, f in FIELDS.items())
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
    if arguments.resume:
        _refuse_changes(arguments.settings)
        resume(arguments.resume, config, [text.partition("=")[0] for text in arguments.settings])
    elif arguments.check:
        check(config)
    else:
        run(config)


def run(config: Config) -> RunFiles:
    """Train as ``config`` says, from the start to the figures.

    Returns:
        Where everything was written.
    """
    check_network(config)
    config = resolve(config)
    split = load_split(config)
    files = new_run(config)
    with files.locked(), StopRequest().listening() as stop:
        _train(Trainer(config, split, files, _log(files, config, split, 0), stop), split, stop)
    return files


def resume(name: str, config: Config, changed: list[str]) -> RunFiles:
    """Go on with the run ``name`` as if it had never stopped.

    Args:
        config: says where runs are kept; its settings named in ``changed`` replace the run's own.
    """
    files = find_run(name, config)
    with files.locked(), StopRequest().listening() as stop:
        checkpoint, warning = newest_intact(files)
        if warning:
            print(warning, file=sys.stderr)
        config = resolve(dataclasses.replace(checkpoint.config, **{key: getattr(config, key) for key in changed}))
        files = dataclasses.replace(run_files(files.name, config), checkpoints=files.checkpoints)
        split = load_split(config)
        trainer = Trainer(config, split, files, _log(files, config, split, checkpoint.epoch + 1), stop)
        trainer.resume(checkpoint)
        _train(trainer, split, stop)
    return files


def check(config: Config) -> None:
    """Resolve everything, read the data, and print what a training would be; nothing is written but the cache."""
    check_network(config)
    config = resolve(config)
    print_check(config, load_split(config))


def check_network(config: Config) -> None:
    """Refuse a network that is unknown or cannot take these images, before any data is read.

    Raises:
        ModelError: unknown name, or a size that the network cannot take.
    """
    model_info(config.arch)
    check_input_size(config.arch, config.image_size, {"stem": config.stem})


def _train(trainer: Trainer, split: Split, stop: StopRequest) -> None:
    files, log, config = trainer.files, trainer.log, trainer.config
    log.say(f"run {files.name}: {config.arch} on {config.dataset}, {config.device}, {config.precision}")
    try:
        trainer.fit()
    finally:
        log.close()
    finish(files, config, split, stop)


def finish(files: RunFiles, config: Config, split: Split, stop: StopRequest) -> None:
    """After training: open the test part once with the best checkpoint; write dumps, report and figures."""
    recognizer = Recognizer(files.best, device=config.device)
    history = recognizer.checkpoint.progress["history"]
    last, _ = newest_intact(files)
    history = last.progress["history"] or history
    report = {
        "run": files.name,
        "best_epoch": recognizer.checkpoint.epoch,
        "selection": recognizer.checkpoint.selection,
    }
    for part in ("val", "test"):
        if part not in split.parts():
            continue
        predictions = recognizer.predict(split, part, between_batches=stop.check)
        save_predictions(predictions, files.dump(part))
        judged = judge(predictions)
        report[part] = as_json(judged)
        shown = confusion_matrix(predictions.probabilities().argmax(1), predictions.targets, len(predictions.classes))
        best = judged.get("views", judged["clean"])
        subtitle = f"accuracy {best.accuracy:.2%}, {best.images} images, {len(predictions.logits)} views"
        figure = confusion_matrix_figure(shown, predictions.classes, f"{files.name}, {part}", subtitle)
        save_figure(figure, files.figures / f"{files.name}.{part}.png")
        chosen = "chose the epoch" if part == "val" else "opened once, now"
        print(f"\n{part} ({chosen})\n{scores_table(judged, predictions.classes, len(predictions.logits))}")
    write_atomically(files.logs / "report.json", json.dumps(report, indent=2).encode())
    save_figure(training_curves_figure(history, files.name), files.logs / "curves.png")
    print(_what_next(files, config))


def _what_next(files: RunFiles, config: Config) -> str:
    return f"""
checkpoints       {files.best} (epoch chosen on validation), {files.last.name}
logs              {files.logs}  (tensorboard --logdir {config.log_dir})
curves            {files.logs / "curves.png"}
predictions       {files.dump("test")}
confusion matrix  {files.figures / f"{files.name}.test.png"}

next  python main_fer.py --check                 look at the real FER2013 once you have it
      python main_fer.py arch=resnet18           train another network
      python gen_ensemble.py                     average the runs that you have
      python main_fer.py --resume {files.name}"""


def _log(files: RunFiles, config: Config, split: Split, first_epoch: int) -> RunLog:
    text = json.dumps(dataclasses.asdict(config), indent=2)
    return RunLog(files.logs, text, config.max_epoch_num, split.train.classes, first_epoch)


def _refuse_changes(settings: list[str]) -> None:
    for text in settings:
        key = text.partition("=")[0]
        if key not in MAY_CHANGE:
            raise UserError(f"command line: a resumed run keeps its settings; only {', '.join(MAY_CHANGE)} may change")


def default_path(name: str) -> str:
    """The shipped settings file ``name``, wherever the program is started from."""
    return str(Path(__file__).resolve().parent.parent / "configs" / name)
