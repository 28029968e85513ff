"""One file of a network that runs elsewhere: says the same, knows what must be known, and needs no torch."""

import io
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import SMALL, environment, start_here

from models import registry
from utils.calibration import fit_temperature, unsure_below
from utils.config import Config
from utils.export.int8 import some_of
from utils.export.judge import Judge, noise
from utils.export.onnx_file import OnnxFile, onnx_graph, packed
from utils.export.parity import Parity, ParityError, as_pixels, drawn, judged, parity, to_size
from utils.export.torch_file import KEY, traced
from utils.inference import Recognizer
from utils.predictions import load_predictions, softmax
from utils.splits import load_splits


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a run, its network, and what was said when each format was made of it."""
    folder = tmp_path_factory.mktemp("export")
    assert start_here(folder, "main_fer.py", *SMALL).returncode == 0
    (run,) = (folder / "saved" / "checkpoints").iterdir()
    said = {}
    for name, options in {"onnx": (), "int8": ("--int8",), "torch": ("--format", "torch")}.items():
        done = start_here(folder, "export.py", run.name, "--images", "70", *options)
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout
    return folder, Recognizer(run / "best.pt"), said


@pytest.fixture
def files(made):
    folder, recognizer, _ = made
    run = recognizer.checkpoint.run
    return {name: folder / "saved" / "exports" / f"{run}{end}" for name, end in ENDS.items()}


ENDS = {"onnx": ".onnx", "int8": ".int8.onnx", "torch": ".pt2"}


def facts_in(path):
    if path.suffix == ".onnx":
        return json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map[KEY])
    extra = {f"{KEY}.json": ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra[f"{KEY}.json"])


def test_onnx_says_what_the_network_says(made, files):
    _, recognizer, said = made
    session, images = onnxruntime.InferenceSession(files["onnx"]), drawn(7, recognizer.config)
    (split,) = load_splits(recognizer.config)
    val = recognizer.predict(split, "val", views=1)
    temperature = fit_temperature(val.logits[0], val.targets)
    expected = recognizer.probabilities(images, views=1) ** (1 / temperature)
    expected /= expected.sum(1, keepdims=True)
    for count in (1, 2, 7):
        probabilities, logits, cam = session.run(None, {"pixels": as_pixels(images[:count])})
        np.testing.assert_allclose(probabilities, expected[:count], atol=1e-4)
        np.testing.assert_allclose(softmax(logits), probabilities, atol=1e-6)
        constant = logits - cam.mean((2, 3))
        np.testing.assert_allclose(constant, np.tile(constant[0], (count, 1)), atol=1e-4)
    assert session.get_inputs()[0].shape == ["N", 1, 24, 24]
    assert "parity over 70 drawn and 35 validation faces" in said["onnx"] and ", 0 flips" in said["onnx"]


def test_what_must_be_known_stands_in_the_file(made, files):
    folder, recognizer, _ = made
    run = recognizer.checkpoint.run
    val = load_predictions(folder / "saved" / "results" / f"{run}.val.npz")
    temperature = fit_temperature(val.logits[0], val.targets)
    known = facts_in(files["onnx"])
    assert known["classes"] == list(recognizer.classes) and known["run"] == run
    assert known["checkpoint"] == recognizer.hash and known["data"]["train"] == recognizer.checkpoint.data["train"]
    assert (known["image_size"], known["channels"], known["normalize"]) == (24, 1, "per_image")
    assert known["temperature_applied"] == pytest.approx(temperature)
    assert known["unsure_below"] == pytest.approx(unsure_below(softmax(val.logits[0] / temperature), val.targets))
    assert known["crop"] == {"square": True, "like": "sample", "grey": True, "eyes": None, "mouth": None}
    assert known["accuracy"]["val"]["accuracy"] == (val.logits[0].argmax(1) == val.targets).mean()
    assert known["parity"]["flips"] == 0 and known["parity"]["max_abs_difference"] <= 1e-4
    same = ("format", "run", "classes", "temperature_applied", "unsure_below", "checkpoint", "cam")
    assert all(facts_in(path)[key] == known[key] for path in files.values() for key in same)


WITHOUT_TORCH = """
import importlib.abc, json, sys
class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "models", "utils"):
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, NoTorch())
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
facts = json.loads(session.get_modelmeta().custom_metadata_map["face_expression"])
(probabilities,) = session.run(["probabilities"], {"pixels": numpy.load(sys.argv[2])})
assert "torch" not in sys.modules
try:
    import torch
except ImportError:
    json.dump({"probabilities": probabilities.tolist(), "classes": facts["classes"]}, sys.stdout)
