"""Dumps: the same bytes again, damage and bombs refused, and an average that mixes only what belongs together."""

import dataclasses
import io
import json
import struct
import tracemalloc
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from utils.arrays import npz_bytes, read_npy, read_npz
from utils.errors import UserError
from utils.metrics import score
from utils.predictions import (
    Predictions,
    _digest,
    combine,
    load_predictions,
    probability_dump,
    save_predictions,
    softmax,
)
from utils.report import as_json, judge, scores_table, without_copies

META = {"scores": "logits", "run": "r", "split": "test", "protocol": "official", "data": "abc", "copies_in_train": []}


def drawn(seed=0, images=20, classes=3, views=2, **meta) -> Predictions:
    generator = np.random.default_rng(seed)
    return Predictions(
        generator.normal(size=(views, images, classes), scale=3).astype(np.float32),
        np.arange(images, dtype=np.int64) % classes,
        [f"test/{index:04d}" for index in range(images)],
        tuple(f"class {index}" for index in range(classes)),
        META | meta,
    )


def arrays_of(predictions: Predictions) -> dict[str, np.ndarray]:
    return {
        "logits": predictions.logits,
        "targets": predictions.targets,
        "ids": np.array(predictions.ids),
        "classes": np.array(predictions.classes),
        "meta": np.array(json.dumps(dict(predictions.meta))),
    }


def forged(path, **changes):
    """A dump with changed arrays and the hash that goes with them."""
    arrays = arrays_of(drawn()) | changes
    path.write_bytes(npz_bytes(arrays | {"sha256": np.array(_digest(arrays))}))
    return path


def refused(function, *arguments) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def same(one: Predictions, other: Predictions) -> bool:
    return (
        np.array_equal(one.logits, other.logits)
        and np.array_equal(one.targets, other.targets)
        and (one.ids, one.classes, dict(one.meta)) == (other.ids, other.classes, dict(other.meta))
    )


# Dumps


def test_round_trip_and_same_bytes(tmp_path):
    first, second = tmp_path / "new folder" / "a.npz", tmp_path / "b.npz"
    save_predictions(drawn(), first)
    loaded = load_predictions(first)
    assert same(loaded, drawn())
    assert (loaded.logits.dtype, loaded.targets.dtype) == (np.float32, np.int64)
    save_predictions(loaded, second)
    assert first.read_bytes() == second.read_bytes()
    with np.load(first, allow_pickle=False) as plain:  # an ordinary file for everybody else
        assert np.array_equal(plain["logits"], drawn().logits)


