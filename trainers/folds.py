"""A run of several folds: each trained and judged on its own, one by one or side by side, then pooled."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.learner import Learner
from trainers.trainer import newest_intact, train_split
from utils.checkpoint import Checkpoint, load_checkpoint
from utils.config import Config, config_from_dict
from utils.datasets.faces import Split
from utils.errors import Interrupted, MachineError, TrainingError, UserError
from utils.files import read_small_text, write_atomically
from utils.inference import Recognizer
from utils.pooling import judged_data, pool
from utils.predictions import Predictions, load_predictions, save_predictions
from utils.runs import RunFiles, run_files
from utils.runtime import StopRequest
from utils.splits import load_splits
from utils.splits.protocols import caution
from utils.splits.split_file import save_split_file, split_file_hash
from utils.transfer import Origin

PARTS = ("val", "test")
PROGRAM = Path(__file__).resolve().parent.parent / "main_fer.py"
PATIENCE = 30  # seconds that a fold's process has to save its state when it is asked to stop


@dataclass(frozen=True)
class FoldedRun:
    """A run, its settings and the splits of its folds."""

    files: RunFiles
    config: Config
    splits: Sequence[Split]

    def dumps(self, part: str) -> list[Path]:
        """Where the predictions of each fold for ``part`` are, or will be."""
        return [self.files.fold(number + 1).dump(part) for number in range(len(self.splits))]

    def images(self) -> set[str]:
        """The ids of all images, each of which is to be judged."""
        return {identity for part in self.splits[0].parts().values() for identity in part.ids}

    def unfinished(self) -> list[int]:
        """The folds, counted from 1, that have not been trained and judged to the end."""
        return [number for number, dump in enumerate(self.dumps("test"), 1) if not dump.is_file()]


def begin(files: RunFiles, config: Config, splits: Sequence[Split], origin: Origin | None = None) -> FoldedRun:
    """Write down what all folds of a new run share: settings, data, which image stands where, and what it begins with.

    Raises:
        MachineError: it cannot be written.
    """
    seal = save_split_file(files.splits, splits, config.dataset)
    shared = {"config": dataclasses.asdict(config), "data": judged_data(splits), "splits": seal}
    shared["origin"] = origin.hash if origin else ""
    write_atomically(files.settings, json.dumps(shared, indent=1).encode())
    return FoldedRun(files, config, splits)


def reopen(found: RunFiles, changes: dict[str, Any]) -> FoldedRun:
    """The run of folds that ``found`` holds, on the folds that it began with.

    Args:
        found: its files.
        changes: settings that replace the run's own.

    Raises:
        UserError: its files are damaged, or the data or the folds are not those that it began with.
    """
    config = dataclasses.replace(settings_of(found), **(changes | {"checkpoint_dir": str(found.checkpoints.parent)}))
    splits = load_splits(dataclasses.replace(config, split_file=str(found.splits)))
    if judged_data(splits) != identity_of(found)["data"]:
        raise UserError(f"{found.checkpoints}: the data have changed since it began")
    if split_file_hash(found.splits) != identity_of(found)["splits"]:
        raise UserError(f"{found.splits}: not the one that the run began with; {found.settings.name} has its hash")
    return FoldedRun(run_files(found.name, config), config, splits)


def settings_of(files: RunFiles) -> Config:
    """The settings that all folds of a run share.

    Raises:
        UserError: its file is damaged.
    """
    return config_from_dict(_shared(files)["config"], str(files.settings))


def train_folds(run: FoldedRun, jobs: int, stop: StopRequest) -> None:
    """Train and judge every fold that is not finished.

    Args:
        run: its finished folds are not repeated, begun ones go on from their last checkpoint.
        jobs: how many folds side by side, each in a process of its own; 1: here, one after another.
        stop: asked between two steps.

    Raises:
        Interrupted: a signal came; every fold's state is saved.
        TrainingError, UserError: a fold failed; the others are kept.
    """
    waiting = run.unfinished()
    try:
        if jobs == 1:
            for number in waiting:
                train_fold(run, number, stop)
        else:
            _side_by_side(run, waiting, jobs, stop)
    except Interrupted as signal:
        done = len(run.splits) - len(run.unfinished())
        saved = f"{done} of {len(run.splits)} folds are finished; --resume {run.files.name} goes on"
        raise Interrupted(signal.signal_number, saved) from None


def train_fold(run: FoldedRun, number: int, stop: StopRequest) -> None:
    """Train one fold, counted from 1, and judge it: validation, then, once, its test part.

    Raises:
        Interrupted, TrainingError: as `Trainer.fit`.
    """
    files, split = run.files.fold(number), run.splits[number - 1]
    files.prepare()
    with files.locked():
        if files.dump("test").is_file():
            return
        checkpoint = _newest_of(files, number)
        learner = Learner(run.config, split.train, fresh=checkpoint is None)
        began = checkpoint.origin if checkpoint else learner.origin.identity() if learner.origin else {}
        _refuse_other_origin(run, number, str(began.get("checkpoint", "")))
        try:
            train_split(learner, split, files, checkpoint, stop)
        except TrainingError as error:
            raise TrainingError(f"fold {number} ({split.name}): {error}") from None
        recognizer = Recognizer(files.best, device=run.config.device)
        for part in PARTS:
            save_predictions(recognizer.predict(split, part, between_batches=stop.check), files.dump(part))
    print(_fold_line(run, number), flush=True)


def pooled_dump(run: FoldedRun, part: str) -> Predictions:
    """The predictions of all folds for ``part``, each image of the test parts judged once.

    Raises:
        UserError: a fold is not finished, or a dump does not belong here.
    """
    if missing := run.unfinished():
        raise UserError(f"{run.files.checkpoints}: {not_finished(missing)}; --resume {run.files.name} goes on")
    return pool([load_predictions(path) for path in run.dumps(part)], identity_of(run.files), run.images())


def not_finished(numbers: Sequence[int]) -> str:
    """That these folds have not been trained and judged to the end."""
    names = ", ".join(map(str, numbers))
    return f"fold {names} is not finished" if len(numbers) == 1 else f"folds {names} are not finished"


def identity_of(files: RunFiles) -> dict[str, str]:
    """What all folds of a run share: the fingerprint of its ``data`` and the hash of its ``splits``."""
    shared = _shared(files)
    return {key: str(shared.get(key)) for key in ("data", "splits")}


def _shared(files: RunFiles) -> dict[str, Any]:
    """What `begin` wrote: config, data, splits."""
    try:
        shared = json.loads(read_small_text(files.settings, most=2**20))
    except (ValueError, RecursionError):
        shared = None
    if not isinstance(shared, dict) or not isinstance(shared.get("config"), dict):
        raise UserError(f"{files.settings}: damaged; a run of folds keeps its settings there")
    return shared


def _newest_of(files: RunFiles, number: int) -> Checkpoint | None:
    """What a fold goes on from; None where it begins, or begins again because its best weights are lost."""
    if not files.last.exists() and not files.best.exists():
        return None
    try:
        checkpoint, warning = newest_intact(files)
    except UserError as error:
        raise UserError(f"fold {number}: {error}; {lost_fold(files, number)}") from None
    if checkpoint.progress["best_epoch"]:
        try:
            load_checkpoint(files.best)
        except UserError as error:
            print(f"{error}; fold {number} is trained again", file=sys.stderr)
            return None
    print(warning, end="\n" if warning else "", file=sys.stderr)
    return checkpoint


def lost_fold(files: RunFiles, number: int) -> str:
    """What to do about a fold whose checkpoints cannot be used."""
    return f"delete {files.checkpoints}, and --resume {files.name} trains fold {number} again"


def _refuse_other_origin(run: FoldedRun, number: int, found: str) -> None:
    """All folds begin with the same weights; runs of the first versions do not say with which."""
    if found != _shared(run.files).get("origin", found):
        raise UserError(
            f"fold {number}: init_from {run.config.init_from} is not the checkpoint that the run began with; "
            f"{run.files.settings.name} has its hash"
        )


def _fold_line(run: FoldedRun, number: int) -> str:
    test = load_predictions(run.files.fold(number).dump("test"))
    hits = int((test.probabilities().argmax(1) == test.targets).sum())
    words = caution(test.meta["protocol"])
    return (
        f"fold {number}/{len(run.splits)} ({run.splits[number - 1].name}): epoch {test.meta['epoch']}, "
        f"test {hits} of {len(test.targets)} right ({hits / len(test.targets):.1%}){words and '; ' + words}"
    )


def _side_by_side(run: FoldedRun, waiting: list[int], jobs: int, stop: StopRequest) -> None:
    """Each fold in a process of its own, which any signal to this one reaches through it alone."""
    working: dict[int, subprocess.Popen[bytes]] = {}
    said = run.files.logs / "fold-*" / "terminal.txt"
    print(
        f"run {run.files.name}: {len(waiting)} folds to train, {jobs} side by side; what they say: {said}", flush=True
    )
    try:
        while waiting or working:
            while waiting and len(working) < jobs:
                number = waiting.pop(0)
                working[number] = _start(run, number)
            for number in [number for number, process in working.items() if process.poll() is not None]:
                code = working.pop(number).returncode
                if code != 0:
                    kind = {2: UserError, 4: MachineError}.get(code, TrainingError)
                    raise kind(f"fold {number}: ended with exit code {code}: {_last_line(run, number)}")
                print(_fold_line(run, number), flush=True)
            stop.check()
            time.sleep(0.2)
    finally:
        for process in working.values():
            process.terminate()
        for process in working.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)


def _start(run: FoldedRun, number: int) -> subprocess.Popen[bytes]:
    config, output = run.config, _terminal(run, number)
    output.parent.mkdir(parents=True, exist_ok=True)
    places = ("data_path", "cache_dir", "device", "threads", "num_workers")
    settings = [f"{key}={getattr(config, key)}" for key in places]
    settings += [] if config.micro_batch is None else [f"micro_batch={config.micro_batch}"]
    command = [sys.executable, str(PROGRAM), "--resume", str(run.files.checkpoints), "--fold", str(number), *settings]
    with open(output, "wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)


def _terminal(run: FoldedRun, number: int) -> Path:
    return run.files.fold(number).logs / "terminal.txt"


def _last_line(run: FoldedRun, number: int) -> str:
    lines = _terminal(run, number).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
