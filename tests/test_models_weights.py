"""Weights files: what fits is loaded, and every bad, foreign or hostile file is refused in one line."""

import io
import logging
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from models import ModelError, create_model, load_weights, model_info
from models import weights as weights_module
from models.attention_resnet import AUTHORS_NAMES
from models.torchvision_compat import torchvision
from models.vggface import rename_caffe_key
from models.weight_files import MAX_BYTES

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "weights"
MOBILENET = WEIGHTS / "mobilenet_v2_imagenet.safetensors"


def tiny(**settings):
    return create_model("tiny_resnet", **{"num_classes": 7, **settings})


def same(first, second):
    return all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.fixture
def source():
    torch.manual_seed(11)
    return tiny().state_dict()


@pytest.mark.parametrize("wrapper", [None, "net", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_wrapped_and_prefixed_files_load(tmp_path, source, wrapper, prefix):
    state = {prefix + key: value for key, value in source.items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    model = tiny(weights=tmp_path / "w.pth")
    assert same(source, model.state_dict())


def test_safetensors_load_whatever_their_suffix(tmp_path, source):
    safetensors.torch.save_file(source, tmp_path / "w.pt")
    assert same(source, tiny(weights=str(tmp_path / "w.pt")).state_dict())


def test_files_from_before_the_zip_format_load(tmp_path, source):
    torch.save(source, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert same(source, tiny(weights=tmp_path / "w.pth").state_dict())


def test_half_precision_files_load(tmp_path, source):
    halved = {key: value.half() if value.is_floating_point() else value for key, value in source.items()}
    torch.save(halved, tmp_path / "w.pth")
    model = tiny(weights=tmp_path / "w.pth")
    assert model.fc.weight.dtype == torch.float32
    torch.testing.assert_close(model.stem[0].weight, source["stem.0.weight"], rtol=1e-3, atol=1e-4)


def test_the_report_and_its_line(tmp_path, source, caplog):
    del source["stages.0.0.bn1.num_batches_tracked"], source["stages.0.0.bn1.bias"]
    torch.save({**source, "extra.weight": torch.zeros(3)}, tmp_path / "w.pth")
    model = tiny(num_classes=5)
    fresh_head = model.fc.weight.clone()
    with caplog.at_level(logging.INFO, logger="models.weights"):
        report = load_weights(model, tmp_path / "w.pth")
    assert set(report.skipped) == {"fc.weight", "fc.bias", "extra.weight"}
    assert set(report.missing) == {"fc.weight", "fc.bias", "stages.0.0.bn1.bias"}
    assert set(report.loaded) == set(source) - {"fc.weight", "fc.bias"}
    assert torch.equal(model.fc.weight, fresh_head)
    assert f"{len(report.loaded)} tensors loaded, 3 skipped" in report.summary()
    assert "3 keep fresh values" in report.summary()
    assert caplog.messages == [report.summary()] and "\n" not in report.summary()


def test_a_grey_stem_is_the_exact_sum(tmp_path):
    torch.manual_seed(0)
    colour = create_model("resnet18", num_classes=7).eval()
    torch.save(colour.state_dict(), tmp_path / "w.pth")
    grey = create_model("resnet18", num_classes=7, in_channels=1, weights=tmp_path / "w.pth").eval()
    assert torch.equal(grey.conv1.weight, colour.conv1.weight.sum(dim=1, keepdim=True))
    images = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["alexnet", "mobilenet_v2", "googlenet", "densenet121", "efficientnet_b2b"])
def test_grey_stems_of_the_zoo(tmp_path, name):
    torch.manual_seed(0)
    colour = create_model(name, num_classes=7).eval()
    torch.save(colour.state_dict(), tmp_path / "w.pth")
    grey = create_model(name, num_classes=7, in_channels=1, weights=tmp_path / "w.pth").eval()
    images = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3)


def test_another_stem_keeps_its_fresh_kernel_and_takes_the_trunk(tmp_path):
    source = create_model("resnet18", num_classes=7)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    for in_channels in (1, 3):
        model = create_model("resnet18", num_classes=7, stem="conv3", in_channels=in_channels)
        report = load_weights(model, tmp_path / "w.pth")
        assert report.skipped == report.missing == ("conv1.weight",)
        assert torch.equal(model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)


def test_a_published_style_resmasking_checkpoint_loads(tmp_path, monkeypatch):
    monkeypatch.setattr("models.resnet.WIDTHS", (8, 16, 32, 64))  # the same names in a 64th of the file
    torch.manual_seed(0)
    source = create_model("resmasking_dropout1", num_classes=7).state_dict()
    doubled = {
        re.sub(r"conv(\d+)\.downsample", r"downsample\1", key): value
        for key, value in source.items()
        if key.startswith("mask") and ".downsample." in key
    }
    assert len(doubled) == 20 * 6 and "mask1.downsample8.0.weight" in doubled
    torch.save({"net": {**source, **doubled}, "best_val_acc": 70.1}, tmp_path / "published.pth")
    model = create_model("resmasking_dropout1", num_classes=7)
    with torch.no_grad():
        model.mask4.conv1.downsample.get_submodule("0").weight.zero_()
    report = load_weights(model, tmp_path / "published.pth", rename_key=lambda key: key)
    assert set(report.skipped) == set(doubled) and report.missing == ()
    assert same(source, model.state_dict())
    silent = create_model("resmasking_dropout1", num_classes=7, weights=tmp_path / "published.pth")
    assert same(source, silent.state_dict())


@pytest.mark.parametrize("name", ["cbam_resnet18", "bam_resnet18"])
def test_the_authors_names_are_understood(tmp_path, name):
    source = create_model(name, num_classes=7).state_dict()
    published = {}
    for key, value in source.items():
        for theirs, ours in AUTHORS_NAMES.items():
            if (name.startswith("cbam")) == ("cbam" in theirs):
                key = key.replace(ours, theirs.replace("\\", ""))
        published[key] = value
    assert any("gate" in key.lower() for key in published)
    torch.save({"state_dict": published}, tmp_path / "w.pth")
    model = create_model(name, num_classes=7, weights=tmp_path / "w.pth")
    assert same(source, model.state_dict())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv1_7x7_s2.weight", "conv1.weight"),
        ("conv1_7x7_s2_bn.running_mean", "bn1.running_mean"),
        ("conv2_1_1x1_proj.weight", "layer1.0.downsample.0.weight"),
        ("conv4_6_1x1_increase_bn.bias", "layer3.5.bn3.bias"),
        ("conv5_3_3x3.weight", "layer4.2.conv2.weight"),
        ("layer1.0.conv1.weight", "layer1.0.conv1.weight"),
        ("classifier.weight", "classifier.weight"),
    ],
)
def test_names_of_the_converted_caffe_file(theirs, ours):
    assert rename_caffe_key(theirs) == ours


