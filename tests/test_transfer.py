"""Beginning with another run's weights: what is taken over, heads by class names, and what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refusal
from test_training import config_in, trainer_in
from torch import nn

from models import model_info
from trainers.experiment import check_network
from trainers.learner import Learner
from trainers.trainer import Trainer
from utils.checkpoint import Checkpoint, checkpoint_hash, load_checkpoint, save_checkpoint
from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Faces, Picked, Split
from utils.datasets.fer2013 import OFFICIAL
from utils.errors import UserError
from utils.labels import FER2013_CLASSES
from utils.seen import pasts, seen_in
from utils.transfer import Origin, begin_with, check_unseen, find_origin, not_compared

PERMUTED = ("contempt", "neutral", "sad", "angry", "surprise", "happy", "fear")  # without disgust, in another order


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """One epoch on drawn faces, with averaged weights."""
    trainer = trainer_in(tmp_path_factory.mktemp("origin"), "max_epoch_num=1", "sample_faces=70")
    trainer.fit()
    return trainer


@pytest.fixture
def source(trained: Trainer) -> Checkpoint:
    """The same network, as if it had been trained on another data set."""
    checkpoint = load_checkpoint(trained.files.best)
    return dataclasses.replace(checkpoint, config=dataclasses.replace(checkpoint.config, dataset="folder"))


def kept(checkpoint: Checkpoint, folder: Path) -> Path:
    save_checkpoint(checkpoint, folder / "origin.pt")
    return folder / "origin.pt"


def faces_of(classes: tuple[str, ...] = FER2013_CLASSES, count: int = 40, seed: int = 0, people: str = "") -> Faces:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 24, 24), dtype=np.uint8)
    subjects = [f"{people}{i % 3}" for i in range(count)] if people else None
    ids = [f"{seed}/{i}" for i in range(count)]
    return Faces(images, np.arange(count) % len(classes), ids, subjects, classes)


def learner_in(folder: Path, *changes: str, classes: tuple[str, ...] = FER2013_CLASSES) -> Learner:
    return Learner(config_in(folder, f"num_classes={len(classes)}", *changes), faces_of(classes))


def begins(learner: Learner) -> str:
    """The line on what it begins with, but for what `not_compared` adds: the origin here read a folder, larger."""
    return learner.begins.partition("; run read")[0]


# ------------------------------------------------------------------------------------------------ what is taken over


@pytest.mark.parametrize("classes", [FER2013_CLASSES, PERMUTED, ("sad", "happy", "bored")], ids=len)
def test_rows_of_the_head_go_by_the_names_of_classes(tmp_path, source, classes):
    path = kept(dataclasses.replace(source, classes=PERMUTED), tmp_path)
    fresh = learner_in(tmp_path, classes=classes).model.state_dict()
    learner = learner_in(tmp_path, f"init_from={path}", classes=classes)
    mine, theirs = learner.model.state_dict(), source.ema
    assert set(mine) == set(theirs)
    for name in mine:
        if not name.startswith("fc."):
            assert torch.equal(mine[name], theirs[name])
    for name in ("fc.weight", "fc.bias"):
        for row, label in enumerate(classes):
            expected = theirs[name][PERMUTED.index(label)] if label in PERMUTED else fresh[name][row]
            assert torch.equal(mine[name][row], expected)
    new = [label for label in classes if label not in PERMUTED]
    known = f"epoch 1: {len(classes) - len(new)} of {len(classes)} classes known to it"
    assert begins(learner) == f"begins with {source.run}, {known}" + (f"; new: {', '.join(new)}" if new else "")


def test_another_normalisation_is_said(tmp_path, source):
    learner = learner_in(tmp_path, f"init_from={kept(source, tmp_path)}", "normalize=none")
    said = "it saw images with normalize=per_image, here they have none"
    assert begins(learner) == f"begins with {source.run}, epoch 1: 7 of 7 classes known to it; {said}"


def test_contempt_is_new_to_a_network_of_fer2013(tmp_path, source):
    classes = (*FER2013_CLASSES[:6], "contempt")
    fresh = learner_in(tmp_path, classes=classes).model.get_parameter("fc.weight")
    learner = learner_in(tmp_path, f"init_from={kept(source, tmp_path)}", classes=classes)
    weight = learner.model.get_parameter("fc.weight")
    assert torch.equal(weight[:6], source.ema["fc.weight"][:6]) and torch.equal(weight[6], fresh[6])
    assert begins(learner).endswith("6 of 7 classes known to it; new: contempt")
    assert torch.equal(learner.judged.get_parameter("fc.weight"), weight)  # what is averaged begins there too


@pytest.mark.parametrize("averaged", [True, False])
def test_the_weights_that_were_judged_are_taken(tmp_path, source, averaged):
    assert not torch.equal(source.model["fc.weight"], source.ema["fc.weight"])
    path = kept(source if averaged else dataclasses.replace(source, ema=None), tmp_path)
    mine = learner_in(tmp_path, f"init_from={path}").model.state_dict()
    assert all(torch.equal(mine[name], (source.ema if averaged else source.model)[name]) for name in mine)


class TwoHeads(nn.Module):
    """Weights under the names that Inception gives to its heads."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(3, 4), nn.Linear(4, classes)
        self.AuxLogits = nn.ModuleDict({"conv": nn.Linear(3, 5), "fc": nn.Linear(5, classes)})


