"""The names and files of a run: unique when it starts, found again when it is resumed or tested."""

import contextlib
import dataclasses
import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from utils.config import Config
from utils.errors import UserError, closest
from utils.files import lock, machine_errors, remove_leftovers


@dataclass(frozen=True)
class RunFiles:
    """Where one run, or one fold of a run, keeps its files."""

    name: str
    checkpoints: Path
    logs: Path
    results: Path
    figures: Path
    fold_name: str = ""

    def fold(self, number: int) -> "RunFiles":
        """The files of one fold, counted from 1; its dumps lie beside its checkpoints until they are pooled."""
        name = f"fold-{number:02d}"
        folder = self.checkpoints / name
        return dataclasses.replace(self, checkpoints=folder, logs=self.logs / name, results=folder, fold_name=name)

    @property
    def splits(self) -> Path:
        """Which image stands in which part of which fold."""
        return self.checkpoints / "splits.json"

    @property
    def settings(self) -> Path:
        """The settings that all folds of a run share; there only where a run has folds."""
        return self.checkpoints / "run.json"

    @property
    def best(self) -> Path:
        """The checkpoint of the best validation epoch."""
        return self.checkpoints / "best.pt"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.checkpoints / "last.pt"

    @property
    def report(self) -> Path:
        """All figures of a run that has ended."""
        return self.logs / "report.json"

    @property
    def curves(self) -> Path:
        """The picture of the training."""
        return self.logs / "curves.png"

    @property
    def persons(self) -> Path:
        """The picture of how well each person is recognised."""
        return self.figures / f"{self.name}.persons.png"

    @property
    def page(self) -> Path:
        """The same as a page for the browser, with pictures."""
        return self.results / f"{self.name}.report.html"

    def prepare(self) -> None:
        """Make the folders that results go to, so that a refusal comes before a training and not after it.

        Raises:
            MachineError: one cannot be made or written to.
        """
        for folder in (self.checkpoints, self.results, self.figures):
            with machine_errors(folder, 0):
                folder.mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK):
                    raise PermissionError(errno.EACCES, "permission denied")

    def dump(self, split: str) -> Path:
        """Predictions for one part of the data."""
        return self.results / f"{self.name}.{split}.npz"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep any second program from writing into this run, and clear what dead ones left half written.

        Raises:
            UserError: another program is at work in this run.
        """
        with machine_errors(self.checkpoints, 0):
            file = open(self.checkpoints / ".lock", "w")  # noqa: SIM115 - closed by the block below
        with file:
            with machine_errors(self.checkpoints, 0):  # a file system without locks
                try:
                    lock(file, wait=False)
                except (BlockingIOError, PermissionError):
                    raise UserError(f"{self.checkpoints}: another program is at work in this run") from None
            remove_leftovers(self.checkpoints)
            remove_leftovers(self.logs)
            for shared in (self.results, self.figures):
                remove_leftovers(shared, f"{self.name}.")
            yield


def run_files(name: str, config: Config) -> RunFiles:
    """The files of the run ``name`` in the folders that ``config`` says."""
    return RunFiles(
        name,
        Path(config.checkpoint_dir) / name,
        Path(config.log_dir) / name,
        Path(config.results_dir),
        Path(config.figures_dir),
    )


def new_run(config: Config) -> RunFiles:
    """A run with a name that no other has: ``{arch}_{model_name}_{time}``, numbered within one second.

    Creating the folder is what claims the name, so two starts in the same second get two names.

    Raises:
        MachineError: the folder cannot be made.
    """
    arch = "".join(c if c.isalnum() or c in "._-" else "-" for c in config.arch)
    base = f"{arch}_{config.model_name}_{time.strftime('%Y%m%d_%H%M%S')}"
    number = 1
    while True:
        files = run_files(base if number == 1 else f"{base}-{number}", config)
        with machine_errors(files.checkpoints, 0):
            files.checkpoints.parent.mkdir(parents=True, exist_ok=True)
            try:
                files.checkpoints.mkdir()
                return files
            except FileExistsError:
                number += 1


def find_run(name: str, config: Config) -> RunFiles:
    """The run ``name`` (or the path of its checkpoint folder).

    Raises:
        UserError: there is none; the closest names are given.
    """
    root = Path(config.checkpoint_dir)
    if name not in ("", ".", "..") and Path(name).name == name and _is_folder(root / name):
        return run_files(name, config)
    if _is_folder(Path(name)) and (any(Path(name).glob("*.pt")) or Path(name, "run.json").is_file()):
        path = Path(name).resolve()
        return run_files(path.name, dataclasses.replace(config, checkpoint_dir=str(path.parent)))
    near = closest(name[:255], list_runs(config), 3)
    hint = f"closest: {', '.join(near)}" if near else "it has no such folder"
    raise UserError(f"{root}: no run '{name[:80]}'; {hint}")


def list_runs(config: Config) -> list[str]:
    """The names of all runs that have a checkpoint, or folds, oldest first."""
    root = Path(config.checkpoint_dir)
    found = [path.parent for pattern in ("*/last.pt", "*/run.json") for path in root.glob(pattern)]
    return [folder.name for folder in sorted(found, key=lambda folder: (folder.stat().st_mtime, folder.name))]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name of 300 characters
        return False
