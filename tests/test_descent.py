"""What a dump's networks, and all that taught them, were trained on and began with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.descent import on_processors, other_sets
from utils.predictions import Predictions, combine, load_predictions, save_predictions


class Family:
    """Dumps in one folder, which may name each other as teachers."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def dump(self, name: str, **more: Any) -> Predictions:
        settings = {key: more.pop(key) for key in ("device", "distil_from", "weights") if key in more}
        meta = {"run": name, "split": "train", "dataset": "fer2013", "scores": "logits", "data": "d", "protocol": "p"}
        meta |= {"checkpoint": name, "config": {"device": "cpu"} | settings, "environment": {}} | more
        ids = ["train/00000", "train/00001"]
        logits = np.full((1, 2, 2), len(list(self.root.iterdir())), np.float32)  # no two alike: `combine` refuses those
        whole = Predictions(logits, np.array([0, 1]), ids, ("a", "b"), meta)
        save_predictions(whole, self.root / f"{name}.npz")
        return load_predictions(self.root / f"{name}.npz")

    def on_cpu(self, dump: Predictions) -> bool:
        return on_processors(dump, self.root)


@pytest.fixture
def family(tmp_path: Path) -> Family:
    return Family(tmp_path)


def test_a_network_was_on_an_accelerator_where_it_or_one_that_taught_it_was(family: Family) -> None:
    moved = family.dump("moved", environment={"earlier": "Z80 (cpu), TPU 9 (cuda)"})
    assert family.on_cpu(family.dump("plain")) and not family.on_cpu(family.dump("fast", device="cuda:0"))
    assert not family.on_cpu(family.dump("laptop", device="mps")) and not family.on_cpu(moved)
    pupil, taught = family.dump("pupil", distil_from="plain.npz"), family.dump("taught", distil_from="fast.npz")
    assert family.on_cpu(pupil) and not family.on_cpu(taught)
    for other in (taught, moved):
        assert not family.on_cpu(combine([pupil, other], ["pupil", "other"]))
    assert family.on_cpu(combine([pupil, family.dump("plain")], ["pupil", "plain"]))


def test_the_sets_behind_a_network_are_those_of_its_weights_its_origin_and_its_teachers(family: Family) -> None:
    plain, faces = family.dump("plain"), family.dump("faces", weights="elsewhere/mobilenet_v1_vggface2.safetensors")
    things = family.dump("things", weights="imagenet", distil_from="faces.npz")
    assert other_sets(plain, family.root) == [] and other_sets(faces, family.root) == ["VGGFace2"]
    assert other_sets(things, family.root) == ["ImageNet", "VGGFace2"]
    assert other_sets(family.dump("own", weights="a/mine.safetensors"), family.root) == ["mine"]
    moved = family.dump("moved", origin={"dataset": "ckplus", "origin": {"dataset": "jaffe", "origin": {}}})
    again = family.dump("again", origin={"dataset": "fer2013", "origin": {}})
    assert other_sets(moved, family.root) == ["CK+", "JAFFE"] and other_sets(again, family.root) == []
    assert other_sets(combine([again, things], ["again", "things"]), family.root) == ["ImageNet", "VGGFace2"]