def test_the_auxiliary_head_goes_by_names_too(tmp_path, source):
    info = model_info("inception_v3")
    assert (info.classifier, info.auxiliary) == ("fc", "AuxLogits.fc")
    theirs, ours = TwoHeads(3), TwoHeads(4)
    fresh = {name: value.clone() for name, value in ours.state_dict().items()}
    weights = {name: value.clone() for name, value in theirs.state_dict().items()}
    origin = Origin(dataclasses.replace(source, classes=("sad", "happy", "fear"), model=weights, ema=None), "0")
    config = dataclasses.replace(config_in(tmp_path), arch="inception_v3", num_classes=4)
    begin_with(ours, origin, config, ("happy", "bored", "fear", "sad"))
    mine = ours.state_dict()
    for name in ("body.weight", "body.bias", "AuxLogits.conv.weight", "AuxLogits.conv.bias"):
        assert torch.equal(mine[name], weights[name])
    for name in ("fc.weight", "fc.bias", "AuxLogits.fc.weight", "AuxLogits.fc.bias"):
        assert torch.equal(mine[name][[0, 2, 3]], weights[name][[1, 2, 0]])
        assert torch.equal(mine[name][1], fresh[name][1])


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("key", "theirs", "ours"),
    [
        ("arch", "compact_resnet", "tiny_resnet"),
        ("stem", "conv3", "default"),
        ("mask_activation", "sigmoid", "default"),
        ("in_channels", 3, 1),
    ],
)
def test_another_network_is_refused(tmp_path, source, key, theirs, ours):
    path = kept(dataclasses.replace(source, config=dataclasses.replace(source.config, **{key: theirs})), tmp_path)
    message = refusal(lambda: find_origin(config_in(tmp_path, f"init_from={path}")))
    assert message == f"init_from: {path} has {key} {theirs}; this run asks for {ours}"


@pytest.mark.parametrize("what", ["missing", "body", "head"])
def test_weights_that_do_not_fit_are_refused(tmp_path, source, what):
    weights = dict(source.ema)
    if what == "missing":
        del weights["fc.bias"]
    else:
        name = "fc.weight" if what == "head" else next(name for name in weights if weights[name].ndim == 4)
        weights[name] = torch.zeros(7, 13)
    path = kept(dataclasses.replace(source, ema=weights), tmp_path)
    message = refusal(lambda: learner_in(tmp_path, f"init_from={path}"))
    assert message.startswith(f"init_from: {source.run} does not fit tiny_resnet: ")


def test_initial_weights_are_named_once(tmp_path):
    message = refusal(lambda: find_origin(config_in(tmp_path, "init_from=run", "weights=imagenet")))
    assert message.startswith("init_from and weights both name initial weights") and message.endswith("got imagenet")
    assert find_origin(config_in(tmp_path, "weights=imagenet")) is None


@pytest.mark.parametrize("name", ["origin.pt", "weights.pth"])
def test_weights_do_not_lead_round_the_question_what_was_seen(tmp_path, source, name):
    path = kept(source, tmp_path).rename(tmp_path / name)
    for ask in (find_origin, check_network):
        message = refusal(lambda ask=ask: ask(config_in(tmp_path, f"weights={path}")))
        assert message == f"weights: {path} is a checkpoint of this project; init_from={path} begins with it"


def test_weights_of_others_are_weights(tmp_path, source):
    torch.save(source.model, tmp_path / "theirs.pth")
    assert find_origin(config_in(tmp_path, f"weights={tmp_path / 'theirs.pth'}")) is None
    for name in ("nowhere.pth", "x" * 300, str(tmp_path)):  # models.load_weights says what is wrong with them
        assert find_origin(config_in(tmp_path, f"weights={name}")) is None


