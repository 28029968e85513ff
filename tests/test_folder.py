"""Folders of images of any kind: classes from names, parts and persons where there are any, one line for the rest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.datasets.folder import read_folder, read_folder_files
from utils.errors import UserError
from utils.splits.protocols import given, holdout, kfold

GREY = np.random.default_rng(0).integers(0, 256, (64, 40, 40), dtype=np.uint8)
CLASSES = ("Happiness", "bored", "ANGRY")


def write(root: Path, of_each: int = 4, classes=CLASSES) -> None:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(of_each):
            Image.fromarray(GREY[(label * of_each + index) % 64]).save(root / name / f"{index:02d}.png")


def write_parts(root: Path, parts=("train", "val", "test")) -> None:
    for number, part in enumerate(parts):
        write(root / part, 2 + number)


def write_groups(root: Path, rows: list[str] | None = None) -> None:
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    rows = [f"{file},p{file[-6:-4]}" for file in files] if rows is None else rows
    (root / "groups.csv").write_text("\n".join(["file,group", *rows]))


def read(path: Path, **options):
    return read_folder(path, path.parent / "cache", **{"side": 40} | options)


def read_files(path: Path, **options):
    return read_folder_files(path, path.parent / "cache", **{"side": 40} | options)


def complaint(path: Path, reader=read) -> str:
    with pytest.raises(UserError) as caught:
        reader(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2 and message.isprintable() and len(message) < 500
    return message


def test_classes_are_the_names_of_folders(tmp_path):
    root = tmp_path / "set"
    write(root)
    (root / "notes.txt").write_text("hello")
    (root / ".git").mkdir()
    (root / "bored" / "Thumbs.db").write_bytes(b"\0")
    for _ in range(2):  # the second time from the cache
        faces = read(root)
        assert faces.classes == ("angry", "bored", "happy") and faces.subjects is None
        assert faces.ids[0] == "ANGRY/00.png" and faces.counts().tolist() == [4, 4, 4]
        assert faces.images.dtype == np.uint8 and faces.labels.dtype == np.int64
        np.testing.assert_array_equal(faces.images[faces.ids.index("bored/01.png")], GREY[5])


def test_parts_share_their_classes(tmp_path):
    root = tmp_path / "set"
    write_parts(root)
    parts = read_files(root)
    assert [len(part) for part in parts.values()] == [6, 9, 12] and list(parts) == ["train", "val", "test"]
    assert parts["val"].ids[0] == "val/ANGRY/00.png" and len(read(root)) == 27
    (root / "val").rename(root / "validation")
    assert read_files(root)["val"].ids[0] == "validation/ANGRY/00.png"
    for file in [*(root / "test" / "bored").iterdir(), root / "test" / "bored"]:
        file.unlink() if file.is_file() else file.rmdir()
    assert read_files(root)["test"].counts().tolist() == [4, 0, 4]


def test_without_val_a_tenth_of_train_validates(tmp_path):
    root = tmp_path / "set"
    write(root / "train", 20)
    write(root / "test", 2)
    (split,) = given(read_files(root), seed=1)
    assert split.val.counts().tolist() == [2, 2, 2] and split.train.counts().tolist() == [18, 18, 18]
    assert "one of 10 parts of train validates" in split.protocol


def test_colour_and_sizes(tmp_path):
    root = tmp_path / "set"
    write(root)
    flat = np.zeros((30, 60, 3), np.uint8)
    flat[:, 15:45] = (200, 100, 50)  # the square in the middle
    Image.fromarray(flat).save(root / "bored" / "wide.webp", lossless=True)
    Image.fromarray(flat.transpose(1, 0, 2)).save(root / "bored" / "tall.bmp")
    colour, grey = read(root, colour=True, side=24), read(root, side=24)
    assert colour.images.shape == (14, 24, 24, 3) and grey.images.shape == (14, 24, 24)
    for name in ("wide.webp", "tall.bmp"):
        assert (colour.images[colour.ids.index(f"bored/{name}")] == (200, 100, 50)).all()
        assert len(np.unique(grey.images[grey.ids.index(f"bored/{name}")])) == 1
    assert read(root, side=80).images.shape == (14, 80, 80)


def test_groups_name_persons(tmp_path):
    root = tmp_path / "set"
    write(root)
    write_groups(root)
    faces = read(root)
    assert faces.subjects == [f"p{i[-6:-4]}" for i in faces.ids]
    assert all(len(set(s.test.subjects)) == 1 for s in kfold(faces, folds=4, seed=0))
    split = holdout(faces, seed=0, folds=3)[0]
    assert not set(split.test.subjects) & set(split.train.subjects) and "no person in two parts" in split.protocol
    (root / "groups.csv").unlink()
    assert "who is on them is not known" in holdout(read(root), seed=0, folds=3)[0].protocol


BAD_GROUPS = {
    "nowhere": ("bored/99.png,p1", "row 14, column file: 'bored/99.png' is no image of {root}"),
    "outside": ("../bored/00.png,p1", "row 14, column file: '../bored/00.png' is no image of"),
    "in two groups": ("bored/00.png,p9", "row 14, column file: 'bored/00.png' stands twice"),
    "no group": ("bored/00.png,", "row 14, column group: ''; expected a name"),
    "columns": ("bored/00.png", "row 14: 1 columns, expected 2"),
}


@pytest.mark.parametrize("what", BAD_GROUPS)
def test_bad_groups_name_file_row_and_value(tmp_path, what):
    root = tmp_path / "set"
    write(root)
    write_groups(root)
    table = root / "groups.csv"
    table.write_text(f"{table.read_text()}\n{BAD_GROUPS[what][0]}")
    assert complaint(root).startswith(f"{table}: " + BAD_GROUPS[what][1].format(root=root))


def test_an_image_without_a_group(tmp_path):
    root = tmp_path / "set"
    write(root)
    write_groups(root, ["bored/00.png,p1"])
    assert complaint(root) == f"{root}/groups.csv: has no row for 'ANGRY/00.png'; expected one for each image"


def test_layouts_that_are_none(tmp_path):
    root = tmp_path / "set"
    for make in (lambda: None, root.mkdir, (root / "train").mkdir):
        make()
        assert "no images here" in _refusal(root)
    write(root / "train", classes=["happy"])
    assert complaint(root) == f"{root}: one class, happy; expected the folders of at least two"
    write(root / "train", classes=["bored"])
    assert (
        complaint(root, read_files)
        == f"{root}: no folder test/<class> with images; protocol 'files' needs train and test"
    )
    write(root / "test", classes=["happy", "bored", "sad"])
    assert complaint(root, read_files) == f"{root}: the train part has no image of sad"
    (root / "test" / "fear").mkdir()
    assert complaint(root).startswith(f"{root / 'test' / 'fear'}: no image in it")
    (root / "test" / "fear").rename(root / "test" / "Happiness")
    Image.fromarray(GREY[0]).save(root / "test" / "Happiness" / "x.png")
    assert "stands for the same class as" in complaint(root)
    write(root / "val")
    write(root / "valid")
    (root / "test").rename(tmp_path / "away")
    assert complaint(root) == f"{root}: more than one folder for the val part; expected one"


def _refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(root)
    return str(caught.value)


def test_images_that_are_refused(tmp_path):
    root = tmp_path / "set"
    write(root)
    bad = root / "bored" / "bad.png"
    for content in (b"", b"hello", (root / "bored" / "00.png").read_bytes()[:-400]):
        bad.write_bytes(content)
        assert complaint(root).startswith(f"{bad}: not a readable image")
    frames = [Image.fromarray(image) for image in GREY[:3]]
    frames[0].save(bad, save_all=True, append_images=frames[1:])
    assert complaint(root) == f"{bad}: 3 pictures in one file; expected one"
    Image.fromarray(GREY[0].astype(np.uint16) * 200).save(bad)
    assert "expected 8 bits a channel" in complaint(root)
    Image.new("1", (8000, 7000)).save(bad)
    assert complaint(root) == f"{bad}: 8000x7000 pixels; expected at most 50 million"
