"""JAFFE: persons and expressions from names, parts from CSV files, and one line for whatever is wrong."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.datasets.duplicates import count_leaks, image_hashes
from utils.datasets.images import read_image
from utils.datasets.jaffe import FACE_BOX, read_jaffe, read_jaffe_files
from utils.errors import UserError
from utils.labels import FER2013_CLASSES, JAFFE_CODES
from utils.splits.protocols import given, loso

NAMES = [f"{who}.{code}1.{n}.tiff" for who in ("KA", "KL", "YM") for n, code in enumerate(JAFFE_CODES)]


def picture(name: str) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return random.integers(0, 256, (256, 256), dtype=np.uint8)


def write(root: Path, names=NAMES) -> None:
    root.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(picture(name)).save(root / name)


def write_tables(root: Path, label=lambda name: FER2013_CLASSES.index(JAFFE_CODES[name[3:5]])) -> None:
    write(root)
    for part, start in (("train", 0), ("val", 1), ("test", 2)):
        rows = [f"{name},{label(name)}" for name in NAMES[start::3]]
        (root / f"{part}.csv").write_text("\n".join(["filepath,emotions", *rows]))


def complaint(read, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    message = str(caught.value)
    assert caught.value.exit_code == 2 and message.isprintable() and len(message) < 500
    return message


def test_names_tell_persons_and_expressions(tmp_path):
    write(tmp_path)
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / "._KA.AN1.0.tiff").write_bytes(b"of a Mac")
    faces = read_jaffe(tmp_path)
    assert faces.images.shape == (21, 256, 256) and faces.images.dtype == np.uint8 and faces.labels.dtype == np.int64
    assert faces.classes == FER2013_CLASSES and faces.ids == sorted(n.removesuffix(".tiff") for n in NAMES)
    for image, label, identity, who in zip(faces.images, faces.labels, faces.ids, faces.subjects, strict=True):
        np.testing.assert_array_equal(image, picture(identity + ".tiff"))
        assert who == identity[:2] and FER2013_CLASSES[label] == JAFFE_CODES[identity[3:5]]


def test_palette_files_become_grey(tmp_path):
    write(tmp_path)
    whole = Image.fromarray(picture(NAMES[0]))
    whole.convert("P").save(tmp_path / NAMES[0])
    np.testing.assert_array_equal(read_jaffe(tmp_path).images[read_jaffe(tmp_path).ids.index(NAMES[0][:-5])], whole)


def test_crop_and_side(tmp_path):
    write(tmp_path)
    left, top, right, bottom = FACE_BOX
    assert right - left == bottom - top
    whole, box = read_jaffe(tmp_path), read_jaffe(tmp_path, crop="box", side=right - left)
    np.testing.assert_array_equal(box.images, whole.images[:, top:bottom, left:right])
    small = read_jaffe(tmp_path, side=64).images
    areas = whole.images.reshape(len(whole), 64, 4, 64, 4).mean((2, 4))
    assert small.shape == (21, 64, 64) and np.abs(small - areas).mean() < 20  # an average over areas, not every fourth
    assert "unknown crop 'oval' of JAFFE; expected one of none, box" in complaint(
        lambda path: read_jaffe(path, crop="oval"), tmp_path
    )


@pytest.mark.parametrize("name", [lambda i: i, FER2013_CLASSES.__getitem__, lambda i: FER2013_CLASSES[i].upper()])
def test_parts_from_tables(tmp_path, name):
    write_tables(tmp_path, lambda file: name(FER2013_CLASSES.index(JAFFE_CODES[file[3:5]])))
    parts = read_jaffe_files(tmp_path)
    every = read_jaffe(tmp_path)
    for start, faces in enumerate(parts.values()):
        assert faces.ids == [n.removesuffix(".tiff") for n in NAMES[start::3]]
        for identity, label in zip(faces.ids, faces.labels, strict=True):
            assert every.labels[every.ids.index(identity)] == label
    (split,) = given(parts)
    assert split.name == "files" and split.protocol == "files: as given; same people in train and test"


def test_no_data_say_how_to_get_them(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="no JAFFE here"):
            read_jaffe(path)


@pytest.mark.parametrize(
    "name", ["KA.AN1.tiff", "KA.XX1.39.tiff", "KA1.AN1.39.tiff", "face.png", "KA.AN1.39.copy.tiff"]
)
def test_a_name_that_does_not_parse(tmp_path, name):
    write(tmp_path, [*NAMES, name])
    assert complaint(read_jaffe, tmp_path).startswith(
        f"{tmp_path / name}: not a name of JAFFE's; expected one like KA."
    )


def test_one_image_under_two_suffixes(tmp_path):
    write(tmp_path, [*NAMES, NAMES[0].replace("tiff", "png")])
    assert "the same image as" in complaint(read_jaffe, tmp_path)


BAD_TIFF = {
    "empty": b"",
    "text": b"hello",
    "header only": b"II*\0\x08\0\0\0",
    "another format": b"GIF89a" + b"\0" * 64,
}


@pytest.mark.parametrize("what", BAD_TIFF)
def test_an_unreadable_tiff(tmp_path, what):
    write(tmp_path)
    (tmp_path / NAMES[5]).write_bytes(BAD_TIFF[what])
    assert complaint(read_jaffe, tmp_path).startswith(f"{tmp_path / NAMES[5]}: not a readable image")


@pytest.mark.parametrize(
    ("byte", "bit"), [(0, 1), (12, 0), (18, 4), (20, 7), (54, 1), (70, 2), (72, 0), (72, 3), (94, 1)]
)
def test_one_flipped_bit_of_a_tiff_is_one_line(tmp_path, caplog, byte, bit):
    """Pillow has raised TypeError over some of these, and its logger has said something first over others."""
    bad = tmp_path / NAMES[0]
    Image.fromarray(picture(NAMES[0])).save(bad)
    content = bytearray(bad.read_bytes())
    content[byte] ^= 1 << bit
    bad.write_bytes(content)
    assert complaint(lambda path: read_image(path, formats=("TIFF",)), bad).startswith(f"{bad}: not a readable image (")
    assert not caplog.records


def test_cut_small_deep_and_many_page_tiffs(tmp_path):
    write(tmp_path)
    bad = tmp_path / NAMES[5]
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    assert complaint(read_jaffe, tmp_path).startswith(f"{bad}: not a readable image")
    Image.fromarray(picture("x")[:128]).save(bad)
    assert complaint(read_jaffe, tmp_path) == f"{bad}: 256x128 pixels, expected 256x256"
    Image.fromarray(picture("x").astype(np.uint16) * 200).save(bad)
    assert "expected 8 bits a channel" in complaint(read_jaffe, tmp_path)
    pages = [Image.fromarray(picture(str(n))) for n in range(2)]
    pages[0].save(bad, save_all=True, append_images=pages[1:])
    assert complaint(read_jaffe, tmp_path) == f"{bad}: 2 pictures in one file; expected one"


BAD_ROWS = {
    "nowhere": ("KA.AN9.99.tiff,0", "column filepath: {root}/KA.AN9.99.tiff: no such file"),
    "outside": ("../KA.AN1.0.tiff,0", "column filepath: '../KA.AN1.0.tiff' does not lie in {root}"),
    "absolute": ("/etc/hostname,0", "column filepath: '/etc/hostname' does not lie in {root}"),
    "a folder": (".,0", "column filepath: {root}: is a folder, not a file"),
    "empty": (",0", "column filepath: {root}: is a folder, not a file"),
    "long": ("x" * 300 + ",0", "not a usable file name"),
    "NUL": ("a\0b,0", "column filepath: 'a?b' does not lie in"),
    "unknown": (f"{NAMES[0]},angri", "column emotions: 'angri'; did you mean 'angry'?"),
    "number": (f"{NAMES[0]},7", "column emotions: '7'; expected one of angry, disgust"),
    "no emotion": (f"{NAMES[0]},", "column emotions: ''; expected one of angry"),
    "another order": (f"{NAMES[3]},1", "column emotions: '1' (disgust), but KA.HA1.3.tiff is happy by its name"),
    "twice": (f"{NAMES[0]},0", f"column filepath: '{NAMES[0]}' stands already in {{root}}/train.csv: row 2"),
    "two columns": (f"{NAMES[0]}", "1 columns, expected 2"),
}


@pytest.mark.parametrize("what", BAD_ROWS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_bad_rows_name_file_row_and_value(tmp_path, what, part):
    write_tables(tmp_path)
    table = tmp_path / f"{part}.csv"
    row, expected = BAD_ROWS[what]
    table.write_text(table.read_text() + "\n" + row)
    message = complaint(read_jaffe_files, tmp_path)
    assert message.startswith(f"{table}: row 9") and expected.format(root=tmp_path) in message


def test_bad_tables(tmp_path):
    write_tables(tmp_path)
    (tmp_path / "val.csv").write_text("file,label\na,1")
    assert "val.csv: header is 'file,label'; expected the columns filepath, emotions" in complaint(
        read_jaffe_files, tmp_path
    )
    (tmp_path / "val.csv").write_text("filepath,emotions\n")
    assert complaint(read_jaffe_files, tmp_path) == f"{tmp_path / 'val.csv'}: no rows below the header"
    (tmp_path / "val.csv").unlink()
    assert complaint(read_jaffe_files, tmp_path) == f"{tmp_path / 'val.csv'}: no such file"


@pytest.fixture(scope="session")
def real(real_data):
    return read_jaffe(real_data("jaffe"))


def test_real_counts(real):
    by_code = {code: int((real.labels == FER2013_CLASSES.index(c)).sum()) for code, c in JAFFE_CODES.items()}
    assert len(real) == 213 and len(set(real.subjects)) == 10
    assert [by_code[code] for code in ("AN", "DI", "FE", "HA", "NE", "SA", "SU")] == [30, 29, 32, 31, 30, 31, 30]
    assert real.images.shape == (213, 256, 256) and len(set(image_hashes(real.images))) == 213


def test_real_palette_files_are_the_23_of_which_grey_is_kept(real, real_data):
    files = [real_data("jaffe") / f"{i}.tiff" for i in real.ids]
    palette = [index for index, file in enumerate(files) if Image.open(file).mode == "P"]
    assert len(palette) == 23
    for index in palette:
        np.testing.assert_array_equal(real.images[index], np.asarray(Image.open(files[index])))


def test_real_folds(real):
    splits = loso(real, seed=0)
    assert [s.name for s in splits] == sorted(set(real.subjects)) and sum(len(s.test) for s in splits) == 213
    for split in splits:
        assert not any(count for what, count in count_leaks(split).items() if "copy" in what)
        assert (split.train.counts() > 0).all() and (split.val.counts() > 0).all()