def test_a_run_that_is_not_there_is_refused_with_the_names_of_others(tmp_path, source):
    save_checkpoint(
        source, tmp_path / "checkpoint_dir/happy_run/last.pt", tmp_path / "checkpoint_dir/happy_run/best.pt"
    )
    message = refusal(lambda: find_origin(config_in(tmp_path, "init_from=hapy_run")))
    assert f"{tmp_path / 'checkpoint_dir'}: no run 'hapy_run'; closest: happy_run" in message
    message = refusal(lambda: find_origin(config_in(tmp_path, "init_from=nowhere.pt")))
    assert message.startswith("init_from: nowhere.pt: no such checkpoint")
    found = find_origin(config_in(tmp_path, "init_from=happy_run"))
    assert found.hash == checkpoint_hash(tmp_path / "checkpoint_dir/happy_run/best.pt") != ""


def test_of_a_run_of_folds_the_file_of_one_is_asked_for(tmp_path, source):
    run = tmp_path / "checkpoint_dir" / "folded"
    save_checkpoint(source, run / "fold-01" / "best.pt")
    (run / "run.json").write_text(json.dumps({"config": {}}))
    message = refusal(lambda: find_origin(config_in(tmp_path, "init_from=folded")))
    assert message == f"init_from: {run / 'best.pt'}: no such checkpoint; a run of folds has one in each fold's folder"
    assert find_origin(config_in(tmp_path, f"init_from={run / 'fold-01' / 'best.pt'}")).checkpoint.run == source.run