@pytest.mark.skipif(not MOBILENET.exists(), reason=f"needs {MOBILENET.name} in ../shared/weights")
@pytest.mark.parametrize("in_channels", [1, 3])
def test_real_imagenet_weights_load(in_channels):
    fresh = create_model("mobilenet_v2", num_classes=7, in_channels=in_channels)
    report = load_weights(fresh, MOBILENET)
    assert set(report.missing) == {"classifier.1.weight", "classifier.1.bias"} == set(report.skipped)
    # Trained kernels of a first layer are far from the fresh ones, and the statistics far from 0 and 1.
    assert fresh.features[0][1].running_var.std() > 0.01
    original = safetensors.torch.load_file(MOBILENET)["features.0.0.weight"].float()
    expected = original if in_channels == 3 else original.sum(dim=1, keepdim=True)
    torch.testing.assert_close(fresh.features[0][0].weight.detach(), expected)


@pytest.mark.skipif(not MOBILENET.exists(), reason=f"needs {MOBILENET.name} in ../shared/weights")
def test_real_imagenet_weights_with_their_own_head():
    model = create_model("mobilenet_v2", num_classes=1000, weights=MOBILENET).eval()
    reference = torchvision.models.mobilenet_v2().eval()
    reference.load_state_dict(safetensors.torch.load_file(MOBILENET))
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), reference(images))


