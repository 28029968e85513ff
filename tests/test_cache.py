"""The parsed form on disk: read without parsing, never trusted when damaged, whole whatever happens meanwhile."""

import dataclasses
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from utils.datasets.cache import Rows, cached_rows, new_array
from utils.errors import MachineError, UserError
from utils.files import lock, sha256_of

ROOT = Path(__file__).resolve().parent.parent


def rows(seed: int = 0, count: int = 6) -> Rows:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 48, 48), dtype=np.uint8)
    labels = random.integers(0, 7, count)
    return Rows(images, labels, [f"train/{i:05d}" for i in range(count)], ["train"] * count)


def no_parse() -> Rows:
    raise AssertionError("parsed although the parsed form is there")


def same(one: Rows, other: Rows) -> bool:
    arrays = np.array_equal(one.images, other.images) and np.array_equal(one.labels, other.labels)
    return arrays and one.ids == other.ids and one.parts == other.parts


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text("one")
    return path


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "deep" / "cache"


@pytest.fixture
def kept(source, cache) -> Rows:
    return cached_rows([source], cache, rows)


def the(cache: Path, suffix: str) -> Path:
    (path,) = cache.glob(f"*{suffix}")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_read_does_not_parse_and_gives_the_same(source, cache, kept):
    assert same(kept, rows()) and kept.labels.dtype == np.int64
    again = cached_rows([source], cache, no_parse)
    assert same(again, rows()) and again.labels.dtype == np.int64


def test_the_array_is_mapped_from_the_file_and_writing_to_it_changes_no_file(source, cache, kept):
    assert isinstance(kept.images, np.memmap) and Path(kept.images.filename) == the(cache, ".npy")
    kept.images[:] = 0
    assert same(cached_rows([source], cache, no_parse), rows())


def test_an_image_file_is_known_by_name_size_and_time(tmp_path, cache):
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in images:
        path.write_bytes(b"image")
    cached_rows(images, cache, rows)
    assert same(cached_rows(images, cache, no_parse), rows())
    assert same(cached_rows(images[:1], cache, lambda: rows(1)), rows(1))
    os.utime(images[0], ns=(0, 0))
    assert same(cached_rows(images, cache, lambda: rows(2)), rows(2))


def test_a_changed_source_is_parsed_anew_and_the_earlier_one_is_still_kept(source, cache, kept):
    source.write_text("two")
    os.utime(source, ns=(0, 10**9))
    assert same(cached_rows([source], cache, lambda: rows(1)), rows(1))
    source.write_text("one")
    os.utime(source, ns=(0, 2 * 10**9))
    assert same(cached_rows([source], cache, no_parse), rows())


def test_the_same_bytes_elsewhere_or_at_another_time_are_not_parsed_again(tmp_path, source, cache, kept):
    os.utime(source, ns=(0, 0))
    cached_rows([source], cache, no_parse)
    (tmp_path / "moved").mkdir()
    assert same(cached_rows([source.rename(tmp_path / "moved" / "data.csv")], cache, no_parse), rows())


def test_two_sources_in_another_order_or_under_another_name_are_other_data(tmp_path, cache):
    train, val = tmp_path / "train.csv", tmp_path / "val.csv"
    train.write_text("x")
    val.write_text("x")
    cached_rows([train, val], cache, rows)
    assert same(cached_rows([val, train], cache, lambda: rows(1)), rows(1))
    assert same(cached_rows([train], cache, lambda: rows(2)), rows(2))
    assert same(cached_rows([val], cache, lambda: rows(3)), rows(3))


