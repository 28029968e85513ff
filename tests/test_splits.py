"""The one door from settings to splits: which set knows which protocol, and what must not come through it."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import refusal
from PIL import Image
from test_ckplus import FOLDERS
from test_ckplus import write as write_ckplus
from test_ckplus import write_table as write_ckplus_table
from test_jaffe import write as write_jaffe
from test_jaffe import write_tables as write_jaffe_tables

import utils.splits
from utils.config import Config, load_config
from utils.datasets.faces import Split, pooled
from utils.datasets.sources import SOURCES, read_for
from utils.errors import UserError
from utils.labels import FER2013_CLASSES, JAFFE_CODES, canonical
from utils.splits import load_every, load_faces, load_splits
from utils.splits.leaks import check_apart, check_judged_once
from utils.splits.split_file import save_split_file

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = "nowhere"  # drawn faces lie in no file
PROTOCOLS = ("official", "loso", "kfold", "files", "holdout", "random")
DEALT = ("loso", "kfold", "holdout", "random")
KNOWN = {
    "fer2013": ("official", "random"),
    "sample": ("official", *DEALT),
    "jaffe": (*DEALT, "files"),
    "ckplus": (*DEALT, "files"),
    "folder": (*DEALT, "files"),
}


def config(dataset: str, path: Path | str, *changes: str) -> Config:
    known = {"dataset": dataset, "data_path": path, "cache_dir": f"{path}-cache", "image_size": 24, "sample_faces": 70}
    return load_config(None, [*(f"{key}={value}" for key, value in known.items()), *changes])


def ids(splits: list[Split]) -> list[dict[str, list[str]]]:
    return [{name: sorted(part.ids) for name, part in split.parts().items()} for split in splits]


def refused(dataset: str, path: Path | str, *changes: str) -> str:
    return refusal(lambda: load_splits(config(dataset, path, *changes)))


def write_people(root: Path, classes=FER2013_CLASSES, people: int = 4, groups: bool = True) -> None:
    """Each person shows each expression once, in a picture that nobody else has."""
    random, rows = np.random.default_rng(0), []
    for name in classes:
        (root / name).mkdir(parents=True)
        for person in range(people):
            Image.fromarray(random.integers(0, 256, (24, 24), dtype=np.uint8)).save(root / name / f"{person}.png")
            rows.append(f"{name}/{person}.png,person {person}")
    if groups:
        (root / "groups.csv").write_text("\n".join(["file,group", *rows]))


# ------------------------------------------------------------------------------------------------ sets and protocols


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dataset", KNOWN)
def test_a_protocol_that_a_set_has_not_is_refused_before_its_data_are_read(tmp_path, dataset, protocol):
    if protocol in KNOWN[dataset]:
        if dataset == "sample":
            assert load_splits(config(dataset, tmp_path, f"protocol={protocol}", "folds=3"))
        else:
            with pytest.raises(UserError, match=str(tmp_path / "nowhere")):
                load_splits(config(dataset, tmp_path / "nowhere", f"protocol={protocol}"))
    else:
        expected = f"protocol {protocol}: not for {dataset}; expected one of {', '.join(KNOWN[dataset])}"
        assert refused(dataset, tmp_path / "nowhere", f"protocol={protocol}") == expected


@pytest.mark.parametrize("protocol", [*DEALT, "files"])
@pytest.mark.parametrize("dataset", ["jaffe", "ckplus", "folder"])
def test_every_protocol_of_a_set_gives_its_splits(tmp_path, dataset, protocol):
    root, files = tmp_path / "set", protocol == "files"
    if dataset == "jaffe":
        names = [f"{who}.{code}1.{n}.tiff" for who in ("KA", "KL", "YM", "NA") for n, code in enumerate(JAFFE_CODES)]
        write_jaffe_tables(root) if files else write_jaffe(root, names)
    elif dataset == "ckplus":
        root.mkdir()
        write_ckplus_table(root / "ckextended.csv", [0, 1, 2, 3, 4, 5, 7]) if files else write_ckplus(root)
    else:
        for part in ("train", "val", "test") if files else (".",):
            write_people(root / part, groups=not files)
    splits = load_splits(config(dataset, root, f"protocol={protocol}", "folds=4"))
    assert len(splits) == (1 if protocol in ("files", "holdout") else 4)
    assert all(split.protocol.partition(":")[0] == protocol and split.test is not None for split in splits)
    whole = load_faces(config(dataset, root, f"protocol={protocol}"))
    for split in splits:
        assert sorted(i for part in split.parts().values() for i in part.ids) == sorted(whole.ids)
        assert split.train.classes == whole.classes and len(whole.classes) == 7
    if protocol in ("loso", "kfold"):
        check_apart(splits)
        check_judged_once(splits)


def test_drawn_faces_of_any_protocol_are_the_same_faces():
    whole = load_faces(config("sample", NOWHERE))
    whole = whole.take(np.argsort(whole.ids))
    for protocol in KNOWN["sample"]:
        splits = load_splits(config("sample", NOWHERE, f"protocol={protocol}", "folds=3"))
        for split in splits:
            faces = pooled(split.parts())
            assert faces.take(np.argsort(faces.ids)).fingerprint() == whole.fingerprint()
    assert len(set(whole.subjects)) == 5


@pytest.mark.parametrize("dataset", ["sample", "jaffe", "ckplus", "folder"])
@pytest.mark.parametrize("source", ["ferplus", "ferplus_soft", "ferplus_blend"])
def test_votes_of_ferplus_are_for_fer2013_alone(tmp_path, dataset, source):
    message = refused(dataset, tmp_path, "protocol=kfold", f"label_source={source}")
    assert message == f"label_source {source}: FER+ has votes on fer2013; this run reads {dataset}"


@pytest.mark.parametrize("dataset", ["fer2013", "sample", "ckplus", "folder"])
def test_the_box_is_for_jaffe_alone(tmp_path, dataset):
    protocol = KNOWN[dataset][0]
    message = refused(dataset, tmp_path, f"protocol={protocol}", "crop=box")
    assert message == f"crop box: a box for jaffe; this run reads {dataset}"


def test_as_many_classes_as_the_settings_say(tmp_path):
    write_ckplus(tmp_path / "ck")
    message = refused("ckplus", tmp_path / "ck", "protocol=kfold", "folds=4", "taxonomy=no_contempt")
    assert message == "num_classes is 7; ckplus has 6: angry, disgust, fear, happy, sad, surprise"
    assert refused("sample", NOWHERE, "num_classes=8").startswith("num_classes is 8; sample has 7: angry, ")
    six = config("ckplus", tmp_path / "ck", "protocol=kfold", "folds=4", "taxonomy=no_contempt", "num_classes=6")
    assert sum(len(split.test) for split in load_splits(six)) == 72


def test_of_fer2013_only_the_training_part_is_dealt_out(real_data):
    path = real_data("fer2013")
    folds = load_splits(config("fer2013", path, "protocol=random", "folds=3"))
    judged = [identity for split in folds for identity in split.test.ids]
    assert len(set(judged)) == len(judged) == 28709 and all(identity.startswith("train/") for identity in judged)
    assert len(load_every(config("fer2013", path))) == 35887


# ------------------------------------------------------------------------------------------------ taxonomies


def test_ckplus_in_the_classes_of_fer2013_goes_by_names(tmp_path):
    written = dict(write_ckplus(tmp_path))
    faces = load_faces(config("ckplus", tmp_path, "protocol=kfold", "taxonomy=fer2013"))
    expected = {i: canonical(FOLDERS[label]) for i, label in written.items() if FOLDERS[label] != "contempt"}
    assert faces.classes == FER2013_CLASSES and faces.counts().tolist() == [12] * 6 + [0]
    assert dict(zip(faces.ids, (FER2013_CLASSES[label] for label in faces.labels), strict=True)) == expected
    assert [identity[:4] for identity in faces.ids] == faces.subjects
    splits = load_splits(config("ckplus", tmp_path, "protocol=kfold", "folds=4", "taxonomy=fer2013"))
    assert all(split.test.counts()[FER2013_CLASSES.index("neutral")] == 0 for split in splits)


def test_classes_in_another_order_are_brought_to_fer2013s(tmp_path):
    write_people(tmp_path / "set")
    own = load_faces(config("folder", tmp_path / "set", "protocol=kfold"))
    faces = load_faces(config("folder", tmp_path / "set", "protocol=kfold", "taxonomy=fer2013"))
    assert own.classes == tuple(sorted(FER2013_CLASSES)) != FER2013_CLASSES == faces.classes
    assert [faces.classes[label] for label in faces.labels] == [i.partition("/")[0] for i in faces.ids]
    assert [own.classes[label] for label in own.labels] == [faces.classes[label] for label in faces.labels]
    np.testing.assert_array_equal(own.images, faces.images)


def test_a_class_that_fer2013_has_not_is_refused_by_its_name(tmp_path):
    write_people(tmp_path / "set", [*FER2013_CLASSES, "bored"])
    message = refused("folder", tmp_path / "set", "protocol=kfold", "folds=4", "taxonomy=fer2013")
    assert message == f"taxonomy fer2013: class 'bored' has no counterpart; FER2013 has {', '.join(FER2013_CLASSES)}"
    for taxonomy in ("own", "no_contempt"):  # which has none to leave out
        changes = ("protocol=kfold", "folds=4", "num_classes=8", f"taxonomy={taxonomy}")
        assert load_splits(config("folder", tmp_path / "set", *changes))[0].train.classes[1] == "bored"


def test_parts_of_files_are_brought_to_a_taxonomy_too(tmp_path):
    table = write_ckplus_table(tmp_path / "ckextended.csv")
    (split,) = load_splits(config("ckplus", table, "protocol=files", "taxonomy=fer2013"))
    assert [part.counts().tolist() for part in split.parts().values()] == [[2] * 7, [1] * 7, [1] * 7]
    assert split.train.classes == FER2013_CLASSES


# ------------------------------------------------------------------------------------------------ forced splits


@pytest.mark.parametrize("protocol", DEALT)
def test_a_run_forced_onto_the_splits_of_another_has_its_parts(tmp_path, protocol):
    splits = load_splits(config("sample", NOWHERE, f"protocol={protocol}", "folds=4"))
    save_split_file(tmp_path / "splits.json", splits, "sample")
    other = (f"protocol={protocol}", "folds=3", "split_seed=5", "val_subjects=3")
    forced = load_splits(config("sample", NOWHERE, *other, f"split_file={tmp_path / 'splits.json'}"))
    assert ids(forced) == ids(splits) != ids(load_splits(config("sample", NOWHERE, *other)))
    assert [split.name for split in forced] == [split.name for split in splits]


def sealed(table: dict) -> str:
    table = {key: value for key, value in table.items() if key != "sha256"}
    text = json.dumps(table, sort_keys=True, separators=(",", ":"))
    return json.dumps(table | {"sha256": hashlib.sha256(text.encode()).hexdigest()})


@pytest.mark.parametrize("protocol", ["loso", "kfold", "holdout"])
def test_a_person_planted_on_both_sides_of_a_split_file_is_refused(tmp_path, protocol):
    file = tmp_path / "splits.json"
    save_split_file(file, load_splits(config("sample", NOWHERE, f"protocol={protocol}", "folds=4")), "sample")
    table = json.loads(file.read_text())
    table["folds"][0]["test"].append(moved := table["folds"][0]["train"].pop())
    file.write_text(sealed(table))
    message = refused("sample", NOWHERE, f"protocol={protocol}", f"split_file={file}")
    assert message.startswith(f"{file}: {protocol}, fold ") and "on both sides: train" in message and moved in message
    file.write_text(json.dumps(table))
    assert refused("sample", NOWHERE, f"protocol={protocol}", f"split_file={file}").endswith("(its hash differs)")


def test_a_split_file_of_one_split_has_one(tmp_path):
    splits = load_splits(config("sample", NOWHERE, "protocol=holdout", "folds=4"))
    twice = [*splits, dataclasses.replace(splits[0], name="again")]
    save_split_file(tmp_path / "splits.json", twice, "sample")
    message = refused("sample", NOWHERE, "protocol=holdout", f"split_file={tmp_path / 'splits.json'}")
    assert message == f"{tmp_path / 'splits.json'}: 2 folds; protocol holdout has one"


def test_split_files_of_another_set_or_protocol_or_nowhere_are_refused(tmp_path):
    file = tmp_path / "splits.json"
    assert refused("sample", NOWHERE, "protocol=kfold", f"split_file={file}") == f"{file}: no such file"
    save_split_file(file, load_splits(config("sample", NOWHERE, "protocol=kfold", "folds=3")), "folder")
    assert "made for data set 'folder'" in refused("sample", NOWHERE, "protocol=kfold", f"split_file={file}")
    save_split_file(file, load_splits(config("sample", NOWHERE, "protocol=kfold", "folds=3")), "sample")
    message = refused("sample", NOWHERE, "protocol=random", f"split_file={file}")
    assert message == f"{file}: made by protocol 'kfold'; this run asks for 'random'"
    message = refused("sample", NOWHERE, "protocol=kfold", "sample_faces=280", f"split_file={file}")
    assert message == f"{file}: fold 'fold-01': 94 images, the data have 374; made for other data"


# ------------------------------------------------------------------------------------------------ on both sides


def test_an_exact_copy_of_one_persons_image_under_another_person_is_refused(tmp_path):
    root = tmp_path / "set"
    write_people(root)
    (root / "sad" / "3.png").write_bytes((root / "happy" / "0.png").read_bytes())
    for protocol in ("kfold", "loso"):
        message = refused("folder", root, f"protocol={protocol}", "folds=4")
        assert "exact copies of one image on both sides" in message
        assert "'happy/0.png'" in message and "'sad/3.png'" in message
    assert len(load_splits(config("folder", root, "protocol=random", "folds=4"))) == 4


def test_persons_must_be_known_where_they_are_to_be_kept_apart(tmp_path):
    root = tmp_path / "set"
    write_people(root, groups=False)
    for protocol in ("kfold", "loso"):
        message = refused("folder", root, f"protocol={protocol}", "folds=4")
        assert message.startswith(f"protocol {protocol}: who is on the images is not known")
    (split,) = load_splits(config("folder", root, "protocol=holdout", "folds=4"))
    assert split.protocol.endswith("who is on them is not known")


@pytest.mark.parametrize("protocol", ["loso", "kfold"])
@pytest.mark.parametrize("forced", [False, True])
def test_sequences_are_looked_at_where_the_set_has_them(tmp_path, monkeypatch, protocol, forced):
    write_ckplus(tmp_path / "ck")
    changes = [f"protocol={protocol}", "folds=4"]
    if forced:
        splits = load_splits(config("ckplus", tmp_path / "ck", *changes))
        save_split_file(tmp_path / "splits.json", splits, "ckplus")
        changes.append(f"split_file={tmp_path / 'splits.json'}")
    # as if one sequence of two persons' had the same name; names of CK+ begin with the person
    joined = dataclasses.replace(SOURCES["ckplus"], sequence_of=lambda i: "one" if "_003_" in i else i)
    monkeypatch.setitem(utils.splits.SOURCES, "ckplus", joined)
    message = refused("ckplus", tmp_path / "ck", *changes)
    assert "sequence 'one' on both sides: " in message and message.count("_003_") == 2


# ------------------------------------------------------------------------------------------------ the real sets


def test_real_jaffe_as_shipped(real_data):
    settings = load_config(ROOT / "configs" / "jaffe_config.json", [f"data_path={real_data('jaffe')}"])
    splits = load_splits(settings)
    assert len(splits) == 10 and sum(len(split.test) for split in splits) == 213
    for split in splits:
        assert set(split.test.subjects) == {split.name} and len(set(split.val.subjects)) == settings.val_subjects
        assert split.train.images.shape[1:] == (48, 48) and split.train.classes == FER2013_CLASSES


def test_real_ckplus_as_shipped_and_in_fer2013s_classes(real_data):
    path = f"data_path={real_data('CK+48')}"
    splits = load_splits(load_config(ROOT / "configs" / "ck_config.json", [path]))
    assert len(splits) == 10 and sum(len(split.test) for split in splits) == 981
    assert sum(len(set(split.test.subjects)) for split in splits) == 118
    faces = load_faces(load_config(ROOT / "configs" / "ck_config.json", [path, "taxonomy=fer2013"]))
    assert faces.counts().tolist() == [135, 177, 75, 207, 84, 249, 0]


@pytest.mark.parametrize(
    ("trained", "side", "channels"),
    [
        ("dataset=fer2013 image_size=224 in_channels=3", 48, 1),  # enlarged, and without colours
        ("dataset=folder image_size=96 in_channels=3", 96, 3),
        ("dataset=folder image_size=96 in_channels=1", 96, 1),
        ("dataset=jaffe image_size=64 in_channels=3", 64, 1),
    ],
)
def test_another_set_is_read_as_a_network_has_seen_its_own(trained, side, channels):
    other = load_config(None, ["dataset=folder", "data_path=faces", "image_size=160", "in_channels=3"])
    read = read_for(load_config(None, trained.split()), other)
    assert (read.image_size, read.in_channels, read.data_path) == (side, channels, "faces")