def test_a_damaged_checkpoint_is_refused(tmp_path, source):
    path = kept(source, tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(lambda: find_origin(config_in(tmp_path, f"init_from={path}"))).startswith(f"{path}: ")


def split_of(train: Faces, val: Faces | None = None, test: Faces | None = None, protocol: str = "by hand") -> Split:
    return Split("a", train, val or faces_of(seed=101, count=9), test or faces_of(seed=102, count=9), protocol)


def origin_on(source: Checkpoint, dataset: str, train: str, before: Origin | None = None) -> Origin:
    config = dataclasses.replace(source.config, dataset=dataset)
    past = {} if before is None else before.identity()
    return Origin(dataclasses.replace(source, config=config, data={"train": train, "val": "v"}, origin=past), "0" * 64)


@pytest.mark.parametrize("between", [0, 1, 2])
def test_weights_that_have_seen_other_parts_of_the_set_are_refused_through_any_chain(tmp_path, source, between):
    faces = faces_of()
    split = split_of(faces)

    def chain(dataset: str, train: str) -> Origin:
        origin = origin_on(dataclasses.replace(source, run="the first"), dataset, train)
        for _ in range(between):
            origin = origin_on(source, "ckplus", "other people", origin)
        return origin

    message = refusal(lambda: check_unseen(chain("sample", "another part"), config_in(tmp_path), split))
    assert message.startswith("init_from: the first was trained on other parts of sample, perhaps on images that this")
    check_unseen(chain("sample", faces.fingerprint()), config_in(tmp_path), split)  # this very split
    check_unseen(chain("fer2013", "another part"), config_in(tmp_path), split)
    last = origin_on(source, "sample", "another part", chain("sample", faces.fingerprint()))
    assert "other parts of sample" in refusal(lambda: check_unseen(last, config_in(tmp_path), split))


def origin_of(source: Checkpoint, dataset: str, train: Faces, before: Origin | None = None, **changes) -> Origin:
    """A network that says on which images it was trained, and, as far as that says so, what it began with was."""
    origin = origin_on(source, dataset, train.fingerprint(), before)
    config = dataclasses.replace(origin.checkpoint.config, **changes)
    seen = [seen_in(train, config), *(before.checkpoint.seen if before else [])]
    return Origin(dataclasses.replace(origin.checkpoint, seen=seen, config=config), "0" * 64)


@pytest.mark.parametrize("dataset", ["folder", "fer2013", "sample"])  # of another name, or of the run's own
@pytest.mark.parametrize("between", [0, 2])
@pytest.mark.parametrize("part", ["val", "test"])
def test_what_an_origin_has_seen_is_told_image_by_image(tmp_path, source, dataset, between, part):
    own, origin = faces_of(), origin_of(dataclasses.replace(source, run="first"), dataset, faces_of(seed=1))
    for n in range(between):
        origin = origin_of(source, "ckplus", faces_of(seed=2 + n), origin)
    mixed = {"val": faces_of(seed=5, count=9), "test": faces_of(seed=6, count=9)}
    check_unseen(origin, config_in(tmp_path), split_of(own, **mixed))  # the same name, and not one image in common
    mixed[part].images[[2, 7]] = faces_of(seed=1).images[[0, 30]]
    message = refusal(lambda: check_unseen(origin, config_in(tmp_path), split_of(own, **mixed)))
    assert message.startswith("init_from: first was trained on 2 images of this run's val and test parts; begin with")


def test_copies_of_test_images_in_the_runs_own_train_part_are_no_leak(tmp_path, source):
    """FER2013's official split has 288 of them; a network that was trained on it may be trained on it further."""
    own = faces_of()
    test = faces_of(seed=6, count=9)
    test.images[:3] = own.images[10:13]
    origin = origin_of(source, "sample", own)
    check_unseen(origin, config_in(tmp_path), split_of(own, test=test))
    relabelled = dataclasses.replace(own, labels=own.labels[::-1].copy())  # as by FER+
    check_unseen(origin, config_in(tmp_path), split_of(relabelled, test=test))
    fewer = relabelled.take(np.arange(40) != 11)
    message = refusal(lambda: check_unseen(origin, config_in(tmp_path), split_of(fewer, test=test)))
    assert "was trained on 1 images of" in message


def test_fer2013_has_one_split_whatever_its_labels(tmp_path, source):
    """FER+ drops images from a part; a copy of one dropped from train may stand in test, and is no leak."""
    test = faces_of(seed=6, count=9)
    test.images[0] = faces_of().images[11]
    fewer, fer2013 = faces_of().take(np.arange(40) != 11), config_in(tmp_path, "dataset=fer2013")
    origin = origin_of(source, "fer2013", faces_of())
    old = Origin(dataclasses.replace(origin.checkpoint, seen=[]), "0" * 64)
    for protocol in (OFFICIAL, f"{OFFICIAL}; labels of FER+"):
        check_unseen(origin, fer2013, split_of(fewer, test=test, protocol=protocol))
        check_unseen(old, fer2013, split_of(fewer, test=test, protocol=protocol))
    assert "1 images" in refusal(lambda: check_unseen(origin, config_in(tmp_path), split_of(fewer, test=test)))


@pytest.mark.parametrize("protocol", ["random: 3 parts", "official test part; validation: every tenth image"])
def test_what_is_cut_from_fer2013s_training_part_has_been_seen_by_a_run_on_the_whole(tmp_path, source, protocol):
    """Folds of it, and the validation part of folders without one."""
    whole, fer2013 = faces_of(), config_in(tmp_path, "dataset=fer2013")
    rest, val = whole.take(np.arange(40) >= 4), whole.take(np.arange(40) < 4)
    origin = origin_of(source, "fer2013", whole)
    message = refusal(lambda: check_unseen(origin, fer2013, split_of(rest, val=val, protocol=protocol)))
    assert "was trained on 4 images of this run's val and test parts" in message
    old = Origin(dataclasses.replace(origin.checkpoint, seen=[]), "0" * 64)
    message = refusal(lambda: check_unseen(old, fer2013, split_of(rest, val=val, protocol=protocol)))
    assert "was trained on other parts of fer2013" in message


def test_pictures_of_a_folder_that_cannot_be_compared_are_spoken_of(tmp_path, source):
    small = faces_of()
    large = dataclasses.replace(small, images=small.images.repeat(2, 1).repeat(2, 2))
    said = not_compared(origin_of(source, "folder", large), config_in(tmp_path), small)
    assert said.endswith("so nobody can tell whether they stand here too")
    assert not_compared(origin_of(source, "folder", small), config_in(tmp_path), small) == ""
    assert (
        not_compared(origin_of(source, "fer2013", large), config_in(tmp_path), small) == ""
    )  # another set by its name
    folder = config_in(tmp_path, "dataset=folder")
    assert source.run in not_compared(origin_of(source, "fer2013", large), folder, small)
    hint = "read both at one image_size and crop"
    assert hint in refusal(lambda: check_unseen(origin_of(source, "folder", large), folder, split_of(small)))


def test_people_kept_apart_are_not_met_in_an_origin_of_the_same_set_either(tmp_path, source):
    parts = [faces_of(seed=seed, people=who) for seed, who in ((0, "a"), (1, "b"), (2, "c"))]
    split = split_of(*parts)
    others = origin_of(source, "sample", faces_of(seed=7))
    message = refusal(lambda: check_unseen(others, config_in(tmp_path), split))
    assert "was trained on other parts of sample, perhaps on people that this run is judged on; begin" in message
    check_unseen(others, config_in(tmp_path), split_of(*parts[:2], faces_of(seed=2, people="a")))  # not kept apart
    check_unseen(origin_of(source, "ckplus", faces_of(seed=7)), config_in(tmp_path), split)
    relabelled = dataclasses.replace(parts[0], labels=parts[0].labels[::-1].copy())
    check_unseen(origin_of(source, "sample", relabelled), config_in(tmp_path), split)  # the same images
    folder = config_in(tmp_path, "dataset=folder", "protocol=kfold")
    check_unseen(origin_of(source, "folder", faces_of(seed=7)), folder, split)  # another folder, or other people in it


@pytest.mark.parametrize("change", ["nothing", "other sizes", "other crops"])
def test_where_images_cannot_be_compared_names_decide(tmp_path, source, change):
    own, theirs = faces_of(), faces_of(seed=1)
    origin = origin_of(source, "folder", theirs, crop="box" if change == "other crops" else "none")
    if change == "nothing":  # a checkpoint of the first versions
        origin = Origin(dataclasses.replace(origin.checkpoint, seen=[]), "0" * 64)
    if change == "other sizes":
        images = own.images.repeat(2, 1).repeat(2, 2)
        own = dataclasses.replace(own, images=images)
    folder = config_in(tmp_path, "dataset=folder", "protocol=holdout")
    message = refusal(lambda: check_unseen(origin, folder, split_of(own)))
    assert "was trained on other parts of folder, perhaps on images that this run is judged on" in message
    check_unseen(origin, config_in(tmp_path), split_of(own))


def test_checkpoints_keep_what_was_seen_along_the_chain(tmp_path, trained, source):
    first = load_checkpoint(trained.files.best)
    (own,) = first.seen
    assert own["form"] == "48 x 48, crop none" and own["images"].dtype == torch.int64
    expected = [int.from_bytes(h[:8], "little", signed=True) for h in image_hashes(trained.split.train.images)]
    assert own["images"].tolist() == expected
    path = kept(dataclasses.replace(source, seen=first.seen, run="first"), tmp_path)
    second = trainer_in(tmp_path, "max_epoch_num=1", "sample_faces=77", "sample_seed=3", f"init_from={path}")
    second.fit()
    checkpoint = load_checkpoint(second.files.best)
    assert [past.run for past in pasts(checkpoint)] == [checkpoint.run, "first"]
    assert torch.equal(checkpoint.seen[1]["images"], own["images"]) and len(checkpoint.seen[0]["images"]) == 77
    again = trainer_in(tmp_path / "again", "max_epoch_num=1", "sample_faces=77", "sample_seed=3")
    again.resume(checkpoint)
    assert again.seen == checkpoint.seen and again.origin == checkpoint.origin
    old = dataclasses.replace(checkpoint, seen=[])  # begun before there were digests
    again.resume(old)
    assert torch.equal(again.seen[0]["images"], checkpoint.seen[0]["images"])
    assert [past.form for past in pasts(old)] == ["", ""]


def test_images_larger_than_memory_are_hashed_one_by_one(tmp_path):
    faces = faces_of()

    class Watched(np.ndarray):
        largest = 0

        def __getitem__(self, which):
            found = np.asarray(super().__getitem__(which))
            Watched.largest = max(Watched.largest, found.size)
            return found

    picked = dataclasses.replace(faces, images=Picked(faces.images.view(Watched), np.arange(40)))
    config = config_in(tmp_path)
    assert torch.equal(seen_in(picked, config)["images"], seen_in(faces, config)["images"])
    assert Watched.largest == 24 * 24


@pytest.mark.parametrize(
    "seen", [[7], [{}], [{"form": 1, "images": torch.zeros(2, dtype=torch.int64)}],
             [{"form": "x", "images": torch.zeros(2)}], [{"form": "x", "images": [1]}], {"form": "x"}]
)  # fmt: skip
def test_digests_of_another_kind_are_refused(tmp_path, source, seen):
    path = kept(dataclasses.replace(source, seen=seen), tmp_path)
    assert refusal(lambda: load_checkpoint(path)).startswith(f"{path}: 'seen' is not ")


def test_a_learner_refuses_what_its_origin_was_trained_on(tmp_path, trained):
    changes = (f"init_from={trained.files.best}",)
    with pytest.raises(UserError, match="was trained on other parts of sample"):
        trainer_in(tmp_path, "sample_faces=70", "sample_seed=1", *changes)
    again = trainer_in(tmp_path, "sample_faces=70", *changes).learner.model.state_dict()
    best = load_checkpoint(trained.files.best).ema
    assert all(torch.equal(again[name], best[name]) for name in best)