@pytest.mark.parametrize("suffix", [".npy", ".rows"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "grown", "gone", "zeros"])
def test_a_damaged_file_is_parsed_anew_and_mended(source, cache, kept, suffix, damage):
    path = the(cache, suffix)
    content = path.read_bytes()
    for where in {"flip": range(0, len(content), len(content) // 15)}.get(damage, [0]):
        if damage == "gone":
            path.unlink()
        else:
            flipped = content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :]
            path.write_bytes(
                {
                    "flip": flipped,
                    "cut": content[: len(content) // 2],
                    "empty": b"",
                    "grown": content + b" ",
                    "zeros": bytes(len(content)),
                }[damage]
            )
        assert same(cached_rows([source], cache, lambda: rows(1)), rows(1))
        assert same(cached_rows([source], cache, no_parse), rows(1))
        the(cache, ".npy").unlink()
        assert same(cached_rows([source], cache, rows), rows())
        assert the(cache, suffix).read_bytes() == content


def test_an_array_of_another_parse_is_not_taken_for_this_one(source, cache, kept):
    source.write_text("other")
    cached_rows([source], cache, lambda: rows(1))
    first, second = sorted(cache.glob("*.npy"))
    first.write_bytes(second.read_bytes())
    third = cached_rows([source], cache, lambda: rows(1))
    assert same(third, rows(1))


def test_a_damaged_note_of_the_hash_is_written_anew(source, cache, kept):
    note = the(cache, ".json")
    good = note.read_bytes()
    for bad in (b"", b"[]", b"null", b"{}", good[:-5], b"\xff\xfe\0"):
        note.write_bytes(bad)
        assert same(cached_rows([source], cache, no_parse), rows())
        assert note.read_bytes() == good


@pytest.mark.parametrize("file", [1, 2, 3])
def test_an_interruption_leaves_nothing_half_done(source, cache, monkeypatch, file):
    calls, replace = [], os.replace

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == file:
            raise KeyboardInterrupt
        replace(*arguments)

    monkeypatch.setattr("utils.files.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached_rows([source], cache, rows)
    assert not [name for name in names(cache) if name.endswith(".tmp")]
    assert same(cached_rows([source], cache, lambda: rows(1)), rows(1))
    assert same(cached_rows([source], cache, no_parse), rows(1))


def test_leftovers_of_dead_programs_are_removed_and_those_of_living_ones_kept(source, cache):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    cache.mkdir(parents=True)
    dead, living = cache / f".x.npy.{child.pid}.tmp", cache / f".x.npy.{os.getppid()}.tmp"
    dead.write_bytes(b"half")
    living.write_bytes(b"half")
    cached_rows([source], cache, rows)
    assert not dead.exists() and living.exists()


def test_a_parse_that_fails_leaves_no_parsed_form(source, cache):
    def fails() -> Rows:
        raise UserError("row 3: no")

    with pytest.raises(UserError, match="row 3"):
        cached_rows([source], cache, fails)
    assert same(cached_rows([source], cache, rows), rows())


def test_an_array_that_is_larger_than_memory_is_parsed_into_its_file(source, cache):
    def parse() -> Rows:
        with new_array(cache, (6, 48, 48)) as images:
            images[:] = rows().images
        return dataclasses.replace(rows(), images=images)

    assert same(cached_rows([source], cache, parse), rows())
    assert same(cached_rows([source], cache, no_parse), rows())
    in_file = the(cache, ".npy").read_bytes()
    the(cache, ".npy").unlink()
    cached_rows([source], cache, rows)
    assert the(cache, ".npy").read_bytes() == in_file and not [n for n in names(cache) if n.endswith(".tmp")]


def test_a_parse_that_fails_leaves_no_array(cache):
    with pytest.raises(UserError, match="row 3"), new_array(cache, (6, 4, 4)):
        raise UserError("row 3: no")
    assert names(cache) == []


def test_a_full_disk_is_noticed_before_the_array_is_written(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    refused = pytest.raises(MachineError, match=r"cannot be written \(no space left on device\); needs 50.2 MB")
    with refused, new_array(cache, (1000, 224, 224)):
        pytest.fail("there is no room")
    assert names(cache) == []


def test_a_large_array_is_read_to_its_end_only_when_it_has_changed(source, cache, kept, monkeypatch):
    monkeypatch.setattr("utils.datasets.cache.LARGE", 0)
    hashed = []
    monkeypatch.setattr("utils.datasets.cache.sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    for _ in range(3):
        assert same(cached_rows([source], cache, no_parse), rows())
    assert len(hashed) == 1
    content = the(cache, ".npy").read_bytes()
    the(cache, ".npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert same(cached_rows([source], cache, lambda: rows(1)), rows(1))


def test_a_source_that_is_gone_or_a_pipe_is_refused(tmp_path, source, cache, kept):
    source.unlink()
    with pytest.raises(UserError, match="no such file"):
        cached_rows([source], cache, no_parse)
    os.mkfifo(source)
    with pytest.raises(UserError, match="pipe"):
        cached_rows([source], cache, no_parse)


def test_no_images_at_all(source, cache):
    empty = Rows(np.empty((0, 48, 48), np.uint8), np.empty(0, np.int64), [], [])
    for _ in range(2):
        read = cached_rows([source], cache, lambda: empty)
        assert read.images.shape == (0, 48, 48) and read.ids == []


def test_a_cache_folder_that_cannot_be_written_is_the_machines_fault(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match=r"cannot be written \(.+\); needs .+ MB, .+ MB free") as caught:
        cached_rows([source], tmp_path / "file" / "cache", rows)
    assert str(tmp_path / "file" / "cache") in str(caught.value) and caught.value.exit_code == 4

    def refuses(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("utils.files.os.replace", refuses)
    with pytest.raises(MachineError, match=r"cannot be written \(permission denied\)"):
        cached_rows([source], tmp_path / "cache", rows)
    assert names(tmp_path / "cache") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_folder(source, cache):
    cache.mkdir(parents=True)
    cache.chmod(0o500)
    with pytest.raises(MachineError, match="permission denied"):
        cached_rows([source], cache, rows)


def test_of_several_at_once_one_parses_and_the_others_wait_for_it(source, cache, kept, monkeypatch):
    the(cache, ".npy").unlink()  # the note of the hash stays: threads, unlike processes, would write it as one file
    come, parsed = threading.Semaphore(0), []

    def locked(file, *, wait):
        come.release()
        lock(file, wait=wait)

    def parse() -> Rows:
        parsed.append(1)
        for _ in range(3):  # until all stand at the lock
            assert come.acquire(timeout=60)
        return rows()

    monkeypatch.setattr("utils.datasets.cache.lock", locked)
    with ThreadPoolExecutor(3) as threads:
        read = list(threads.map(lambda _: cached_rows([source], cache, parse), range(3)))
    assert len(parsed) == 1 and all(same(one, rows()) for one in read)
    assert not list(cache.glob("*.lock"))


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from utils.datasets.cache import Rows, cached_rows, new_array
folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    images = np.full((40, 48, 48), number, np.uint8)
    parse = lambda: Rows(images, np.full(40, number % 7), [str(i) for i in range(40)], ["train"] * 40)
    read = cached_rows([folder / f"{number}.csv"], cache, parse)
    assert (read.images == number).all() and (read.labels == number % 7).all() and len(read.ids) == 40
print("done")
"""


def test_programs_at_the_same_time_all_read_whole_data(tmp_path, cache):
    for number in range(40):
        (tmp_path / f"{number}.csv").write_text(str(number))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(cache)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    programs = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(3)]
    assert [program.stdout.readline() for program in programs] == ["ready\n"] * 3
    for program in programs:
        program.stdin.write("go\n")
        program.stdin.flush()
    assert [program.communicate(timeout=120) for program in programs] == [("done\n", "")] * 3
    assert len(list(cache.glob("*.npy"))) == len(list(cache.glob("*.rows"))) == 40
    assert not [name for name in names(cache) if name.endswith(".tmp")]
