"""FER2013: every form gives the same faces; whatever is wrong with a file is said in one line."""

import csv
import gzip
import io
import os
import signal
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.config import Config
from utils.datasets.duplicates import copied_from
from utils.datasets.fer2013 import read_fer2013
from utils.errors import UserError
from utils.labels import FER2013_CLASSES
from utils.splits import load_splits

USAGE = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}
HEADER = "emotion,pixels,Usage"
GREY = " ".join(["7"] * 2304)


@pytest.fixture(autouse=True)
def nothing_hangs():
    """A reader that waits for ever, at a pipe for example, fails here instead of holding up all tests."""

    def give_up(*_):
        raise AssertionError("still reading after a minute")

    earlier = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, earlier)


def made_up() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random images and labels of three parts, ordered by class as folders of images are."""
    random = np.random.default_rng(0)
    parts = {}
    for name, of_each in (("train", 3), ("val", 1), ("test", 2)):
        labels = np.repeat(np.arange(7), of_each)
        parts[name] = random.integers(0, 256, (len(labels), 48, 48), dtype=np.uint8), labels
    return parts


PARTS = made_up()


def text_of(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel()))


def write_csv(path: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([[row[name.strip()] for name in header] for row in rows])


def rows_of(part: str) -> list[dict[str, str]]:
    images, labels = PARTS[part]
    return [
        {"emotion": str(label), "pixels": text_of(image), "Usage": USAGE[part]}
        for image, label in zip(images, labels, strict=True)
    ]


def all_rows() -> list[dict[str, str]]:
    return [row for part in PARTS for row in rows_of(part)]


def write_folders(root: Path, *, names=FER2013_CLASSES, suffix=".png", parts=tuple(PARTS), rename=None) -> None:
    for part in parts:
        for index, (image, label) in enumerate(zip(*PARTS[part], strict=True)):
            folder = root / (rename or {}).get(part, part) / names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{index:03d}{suffix}", quality=95)


def as_fer2013(root: Path) -> None:
    write_csv(root / "fer2013.csv", ["emotion", "pixels", "Usage"], all_rows())


def as_icml(root: Path) -> None:
    write_csv(root / "icml_face_data.csv", ["emotion", " Usage", " pixels"], all_rows())


def as_three(root: Path) -> None:
    for part in PARTS:
        write_csv(root / f"{part}.csv", ["emotion", "pixels"], rows_of(part))


def as_capitals(root: Path) -> None:
    write_folders(root, names=["Anger", "Disgusted", "FEAR", "Happiness", "Sad", "surprised", "Neutral"])


CSV_FORMS = [as_fer2013, as_icml, as_three]
FOLDER_FORMS = [
    write_folders,
    as_capitals,
    lambda root: write_folders(root, names="0123456"),
    lambda root: write_folders(root, rename={"val": "validation"}),
]


def fingerprints(split) -> list[str]:
    return [part.fingerprint() for part in split.parts().values()]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    root = tmp_path_factory.mktemp("reference")
    as_fer2013(root)
    return read_fer2013(root, root / "cache")


@pytest.mark.parametrize("write", CSV_FORMS + FOLDER_FORMS)
def test_every_form_gives_the_same_faces(tmp_path, reference, write):
    write(tmp_path)
    split = read_fer2013(tmp_path, tmp_path / "cache")
    for name, (images, labels) in PARTS.items():
        faces = split.parts()[name]
        np.testing.assert_array_equal(faces.images, images)
        np.testing.assert_array_equal(faces.labels, labels)
        assert faces.images.dtype == np.uint8 and faces.labels.dtype == np.int64
        assert faces.classes == FER2013_CLASSES and faces.subjects is None
    assert fingerprints(split) == fingerprints(reference)
    assert split.protocol == reference.protocol
    assert split.protocol == "test part of 14 images, which is not PrivateTest (3,589); validation: 7 images"


@pytest.mark.parametrize("write", CSV_FORMS)
def test_every_csv_gives_the_same_ids(tmp_path, reference, write):
    write(tmp_path)
    split = read_fer2013(tmp_path, tmp_path / "cache")
    assert [p.ids for p in split.parts().values()] == [p.ids for p in reference.parts().values()]
    assert split.train.ids[:2] == ["train/00000", "train/00001"] and split.test.ids[0] == "test/00000"


@pytest.mark.parametrize("write", FOLDER_FORMS)
def test_folders_give_the_same_ids_whatever_the_classes_are_called(tmp_path, write):
    write(tmp_path)
    split = read_fer2013(tmp_path, tmp_path / "cache")
    every = [identity for part in split.parts().values() for identity in part.ids]
    assert len(set(every)) == len(every) == sum(len(labels) for _, labels in PARTS.values())
    assert split.train.ids[0] == "train/angry/000.png" and split.val.ids[-1] == "val/neutral/006.png"


def test_the_csv_itself_may_be_named_and_a_folder_may_hold_other_files(tmp_path, reference):
    as_fer2013(tmp_path)
    assert fingerprints(read_fer2013(tmp_path / "fer2013.csv", tmp_path / "cache")) == fingerprints(reference)
    folders = tmp_path / "folders"
    write_folders(folders)
    (folders / "train" / "happy" / ".DS_Store").write_bytes(b"\0")
    (folders / "train" / "readme.txt").write_text("hello")
    assert fingerprints(read_fer2013(folders, tmp_path / "cache")) == fingerprints(reference)


def test_rows_of_the_parts_may_stand_mixed(tmp_path, reference):
    rows = all_rows()
    order = np.random.default_rng(1).permutation(len(rows))
    parts = [row["Usage"] for row in rows]
    mixed = iter(sorted(order, key=lambda i: parts[i] == "Training" and i % 2))
    write_csv(tmp_path / "fer2013.csv", ["emotion", "pixels", "Usage"], [rows[i] for i in mixed])
    split = read_fer2013(tmp_path, tmp_path / "cache")
    for name, faces in split.parts().items():
        there = {(image.tobytes(), int(label)) for image, label in zip(faces.images, faces.labels, strict=True)}
        other = reference.parts()[name]
        assert there == {(i.tobytes(), int(label)) for i, label in zip(other.images, other.labels, strict=True)}


def test_jpeg_folders_are_read_nearly_the_same(tmp_path):
    smooth = np.linspace(0, 255, 48)[None, :].repeat(48, 0).astype(np.uint8)
    for part in PARTS:
        for name in FER2013_CLASSES:
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            Image.fromarray(smooth).save(folder / "one.jpg", quality=95)
            Image.fromarray(255 - smooth).save(folder / "two.JPEG", format="JPEG", quality=95)
    split = read_fer2013(tmp_path, tmp_path / "cache")
    assert split.train.counts().tolist() == [2] * 7
    assert np.abs(split.train.images[0].astype(int) - smooth).max() <= 6
    assert np.abs(split.train.images[1].astype(int) - (255 - smooth)).max() <= 6


@pytest.mark.parametrize(
    ("counts", "protocol"),
    [
        ((21, 7, 14), "official: Training / PublicTest / PrivateTest"),
        ((28, 7, 14), "official test part; validation: 7 images"),  # as where it was cut from Training
        ((21, 9, 14), "official test part; validation: 7 images"),
        ((21, 7, 7), "test part of 14 images, which is not PrivateTest (7); validation: 7 images"),
    ],
)
def test_the_numbers_of_images_say_whether_the_parts_are_the_official_ones(tmp_path, monkeypatch, counts, protocol):
    as_fer2013(tmp_path)
    monkeypatch.setattr("utils.datasets.fer2013.COUNTS", dict(zip(("train", "val", "test"), counts, strict=True)))
    assert read_fer2013(tmp_path, tmp_path / "cache").protocol == protocol


def test_without_a_validation_part_a_tenth_of_each_class_is_set_apart(tmp_path):
    for part, of_each in (("train", 25), ("test", 1)):
        for label, name in enumerate(FER2013_CLASSES):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for index in range(of_each):
                Image.fromarray(np.full((48, 48), 30 * label + index, np.uint8)).save(folder / f"{index:02d}.png")
    split = read_fer2013(tmp_path, tmp_path / "cache")
    again = read_fer2013(tmp_path, tmp_path / "another cache")
    assert split.val.counts().tolist() == [3] * 7 and split.train.counts().tolist() == [22] * 7
    assert [identity for identity in split.val.ids if "happy" in identity] == [
        f"train/happy/{i}.png" for i in ("00", "10", "20")
    ]
    assert not set(split.val.ids) & set(split.train.ids) and split.test.counts().tolist() == [1] * 7
    assert "every tenth" in split.protocol
    assert fingerprints(split) == fingerprints(again) and split.val.ids == again.val.ids


def test_marks_and_line_ends_of_other_systems_are_read(tmp_path, reference):
    lines = [HEADER] + [f"{row['emotion']},{row['pixels']},{row['Usage']}" for row in all_rows()]
    (tmp_path / "fer2013.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\n\r\n")
    assert fingerprints(read_fer2013(tmp_path, tmp_path / "cache")) == fingerprints(reference)
    (tmp_path / "fer2013.csv").write_bytes("\r".join(lines).encode())
    assert fingerprints(read_fer2013(tmp_path, tmp_path / "cache")) == fingerprints(reference)


def complaint(path: Path) -> str:
    """The one line that is said of the data at ``path``; unless they were read to their end, nothing is kept."""
    cache = path.parent / "cache"
    with pytest.raises(UserError) as caught:
        read_fer2013(path, cache)
    assert caught.value.exit_code == 2
    assert " part has no " in str(caught.value) or not [*cache.glob("*.npy"), *cache.glob("*.rows")]
    message = str(caught.value)
    assert message.isprintable(), message
    assert len(message) < 400
    return message


def good_rows(count: int = 3) -> list[str]:
    return [f"{i % 7},{GREY},Training" for i in range(count)]


def with_pixels(pixels: str) -> bytes:
    return "\n".join([HEADER, *good_rows(), f'3,"{pixels}",Training']).encode()


def with_label(label: str) -> bytes:
    return "\n".join([HEADER, *good_rows(), f"{label},{GREY},Training"]).encode()


HEADER_WANTED = "expected the columns emotion, pixels, Usage, each once"
BAD_CSV = {
    "empty": (b"", ["is empty"]),
    "blank": (b"\n \n", ["header is ''", HEADER_WANTED]),
    "header only": (HEADER.encode() + b"\n", ["no rows below the header"]),
    "wrong columns": (f"label,image\n3,{GREY}\n".encode(), ["header is 'label,image'", HEADER_WANTED]),
    "no header": ("\n".join(good_rows()).encode(), ["header is '0,7 7", HEADER_WANTED]),
    "doubled columns": (f"emotion,pixels,pixels,Usage\n3,{GREY},{GREY},Training".encode(), [HEADER_WANTED]),
    "semicolons": (f"emotion;pixels;Usage\n3;{GREY};Training".encode(), ["'emotion;pixels;Usage'", HEADER_WANTED]),
    "label 7": (with_label("7"), ["row 5, column emotion: '7'; expected a whole number from 0 to 6"]),
    "label 70": (with_label("70"), ["row 5, column emotion: '70'"]),
    "label -1": (with_label("-1"), ["row 5, column emotion: '-1'"]),
    "label 3.0": (with_label("3.0"), ["row 5, column emotion: '3.0'"]),
    "label text": (with_label("happy"), ["row 5, column emotion: 'happy'"]),
    "label nan": (with_label("nan"), ["row 5, column emotion: 'nan'"]),
    "label missing": (with_label(""), ["row 5, column emotion: ''"]),
    "label full-width": (with_label("\uff13"), ["row 5, column emotion: '\uff13'"]),
    "label 1_2": (with_label("1_2"), ["row 5, column emotion: '1_2'"]),
    "label of thousands of digits": (with_label("9" * 9000), ["row 5, column emotion: '999"]),
    "label on two lines": (with_label('"3\nx"'), ["row 5, column emotion: '3?x'"]),
    "2303 values": (with_pixels(" ".join(["7"] * 2303)), ["row 5, column pixels: 2303 values, expected 2304"]),
    "2305 values": (with_pixels(GREY + " 7"), ["row 5, column pixels: 2305 values, expected 2304"]),
    "no values": (with_pixels(""), ["row 5, column pixels: 0 values, expected 2304"]),
    "256": (with_pixels(GREY[:-1] + "256"), ["row 5, column pixels: 256 is not a whole number from 0 to 255"]),
    "a value of 30 digits": (with_pixels(GREY[:-1] + "9" * 30), ["row 5, column pixels:", "from 0 to 255"]),
    "-1": (with_pixels(GREY[:-1] + "-1"), ["row 5, column pixels: '-1' is not a whole number from 0 to 255"]),
    "7.5": (with_pixels(GREY[:-1] + "7.5"), ["row 5, column pixels: '7.5' is not"]),
    "1_2": (with_pixels(GREY[:-1] + "1_2"), ["row 5, column pixels: '1_2' is not"]),
    "1e2": (with_pixels(GREY[:-1] + "1e2"), ["row 5, column pixels: '1e2' is not"]),
    "full-width digits": (with_pixels(GREY[:-1] + "\uff17"), ["row 5, column pixels: '\uff17' is not"]),
    "superscript": (with_pixels(GREY[:-1] + "\u00b2"), ["row 5, column pixels: '\u00b2' is not"]),
    "tabs": (with_pixels(GREY.replace(" ", "\t")), ["row 5, column pixels: '7?7?7"]),
    "no-break spaces": (with_pixels(GREY.replace(" ", "\u00a0")), ["row 5, column pixels: '7?7?7"]),
    "lines": (with_pixels(GREY.replace(" ", "\n")), ["row 5, column pixels: '7?7?7"]),
    "NUL": (with_pixels(GREY[:-1] + "\0"), ["row 5, column pixels: '?' is not"]),
    "NUL only": (b"\0" * 4096, [HEADER_WANTED]),
    "a column too many": (HEADER.encode() + f"\n3,{GREY},Training,x".encode(), ["row 2: 4 columns, expected 3"]),
    "cut in mid-row": (with_label("3")[:-3000], ["row 5: 2 columns, expected 3"]),
    "cut in Usage": (with_label("3")[:-3], ["row 5, column Usage: 'Train'; expected one of Training, PublicTest"]),
    "unknown Usage": (with_label("3") + b"s", ["row 5, column Usage: 'Trainings'; expected one of Training"]),
    "Usage missing": (with_label("3")[:-8], ["row 5, column Usage: ''"]),
    "open quote": (with_label('"3'), ["row 5: not a valid CSV row"]),
    "open quote in the middle": (
        b"\n".join([HEADER.encode(), b'"1,2', *[good_rows()[0].encode()] * 50]),
        ["row 2: not a valid CSV row"],
    ),
    "30 MB field": (HEADER.encode() + b"\n3," + b"7 " * 15_000_000 + b",Training", ["row 2: not a valid CSV row"]),
    "30 MB header": (b"e" * 30_000_000, ["row 1: not a valid CSV row"]),
    "gzip": (gzip.compress(with_label("3")), ["compressed with gzip; unpack it first"]),
    "web page": (b"\n <!DOCTYPE html><html>Sign in</html>", ["a web page; the download went wrong"]),
    "Git-LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["git lfs pull"]),
    "UTF-16": (with_label("3").decode().encode("utf-16"), ["UTF-16; save it as UTF-8"]),
    "UTF-16 without mark": (with_label("3").decode().encode("utf-16-le"), [HEADER_WANTED]),
    "Latin-1": (with_label("\u00e9").decode().encode("latin-1"), ["not text in UTF-8"]),
    "no test part": (b"\n".join([with_label("3"), f"1,{GREY},PublicTest".encode()]), ["the test part has no images"]),
    "no train part": (
        f"{HEADER}\n1,{GREY},PublicTest\n1,{GREY},PrivateTest".encode(),
        ["the train part has no images"],
    ),
    "a class missing": (
        "\n".join([HEADER, *good_rows(6), f"1,{GREY},PublicTest", f"1,{GREY},PrivateTest"]).encode(),
        ["the train part has no image of neutral"],
    ),
}


@pytest.mark.parametrize("what", BAD_CSV)
def test_bad_csv_is_one_line_with_row_and_column(tmp_path, what):
    content, expected = BAD_CSV[what]
    (tmp_path / "fer2013.csv").write_bytes(content)
    message = complaint(tmp_path / "fer2013.csv")
    assert message.startswith(str(tmp_path / "fer2013.csv"))
    for part in expected:
        assert part in message


def test_bad_row_in_one_of_three_files_names_that_file(tmp_path):
    as_three(tmp_path)
    with open(tmp_path / "val.csv", "a") as file:
        file.write(f"9,{GREY}\n")
    assert f"{tmp_path}/val.csv: row 9, column emotion: '9'" in complaint(tmp_path)
    (tmp_path / "val.csv").unlink()
    assert complaint(tmp_path) == f"{tmp_path}/val.csv: no such file"


@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv", "train.csv"])
def test_pipes_and_folders_in_the_place_of_a_csv_are_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert complaint(tmp_path) == f"{tmp_path / name}: is a pipe or device, not a file"
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert complaint(tmp_path) == f"{tmp_path / name}: is a folder, not a file"


def test_a_pipe_as_data_path_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert complaint(tmp_path / "pipe") == f"{tmp_path / 'pipe'}: is a pipe or device, not a file"


@pytest.mark.parametrize("folders", [(), ("train",), ("train/happy", "test/happy")])
def test_missing_data_say_where_to_get_them_and_how_to_do_without(tmp_path, folders):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        read_fer2013(tmp_path, tmp_path / "cache")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}: no FER2013 here")
    for part in ("fer2013.csv", "icml_face_data.csv", "train.csv", "train/<class>", "kaggle.com", "`make train`"):
        assert part in text


def test_another_number_of_classes_than_the_config_says(tmp_path):
    as_fer2013(tmp_path)
    config = Config(data_path=str(tmp_path), cache_dir=str(tmp_path / "cache"), num_classes=8)
    with pytest.raises(UserError, match="num_classes is 8; fer2013 has 7: angry, disgust"):
        load_splits(config)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FACE = Image.fromarray(PARTS["train"][0][0])
BAD_IMAGES = {
    "empty": (b"", "not a readable image"),
    "text": (b"hello", "not a readable image"),
    "web page": (b"<html></html>", "not a readable image"),
    "cut": (encoded(FACE)[:-600], "not a readable image"),
    "cut in the header": (encoded(FACE)[:20], "not a readable image"),
    "flipped byte": (encoded(FACE)[:60] + b"\xff" + encoded(FACE)[61:], "not a readable image"),
    "1x1": (encoded(FACE.resize((1, 1))), "1x1 pixels, expected 48x48"),
    "not square": (encoded(FACE.resize((48, 47))), "48x47 pixels, expected 48x48"),
    "60000x60000": (png_header(60000, 60000), "pixels"),
    "10000x10000": (png_header(10000, 10000), "10000x10000 pixels, expected 48x48"),
    "right size, no pixels": (png_header(48, 48), "not a readable image"),
    "16-bit": (encoded(Image.fromarray(np.full((48, 48), 40000, np.uint16))), "expected 8 bits a channel"),
    "a program for a printer": (encoded(FACE, "EPS"), "cannot identify image file"),  # reading it would run it
    "another format": (encoded(FACE, "GIF"), "cannot identify image file"),
}


@pytest.mark.parametrize("what", BAD_IMAGES)
def test_bad_image_is_one_line_with_its_file(tmp_path, what, recwarn):
    content, expected = BAD_IMAGES[what]
    root = tmp_path / "data"
    write_folders(root)
    bad = root / "train" / "fear" / "bad.png"
    bad.write_bytes(content)
    message = complaint(root)
    assert message.startswith(f"{bad}: ") and expected in message
    assert not recwarn


def test_pipes_folders_and_dead_links_among_images_are_refused(tmp_path):
    root = tmp_path / "data"
    write_folders(root)
    bad = root / "train" / "fear" / "bad.png"
    os.mkfifo(bad)
    assert complaint(root) == f"{bad}: is a pipe or device, not a file"
    bad.unlink()
    bad.mkdir()
    assert complaint(root) == f"{bad}: is a folder, not a file"
    bad.rmdir()
    bad.symlink_to(tmp_path / "nowhere")
    assert complaint(root) == f"{bad}: no such file"


def test_folders_that_are_no_class_or_stand_twice_are_refused(tmp_path):
    root = tmp_path / "data"
    write_folders(root)
    (root / "train" / ".ipynb_checkpoints").mkdir()  # hidden ones are no class, and in nobody's way
    assert len(read_fer2013(root, tmp_path / "elsewhere").test) == len(PARTS["test"][1])
    (root / "train" / "bored").mkdir()
    assert complaint(root).startswith(f"{root / 'train' / 'bored'}: not the name of a class; expected one of angry")
    (root / "train" / "bored").rename(root / "train" / "3")
    message = complaint(root)
    assert "train/3" in message and "train/happy" in message and "same part and class" in message
    (root / "train" / "3").rename(root / "train" / "7")
    assert "train/7: not the name of a class" in complaint(root)


def read_one(tmp_path: Path, name: str, content: bytes) -> np.ndarray:
    """How an image is read that stands first among those of class angry."""
    write_folders(tmp_path / "data")
    (tmp_path / "data" / "train" / "angry" / name).write_bytes(content)
    return read_fer2013(tmp_path / "data", tmp_path / "cache").train.images[0]


def test_palette_colour_and_transparent_images_become_grey(tmp_path):
    grey = np.asarray(FACE)
    palette = FACE.convert("P")  # an identity palette, as grey pictures are often kept
    np.testing.assert_array_equal(read_one(tmp_path / "p", "0.png", encoded(palette)), grey)
    colour = Image.merge("RGB", [FACE] * 3)
    np.testing.assert_array_equal(read_one(tmp_path / "rgb", "0.png", encoded(colour)), grey)
    colour.putalpha(128)
    np.testing.assert_array_equal(read_one(tmp_path / "rgba", "0.png", encoded(colour)), grey)
    bits = Image.fromarray(grey > 127)
    np.testing.assert_array_equal(read_one(tmp_path / "bits", "0.png", encoded(bits)), (grey > 127) * 255)


def test_cmyk_and_rotated_jpegs_are_read_as_they_look(tmp_path):
    ramp = np.linspace(0, 255, 48)[:, None].repeat(48, 1).astype(np.uint8)
    picture = Image.fromarray(ramp)
    cmyk = encoded(Image.merge("RGB", [picture] * 3).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(read_one(tmp_path / "cmyk", "0.jpg", cmyk).astype(int) - ramp).max() <= 8
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise before it is shown
    turned = encoded(picture, "JPEG", quality=95, exif=exif.tobytes())
    expected = np.rot90(ramp, -1).astype(int)
    assert np.abs(read_one(tmp_path / "exif", "0.jpg", turned).astype(int) - expected).max() <= 8


@pytest.fixture(scope="session")
def real(real_data, tmp_path_factory):
    return read_fer2013(real_data("fer2013"), tmp_path_factory.mktemp("cache"))


def test_real_counts_per_split_and_class(real):
    assert real.train.counts().tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert real.val.counts().tolist() == [467, 56, 496, 895, 653, 415, 607]
    assert real.test.counts().tolist() == [491, 55, 528, 879, 594, 416, 626]
    assert real.protocol == "official: Training / PublicTest / PrivateTest"


def test_real_copies_and_black_images(real):
    assert copied_from(real.test, real.train).sum() == 288
    assert copied_from(real.val, real.train).sum() == 280
    assert copied_from(real.test, real.val).sum() == 44
    black = [int((part.images.reshape(len(part), -1).max(1) == 0).sum()) for part in real.parts().values()]
    assert black == [11, 1, 0]
