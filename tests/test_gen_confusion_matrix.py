"""The command line draws the confusion matrices of dumps, from any folder, and refuses in one line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from conftest import ROOT
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from utils.errors import MachineError, UserError
from utils.labels import FER2013_CLASSES
from utils.predictions import Predictions, save_predictions
from Visualization import gen_confusion_matrix

SCRIPT = ROOT / "Visualization" / "gen_confusion_matrix.py"


def dump(path: Path, *, views: int = 2, classes: tuple[str, ...] = ("happy", "sad"), images: int = 40) -> Path:
    """A dump in which the first view is always right and the others are always wrong, and surer of it."""
    targets = np.arange(images) % len(classes)
    right = np.eye(len(classes), dtype=np.float32)[targets]
    logits = np.stack([right, *[-9 * right] * (views - 1)])
    meta = {"run": "resnet18_fer2013_20260101_000000", "split": "test"}
    save_predictions(Predictions(logits, targets, [f"i{i}" for i in range(images)], classes, meta), path)
    return path


def drawn(monkeypatch, arguments: list[str]) -> list[str]:
    """The texts of the one figure that the command line would save."""
    figures: list[Figure] = []
    monkeypatch.setattr(gen_confusion_matrix, "save_figure", lambda figure, _: figures.append(figure))
    gen_confusion_matrix.main(arguments)
    return [text.get_text() for text in figures[0].findobj(Text)]


def test_command_says_run_split_accuracy_interval_images_and_views(tmp_path, monkeypatch):
    path = str(dump(tmp_path / "a.test.npz"))
    shown = drawn(monkeypatch, [path, "--views", "1"])
    assert "resnet18_fer2013_20260101_000000, test" in shown
    assert "accuracy 100.00% (95% interval 91.24–100.00%), 40 images, 1 view" in shown
    shown = drawn(monkeypatch, [path])
    assert any(text.startswith("accuracy 0.00%") and text.endswith("40 images, 2 views") for text in shown)


def test_command_draws_every_dump_of_the_default_folder(tmp_path, monkeypatch, capsys):
    for name in ("a.test", "a.val", "b.test"):
        dump(tmp_path / "saved" / "results" / f"{name}.npz")
    monkeypatch.chdir(tmp_path)
    gen_confusion_matrix.main([])
    files = sorted(path.name for path in (tmp_path / "saved" / "confusion_matrices").iterdir())
    assert files == sorted(f"{name}.{kind}" for name in ("a.test", "a.val", "b.test") for kind in ("png", "pdf"))
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_command_writes_one_format_into_a_folder(tmp_path):
    gen_confusion_matrix.main([str(dump(tmp_path / "a.npz")), "--format", "pdf", "--out", str(tmp_path / "new" / "o")])
    assert [path.name for path in (tmp_path / "new" / "o").iterdir()] == ["a.pdf"]


def test_command_refuses_no_dumps_two_of_one_name_and_too_many_views(tmp_path):
    (tmp_path / "empty").mkdir()
    first, second = dump(tmp_path / "1" / "a.npz"), dump(tmp_path / "2" / "a.npz")
    for arguments, message in (
        ([str(tmp_path / "empty")], "no dump"),
        ([str(first), str(second)], "rename one"),
        ([str(first), "--views", "3"], "--views must be 1 to 2"),
        ([str(first), "--views", "0"], "got 0"),
        ([str(tmp_path / "absent.npz")], "no such file"),
        ([str(first), "--fromat", "png"], "--format"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            gen_confusion_matrix.main(arguments)


def test_usetex_without_tex_and_with_a_broken_one(tmp_path, monkeypatch):
    path = str(dump(tmp_path / "a.npz"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="no latex and no dvipng"):
        gen_confusion_matrix.main([path, "--usetex"])
    monkeypatch.setattr(gen_confusion_matrix.shutil, "which", lambda program: program)
    with pytest.raises(MachineError, match="TeX failed"):
        gen_confusion_matrix.main([path, "--usetex", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
    assert not matplotlib.rcParams["text.usetex"]


def test_command_as_a_program_from_another_folder(tmp_path):
    environment = {**os.environ, "MPLCONFIGDIR": matplotlib.get_configdir()}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    dump(tmp_path / "good.npz", classes=FER2013_CLASSES)
    done = run("good.npz", "--out", "figures")
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "figures" / "good.png") as image:
        assert image.width == 1200
    assert (tmp_path / "figures" / "good.pdf").read_bytes().startswith(b"%PDF")
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    done = run("bad.npz")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "bad.npz" in done.stderr
