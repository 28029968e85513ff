"""What was trained on what, how it was chosen, and how to have it again: the parts of a report without figures."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from models import ModelError, count_parameters
from utils.checkpoint import network
from utils.commands import command_of, settings_today
from utils.config import Config
from utils.labels import TITLES
from utils.pages.markup import Html, element, facts, folded, missing, paragraph, section, table
from utils.pages.material import Material
from utils.splits.protocols import caution

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
_PART_NAMES = {"val": "validation", "test": "test"}
_METRICS = {"loss": "least loss", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


def part_name(part: str) -> str:
    """What to call a part of the data: ``on_ckplus`` is a set that the network never saw in training."""
    return _PART_NAMES.get(part, part.replace("on_", "all of ", 1))


def dataset_name(meta: Mapping[str, Any]) -> str:
    """What people call the data set."""
    return TITLES.get(str(meta.get("dataset")), str(meta.get("dataset") or "data of unknown name"))


def training_section(material: Material, level: int) -> Html:
    """What was trained on what, and selected how."""
    meta, config = material.meta, material.config
    told = [
        ("Network", _network(material)),
        ("Began with", _beginning(meta) if config else ""),
        ("Averages", ", ".join(map(str, meta.get("members", ())))),
        ("Data", f"{dataset_name(meta)}; {_images(material)}"),
        ("How it was dealt out", str(meta.get("protocol") or "")),
        ("Mind", caution(meta.get("protocol"))),
        ("Training", _training(material)),
        ("Chosen", _choice(material)),
        ("Judged", _judging(material)),
    ]
    return section("What was trained, on what, and how it was chosen", facts(told), level=level)


def repeat_section(material: Material, level: int) -> Html:
    """Environment, identities, settings, and the command to repeat the run."""
    meta, config = material.meta, material.config
    environment = material.told("environment")
    machine = [(name.replace("_", " "), str(value)) for name, value in sorted(environment.items())]
    identities = [(f"{key}, SHA-256", str(meta.get(key) or "")) for key in ("checkpoint", "data", "splits")]
    parts: list[Html] = []
    if config is not None:
        parts += [paragraph("From the folder of the project, with the data in place:"), _command(meta)]
    elif "members" in meta:
        parts += _averaging(material)
    else:
        parts.append(missing("The dump does not hold the settings of the run, so there is no command to repeat it."))
    parts.append(facts(machine) if machine else missing("The dump does not say on which machine it was made."))
    parts.append(facts(identities))
    if config is not None:
        rows = [(key, json.dumps(value)) for key, value in sorted(meta["config"].items())]
        parts.append(folded("All settings", table(f"Settings of {material.name}", ("setting", "value"), rows)))
    return section("To have it again", *parts, level=level)


def _command(meta: Mapping[str, Any]) -> Html:
    return _pre(command_of(settings_today(meta, CONFIGS.parent), CONFIGS))


def _averaging(material: Material) -> list[Html]:
    """The command that averages the members' dumps, which lie beside the average."""
    dumps = [material.folder / f"{name}.{material.part}.npz" for name in material.meta["members"]]
    if away := [path.name for path in dumps if not path.is_file()]:
        return [missing(f"Of its members' dumps {', '.join(away)} do not lie beside its own: it cannot be made again.")]
    name = material.judged.meta.get("run")
    words = ["python", "gen_ensemble.py", *map(str, dumps), "--out", str(material.folder)]
    words += ["--name", material.name] if material.name != name else []
    return [paragraph("From the folder that this page was written from:"), _pre(shlex.join(words))]


def _pre(text: str) -> Html:
    return element("pre", element("code", text))


def _network(material: Material) -> str:
    config = material.config
    if config is None:
        return ""
    count = _parameters(config)
    kind = "grey" if config.in_channels == 1 else "colour"
    size = f"{config.image_size} × {config.image_size} pixels, {kind}"
    return f"{config.arch}{f', {count / 1e6:.2f} million parameters' if count else ''}; {size}"


def _parameters(config: Config) -> int:
    """How many the network has; 0 where it cannot be built here (timm's need timm)."""
    try:
        with torch.device("meta"):  # shapes only
            return count_parameters(network(config, weights="none"))
    except (ModelError, RuntimeError):
        return 0


def _beginning(meta: Mapping[str, Any]) -> str:
    origin, weights = meta.get("origin") or {}, meta.get("weights")
    if origin:
        return f"the weights of {origin.get('run')}, trained on {dataset_name(origin)}"
    return "fresh weights" if weights == "none" else f"weights {weights}"


def _images(material: Material) -> str:
    counts = []
    if material.network is not None and material.network.checkpoint.seen:
        which = " of the first fold" if material.meta.get("folds") else ""
        counts.append(f"{len(material.network.checkpoint.seen[0]['images']):,} for training{which}")
    if material.validation is not None:
        counts.append(f"{len(material.validation.ids):,} for validation")
    name = "validation, and nothing else" if material.part == "val" else part_name(material.part)
    return ", ".join([*counts, f"{len(material.judged.ids):,} for {name}"]) + " images"


def _training(material: Material) -> str:
    meta, config = material.meta, material.config
    words = []
    if isinstance(seconds := meta.get("training_seconds"), int | float):
        words.append(f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds")
        if "folds" in meta:
            words[-1] += f" for {len(meta['folds'])} folds"
        elif "epoch" in meta:
            words[-1] += " up to the chosen epoch"
    if config is not None:
        words.append(f"at most {config.max_epoch_num} epochs, batches of {config.batch_size}, {config.optimizer}")
        words.append(f"{config.precision}, seed {config.seed}")
    if meta.get("teacher"):
        words.append("learned from a teacher's predictions too")
    return "; ".join(words)


def _choice(material: Material) -> str:
    meta, selection = material.meta, material.told("selection")
    if "members" in meta:
        return str(selection.get("members", "all members"))
    if selection.get("split") != "val":
        return ""
    metric = _METRICS.get(str(selection.get("metric")), str(selection.get("metric")))
    what = "the epoch of each fold" if "folds" in meta else f"epoch {meta.get('epoch')}"
    return f"{what}, by {metric} on the validation part alone"


def _judging(material: Material) -> str:
    if material.part == "val":
        return "on the validation part, which chose the epoch: its figures are too good; the test part is closed"
    views, precision = material.meta.get("views"), material.meta.get("precision")
    told = f", over {views} view{'s' * (views != 1)} of each image" if isinstance(views, int) else ""
    return f"on {part_name(material.part)}{told}" + (f", in {precision}" if precision else "")
