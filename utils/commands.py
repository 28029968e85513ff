"""The command that makes a run again."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from utils.config import ANY_SET, differing, load_config, typed, with_defaults
from utils.shipped import SUFFIX
from utils.transfer import PRETRAINED

PROGRAMS = {"jaffe": "main_jaffe.py", "ckplus": "main_ck.py"}  # the others are main_fer.py's
ORIGINS = Path("results/origins")  # networks that came with the package when runs began with them, by their runs


def settings_today(meta: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The settings that make a run today: what came with the package when it began, where that is kept now.

    Args:
        meta: what a dump of the run says of it.
        root: the folder of the project.
    """
    settings = dict(meta["config"])
    if settings.get("init_from") == PRETRAINED:
        kept = ORIGINS / f"{(meta.get('origin') or {}).get('run')}{SUFFIX}"
        if (root / kept).is_file():
            settings["init_from"] = kept.as_posix()
    return settings


def command_of(wanted: Mapping[str, Any], configs: Path) -> str:
    """What was typed: the shipped settings file nearest to the run's settings, and what differs from it."""
    wanted = with_defaults(wanted)
    own = ("data_path",) if wanted["dataset"] == ANY_SET else ()  # of other sets it is a matter of the machine
    best: tuple[int, str, list[str]] | None = None
    for path in sorted([*configs.glob("*_config.json"), *configs.glob("zoo/*.json")]):
        shipped = asdict(load_config(path))
        changes = [f"{key}={typed(wanted[key])}" for key in (*differing(shipped, wanted), *own)]
        if best is None or len(changes) < best[0]:
            best = len(changes), f"configs/{path.relative_to(configs)}", changes
    assert best is not None
    program = PROGRAMS.get(wanted["dataset"], "main_fer.py")
    return " ".join([f"python {program} --config", best[1], *map(shlex.quote, best[2])])
