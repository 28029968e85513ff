"""What several test files share: a small run on drawn faces, and programs started as a user starts them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

# A run of a second or two: small images, a small network, and arithmetic that is the same on every machine.
SMALL = (
    "dataset=sample",
    "sample_faces=210",
    "arch=tiny_resnet",
    "image_size=24",
    "in_channels=1",
    "normalize=per_image",
    "optimizer=sgd",
    "lr=0.05",
    "schedule=onecycle",
    "batch_size=32",
    "max_epoch_num=3",
    "max_plateau_count=0",
    "ema_decay=0.9",
    "mixup=0.2",
    "drop_rate=0.2",
    "augment=fast",
    "views=2",
    "device=cpu",
    "precision=fp32",
    "channels_last=off",
    "threads=1",
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run side by side; several threads each would only wait for each other."""
    torch.set_num_threads(1)


def command(program: str, *arguments: str) -> list[str]:
    """The command line that starts one of the project's programs, whatever the current folder."""
    return [sys.executable, str(ROOT / program), *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def start(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end in ``folder``."""
    return subprocess.run(
        command(program, *arguments), cwd=folder, env=environment(), capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program of the project in an empty folder."""
    return lambda program, *arguments: start(tmp_path, program, *arguments)
