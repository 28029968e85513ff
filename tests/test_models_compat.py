"""The torchvision door: opens beside a torch it was not built for, and touches nothing beside its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(code: str) -> str:
    """Runs code in a fresh interpreter, where nothing has been imported yet; returns what it printed."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torchvision_and_timm_import_after_the_door():
    printed = run(
        "from models.torchvision_compat import torchvision; import timm;"
        "print(torchvision.models.resnet18.__name__, len(timm.list_models('resnet18')) > 0)"
    )
    assert printed == "resnet18 True"


FAKE = """
import sys, tempfile, pathlib, torch
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "torchvision.py").write_text({body!r})
sys.path.insert(0, str(folder))
import importlib.util
spec = importlib.util.spec_from_file_location("compat", "models/torchvision_compat.py")
compat = importlib.util.module_from_spec(spec)
"""


def test_a_torchvision_that_fits_is_left_alone():
    body = "answer = 42"
    printed = run(
        FAKE.format(body=body) + "spec.loader.exec_module(compat)\n"
        "print(compat.torchvision.answer, compat._libraries, hasattr(torch.ops.torchvision, 'nms'))"
    )
    assert printed == "42 [] False"


def test_the_operators_are_declared_when_they_are_what_is_missing():
    body = (
        "import torch\n"
        "if not hasattr(torch.ops.torchvision, 'nms'):\n"
        "    raise RuntimeError('operator torchvision::nms does not exist')\n"
        "schema = str(torch.ops.torchvision.nms.default._schema)"
    )
    printed = run(FAKE.format(body=body) + "spec.loader.exec_module(compat)\nprint(compat.torchvision.schema)")
    assert printed == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('some other fault')", "RuntimeError some other fault"),
        ("raise ImportError('no libpng')", "ImportError no libpng"),
    ],
)
def test_another_failure_is_passed_on(body, said):
    printed = run(
        FAKE.format(body=body) + "try:\n    spec.loader.exec_module(compat)\n"
        "except (RuntimeError, ImportError) as error:\n    print(type(error).__name__, error)"
    )
    assert printed == said