def test_half_the_size_is_kept_with_little_loss_and_a_hash_of_its_own(tmp_path):
    whole, half, again = (tmp_path / name for name in ("whole.npz", "half.npz", "again.npz"))
    many = drawn(images=2000)
    save_predictions(many, whole)
    save_predictions(many, half, half=True)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    loaded = load_predictions(half)
    assert loaded.logits.dtype == np.float32 and loaded.meta == {**many.meta, "kept_as": "float16"}
    assert np.abs(softmax(loaded.logits) - softmax(many.logits)).max() < 2e-4
    save_predictions(loaded, again)  # who copies it loses nothing, and gains no bytes
    assert again.read_bytes() == half.read_bytes()
    content = bytearray(half.read_bytes())
    content[len(content) // 2] ^= 1
    half.write_bytes(content)
    assert str(half) in refused(load_predictions, half)


def test_improbable_classes_stay_finite_at_half_the_size(tmp_path):
    far = replace(drawn(images=2), logits=np.array([[[0, -1e6, 3e4], [5, 5, 5]]], np.float32))
    save_predictions(far, tmp_path / "a.npz", half=True)
    np.testing.assert_allclose(load_predictions(tmp_path / "a.npz").probabilities(), softmax(far.logits)[0], atol=2e-4)


def test_damage_of_any_byte_is_refused_or_harmless(tmp_path):
    """A byte that no reader looks at (a date in the zip file) may change; a prediction may not."""
    path = tmp_path / "a.npz"
    save_predictions(drawn(images=4), path)
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile on doubled names
                survived = load_predictions(path)
        except UserError as error:
            assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1
            outcomes[False] += 1
        else:
            assert same(survived, drawn(images=4)), place
            outcomes[True] += 1
    assert outcomes[False] > 0.7 * len(content)


def test_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    save_predictions(drawn(images=4), path)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert str(path) in refused(load_predictions, path)


@pytest.mark.parametrize("seed", range(3))
def test_zeroed_blocks_are_refused(tmp_path, seed):
    path = tmp_path / "a.npz"
    save_predictions(drawn(seed), path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    assert str(path) in refused(load_predictions, path)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git-LFS pointer"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"random bytes" * 100, "not an .npz file"),
        (b"PK\x05\x06" + bytes(18), "not a dump of this project"),
    ],
)
def test_disguises(tmp_path, content, part):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    assert part in refused(load_predictions, path)
    assert "no such file" in refused(load_predictions, tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"logits": np.zeros((0, 20, 3), np.float32)}, "none of them 0"),
        ({"logits": np.zeros((20, 3), np.float32)}, "expected views, images, classes"),
        ({"logits": np.zeros((2, 19, 3), np.float32)}, "logits of shape (2, 19, 3) with targets (20,)"),
        ({"logits": np.zeros((2, 20, 3), np.int64)}, "array 'logits' is missing or of another type"),
        ({"logits": np.full((2, 20, 3), np.nan, np.float32)}, "not finite"),
        ({"logits": np.full((2, 20, 3), -np.inf, np.float32)}, "not finite"),
        ({"targets": np.full(20, 3)}, "targets outside 0 to 2"),
        ({"targets": np.full(20, -1)}, "targets outside 0 to 2"),
        ({"targets": np.zeros((20, 1), int)}, "targets (20, 1)"),
        ({"targets": np.array(3)}, "targets ()"),
        ({"targets": np.zeros(20)}, "array 'targets' is missing or of another type"),
        ({"ids": np.array("one")}, "ids ()"),
        ({"ids": np.array(["a"] * 19)}, "ids (19,)"),
        ({"ids": np.arange(20)}, "array 'ids' is missing or of another type"),
        ({"classes": np.array("abc")}, "expected views, images, classes"),
        ({"classes": np.array(["a", "b"])}, "classes (2,)"),
        ({"meta": np.array("[]")}, "not a JSON object"),
        ({"meta": np.array("{")}, "not a JSON object"),
        ({"meta": np.array("[" * 50_000)}, "not a JSON object"),
        ({"meta": np.array('{"copies_in_train": 3}')}, "not a list of image ids"),
        ({"meta": np.array('{"copies_in_train": [[]]}')}, "not a list of image ids"),
    ],
)
def test_dump_that_disagrees_with_itself(tmp_path, changes, part):
    assert part in refused(load_predictions, forged(tmp_path / "a.npz", **changes))


def test_small_whole_numbers_of_other_writers_become_int64(tmp_path):
    loaded = load_predictions(forged(tmp_path / "a.npz", targets=drawn().targets.astype(np.int8)))
    assert loaded.targets.dtype == np.int64
    assert same(loaded, drawn())


def test_missing_array_and_wrong_hash(tmp_path):
    arrays = arrays_of(drawn())
    path = tmp_path / "a.npz"
    path.write_bytes(npz_bytes(arrays))
    assert "array 'sha256' is missing" in refused(load_predictions, path)
    path.write_bytes(npz_bytes(arrays | {"sha256": np.array("0" * 64)}))
    assert "damaged (checksum differs)" in refused(load_predictions, path)


# Files of arrays


