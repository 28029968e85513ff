"""Protocols: who is judged where, what may not stand on both sides, and splits that another run is forced onto."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from conftest import refusal

from utils.datasets.faces import Faces, Split, pooled
from utils.splits.even_folds import even_folds
from utils.splits.leaks import check_apart, check_judged_once
from utils.splits.protocols import given, holdout, kfold, loso, random_folds
from utils.splits.split_file import load_split_file, save_split_file, split_table

CLASSES = ("angry", "fear", "happy")


def people(count: int = 12, of_each: int = 2, seed: int = 0) -> Faces:
    """Each person has ``of_each`` images of each class, of which no two are alike."""
    n = count * of_each * len(CLASSES)
    images = np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    labels = np.tile(np.repeat(np.arange(len(CLASSES)), of_each), count)
    subjects = [f"P{i // (of_each * len(CLASSES)):02d}" for i in range(n)]
    return Faces(images, labels, [f"{who}_{i:03d}" for i, who in enumerate(subjects)], subjects, CLASSES)


FACES = people()
MAKERS = {
    "loso": lambda faces, seed=0: loso(faces, seed=seed),
    "kfold": lambda faces, seed=0: kfold(faces, folds=4, seed=seed),
    "random": lambda faces, seed=0: random_folds(faces, folds=4, seed=seed),
}


def ids(splits: list[Split]) -> list[dict[str, list[str]]]:
    return [{name: part.ids for name, part in split.parts().items()} for split in splits]


@pytest.mark.parametrize("protocol", MAKERS)
def test_each_image_is_judged_once_and_the_seed_decides(protocol):
    splits = MAKERS[protocol](FACES)
    assert sorted(i for split in splits for i in split.test.ids) == FACES.ids
    for split in splits:
        assert sorted(i for part in split.parts().values() for i in part.ids) == FACES.ids
        assert all(len(part) for part in split.parts().values()) and split.protocol.startswith(f"{protocol}: ")
        for part in split.parts().values():
            for image, label, identity in zip(part.images, part.labels, part.ids, strict=True):
                index = FACES.ids.index(identity)
                assert label == FACES.labels[index] and (image == FACES.images[index]).all()
    assert len({split.name for split in splits}) == len(splits) == (12 if protocol == "loso" else 4)
    assert ids(splits) == ids(MAKERS[protocol](FACES)) != ids(MAKERS[protocol](FACES, seed=1))


@pytest.mark.parametrize("protocol", ["loso", "kfold"])
def test_grouped_protocols_keep_persons_apart(protocol):
    for split in MAKERS[protocol](FACES):
        who = [set(part.subjects) for part in split.parts().values()]
        assert sum(map(len, who)) == len(set.union(*who)) and "no person in two parts" in split.protocol


def test_loso_is_named_for_persons_who_validate_equally_often():
    splits = loso(FACES, seed=3, val_subjects=3)
    assert [split.name for split in splits] == sorted(set(FACES.subjects))
    assert all(set(split.test.subjects) == {split.name} for split in splits)
    validates = [who for split in splits for who in sorted(set(split.val.subjects))]
    assert {validates.count(who) for who in FACES.subjects} == {3}


def test_random_folds_are_even_and_say_what_they_are():
    splits = random_folds(FACES, folds=4, seed=0)
    assert all("same people in train and test" in split.protocol for split in splits)
    assert all(set(split.test.subjects) & set(split.train.subjects) for split in splits)
    assert np.ptp([split.test.counts() for split in splits]) <= 1


def test_the_order_of_the_images_changes_nothing():
    order = np.random.default_rng(0).permutation(len(FACES))
    shuffled = FACES.take(order)
    for make in MAKERS.values():
        assert [set(split.test.ids) for split in make(shuffled)] == [set(split.test.ids) for split in make(FACES)]


def test_folds_of_uneven_persons_come_out_even():
    random = np.random.default_rng(0)
    sizes = random.integers(1, 30, 60)
    groups = np.repeat([f"P{i:02d}" for i in range(60)], sizes).tolist()
    labels = np.repeat(random.integers(0, 5, 60), sizes)  # the hardest case: a person shows one class only
    labels = np.where(random.random(len(labels)) < 0.5, labels, random.integers(0, 5, len(labels)))
    fold = even_folds(labels, groups, 5, 0, "persons")
    counts = np.array([np.bincount(labels[fold == f], minlength=5) for f in range(5)])
    assert counts.sum(1).max() / counts.sum(1).min() < 1.1
    assert (np.abs(counts - counts.mean(0)) / counts.mean(0)).max() < 0.35
    assert all(len(set(fold[np.array(groups) == g])) == 1 for g in set(groups))


@pytest.mark.parametrize("protocol", ["loso", "kfold"])
def test_an_exact_copy_on_both_sides_is_refused_and_both_files_are_named(protocol):
    images = FACES.images.copy()
    images[70] = images[3]
    message = refusal(lambda: MAKERS[protocol](dataclasses.replace(FACES, images=images)))
    assert "exact copies of one image on both sides" in message and "'P00_003'" in message and "'P11_070'" in message
    assert random_folds(dataclasses.replace(FACES, images=images), folds=4, seed=0)
    images[70], images[4] = 0, images[3]  # two copies of one person stand together
    assert MAKERS[protocol](dataclasses.replace(FACES, images=images))


@pytest.mark.parametrize("protocol", ["loso", "kfold"])
def test_a_sequence_on_both_sides_is_refused(protocol):
    def sequence_of(identity: str) -> str:
        return "one" if identity in ("P00_003", "P11_070") else identity

    make = {"loso": loso, "kfold": lambda *a, **k: kfold(*a, folds=4, **k)}[protocol]
    message = refusal(lambda: make(FACES, seed=0, sequence_of=sequence_of))
    assert "sequence 'one' on both sides" in message and "'P00_003'" in message and "'P11_070'" in message


def moved(split: Split, identity: str, to: str) -> Split:
    """``split`` with one image of train in another part as well, or there instead."""
    index = np.array([FACES.ids.index(identity)])
    part = split.parts()[to]
    joined = pooled({"a": part, "b": FACES.take(index)})
    return dataclasses.replace(split, **{to: joined})


def without(split: Split, identity: str) -> Split:
    return dataclasses.replace(split, train=split.train.take(np.array([i != identity for i in split.train.ids])))


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_planted_person_or_image_is_refused(part):
    split = kfold(FACES, folds=4, seed=0)[0]
    identity = split.train.ids[0]
    message = refusal(lambda: check_apart([moved(without(split, identity), identity, part)]))
    assert message.startswith(f"kfold, fold 'fold-01': person '{identity[:3]}' on both sides: train '{identity[:3]}_")
    assert f"{part} '{identity}'" in message
    message = refusal(lambda: check_apart([moved(split, identity, part)]))
    assert message == f"kfold, fold 'fold-01': image '{identity}' stands in train and {part}"


def test_images_judged_twice_or_never_are_refused():
    splits = kfold(FACES, folds=4, seed=0)
    assert "is judged in no fold" in refusal(lambda: check_judged_once(splits[1:]))
    again = dataclasses.replace(splits[0], name="again")
    assert "is judged here and in fold 'fold-01'" in refusal(lambda: check_judged_once([*splits, again]))
    empty = dataclasses.replace(splits[0], val=FACES.take(np.array([], dtype=np.int64)))
    assert refusal(lambda: check_judged_once([empty])) == "kfold, fold 'fold-01': the val part has no images"


def test_data_that_do_not_allow_a_protocol():
    nobody = dataclasses.replace(FACES, subjects=None)
    for protocol in ("loso", "kfold"):
        assert f"protocol {protocol}: who is on the images is not known" in refusal(
            lambda p=protocol: MAKERS[p](nobody)
        )
    assert refusal(lambda: loso(people(3), seed=0)) == "protocol loso: 3 persons; expected at least 4"
    assert refusal(lambda: kfold(people(3), folds=4, seed=0)).startswith("4 folds of 3 persons; expected from 3")
    assert refusal(lambda: random_folds(FACES, folds=2, seed=0)).startswith("2 folds of 72 images; expected from 3")
    rare = dataclasses.replace(FACES, labels=np.where(np.array(FACES.subjects) == "P05", 2, FACES.labels % 2))
    assert refusal(lambda: loso(rare, seed=0)).endswith("the train part has no image of happy")


def test_given_parts():
    parts = {"train": FACES.take(np.arange(48)), "test": FACES.take(np.arange(60, 72))}
    (split,) = given(parts, seed=0)
    assert split.protocol == "files: as given, one of 8 parts of train validates; other people in train and test"
    assert not set(split.val.subjects) & set(split.train.subjects) and len(split.val) + len(split.train) == 48
    (split,) = given(parts | {"val": FACES.take(np.arange(48, 60))}, name="official")
    assert split.name == "official" and split.protocol == "official: as given; other people in train and test"
    mixed = {"train": FACES.take(FACES.labels < 2), "val": FACES.take(FACES.labels == 2)}
    assert refusal(lambda: given(mixed | {"test": mixed["val"]})).startswith(
        "files, fold 'files': image 'P00_004' stands"
    )
    assert refusal(lambda: pooled(mixed | {"test": mixed["val"]})) == "image 'P00_004' stands in two parts"


def test_holdout_keeps_known_persons_apart():
    (split,) = holdout(FACES, seed=0, folds=4)
    assert not set(split.test.subjects) & set(split.train.subjects) and split.name == "holdout"
    (split,) = holdout(dataclasses.replace(FACES, subjects=None), seed=0, folds=4)
    assert np.ptp(split.test.counts()) <= 1 and "who is on them is not known" in split.protocol


@pytest.mark.parametrize("protocol", MAKERS)
def test_a_run_can_be_forced_onto_the_splits_of_another(tmp_path, protocol):
    splits = MAKERS[protocol](FACES)
    file = tmp_path / "run" / "splits.json"
    assert save_split_file(file, splits, "jaffe") == split_table(splits, "jaffe")["sha256"]
    order = np.random.default_rng(0).permutation(len(FACES))
    cropped = dataclasses.replace(FACES, images=FACES.images[:, 1:-1, 1:-1]).take(order)
    forced = load_split_file(file, cropped, dataset="jaffe", protocol=protocol)
    assert [s.name for s in forced] == [s.name for s in splits] and forced[0].protocol == splits[0].protocol
    for one, other in zip(forced, splits, strict=True):
        assert all(set(p.ids) == set(q.ids) for p, q in zip(one.parts().values(), other.parts().values(), strict=True))
    same = load_split_file(file, FACES, dataset="jaffe")
    assert [p.fingerprint() for s in same for p in s.parts().values()] == [
        p.fingerprint() for s in splits for p in s.parts().values()
    ]


def test_split_files_that_do_not_fit(tmp_path):
    file = tmp_path / "splits.json"
    save_split_file(file, kfold(FACES, folds=4, seed=0), "jaffe")

    def message(faces=FACES, dataset="jaffe", protocol="kfold"):
        text = refusal(lambda: load_split_file(file, faces, dataset=dataset, protocol=protocol))
        assert text.startswith(f"{file}: ")
        return text.removeprefix(f"{file}: ")

    assert message(dataset="ckplus") == "made for data set 'jaffe'; this run reads 'ckplus'"
    assert message(protocol="loso") == "made by protocol 'kfold'; this run asks for 'loso'"
    assert "is not among the data" in message(FACES.take(np.arange(70)))
    assert "72 images, the data have 78; made for other data" in message(people(13))
    strangers = dataclasses.replace(FACES, subjects=["P00"] * 72)
    assert "person 'P00' on both sides" in message(strangers)
    file.write_text(file.read_text().replace("P00_003", "P00_303", 1))
    assert message() == "damaged or changed by hand (its hash differs)"


def sealed(table: dict) -> str:
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return json.dumps(table | {"sha256": hashlib.sha256(text.encode()).hexdigest()})


def test_a_person_moved_by_hand_is_refused_even_with_the_right_hash(tmp_path):
    table = split_table(kfold(FACES, folds=4, seed=0), "jaffe")
    del table["sha256"]
    fold = table["folds"][0]
    fold["test"].append(fold["train"].pop())
    file = tmp_path / "splits.json"
    file.write_text(sealed(table))
    assert "on both sides: train" in refusal(lambda: load_split_file(file, FACES, dataset="jaffe"))


def test_a_fold_taken_out_by_hand_is_missed(tmp_path):
    table = split_table(loso(FACES, seed=0), "jaffe")
    del table["sha256"]
    file = tmp_path / "splits.json"
    for kept in (11, 1):
        file.write_text(sealed(table | {"folds": table["folds"][:kept]}))
        assert "is judged in no fold" in refusal(lambda: load_split_file(file, FACES, dataset="jaffe"))


@pytest.mark.parametrize("who", ["known", "unknown"])
def test_one_split_goes_through_a_file_too(tmp_path, who):
    faces = FACES if who == "known" else dataclasses.replace(FACES, subjects=None)
    parts = {"train": faces.take(np.arange(60)), "test": faces.take(np.arange(60, 72))}
    for splits in (holdout(faces, seed=0, folds=4), given(parts)):
        save_split_file(tmp_path / "splits.json", splits, "folder")
        forced = load_split_file(tmp_path / "splits.json", pooled(parts), dataset="folder")
        assert ids(forced) == ids(splits) and forced[0].name == splits[0].name


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"format": "splits 2"}', "[" * 100000]
    + [sealed({"format": "splits 1", "dataset": "jaffe", "protocol": "kfold: x", "folds": folds}) for folds in
       (None, [], [1], [{}], [{"name": "a", "train": ["x"], "val": [7]}], [{"name": 1, "train": [], "val": []}])],
)  # fmt: skip
def test_files_that_are_no_split_files(tmp_path, text):
    file = tmp_path / "splits.json"
    file.write_text(text)
    assert refusal(lambda: load_split_file(file, FACES, dataset="jaffe")).startswith(f"{file}: not a split file")
