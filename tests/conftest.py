"""What several test files share: a small run on drawn faces, and programs started as a user starts them."""

import contextlib
import importlib.util
import io
import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from PIL import Image

from utils.errors import UserError

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
    "report_page=false",
)

# Three folds of drawn persons, a second each; small batches, so that an epoch has an inside.
FOLDED = (*SMALL, "sample_faces=70", "batch_size=8", "max_epoch_num=2", "protocol=kfold", "folds=3")


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


def start_here(folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which saves the seconds that importing torch takes."""
    said, complained, earlier = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    models = logging.getLogger("models")
    kept = list(models.handlers)
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
        patch.object(sys, "argv", [program, *arguments]),
        pytest.raises(SystemExit) as ended,
    ):
        try:
            runpy.run_path(str(ROOT / program), run_name="__main__")
        finally:
            signal.signal(signal.SIGTERM, earlier)
            models.handlers = kept
    return subprocess.CompletedProcess(sys.argv, ended.value.code, said.getvalue(), complained.getvalue())


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program of the project in an empty folder."""
    return lambda program, *arguments: start(tmp_path, program, *arguments)


def refusal(call: Callable[[], object]) -> str:
    """The message that a call is refused with: one line, fit for a terminal, exit code 2."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert caught.value.exit_code == 2 and message.isprintable() and len(message) < 500
    return message


# The real sets, as they are named where the programs keep them, and where they lie packed beside the project.
PACKED = {"fer2013": "fer2013", "ferplus": "ferplus", "jaffe": "jaffe/jaffe", "CK+48": "ckplus/CK+48"}


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a real data set, by its name; the test is skipped where the set is not there."""

    def find(name: str) -> Path:
        kept, packed = ROOT / "saved" / "data" / name, ROOT.parent / "shared" / "data"
        if kept.exists():
            return kept
        if not (packed / PACKED[name]).exists():
            pytest.skip(f"neither saved/data/{name} nor ../shared/data/{PACKED[name]} is there")
        return _unpacked_fer2013(packed, tmp_path_factory) if name == "fer2013" else packed / PACKED[name]

    return find


def _unpacked_fer2013(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("unpack", packed / "unpack.py")
    assert spec is not None and spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    most = Image.MAX_IMAGE_PIXELS
    spec.loader.exec_module(unpack)
    out = tmp_path_factory.mktemp("real")
    unpack.write_fer2013(out)
    Image.MAX_IMAGE_PIXELS = most  # unpacking lifts the guard that another test is about
    return out / "fer2013"


@pytest.fixture(scope="session")
def finished_folds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run of folds as a user starts it: the folder, the run's name, what it said. Who changes it takes a copy."""
    folder = tmp_path_factory.mktemp("folds")
    done = start(folder, "main_fer.py", *FOLDED, "report_page=true")
    assert done.returncode == 0, done.stderr
    (run,) = (path.name for path in (folder / "saved" / "checkpoints").iterdir())
    return folder, run, done.stdout


@pytest.fixture
def copied_folds(finished_folds: tuple[Path, str, str], tmp_path: Path) -> tuple[Path, str]:
    """(folder, run) of a copy of the finished run, to be changed."""
    shutil.copytree(finished_folds[0], tmp_path, dirs_exist_ok=True)
    return tmp_path, finished_folds[1]


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in this process draws nothing: drawing takes most of the time of a small run."""
    import torch.utils.tensorboard

    from trainers import logs, outcome, trainer

    monkeypatch.setattr(torch.utils.tensorboard.SummaryWriter, "add_figure", lambda *_, **__: None)
    for module in (logs, outcome, trainer):
        for name in [name for name in vars(module) if name == "save_figure" or name.endswith("_figure")]:
            monkeypatch.setattr(module, name, lambda *_, **__: None)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page under web/; skipped where what it needs is not there."""
    import page

    from web import visit

    page.chromium()
    folder = tmp_path_factory.mktemp("site")
    visit.build(folder)
    with visit.served(folder) as address:
        yield address


@pytest.fixture(scope="session")
def browser(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a drawn face before its camera."""
    import page

    from web import visit

    with visit.browser_with_camera(page.chromium(), tmp_path_factory.mktemp("camera") / "face.y4m") as browser:
        yield browser


@pytest.fixture
def tab(browser: Any, site: str) -> Iterator[Any]:
    """The page, ready, in a browser profile of its own that may use the camera."""
    context = browser.new_context(permissions=["camera"], viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.goto(site)
    tab.wait_for_selector("#choose:enabled")
    yield tab
    context.close()