@pytest.mark.parametrize("name", ["mobilenet_v1", "efficientnet_lite2"])
def test_all_that_the_published_files_hold_finds_its_place(name):
    path = (
        WEIGHTS / {"mobilenet_v1": "mobilenet_v1_vggface2", "efficientnet_lite2": "efficientnet_lite2_imagenet"}[name]
    )
    path = path.with_suffix(".safetensors")
    if not path.exists():
        pytest.skip(f"needs {path.name} in ../shared/weights")
    model, facts = create_model(name, num_classes=7), model_info(name)
    report = load_weights(model, path, rename_key=facts.rename_key)
    head = {f"{facts.classifier}.weight", f"{facts.classifier}.bias"}
    assert set(report.missing) == head and set(report.skipped) <= {"_fc.weight", "_fc.bias"}


@pytest.mark.parametrize("name", ["mobilenet_v1", "efficientnet_lite2"])
def test_our_own_names_are_left_as_they_are(name):
    rename = model_info(name).rename_key
    names = list(create_model(name, num_classes=7).state_dict())
    assert [rename(key) for key in names if key.startswith("blocks")] == [k for k in names if k.startswith("blocks")]


def archive(compressed: bool, size: int) -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as file:
        file.writestr("archive/data.pkl", b"\x00" * size)
    return buffer.getvalue()


def boasting_archive() -> bytes:
    """A small archive whose directory declares more than can be honest."""
    content = bytearray(archive(compressed=False, size=10))
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(content)


