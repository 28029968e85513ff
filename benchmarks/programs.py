"""Our programs as a whole, started as a user starts them: until the first step, until the import, until the end."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.cases import Ways
from benchmarks.job import FAST, FER2013, ROOT
from utils.datasets.fer2013 import COUNTS
from utils.labels import FER2013_CLASSES
from utils.predictions import Predictions, save_predictions

MOST_SECONDS = 300


def first_step(
    ways: Ways, folder: Path, environment: Mapping[str, str], *, steps: int = 1, settings: tuple[str, ...] = ()
) -> tuple[float, float]:
    """Start ``python main_fer.py``, with everything that it writes in ``folder``.

    Returns:
        Seconds until the first step was done, and the most memory after ``steps`` of them, in bytes.

    Raises:
        subprocess.SubprocessError: it failed.
    """
    where = [f"{name}_dir={folder / name}" for name in ("cache", "log", "checkpoint", "results", "figures")]
    data = [
        f"dataset={ways.dataset}",
        f"data_path={FER2013}",
        "sample_faces=140" if ways.smoke else "sample_faces=6000",
    ]
    command = [sys.executable, "-m", "benchmarks.first_step", str(steps), "main_fer.py", "--config", FAST]
    command += [*where, *data, f"threads={ways.threads}", f"device={ways.device}", *settings]
    started = time.perf_counter()
    took, memory = 0.0, 0.0
    with subprocess.Popen(
        command, cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None and program.stderr is not None
        for line in program.stdout:
            if line.startswith('{"first_step"'):
                took = time.perf_counter() - started
            elif line.startswith('{"peak_memory"'):
                memory = json.loads(line)["peak_memory"]
        complaint = program.stderr.read()
    if not memory:
        raise subprocess.SubprocessError(last_line(complaint))
    return took, memory


def seconds_of(command: list[str], environment: Mapping[str, str]) -> float:
    """Wall seconds of a program from start to end.

    Raises:
        subprocess.SubprocessError: it failed or took minutes.
    """
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, timeout=MOST_SECONDS
    )
    took = time.perf_counter() - started
    if done.returncode:
        raise subprocess.SubprocessError(last_line(done.stderr))
    return took


def ensemble_command(folder: Path, members: int = 12, images: int = COUNTS["test"], views: int = 10) -> list[str]:
    """``gen_ensemble.py`` on dumps of random logits, as large as those of FER2013's test part, made in ``folder``."""
    random = np.random.default_rng(0)
    ids, targets = [f"test/{index:05d}" for index in range(images)], random.integers(0, 7, images)
    paths = []
    for member in range(members):
        logits = random.normal(size=(views, images, 7)).astype(np.float32)
        meta = {"run": f"run{member}", "data": "random", "split": "test", "protocol": "none", "scores": "logits"}
        paths.append(folder / f"run{member}.test.npz")
        save_predictions(Predictions(logits, targets, ids, FER2013_CLASSES, meta), paths[-1])
    return [sys.executable, "gen_ensemble.py", *map(str, paths), "--out", str(folder)]


def last_line(text: str) -> str:
    """The line in which a program says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "ended without a word"
