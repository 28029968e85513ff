"""CK+48: persons and sequences from names, the CSV form, and one line for whatever is wrong."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.datasets.ckplus import read_ckplus, read_ckplus_files, sequence_of
from utils.datasets.duplicates import image_hashes
from utils.datasets.fer2013 import read_fer2013
from utils.datasets.taxonomy import in_taxonomy
from utils.errors import UserError
from utils.labels import CKPLUS_CLASSES, CKPLUS_CSV_CLASSES, FER2013_CLASSES
from utils.splits.protocols import given, kfold, random_folds

FOLDERS = ("anger", "disgust", "fear", "happy", "sadness", "surprise", "contempt")
PIXELS = " ".join(["7"] * 2304)


def write(root: Path) -> list[tuple[str, int]]:
    """Four persons with a sequence of three frames in every class; what was written, by name."""
    random = np.random.default_rng(0)
    written = []
    for label, folder in enumerate(FOLDERS):
        (root / folder).mkdir(parents=True)
        for person in range(4):
            for frame in range(3):
                name = f"S{person:03d}_{label + 1:03d}_{frame + 9:08d}"
                Image.fromarray(random.integers(0, 256, (48, 48), dtype=np.uint8)).save(root / folder / f"{name}.png")
                written.append((name, label))
    return sorted(written)


def complaint(read, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2 and message.isprintable() and len(message) < 500
    return message


def test_class_names_are_fer2013s_without_neutral_and_contempt():
    assert (*(c for c in FER2013_CLASSES if c != "neutral"), "contempt") == CKPLUS_CLASSES
    assert (*FER2013_CLASSES, "contempt") == CKPLUS_CSV_CLASSES


def test_names_tell_persons_and_sequences(tmp_path):
    written = write(tmp_path)
    faces = read_ckplus(tmp_path)
    assert faces.classes == CKPLUS_CLASSES and faces.images.shape == (84, 48, 48) and faces.images.dtype == np.uint8
    assert list(zip(faces.ids, faces.labels.tolist(), strict=True)) == written
    assert faces.subjects == [identity[:4] for identity, _ in written]
    assert sequence_of("S005_001_00000011") == "S005_001"
    np.testing.assert_array_equal(
        faces.images[faces.ids.index("S002_004_00000010")], Image.open(tmp_path / "happy" / "S002_004_00000010.png")
    )


def test_without_contempt(tmp_path):
    write(tmp_path)
    faces = read_ckplus(tmp_path)
    six = in_taxonomy(faces, "no_contempt")
    assert six.classes == CKPLUS_CLASSES[:6] and six.counts().tolist() == [12] * 6
    kept = [i for i, label in zip(faces.ids, faces.labels, strict=True) if label != 6]
    assert six.ids == kept and len(six.subjects) == len(six.images) == 72


def test_frames_of_a_sequence_stay_together(tmp_path):
    write(tmp_path)
    for split in kfold(read_ckplus(tmp_path), folds=4, seed=0, sequence_of=sequence_of):
        sequences = [{sequence_of(i) for i in part.ids} for part in split.parts().values()]
        assert sum(map(len, sequences)) == len(set.union(*sequences)) == 28


@pytest.mark.parametrize("name", ["S05_001_00000011.png", "S005_001.png", "face.png", "S005_001_00000011 (1).png"])
def test_a_name_that_does_not_parse(tmp_path, name):
    write(tmp_path)
    Image.new("L", (48, 48)).save(tmp_path / "fear" / name)
    assert complaint(read_ckplus, tmp_path).startswith(f"{tmp_path / 'fear' / name}: not a name of CK+48's; expected")


def test_a_frame_or_sequence_in_two_classes_and_a_folder_that_is_no_class(tmp_path):
    write(tmp_path)
    bad = tmp_path / "happy" / "S001_001_00000009.png"
    Image.new("L", (48, 48)).save(bad)
    assert complaint(read_ckplus, tmp_path).startswith(f"{bad}: the same frame as {tmp_path / 'anger' / bad.name}")
    other = bad.rename(bad.with_name("S001_001_00000019.png"))
    message = complaint(read_ckplus, tmp_path)
    assert str(other) in message and "anger/S001_001_00000009.png, a frame of the same sequence" in message
    (tmp_path / "neutral").mkdir()
    assert complaint(read_ckplus, tmp_path).startswith(f"{tmp_path / 'neutral'}: not the name of a class; expected one")


def test_bad_images_and_missing_data(tmp_path):
    with pytest.raises(UserError, match="no CK\\+ here"):
        read_ckplus(tmp_path)
    write(tmp_path)
    bad = tmp_path / "sadness" / "S001_005_00000009.png"
    Image.new("L", (47, 48)).save(bad)
    assert complaint(read_ckplus, tmp_path) == f"{bad}: 47x48 pixels, expected 48x48"
    bad.write_bytes(b"hello")
    assert complaint(read_ckplus, tmp_path).startswith(f"{bad}: not a readable image")


def write_table(path: Path, numbers=range(8)) -> Path:
    """Two training images and one of each other part in every class; grey values tell them apart."""
    rows, grey = [], 0
    for number in numbers:
        for usage in ("Training", "Training", "PublicTest", "PrivateTest"):
            rows.append(f"{number},{' '.join([str(grey)] * 2304)},{usage}")
            grey += 1
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]))
    return path


def test_table_with_neutral(tmp_path):
    table = write_table(tmp_path / "ckextended.csv")
    for path in (tmp_path, table):
        faces, parts = read_ckplus(path), read_ckplus_files(path)
        assert faces.classes == CKPLUS_CSV_CLASSES and faces.counts().tolist() == [4] * 8 and faces.subjects is None
        assert [p.counts().tolist() for p in parts.values()] == [[2] * 8, [1] * 8, [1] * 8]
        assert parts["train"].ids[:2] == ["train/00000", "train/00001"] and parts["val"].images[0, 0, 0] == 2
    six = {name: in_taxonomy(part, "no_contempt") for name, part in read_ckplus_files(table).items()}
    assert six["test"].classes == FER2013_CLASSES and six["test"].counts().tolist() == [1] * 7
    assert given(six)[0].protocol == "files: as given; who is on them is not known"
    assert "same people in train and test" in random_folds(read_ckplus(table), folds=4, seed=0)[0].protocol


def test_table_without_neutral_has_the_classes_of_the_folders(tmp_path):
    table = write_table(tmp_path / "ckplus.csv", [0, 1, 2, 3, 4, 5, 7])
    assert read_ckplus(table).classes == CKPLUS_CLASSES and read_ckplus(table).labels.max() == 6
    named = write_table(tmp_path / "named.csv", FOLDERS)
    assert read_ckplus(named).classes == CKPLUS_CLASSES
    assert read_ckplus(named).fingerprint() == read_ckplus(table).fingerprint()


def test_a_table_in_which_6_may_be_neutral_or_contempt_is_refused(tmp_path):
    message = complaint(read_ckplus, write_table(tmp_path / "ck.csv", range(7)))
    assert "ck.csv: column emotion has 6 and no 7: is 6 neutral or contempt?" in message


BAD_ROWS = {
    "label 8": (f"8,{PIXELS},Training", "row 34, column emotion: '8'; expected one of angry, disgust"),
    "label text": (f"bored,{PIXELS},Training", "row 34, column emotion: 'bored'"),
    "label missing": (f",{PIXELS},Training", "row 34, column emotion: ''"),
    "2303 values": (f"1,{PIXELS[:-2]},Training", "row 34, column pixels: 2303 values, expected 2304"),
    "usage": (f"1,{PIXELS},Test", "row 34, column Usage: 'Test'; expected one of Training"),
    "columns": ("1,2", "row 34: 2 columns, expected 3"),
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_bad_rows_name_file_row_and_value(tmp_path, what):
    table = write_table(tmp_path / "ckextended.csv")
    table.write_text(f"{table.read_text()}\n{BAD_ROWS[what][0]}")
    for read in (read_ckplus, read_ckplus_files):
        assert complaint(read, tmp_path).startswith(f"{table}: {BAD_ROWS[what][1]}")


def test_parts_need_a_table_that_has_them(tmp_path):
    write(tmp_path / "folders")
    assert "folders of images have none" in complaint(read_ckplus_files, tmp_path / "folders")
    table = tmp_path / "ck.csv"
    table.write_text(f"emotion,pixels,Usage\n1,{PIXELS},Training\n2,{PIXELS},PrivateTest")
    assert complaint(read_ckplus_files, table) == f"{table}: the val part has no images"


@pytest.fixture(scope="session")
def real(real_data):
    return read_ckplus(real_data("CK+48"))


def test_real_counts(real):
    counts = dict(zip(real.classes, real.counts().tolist(), strict=True))
    assert counts == {
        "angry": 135, "disgust": 177, "fear": 75, "happy": 207, "sad": 84, "surprise": 249, "contempt": 54
    }  # fmt: skip
    assert len(real) == 981 and len(set(real.subjects)) == 118
    assert np.unique([sequence_of(i) for i in real.ids], return_counts=True)[1].tolist() == [3] * 327
    assert len(set(image_hashes(real.images))) == 981


def test_real_folds_are_even(real):
    splits = kfold(real, folds=10, seed=0, sequence_of=sequence_of)
    counts = np.array([split.test.counts() for split in splits])
    assert counts.sum() == 981 and np.ptp(counts.sum(1)) <= 6
    assert np.ptp(counts, axis=0).max() <= 6  # two sequences


def test_fer2013_holds_a_picture_of_ckplus(real, real_data, tmp_path):
    """What docs/results.md says of person S055: one training image of FER2013 is, but for its cut, a frame of CK+."""
    fer2013 = read_fer2013(real_data("fer2013"), tmp_path).train
    theirs = fer2013.images[fer2013.ids.index("train/19608")].ravel()
    ours = real.images[real.ids.index("S055_003_00000009")].ravel()
    assert np.corrcoef(theirs, ours)[0, 1] > 0.95
    assert real.subjects.count("S055") == 15