def cut(source: dict, legacy: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(source, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


BAD_FILES = {
    "empty": (lambda source: b"", "empty; expected"),
    "web page": (lambda source: b"<!DOCTYPE html><html>404</html>", "a web page"),
    "lfs pointer": (
        lambda source: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "a git-lfs pointer",
    ),
    "random": (lambda source: b"\x17" + np.random.default_rng(0).bytes(5000), "not a weights file"),
    "random pickle": (lambda source: b"\x80\x02" + np.random.default_rng(0).bytes(5000), "damaged or unsafe"),
    "random zip": (lambda source: b"PK\x03\x04" + np.random.default_rng(0).bytes(5000), "damaged or unsafe"),
    "cut": (lambda source: cut(source, legacy=False), "damaged or unsafe"),
    "cut, old format": (lambda source: cut(source, legacy=True), "damaged or unsafe"),
    "cut safetensors": (lambda source: safetensors.torch.save(source)[:-100], "damaged or unsafe"),
    "bomb": (lambda source: archive(compressed=True, size=20_000_000), "would unpack to 20000000"),
    "boasting": (lambda source: boasting_archive(), f"would unpack to {0xFFFFFFF0}"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_refused_in_one_line(tmp_path, source, kind):
    make, said = BAD_FILES[kind]
    path = tmp_path / "w.pth"
    path.write_bytes(make(source))
    with pytest.raises(ModelError) as refusal:
        tiny(weights=path)
    text = str(refusal.value)
    assert text.startswith(f"{path}: ") and said in text
    assert "\n" not in text and "weights_only" not in text and len(text) < 320


def test_more_than_the_largest_size_is_refused(tmp_path, monkeypatch, source):
    assert MAX_BYTES == 8 * 2**30
    monkeypatch.setattr("models.weight_files.MAX_BYTES", 100_000)
    torch.save(source, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="refused, .* would unpack to"):
        tiny(weights=tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["folder", "fifo", "nothing"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "w.pth"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    said = {"folder": "is a folder", "fifo": "not a regular file", "nothing": "no such weights file"}[kind]
    with pytest.raises(ModelError, match=said):
        tiny(weights=path)


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["torch", "old torch", "bare pickle"])
def test_a_hostile_pickle_runs_nothing(tmp_path, source, form):
    marker, path = tmp_path / "was-here", tmp_path / "w.pth"
    content = {"net": source, "epoch": Hostile(marker)}
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(ModelError, match="damaged or unsafe") as refusal:
        tiny(weights=path)
    assert not marker.exists()
    assert "\n" not in str(refusal.value) and "weights_only" not in str(refusal.value)
    # The trap is real: without the safe reader the folder would appear.
    Hostile(marker).__reduce__()[0](str(marker))
    assert marker.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_and_nothing_changes(tmp_path, source, value):
    source["stages.2.0.bn2.bias"][3] = value
    torch.save(source, tmp_path / "w.pth")
    model = tiny()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(ModelError, match="stages.2.0.bn2.bias holds values that are not finite"):
        load_weights(model, tmp_path / "w.pth")
    assert same(before, model.state_dict())


def test_another_networks_weights_are_refused(tmp_path):
    torch.save(create_model("resnet18", num_classes=7).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ModelError, match="weights of another network; none of its tensors fits"):
        create_model("mobilenet_v2", num_classes=7, weights=tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"weights of another network; layer1.0.conv1.weight is \[64, 64, 3, 3\]"):
        create_model("resnet50", num_classes=7, weights=tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"net": {"a": "text"}}])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="holds no tensors"):
        tiny(weights=tmp_path / "w.pth")


def test_a_tensor_that_claims_to_be_huge_takes_no_memory(tmp_path, source):
    source["fc.weight"] = torch.zeros(1).expand(10**9, 192)
    torch.save(source, tmp_path / "w.pth")
    model = tiny(weights=tmp_path / "w.pth")  # a head of another shape: left out before it is looked at
    assert model.fc.out_features == 7


@pytest.mark.parametrize("name", ["tiny_resnet", "compact_vgg", "resnet50_pretrained_vgg"])
def test_networks_without_imagenet_weights_say_so(name):
    with pytest.raises(ModelError, match=f"{name} has no imagenet weights; .*path"):
        create_model(name, num_classes=7, weights="imagenet")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub folder of our own and a network that is not there."""

    def no_network(url, *args, **kwargs):
        raise OSError("name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("resnet18", "resnet18-f37072fd.pth"),
        ("cbam_resnet18", "resnet18-f37072fd.pth"),
        ("resmasking", "resnet34-b627a593.pth"),
        ("efficientnet_b2b", "tf_efficientnet_b2.aa_in1k.safetensors"),
        ("timm:resnet10t", "resnet10t.c3_in1k.safetensors"),
    ],
)
def test_without_a_network_it_says_which_file_belongs_where(hub, name, file_name):
    with pytest.raises(ModelError) as refusal:
        create_model(name, num_classes=7, weights="imagenet")
    text = str(refusal.value)
    assert "name or service not known" in text and "https://" in text and "\n" not in text
    assert str(hub / file_name) in text


def test_a_file_placed_where_the_message_says_is_found(hub):
    source = create_model("resnet18", num_classes=1000)
    hub.mkdir()
    torch.save(source.state_dict(), hub / "resnet18-f37072fd.pth")
    model = create_model("cbam_resnet18", num_classes=7, weights="imagenet")
    assert torch.equal(model.layer3[0].conv1.weight, source.layer3[0].conv1.weight)


def test_every_imagenet_source_has_an_address():
    from models import list_models, model_info

    sources = {model_info(name).imagenet for name in list_models()} - {None}
    assert len(sources) >= 12
    for source in sources:
        url, file_name = weights_module._imagenet_file(source)
        assert url.startswith("https://") and file_name.endswith((".pth", ".safetensors"))


def test_averaged_weights_go_before_the_last_ones(tmp_path):
    last, averaged = (create_model("tiny_resnet", num_classes=7).state_dict() for _ in range(2))
    torch.save({"model": last, "ema": averaged}, tmp_path / "both.pt")
    loaded = create_model("tiny_resnet", num_classes=7, weights=tmp_path / "both.pt").state_dict()
    assert all(torch.equal(loaded[name], averaged[name]) for name in averaged)
