"""The small file of a trained network: as good as the run, calibrated, and honest about its past."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import SMALL, refusal, start_here

from models import ModelError, create_model, pretrained_path, registry
from utils.calibration import fit_temperature, unsure_below
from utils.card import before_and_after, in_one
from utils.checkpoint import load_checkpoint
from utils.config import load_config
from utils.errors import UserError
from utils.inference import Recognizer
from utils.predictions import Predictions, load_predictions, softmax
from utils.shipped import load_network, network_path, shipped_bytes, taken_up
from utils.splits import load_splits


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and the folder in which its small file and dumps were written."""
    folder = tmp_path_factory.mktemp("shipped")
    assert start_here(folder, "main_fer.py", *SMALL, "max_epoch_num=1").returncode == 0
    (run,) = (folder / "saved" / "checkpoints").iterdir()
    told = start_here(folder, "gen_pretrained.py", run.name)
    assert told.returncode == 0, told.stderr
    return folder, run


@pytest.fixture
def small(made, monkeypatch):
    folder, _ = made
    monkeypatch.setattr(registry, "_SHIPPED", folder / "models" / "pretrained")
    (path,) = (folder / "models" / "pretrained").glob("*.safetensors")
    return path


def images(count=20):
    return np.random.default_rng(0).integers(0, 256, (count, 48, 48), np.uint8)


def test_it_says_what_the_run_says_but_for_half_precision_and_temperature(made, small):
    run, file = Recognizer(made[1] / "best.pt"), Recognizer(small)
    temperature = json.loads(safetensors.safe_open(small, "pt").metadata()["told"])["temperature"]
    network = [one.model(torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(1))) for one in (run, file)]
    np.testing.assert_allclose(network[1].detach() * temperature, network[0].detach(), atol=0.02)
    assert (run.probabilities(images()).argmax(1) == file.probabilities(images()).argmax(1)).mean() > 0.9
    assert file.classes == run.classes and file.checkpoint.metrics == run.checkpoint.metrics
    assert small.stat().st_size < 0.6 * (made[1] / "best.pt").stat().st_size


def test_its_dumps_are_its_own_and_calibrated_on_validation(made, small):
    folder, run = made
    mine, runs = (
        load_predictions(where / f"{name}.val.npz")
        for where, name in ((folder / "results" / "pretrained", small.stem), (folder / "saved" / "results", run.name))
    )
    temperature = fit_temperature(runs.logits[0], runs.targets)
    np.testing.assert_allclose(mine.logits[0] * temperature, runs.logits[0], atol=0.02 * abs(runs.logits).max())
    assert mine.meta["checkpoint"] == Recognizer(small).hash and mine.meta["run"] == run.name
    assert (folder / "results" / "pretrained" / f"{small.stem}.test.npz").is_file()


def test_gen_results_makes_its_dumps_again_from_the_file_alone(made, small, tmp_path):
    told = start_here(tmp_path, "gen_results.py", str(small), "--split", "val")
    assert told.returncode == 0, told.stderr
    again = load_predictions(tmp_path / "saved" / "results" / f"{small.stem}.val.npz")
    committed = load_predictions(made[0] / "results" / "pretrained" / f"{small.stem}.val.npz")
    assert again.meta["checkpoint"] == committed.meta["checkpoint"] and again.ids == committed.ids
    np.testing.assert_allclose(again.logits[0], committed.logits[0], atol=1e-3)


def test_it_judges_in_fp32_and_says_how_it_was_trained(made, tmp_path):
    checkpoint = load_checkpoint(made[1] / "best.pt")
    trained = replace(checkpoint, config=replace(checkpoint.config, precision="bf16"))
    (tmp_path / "a.safetensors").write_bytes(shipped_bytes(trained, 1.5))
    recognizer = Recognizer(tmp_path / "a.safetensors")
    (split,) = load_splits(recognizer.config)
    meta = recognizer.predict(split, "val", views=1).meta
    assert (meta["precision"], meta["config"]["precision"]) == ("fp32", "bf16")


def test_create_model_brings_classes_and_channels_of_its_own(small):
    model = create_model(small.stem, weights="pretrained").eval()
    judged = Recognizer(small).model
    x = torch.rand(2, 1, 48, 48)
    assert torch.equal(model(x), judged(x)) and model(x).shape == (2, 7)
    assert create_model(small.stem, weights="pretrained", num_classes=3).eval()(x).shape == (2, 3)


