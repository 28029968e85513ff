"""Checkpoints: what is saved comes back, any damage is noticed, and nothing in a stranger's file is run."""

import dataclasses
import gzip
import hashlib
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from utils import checkpoint as module
from utils.checkpoint import (
    Checkpoint,
    checkpoint_bytes,
    checkpoint_hash,
    load_checkpoint,
    network,
    rebuild_model,
    save_checkpoint,
)
from utils.config import Config, config_from_dict
from utils.errors import UserError
from utils.labels import FER2013_CLASSES

CONFIG = Config(arch="tiny_resnet", image_size=16, in_channels=1)
TRAILER = len(b"sha256:") + 64


class Hostile:
    def __init__(self, call, *arguments):
        self.call = (call, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture(scope="module")
def saved() -> Checkpoint:
    torch.manual_seed(0)
    model = network(CONFIG)
    optimizer = torch.optim.RAdam(model.parameters())
    model(torch.zeros(2, 1, 16, 16)).sum().backward()
    optimizer.step()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return Checkpoint(
        run="tiny_resnet_run_20260101_000000",
        config=CONFIG,
        classes=FER2013_CLASSES,
        epoch=3,
        step=2,
        metrics={"accuracy": 0.5, "recall": [0.1, None]},
        selection={"part": "val", "metric": "accuracy"},
        data={"train": "0f" * 32},
        model=weights,
        ema={name: tensor / 2 if tensor.is_floating_point() else tensor for name, tensor in weights.items()},
        optimizer=optimizer.state_dict(),
        scheduler={"best": 0.5, "bad": 1},
        progress={"history": [{"epoch": 1, "loss": 1.5}], "random": torch.get_rng_state()},
        environment={"torch": str(torch.__version__)},
    )


@pytest.fixture(scope="module")
def content(saved) -> bytes:
    return checkpoint_bytes(saved)


def small(saved) -> Checkpoint:
    """The same checkpoint with next to no weights, where many files are needed."""
    weights = {"fc.bias": torch.arange(7.0)}
    return dataclasses.replace(saved, model=weights, ema=None, optimizer={}, progress={})


def plain_of(saved) -> dict:
    plain = {f.name: getattr(saved, f.name) for f in dataclasses.fields(saved)}
    return plain | {"format": 1, "config": dataclasses.asdict(saved.config), "classes": list(saved.classes)}


def sealed(archive: bytes) -> bytes:
    """``archive`` with a trailer that is right, as whoever means harm would write it."""
    body = bytearray(archive)
    body[-2:] = struct.pack("<H", TRAILER)
    return bytes(body) + b"sha256:" + hashlib.sha256(body).hexdigest().encode()


def torch_bytes(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def with_pickle(archive: bytes, pickled: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """``archive`` with another ``data.pkl``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return buffer.getvalue()


def refusal(path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        load_checkpoint(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ") and len(message.splitlines()) == 1
    return message.removeprefix(f"{path}: ")


def assert_equal(one, other):
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_equal(mine, theirs)
    else:
        assert one == other


def test_round_trip(saved, content, tmp_path):
    first, second = tmp_path / "new" / "best.pt", tmp_path / "last.pt"
    save_checkpoint(saved, first, second)
    assert first.read_bytes() == second.read_bytes()
    loaded = load_checkpoint(first)
    for f in dataclasses.fields(Checkpoint):
        assert_equal(getattr(saved, f.name), getattr(loaded, f.name))
    assert checkpoint_hash(first) == first.read_bytes()[-64:].decode()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["best.pt", "last.pt", "new"]


def test_file_is_an_ordinary_one_for_torch(saved, content, tmp_path):
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    plain = torch.load(path, weights_only=True)
    assert plain["config"] == dataclasses.asdict(CONFIG) and plain["format"] == 1
    assert config_from_dict(plain["config"], "file") == CONFIG
    assert_equal(plain["model"], saved.model)


def test_rebuilt_network_has_the_weights_that_were_judged(saved):
    images = torch.rand(2, 1, 16, 16)
    for ema, judged in ((saved.ema, saved.ema), (None, saved.model)):
        model = rebuild_model(dataclasses.replace(saved, ema=ema))
        assert not model.training
        assert_equal(dict(model.state_dict()), judged)
        assert torch.isfinite(model(images)).all()


def test_200_flipped_bits_are_each_refused(content, tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "best.pt"
    for place in generator.integers(0, 8 * len(content), 200):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << (place % 8)
        refusal(path, bytes(damaged))


def test_every_flipped_byte_of_the_trailer_is_refused(saved, tmp_path):
    content = checkpoint_bytes(small(saved))
    for place in range(1, TRAILER + 1):
        damaged = bytearray(content)
        damaged[-place] ^= 1
        assert "damaged (checksum" in (message := refusal(tmp_path / "a.pt", bytes(damaged))) or "cut off" in message


def test_cut_anywhere_is_refused(content, tmp_path):
    generator = np.random.default_rng(1)
    lengths = {1, 22, 71, 72, len(content) - 1, len(content) - 71, *generator.integers(1, len(content), 40).tolist()}
    for length in lengths:
        assert "cut off, or not a checkpoint" in refusal(tmp_path / "best.pt", content[:length])
    assert "damaged (checksum differs)" in refusal(tmp_path / "best.pt", content[len(content) // 2 :])


def test_zeroed_blocks_are_refused(content, tmp_path):
    places = [0, len(content) // 2 // 4096 * 4096, len(content) - 4096]
    for place in places:
        damaged = bytearray(content)
        damaged[place : place + 4096] = bytes(len(damaged[place : place + 4096]))
        refusal(tmp_path / "best.pt", bytes(damaged))
    refusal(tmp_path / "best.pt", bytes(len(content)))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (np.random.default_rng(0).bytes(5000), "cut off, or not a checkpoint of this project"),
        (b"\n<!DOCTYPE HTML><html>404</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git-LFS pointer"),
        (gzip.compress(b"x" * 1000, mtime=0), "compressed with gzip"),
        ("text".encode("utf-16"), "text in UTF-16"),
        (b"sha256:" + b"0" * 64, "damaged (checksum differs)"),
        (b"sha256:" + b"\xff" * 64, "damaged (checksum differs)"),
        (b"sha256:" + hashlib.sha256(b"").hexdigest().encode(), "damaged"),
        (b"PK\x03\x04" + bytes(100), "cut off"),
    ],
)
def test_file_that_is_something_else(tmp_path, content, part):
    assert part in refusal(tmp_path / "best.pt", content)


def test_place_that_is_no_file(tmp_path):
    assert refusal(tmp_path / "none.pt") == "no such file"
    assert refusal(tmp_path) == "is a folder, not a file"
    assert checkpoint_hash_of(tmp_path, b"short") == ""


def checkpoint_hash_of(folder, content: bytes) -> str:
    (folder / "x.pt").write_bytes(content)
    return checkpoint_hash(folder / "x.pt")


@pytest.mark.parametrize("value", [{"a": torch.ones(2)}, torch.ones(2), {"format": "1"}, [1], "text", {}, None])
def test_foreign_torch_files(tmp_path, value):
    path = tmp_path / "weights.pt"
    assert "loaded with weights=FILE" in refusal(path, torch_bytes(value))
    assert "not a checkpoint of this project" in refusal(path, sealed(torch_bytes(value)))


def test_old_torch_file(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    assert "not a checkpoint" in refusal(tmp_path / "old.pt", buffer.getvalue())


def test_newer_format(saved, tmp_path):
    message = refusal(tmp_path / "a.pt", sealed(torch_bytes(plain_of(small(saved)) | {"format": 2})))
    assert message == "format 2 is newer than this program reads (1)"


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Checkpoint)])
def test_missing_and_mistyped_entries(saved, tmp_path, name):
    plain = plain_of(small(saved))
    without = {key: value for key, value in plain.items() if key != name}
    if name in ("origin", "seen"):  # which files of the first versions lack
        (tmp_path / "a.pt").write_bytes(sealed(torch_bytes(without)))
        assert not getattr(load_checkpoint(tmp_path / "a.pt"), name)
    else:
        assert refusal(tmp_path / "a.pt", sealed(torch_bytes(without))) == f"lacks '{name}'"
    for wrong in (b"bytes", 2.5, {1, 2}, [[]] if name != "classes" else None):
        assert refusal(tmp_path / "a.pt", sealed(torch_bytes(plain | {name: wrong})))


def test_settings_in_a_checkpoint_are_checked(saved, tmp_path):
    for change, part in (
        ({"arch": ["x"]}, "arch must be a text on one line; got a list"),
        ({"lr": torch.ones(2)}, "lr must be a number above 0"),
        ({"flip": torch.ones(2)}, "flip must be true or false"),
        ({1: 2}, "unknown setting '1'"),
    ):
        plain = plain_of(small(saved))
        plain["config"] = plain["config"] | change
        assert part in refusal(tmp_path / "a.pt", sealed(torch_bytes(plain)))


@pytest.mark.parametrize("where", ["model", "ema"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(saved, tmp_path, where, bad):
    weights = {"fc.bias": torch.tensor([0.0, bad])}
    damaged = dataclasses.replace(small(saved), **{where: weights})
    assert refusal(tmp_path / "a.pt", checkpoint_bytes(damaged)) == "weight 'fc.bias' is not finite"


def test_weights_that_are_no_weights(saved, tmp_path):
    for weights in ({1: torch.ones(2)}, {"fc.bias": 3}, {"fc.bias": [torch.ones(2)]}):
        assert "weight" in refusal(
            tmp_path / "a.pt", checkpoint_bytes(dataclasses.replace(small(saved), model=weights))
        )


def test_weights_that_do_not_fit(saved):
    other = dataclasses.replace(CONFIG, arch="compact_resnet")
    eight = dataclasses.replace(CONFIG, num_classes=8)
    colour = dataclasses.replace(CONFIG, in_channels=3)
    prefixed = {f"module.{name}": tensor for name, tensor in saved.model.items()}
    for wrong, part in (
        ({"config": other}, "does not fit compact_resnet"),
        ({"config": eight}, "does not fit tiny_resnet: size mismatch for fc"),
        ({"config": colour}, "does not fit tiny_resnet: size mismatch"),
        ({"ema": None, "model": prefixed}, "does not fit tiny_resnet"),
        ({"ema": {}}, "does not fit tiny_resnet"),
    ):
        with pytest.raises(UserError, match="^checkpoint of tiny_resnet_run_20260101_000000: ") as refused:
            rebuild_model(dataclasses.replace(saved, **wrong))
        assert part in str(refused.value) and len(str(refused.value).splitlines()) == 1


# Files from strangers; each has a trailer that is right.

CALLS = {
    "os.system": lambda marker: Hostile(__import__("os").system, f"touch {marker}"),
    "builtins.exec": lambda marker: Hostile(exec, f"open({str(marker)!r}, 'w')"),
    "builtins.eval": lambda marker: Hostile(eval, f"open({str(marker)!r}, 'w')"),
    "open": lambda marker: Hostile(open, str(marker), "w"),
    "subprocess": lambda marker: Hostile(__import__("subprocess").call, ["touch", str(marker)]),
    "getattr": lambda marker: Hostile(getattr, 1, "real"),
    "torch.load": lambda marker: Hostile(torch.load, str(marker)),
    "pathlib": lambda marker: Hostile(__import__("pathlib").Path, str(marker)),
    "numpy": lambda _: np.float64(1),
    "bytearray of any size": lambda _: Hostile(bytearray, 10),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_pickles_are_refused_and_not_run(saved, tmp_path, monkeypatch, call, protocol):
    marker = tmp_path / "marker"
    pickled = pickle.dumps({"format": 1, "run": CALLS[call](marker)}, protocol=protocol)
    archive = with_pickle(torch_bytes(plain_of(small(saved))), pickled)
    # the refusal has to come before torch.load, which would itself refuse most of these
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was reached"))
    assert refusal(tmp_path / "a.pt", sealed(archive)) == "holds objects that could run code; refused"
    assert not marker.exists()


def test_torch_load_is_asked_for_plain_types_only(content, tmp_path, monkeypatch):
    asked = []
    original = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **options: asked.append(options) or original(*a, **options))
    (tmp_path / "a.pt").write_bytes(content)
    load_checkpoint(tmp_path / "a.pt")
    assert asked == [{"map_location": "cpu", "weights_only": True}]


def test_compressed_bomb_is_refused_before_it_is_unpacked(saved, tmp_path, monkeypatch):
    archive = with_pickle(torch_bytes(plain_of(small(saved))), bytes(2**26), zipfile.ZIP_DEFLATED)
    assert len(archive) < 2**18
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was reached"))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_, **__: pytest.fail("unpacked"))
    assert "holds compressed parts" in refusal(tmp_path / "a.pt", sealed(archive))


def test_many_names_for_the_same_bytes_are_refused(saved, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data/0", bytes(10_000))
        for number in range(1, 100):
            twin = zipfile.ZipInfo(f"archive/data/{number}")
            first = archive.getinfo("archive/data/0")
            twin.header_offset, twin.CRC = first.header_offset, first.CRC
            twin.file_size = twin.compress_size = first.file_size
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was reached"))
    assert refusal(tmp_path / "a.pt", sealed(buffer.getvalue())) == "would unpack to more than it holds; refused"


@pytest.mark.parametrize("where", ["model", "ema", "optimizer", "progress"])
def test_tensor_larger_than_its_data_is_refused_before_it_is_looked_at(saved, tmp_path, monkeypatch, where):
    bomb = {"a": torch.zeros(1).expand(10**6, 10**6)}
    monkeypatch.setattr(torch, "isfinite", lambda *_: pytest.fail("looked at"))
    damaged = dataclasses.replace(small(saved), **{where: bomb})
    assert "larger than its data" in refusal(tmp_path / "a.pt", checkpoint_bytes(damaged))


def test_lists_within_lists_a_billion_times(saved, tmp_path):
    laughs: list = []
    for _ in range(50):
        laughs = [laughs] * 10
    endless: list = []
    endless.append(endless)
    path = tmp_path / "a.pt"
    save_checkpoint(dataclasses.replace(small(saved), progress={"a": laughs, "b": endless}), path)
    assert load_checkpoint(path).epoch == 3


def test_damage_with_a_trailer_that_is_right(saved, tmp_path):
    """Whatever stands in the pickle or the zip directory: a refusal, or a checkpoint; never another error."""
    archive = torch_bytes(plain_of(small(saved)))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        name = next(name for name in opened.namelist() if name.endswith("data.pkl"))
        pickled = opened.read(name)
    generator = np.random.default_rng(2)
    path, refused = tmp_path / "a.pt", 0
    for number in range(300):
        target = bytearray(pickled if number % 2 else archive[-900:])
        target[generator.integers(len(target))] = generator.integers(256)
        bad = with_pickle(archive, bytes(target)) if number % 2 else archive[:-900] + bytes(target)
        path.write_bytes(sealed(bad))
        try:
            assert isinstance(load_checkpoint(path), Checkpoint)
        except UserError as error:
            assert str(error).startswith(str(path)) and error.exit_code == 2
            refused += 1
    assert refused > 50


def test_format_number_is_the_one_that_is_written(content):
    assert torch.load(io.BytesIO(content), weights_only=True)["format"] == module.FORMAT