def npy(header: str | bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    header = header.encode() if isinstance(header, str) else header
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + size + header + data


def described(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


HEADERS = {
    "huge": described("'<f4'", "(1000000000000,)"),
    "huge product": described("'<f4'", "(4294967296, 4294967296)"),
    "thousands of digits": described("'<f4'", f"({'9' * 5000},)"),
    "negative": described("'<f4'", "(-1,)"),
    "twice negative": described("'<f4'", "(-1, -1)"),
    "none of very many": described("'<f4'", "(0, 1000000000000000000000000000000)"),
    "many dimensions": described("'<f4'", "(" + "1," * 99 + ")"),
    "wide text": described("'<U999999'", "(1000,)"),
    "text of no width": described("'<U0'", "(1000000000,)"),
    "objects": described("'|O'", "(1,)"),
    "bytes": described("'|S4'", "(1,)"),
    "dates": described("'<M8'", "(1,)"),
    "unknown": described("'<f3'", "(1,)"),
    "structured": described("[('a', '<f4')]", "(1,)"),
    "code": described("__import__('os').system('true')", "(1,)"),
    "deep": "(" * 9000,
    "unary": "-" * 9000 + "1",
    "unhashable": "{[]: 1}",
    "half a line": "{'descr': '<f4', 'fortran_order'",
    "two shapes": described("'<f4'", "(1 1,)"),
    "empty": "",
    "not text": b"\xff" * 50,
}


@pytest.mark.parametrize("how", HEADERS)
def test_header_that_lies_is_refused_without_memory(tmp_path, how):
    array = npy(HEADERS[how], b"\0\0\x80\x3f")
    plain, packed = tmp_path / "a.npy", tmp_path / "a.npz"
    plain.write_bytes(array)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("logits.npy", array)
    tracemalloc.start()
    messages = refused(read_npy, plain), refused(read_npz, packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    assert messages[0].startswith(f"{plain}: ") and messages[1].startswith(f"{packed}: array logits: ")
    assert max(map(len, messages)) < len(str(packed)) + 400


def test_header_of_four_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{")
    tracemalloc.start()
    assert "not an array file" in refused(read_npy, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_object_arrays_are_refused_unread(tmp_path):
    marker = tmp_path / "marker"

    class Hostile:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    array = np.array([Hostile()], dtype=object)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", logits=array)
    marker.unlink(missing_ok=True)
    assert "holds object; expected numbers or text" in refused(read_npy, tmp_path / "a.npy")
    assert "holds object; expected numbers or text" in refused(read_npz, tmp_path / "a.npz")
    assert not marker.exists()


def test_deflate_bomb_is_refused_without_memory(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("logits.npy", "w") as file:
        file.write(npy(described("'|u1'", f"({2**26},)")))
        for _ in range(64):
            file.write(bytes(2**20))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    message = refused(read_npz, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "would unpack to 67 MB; refused" in message
    assert peak < 5_000_000


def test_bomb_whose_directory_lies_about_its_size(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("logits.npy", npy(described("'|u1'", "(1000,)"), bytes(2**25)))
    content = bytearray(path.read_bytes())
    where = content.rindex(b"PK\x01\x02") + 24  # the unpacked size in the central directory
    said = len(npy(described("'|u1'", "(1000,)"), bytes(1000)))
    content[where : where + 4] = struct.pack("<I", said)
    path.write_bytes(content)
    tracemalloc.start()
    assert str(path) in refused(read_npz, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_refused(tmp_path, method):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("logits.npy", npy(described("'|u1'", "(3,)"), b"abc"))
    assert "packed in a way that NumPy does not use" in refused(read_npz, path)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
        np.arange(5, dtype=">i8"),
        np.array([True, False]),
        np.array(["", "é", "\U0001f600"]),
        np.array(3, dtype=np.uint8),
        np.zeros((0, 7)),
        np.zeros((1, 2, 3, 4), np.float16),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_reads_what_numpy_writes(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", x=array)
    for read in (read_npy(tmp_path / "a.npy"), read_npz(tmp_path / "a.npz")["x"]):
        assert read.dtype == array.dtype and np.array_equal(read, array) and read.shape == array.shape


def test_text_that_is_no_text_and_bytes_after_the_end(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(npy(described("'<U1'", "(1,)"), b"\xff\xff\xff\x7f"))
    assert "characters that do not exist" in refused(read_npy, path)
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    for content in (buffer.getvalue() + b"\0", buffer.getvalue()[:-1]):
        path.write_bytes(content)
        assert "claims the shape (3,), which is not what the file holds" in refused(read_npy, path)


# Averages


def reference(members):
    """The average of average probabilities, written without the project's own functions."""
    total = np.zeros(members[0].logits.shape[1:])
    for member in members:
        mine = np.zeros_like(total)
        for view in member.logits.astype(np.longdouble):
            powers = np.exp(view)
            mine = mine + (powers / powers.sum(1)[:, None]).astype(float)
        total += mine / len(member.logits)
    return total / len(members)


def test_combine_is_the_unweighted_mean_of_mean_probabilities():
    members = [drawn(seed, views=views) for seed, views in ((0, 1), (1, 2), (2, 10))]
    together = combine(members, ["a", "b", "c"])
    np.testing.assert_allclose(together.probabilities(), reference(members), rtol=1e-5, atol=1e-9)
    assert together.logits.shape == (1, 20, 3) and together.logits.dtype == np.float32
    assert together.ids == members[0].ids and np.array_equal(together.targets, members[0].targets)
    assert together.meta["members"] == ["a", "b", "c"] and together.meta["views"] == [1, 2, 10]
    assert (together.meta["run"], together.meta["split"], together.meta["data"]) == ("ensemble", "test", "abc")


def test_one_member_alone_keeps_its_probabilities():
    np.testing.assert_allclose(combine([drawn()], ["a"]).probabilities(), drawn().probabilities(), rtol=1e-5, atol=1e-9)


def test_shuffled_images_are_joined_by_id():
    order = np.random.default_rng(5).permutation(20)
    straight = combine([drawn(0), drawn(1)], ["a", "b"])
    shuffled = combine([drawn(0), drawn(1).part(order)], ["a", "b"])
    assert same(straight, shuffled)
    other_way = combine([drawn(1).part(order), drawn(0)], ["b", "a"])
    np.testing.assert_allclose(other_way.part(np.argsort(order)).probabilities(), straight.probabilities(), rtol=1e-6)


def renamed(predictions, **changes):
    return dataclasses.replace(predictions, **changes)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            renamed(drawn(1), ids=[f"x{i}" for i in range(20)]),
            "b: has no prediction for 20 images of a, e.g. test/0000",
        ),
        (renamed(drawn(1), ids=["test/0000"] * 20), "b: an image id stands twice"),
        (drawn(1, images=19), "b: number of images 19 differs from 20 of a"),
        (renamed(drawn(1), classes=("class 1", "class 0", "class 2")), 'b: classes ["class 1", "class 0", "class 2"]'),
        (drawn(1, classes=4), "b: classes "),
        (drawn(1, split="val"), 'b: split "val" differs from "test" of a'),
        (drawn(1, protocol="fold 3"), 'b: protocol "fold 3" differs from "official" of a'),
        (drawn(1, data="abd"), 'b: data "abd" differs from "abc" of a'),
        (drawn(1, scores="probabilities"), 'b: kind of score "probabilities" differs from "logits" of a'),
        (renamed(drawn(1), targets=(drawn().targets + 1) % 3), "b: targets differ from those of a"),
        (drawn(0), "b: the same predictions as a; each member counts once"),
        (drawn(0).part(np.arange(20)[::-1]), "b: the same predictions as a; each member counts once"),
        (drawn(0, run="another name"), "b: the same predictions as a; each member counts once"),
    ],
)
def test_members_that_do_not_belong_together(other, message):
    assert refused(combine, [drawn(0), other], ["a", "b"]).startswith(message)


def test_image_that_stands_twice_in_the_first_member_is_refused():
    first = renamed(drawn(0), ids=["test/0001", *drawn(0).ids[1:]], targets=np.zeros(20, np.int64))
    other = renamed(drawn(1), targets=np.zeros(20, np.int64))
    assert refused(combine, [first, other], ["a", "b"]) == "a: an image id stands twice"
    assert refused(combine, [first], ["a"]) == "a: an image id stands twice"


def test_logits_far_from_zero_stay_finite():
    wild = renamed(drawn(), logits=drawn().logits * 1e30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = combine([wild, drawn(1)], ["a", "b"])
    assert np.isfinite(together.logits).all()
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])


# Bare probabilities


def shares(rows=6, classes=3):
    return softmax(np.random.default_rng(0).normal(size=(rows, classes)))


def test_probabilities_of_users():
    targets = np.arange(6, dtype=np.uint8) % 3
    dump = probability_dump(shares(), targets, "a.npy", "t.npy")
    np.testing.assert_allclose(dump.probabilities(), shares(), rtol=1e-5)
    assert dump.targets.dtype == np.int64 and len(set(dump.ids)) == 6
    sure = probability_dump(np.eye(3), np.arange(3), "a.npy", "t.npy")
    np.testing.assert_allclose(sure.probabilities(), np.eye(3), atol=1e-9)
    half = probability_dump(shares().astype(np.float16), targets, "a.npy", "t.npy")
    np.testing.assert_allclose(half.probabilities(), shares(), atol=1e-3)


@pytest.mark.parametrize(
    ("probabilities", "targets", "message"),
    [
        (np.array([[3.0, -1.0], [0.2, 0.1]]), [0, 1], "a.npy: holds values that are negative"),
        (np.array([[3.0, 1.0], [0.5, 0.5]]), [0, 1], "a.npy: row 0 sums to 4; expected probabilities that sum to 1"),
        (np.array([[0.5, 0.5], [0.5, 0.49]]), [0, 1], "a.npy: row 1 sums to 0.99"),
        (np.array([[np.nan, 1.0]]), [0], "a.npy: holds values that are negative or not finite"),
        (np.array([[np.inf, 1.0]]), [0], "a.npy: holds values that are negative or not finite"),
        (np.ones((2, 1)), [0, 0], "a.npy: shape (2, 1) of float64; expected probabilities (N, C)"),
        (np.ones(4), [0] * 4, "a.npy: shape (4,)"),
        (np.ones((1, 2, 2)) / 2, [0], "a.npy: shape (1, 2, 2)"),
        (np.eye(2, dtype=int), [0, 1], "a.npy: shape (2, 2) of int64"),
        (np.array([["a", "b"]]), [0], "a.npy: shape (1, 2) of <U1"),
        (np.eye(2), [0], "t.npy: shape (1,) of int64; expected 2 whole numbers"),
        (np.eye(2), [0, 1, 1], "t.npy: shape (3,)"),
        (np.eye(2), [0.0, 1.0], "t.npy: shape (2,) of float64; expected 2 whole numbers"),
        (np.eye(2), [[0, 1]], "t.npy: shape (1, 2)"),
        (np.eye(2), [0, 2], "t.npy: classes outside 0 to 1"),
        (np.eye(2), [0, -1], "t.npy: classes outside 0 to 1"),
        (np.ones((0, 2)), np.zeros(0, int), "t.npy: classes outside 0 to 1, or none"),
    ],
)
def test_what_is_not_probabilities(probabilities, targets, message):
    assert refused(probability_dump, probabilities, np.array(targets), "a.npy", "t.npy").startswith(message)


# Parts and reports


def test_part_by_mask_and_by_index():
    whole = drawn()
    mask = whole.targets == 1
    by_mask, by_index = whole.part(mask), whole.part(np.flatnonzero(mask))
    assert same(by_mask, by_index) and len(by_mask.ids) == mask.sum() and set(by_mask.targets.tolist()) == {1}
    back = whole.part(np.array([3, 0]))
    assert back.ids == ["test/0003", "test/0000"]
    assert np.array_equal(back.logits, whole.logits[:, [3, 0]])
    assert whole.part(np.zeros(20, bool)).ids == []


def test_first_view_is_the_clean_one():
    whole = drawn(views=3)
    np.testing.assert_allclose(whole.probabilities(1), reference([renamed(whole, logits=whole.logits[:1])]), rtol=1e-6)
    assert np.allclose(whole.probabilities().sum(1), 1)


def test_report_without_copies():
    whole = drawn(copies_in_train=["test/0003", "test/0004", "elsewhere"])
    assert without_copies(whole).ids == [i for i in whole.ids if i not in ("test/0003", "test/0004")]
    judged = judge(whole)
    assert list(judged) == ["clean", "views", "clean, no copies", "views, no copies"]
    assert judged["views"] == score(whole.probabilities(), whole.targets)
    assert [scores.images for scores in judged.values()] == [20, 20, 18, 18]
    text = scores_table(judged, whole.classes, 2)
    assert len(text.splitlines()) == 6 and "2 views, no copies" in text
    assert json.loads(json.dumps(as_json(judged)))["clean"]["images"] == 20
    assert list(judge(drawn(views=1))) == ["clean"]


def test_report_where_every_image_is_a_copy():
    everything = drawn(copies_in_train=drawn().ids)
    assert list(judge(everything)) == ["clean", "views"]


def test_report_of_a_class_without_images_is_plain_json():
    few = drawn().part(np.array([0, 1]))
    table = as_json(judge(few))
    assert table["clean"]["recall"][2] is None
    json.dumps(table, allow_nan=False)