"""


@pytest.mark.parametrize("name", ["onnx", "int8"])
def test_onnxruntime_needs_no_torch_and_nothing_of_this_project(made, files, tmp_path, name):
    pixels = as_pixels(drawn(5, made[1].config))
    np.save(tmp_path / "pixels.npy", pixels)
    code = [sys.executable, "-I", "-c", WITHOUT_TORCH, str(files[name]), str(tmp_path / "pixels.npy")]
    done = subprocess.run(code, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    here = onnxruntime.InferenceSession(files[name]).run(["probabilities"], {"pixels": pixels})[0]
    np.testing.assert_allclose(told["probabilities"], here, atol=1e-5)
    assert told["classes"] == list(made[1].classes)


def test_torch_reads_its_format_without_this_project(made, files):
    module = torch.export.load(files["torch"]).module()
    session = onnxruntime.InferenceSession(files["onnx"])
    for count in (1, 5):
        pixels = as_pixels(drawn(count, made[1].config))
        expected = session.run(None, {"pixels": pixels})
        for mine, theirs in zip(module(torch.from_numpy(pixels)), expected, strict=True):
            np.testing.assert_allclose(mine.detach(), theirs, atol=1e-4)


def test_int8_is_measured_on_validation_and_calibrated_on_training_images(made, files):
    _, recognizer, said = made
    (split,) = load_splits(recognizer.config)
    images, found = to_size(split.val.images, recognizer.config), facts_in(files["int8"])
    session = onnxruntime.InferenceSession(files["int8"])
    answers = session.run(["probabilities"], {"pixels": as_pixels(images)})[0].argmax(1)
    assert found["int8"]["accuracy"] == (answers == split.val.labels).mean()
    assert found["int8"]["accuracy_float"] == facts_in(files["onnx"])["accuracy"]["val"]["accuracy"]
    assert found["int8"]["calibrated_on"] == len(split.train.images) and found["int8"]["images"] == len(images)
    assert found["int8"]["ms_per_face"] > 0 and found["parity"] is None and found["accuracy"] is None
    assert f"calibrated on {len(split.train.images)} training images" in said["int8"]
    kinds = {tensor.data_type for tensor in onnx.load(files["int8"]).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds


def test_images_for_calibration_are_drawn_without_replacement_and_always_the_same():
    images = np.arange(40)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    few = some_of(images, 10)
    assert len(set(few[:, 0, 0])) == 10 and np.array_equal(few, some_of(images, 10))
    assert np.array_equal(some_of(images, 100), images)


def test_what_is_shipped_keeps_its_half_precision_and_says_the_same(made, monkeypatch):
    folder, recognizer, _ = made
    assert start_here(folder, "gen_pretrained.py", recognizer.checkpoint.run).returncode == 0
    (small,) = (folder / "models" / "pretrained").glob("*.safetensors")
    done = start_here(folder, "export.py", str(small), "--images", "9", "--out", "small.onnx")
    assert done.returncode == 0 and ", 0 flips" in done.stdout, done.stderr
    told, shipped = facts_in(folder / "small.onnx"), Recognizer(small)
    pixels = drawn(4, shipped.config)
    found = OnnxFile(onnx.load(folder / "small.onnx")).judge(as_pixels(pixels))
    np.testing.assert_allclose(found, shipped.probabilities(pixels, views=1), atol=1e-5)
    assert told["temperature_applied"] != 1 and told["checkpoint"] == shipped.hash

    monkeypatch.setattr(registry, "_SHIPPED", small.parent)
    program = traced(judge := Judge(shipped.model, shipped.config, 1.0))
    graph = onnx_graph(program, judge.outputs)
    halves = packed(graph, program.state_dict)
    assert halves.ByteSize() < 0.7 * graph.ByteSize()
    assert parity(OnnxFile(graph).judge(as_pixels(pixels)), OnnxFile(halves).judge(as_pixels(pixels))).flips == 0
    whole = traced(Judge(recognizer.model, recognizer.config, 1.0))
    graph = onnx_graph(whole, judge.outputs)
    assert packed(graph, whole.state_dict).SerializeToString() == graph.SerializeToString()


def test_faces_without_any_contrast_give_numbers(made, files):
    flat = np.stack([np.full((1, 24, 24), value, np.float32) for value in (0, 128, 255)])
    found = onnxruntime.InferenceSession(files["onnx"]).run(["probabilities"], {"pixels": flat})[0]
    images = flat[:, 0].astype(np.uint8)
    assert np.isfinite(found).all()
    assert (found.argmax(1) == made[1].probabilities(images, views=1).argmax(1)).all()


FAMILIES = {
    "alexnet": False,
    "cbam_resnet18": True,
    "compact_densenet": True,
    "mobilenet_v2": True,
    "quick_vgg": True,
    "resmasking": True,
}


@pytest.mark.parametrize("arch", FAMILIES)
def test_every_family_can_be_traced_and_maps_are_found_where_there_are_any(arch):
    config = Config(arch=arch, image_size=64, in_channels=3, normalize="imagenet", num_classes=7)
    torch.manual_seed(0)
    model = registry.create_model(arch, num_classes=7, in_channels=3).eval()
    judge = Judge(model, config, 2.0)
    assert ("cam" in judge.outputs) == FAMILIES[arch] == (judge.maps_at is not None)
    pixels = torch.from_numpy(noise(3, config))
    before = pixels.clone()
    with torch.no_grad():
        probabilities, logits, *maps = judge(pixels)
        traced_too = traced(judge).module()(pixels)
    assert torch.equal(pixels, before)
    for one, other in zip((probabilities, logits, *maps), traced_too, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    if maps:
        bias = logits - maps[0].mean((2, 3))
        torch.testing.assert_close(bias, bias[:1].expand_as(bias), atol=1e-3, rtol=1e-3)


def test_the_network_itself_is_left_as_it_was():
    model = registry.create_model("tiny_resnet", num_classes=7, in_channels=1).eval()
    earlier = {key: value.clone() for key, value in model.state_dict().items()}
    config = Config(arch="tiny_resnet", image_size=24, in_channels=1, normalize="per_image", num_classes=7)
    Judge(model, config, 3.0)
    assert all(torch.equal(value, earlier[key]) for key, value in model.state_dict().items())


def test_a_file_that_says_something_else_is_not_written(made, monkeypatch):
    folder, recognizer, _ = made
    monkeypatch.setattr(OnnxFile, "judge", lambda self, pixels: np.full((len(pixels), 7), 1 / 7, np.float32))
    done = start_here(folder, "export.py", recognizer.checkpoint.run, "--images", "5", "--out", "wrong.onnx")
    assert done.returncode == 3 and "nothing was written" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "wrong.onnx").exists()


def test_parity_wants_numbers_that_are_equal_and_finite():
    equal = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    parity(equal, equal + 5e-5).require()
    with pytest.raises(ParityError, match="by 2.0e-04"):
        parity(equal, equal + 2e-4).require()
    with pytest.raises(ParityError, match="1 of 2 images"):
        Parity(2, 1e-6, 1).require()
    with pytest.raises(ParityError):
        parity(equal, equal * np.nan).require()


def test_batches_are_put_together_again_in_order():
    images = np.arange(130, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    seen = judged(lambda pixels: pixels[:, 0, 0], images)
    assert np.array_equal(seen[:, 0], np.arange(130))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["nothing_like_this"], "no run 'nothing_like_this'"),
        (["--images", "0"], "--images must be at least 1; got 0"),
        (["--int8", "--format", "torch"], "--int8 is for --format onnx"),
        (["--format", "tflite"], "tflite"),
        (["--out", "saved"], "saved: is a folder; name a file"),
        (["--out", "a.txt"], "--out a.txt: what --format onnx writes ends in .onnx"),
        (["--formt", "onnx"], "did you mean --format?"),
    ],
)
def test_refused_in_one_line(made, options, told):
    folder, recognizer, _ = made
    run = [] if options[0] == "nothing_like_this" else [recognizer.checkpoint.run]
    done = start_here(folder, "export.py", *run, *options)
    assert done.returncode == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_package_that_is_missing_is_named(made, monkeypatch):
    folder, recognizer, _ = made
    monkeypatch.delitem(sys.modules, "utils.export.onnx_file")
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = start_here(folder, "export.py", recognizer.checkpoint.run)
    assert done.returncode == 2 and "pip install -r requirements-export.txt" in done.stderr


def test_without_the_data_it_is_proved_on_drawn_faces_alone(tmp_path):
    done = start_here(tmp_path, "export.py", "--images", "3", "--format", "torch", "--out", "shipped.pt2")
    assert done.returncode == 0, done.stderr
    assert "without validation images" in done.stdout and "parity over 3 drawn faces" in done.stdout
    known = facts_in(tmp_path / "shipped.pt2")
    assert known["unsure_below"] is not None and known["accuracy"]["test"]["accuracy"] > 0.5
    assert known["crop"]["eyes"] is not None
    refused = start_here(tmp_path, "export.py", "--int8", "--out", "shipped.onnx")
    assert refused.returncode == 2 and not (tmp_path / "shipped.onnx").exists()
    module = torch.export.load(io.BytesIO((tmp_path / "shipped.pt2").read_bytes())).module()
    side = known["image_size"]
    outputs = module(torch.rand(2, known["channels"], side, side) * 255)
    assert len(outputs) == (2 if known["cam"] is None else 3)
