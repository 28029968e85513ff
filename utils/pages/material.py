"""What a report is made of: the dumps of a run, and what else of it is found."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import ModelError, pretrained_path
from utils.card import read_table
from utils.checkpoint import checkpoint_hash
from utils.config import Config, config_from_dict
from utils.errors import UserError
from utils.files import is_file, sha256_of
from utils.inference import Recognizer
from utils.predictions import Predictions, load_predictions
from utils.runs import RunFiles, find_run, run_files

PARTS = ("val", "test")
_COLUMNS = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
_TABLES = ("config", "environment", "selection", "origin", "subjects", "fold_of")

Epochs = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Material:
    """One run, as far as it is there.

    Attributes:
        name: what to call it.
        judged: the predictions that it is judged by.
        validation: those that chose its epoch; None where they are not there, or nothing else is.
        config: its settings; None where the dump does not know them (averages do not).
        histories: one row an epoch, by the name of the fold (``""`` where there is one split).
        network: that made the predictions; of a run of folds, that of the first.
        folder: where its dumps lie.
    """

    name: str
    judged: Predictions
    validation: Predictions | None
    config: Config | None
    histories: Mapping[str, Epochs]
    network: Recognizer | None
    folder: Path

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the dump says of itself."""
        return self.judged.meta

    @property
    def part(self) -> str:
        """Which part of the data it is judged by, e.g. ``"test"``."""
        return str(self.meta.get("split", "given"))

    def told(self, key: str) -> dict[str, Any]:
        """A table in ``meta``; empty where it has none."""
        return self.meta.get(key) or {}

    @property
    def persons_known(self) -> bool:
        """Whether the dump says who is on each image."""
        return bool(self.told("subjects"))


def find_material(name: str, config: Config) -> Material:
    """The material of one run.

    Args:
        name: a dump; or what the names of its dumps begin with, such as ``results/fer2013/NAME``; or the name or the
            checkpoint folder of a run.
        config: says where runs are kept.

    Raises:
        UserError: there is no such run, it has no dump, or one is damaged or not of the same network as the other.
    """
    path = Path(name)
    if path.suffix == ".npz":
        stem = re.sub(rf"\.({'|'.join(PARTS)})$", "", path.stem)
        chosen = None if stem != path.stem else load_predictions(path)
        return _from_dumps(stem, path.parent, chosen, config)
    if any(path.with_name(f"{path.name}.{part}.npz").is_file() for part in PARTS if path.name):
        return _from_dumps(path.name, path.parent, None, config)
    if is_file(name):
        raise UserError(
            f"{name}: not a dump; expected the name of a run, or dumps (.npz) or what their names begin with"
        )
    if example := next((stem for stem in _stems(path)), None):
        raise UserError(f"{name}: a folder of dumps; name one, such as {path / example}")
    files = find_run(name, config)
    return material_of(files, _dumps(files.results, files.name))


def material_of(files: RunFiles, parts: Mapping[str, Predictions], name: str | None = None) -> Material:
    """The material of the run that ``files`` names.

    Args:
        files: where its logs and checkpoints are.
        parts: its predictions; what stands last is what it is judged by.
        name: what to call it, if not by its own name.

    Raises:
        UserError: no predictions, or they are not those of one network.
    """
    if not parts:
        raise UserError(f"{files.results}: no dump of {files.name}; gen_results.py {files.name} writes it")
    judged, validation = list(parts.values())[-1], parts.get("val")
    for part, dump in parts.items():
        _refuse_odd(dump, f"{name or files.name}, {part}")
    if validation is not None and validation.meta.get("checkpoint") != judged.meta.get("checkpoint"):
        raise UserError(f"{name or files.name}: validation and {list(parts)[-1]} were dumped from different networks")
    settings = judged.meta.get("config")
    return Material(
        name=name or files.name,
        judged=judged,
        validation=None if validation is judged else validation,
        config=config_from_dict(settings, f"{name or files.name}: the settings in its dump") if settings else None,
        histories=_histories(files),
        network=_network(files, judged.meta),
        folder=files.results,
    )


def _from_dumps(stem: str, folder: Path, chosen: Predictions | None, config: Config) -> Material:
    """From dumps that lie anywhere; logs and checkpoints are looked for where ``config`` says."""
    parts = _dumps(folder, stem) if chosen is None else {str(chosen.meta.get("split")): chosen}
    if not parts:
        raise UserError(f"{folder / stem}: no dump {stem}.test.npz or {stem}.val.npz here")
    run = str(list(parts.values())[-1].meta.get("run", ""))
    known = run if run not in ("", ".", "..") and Path(run).name == run else stem
    return material_of(dataclasses.replace(run_files(known, config), results=folder), parts, stem)


def _dumps(folder: Path, stem: str) -> dict[str, Predictions]:
    paths = {part: folder / f"{stem}.{part}.npz" for part in PARTS}
    return {part: load_predictions(path) for part, path in paths.items() if path.is_file()}


def _stems(folder: Path) -> list[str]:
    """What the names of the dumps in a folder begin with; nothing where it is no folder."""
    with suppress(OSError, ValueError):  # a name of 300 characters, a NUL in it
        return sorted(path.name.removesuffix(f".{PARTS[-1]}.npz") for path in folder.glob(f"*.{PARTS[-1]}.npz"))
    return []


def _refuse_odd(dump: Predictions, name: str) -> None:
    """Raises:
    UserError: what the dump says of itself cannot be meant so.
    """
    for key in _TABLES:
        if not isinstance(dump.meta.get(key) or {}, dict):
            raise UserError(f"{name}: '{key}' in the dump is not a table")
    for key in ("subjects", "fold_of"):
        if (table := dump.meta.get(key)) and not set(dump.ids) <= set(table):
            raise UserError(f"{name}: '{key}' in the dump leaves out images")


def _histories(files: RunFiles) -> dict[str, Epochs]:
    """The rows of ``metrics.csv`` of the run, or of each of its folds."""
    found: dict[str, Epochs] = {}
    for path in [files.logs / "metrics.csv", *sorted(files.logs.glob("fold-*/metrics.csv"))]:
        if path.is_file():
            rows = read_table(path, _COLUMNS)
            try:
                epochs = [{key: float(row[key]) for key in _COLUMNS} for row in rows]
            except (TypeError, ValueError):
                raise UserError(f"{path}: holds something else than numbers") from None
            if epochs:
                found["" if path.parent == files.logs else path.parent.name] = epochs
    return found


def _network(files: RunFiles, meta: Mapping[str, Any]) -> Recognizer | None:
    """The network with the very weights that made the predictions, if it is here."""
    folds = meta.get("folds")
    first = files.fold(1).best if folds else files.best
    wanted = folds[0].get("checkpoint") if folds else meta.get("checkpoint")
    if wanted and first.is_file() and checkpoint_hash(first) == wanted:
        return Recognizer(first, precision="fp32")
    try:
        shipped = pretrained_path(str(meta.get("arch")))
    except ModelError:
        return None
    return Recognizer(shipped, precision="fp32") if sha256_of(shipped) == wanted else None