def test_what_has_no_pretrained_weights_says_who_has(small):
    with pytest.raises(ModelError, match=f"alexnet has no pretrained weights.*: {small.stem}"):
        pretrained_path("alexnet")
    with pytest.raises(ModelError, match="num_classes must be given"):
        create_model("alexnet")
    with pytest.raises(ModelError, match="its pretrained weights take in_channels=1; got 3"):
        create_model(small.stem, weights="pretrained", in_channels=3)
    with pytest.raises(ModelError, match="or a path; got None"):
        create_model("alexnet", num_classes=7, weights=None)


def test_a_temperature_that_weights_have_taken_up_is_undone(small):
    logits = np.random.default_rng(0).normal(size=(1, 5, 7)).astype(np.float32)
    temperature = taken_up(small)
    assert 0 < temperature != 1 and taken_up(Path("run/best.pt")) == 1
    test = Predictions(logits / temperature, np.zeros(5, np.int64), list("abcde"), tuple("abcdefg"), {})
    before, after = before_and_after(test, temperature)
    np.testing.assert_allclose(before, softmax(logits[0]), atol=1e-6)
    np.testing.assert_allclose(after, softmax(logits[0] / temperature), atol=1e-6)


def test_another_run_begins_with_it_and_its_past_is_asked_about(made, small):
    folder, run = made
    other = [*SMALL, "max_epoch_num=1", f"init_from={small}"]
    told = start_here(folder, "main_fer.py", *other)
    assert told.returncode == 0, told.stderr
    assert f"begins with {run.name}" in told.stdout
    told = start_here(folder, "main_fer.py", *other, "protocol=random", "split_seed=3")
    assert told.returncode == 2 and "images of this run's val and test parts" in told.stderr
    told = start_here(folder, "main_fer.py", *SMALL, f"weights={small}")
    assert told.returncode == 2 and f"init_from={small} begins with it" in told.stderr


@pytest.mark.parametrize("harm", ["cut", "no note", "other note", "not finite"])
def test_a_file_that_is_none_is_refused(made, tmp_path, harm):
    checkpoint = load_checkpoint(made[1] / "best.pt")
    content, path = shipped_bytes(checkpoint, 1.5), tmp_path / "w.safetensors"
    if harm == "cut":
        content = content[:-100]
    elif harm != "not finite":
        notes = None if harm == "no note" else {"config": "[]", "told": "{}"}
        content = safetensors.torch.save({"x": torch.ones(2)}, notes)
    else:
        next(iter(checkpoint.judged_weights().values())).fill_(torch.nan)
        content = shipped_bytes(checkpoint, 1.5)
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path.name}: "):
        load_network(path)


def test_the_temperature_of_logits_that_were_multiplied():
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 7))
    targets = np.array([random.choice(7, p=p) for p in softmax(logits)])
    assert fit_temperature(3 * logits, targets) == pytest.approx(3, rel=0.05)
    assert fit_temperature(logits / 4, targets) == pytest.approx(0.25, rel=0.05)


def test_unsure_where_answers_are_more_often_wrong_than_right():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.2, 1, 50_000)
    right = random.uniform(size=50_000) < confidence  # calibrated
    probabilities = np.stack([confidence, *[(1 - confidence) / 6] * 6], axis=1)
    assert unsure_below(probabilities, np.where(right, 0, 1)) == pytest.approx(0.5, abs=0.03)
    assert unsure_below(probabilities, np.zeros(50_000, int)) == confidence.min()


def test_unsure_holds_equal_confidences_together():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.6, 0.4], [0.6, 0.4]])
    assert unsure_below(probabilities, np.array([0, 0, 1, 1])) == 0.9
    assert unsure_below(probabilities, np.array([0, 0, 0, 1])) == 0.6


def test_a_network_is_named_by_run_or_file_or_not_at_all(made, small, monkeypatch):
    folder, run = made
    config = load_config(None, [f"checkpoint_dir={run.parent}"])
    assert network_path(run.name, config) == run / "best.pt"
    assert network_path(str(small), config) == small
    monkeypatch.setattr("utils.shipped.DEFAULT_NETWORK", small.stem)
    assert network_path(None, config) == small
    monkeypatch.setattr("utils.shipped.DEFAULT_NETWORK", "alexnet")
    assert "name a run, or make them of one: python gen_pretrained.py RUN" in refusal(
        lambda: network_path(None, config)
    )
    assert "no run 'nothing'" in refusal(lambda: network_path("nothing", config))


def test_strengths_stand_in_one_phrase():
    assert in_one(["5% of the picture", "10% of the picture"]) == "5 / 10% of the picture"
    assert in_one(["sigma 0.5", "sigma 1.25"]) == "sigma 0.5 / 1.25"
    assert in_one(["as it is", "5%"]) == "as it is; 5%" and in_one(["2 by 3", "2 by 4"]) == "2 by 3; 2 by 4"
