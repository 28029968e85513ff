"""Files and folders of runs: a kill, a full disk or a second program never costs what was there before."""

import contextlib
import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils.config import Config
from utils.errors import MachineError, UserError
from utils.files import (
    read_small_text,
    refuse_disguise,
    remove_leftovers,
    require_file,
    sha256_of,
    write_atomically,
)
from utils.runs import find_run, list_runs, new_run, run_files

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 2**20

# Writes a file of 8 MB again and again, each block of one version filled with that version's number.
WRITER = f"""
import sys
from pathlib import Path
from utils.files import write_atomically
path, version = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while True:
    version = (version + 1) % 256
    write_atomically(path, *[bytes([version]) * {BLOCK}] * 8)
"""

# Takes the lock of a run and says so; holds it until its standard input is closed.
HOLDER = """
import sys
from utils.config import Config
from utils.runs import run_files
with run_files(sys.argv[2], Config(checkpoint_dir=sys.argv[1])).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


def refusal(kind, function, *arguments, **options) -> str:
    with pytest.raises(kind) as refused:
        function(*arguments, **options)
    assert type(refused.value) is kind
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


@contextlib.contextmanager
def program(source: str, *arguments: object, **options):
    command = [sys.executable, "-c", source, *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stdin=subprocess.PIPE, **options
    ) as one:
        try:
            yield one
        finally:
            one.kill()


def dead_process() -> int:
    with subprocess.Popen(["true"]) as one:
        pass
    return one.pid


# Writing


def test_40_kills_at_any_moment_leave_the_old_file_or_the_new_one(tmp_path):
    path, killed, leftovers = tmp_path / "best.pt", 0, 0
    write_atomically(path, bytes(8 * BLOCK))
    for number in range(40):
        with program(WRITER, path, number) as writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep((number * 0.618) % 1 * 0.03)  # somewhere within the first writes
            writer.send_signal(signal.SIGKILL)
            assert writer.wait() == -signal.SIGKILL
        killed += 1
        content = path.read_bytes()
        assert len(content) == 8 * BLOCK and content.count(content[0]) == len(content)
        leftovers += len(list(tmp_path.glob(".*.tmp")))
        remove_leftovers(tmp_path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["best.pt"]
    assert killed == 40
    assert leftovers > 0, "no kill came in the midst of a write, so this has shown nothing"


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    kept = {
        f".best.pt.{os.getpid()}.tmp",
        f".best.pt.{os.getppid()}.tmp",
        "best.pt",
        ".lock",
        ".hidden.tmp",
        "x.123.tmp",
        f".best.pt.{10**30}.tmp",
    }
    dead = dead_process()
    for name in kept | {f".best.pt.{dead}.tmp", f".last.pt.{dead}.tmp", f".with.dots..pt.{dead}.tmp"}:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / f".folder.{dead}.tmp").mkdir()  # nothing of ours; must not stop anything
    remove_leftovers(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == kept | {f".folder.{dead}.tmp"}
    remove_leftovers(tmp_path / "not there")


def test_written_file_is_whole_and_alone(tmp_path):
    path = tmp_path / "a" / "b" / "x.bin"
    write_atomically(path, b"one", b"", b"two")
    write_atomically(path, b"three")
    assert path.read_bytes() == b"three"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.bin"]
    write_atomically(path)
    assert path.read_bytes() == b""


def test_file_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: calls.append(name) or original(*a))
    write_atomically(tmp_path / "x", b"1")
    assert calls == ["fsync", "replace", "fsync"]  # the file, the rename, the folder


@pytest.mark.parametrize("where", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.ENOSPC, "no space left on device"), (errno.EACCES, "permission denied"), (errno.EIO, "input/output error")],
)
def test_machine_that_refuses(tmp_path, monkeypatch, where, code, reason):
    path = tmp_path / "best.pt"
    write_atomically(path, b"before")

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, where, refuse)
    message = refusal(MachineError, write_atomically, path, b"x" * 2_500_000)
    monkeypatch.undo()
    assert re.fullmatch(rf"{path}: cannot be written \({reason}\); needs 2\.5 MB, [\d.]+ MB free", message)
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.pt"]


def test_disk_that_is_full_in_the_midst_of_a_file(tmp_path):
    """The kernel really refuses here: no file of this process may grow beyond 100 kB."""
    path = tmp_path / "best.pt"
    write_atomically(path, b"before")
    earlier = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        message = refusal(MachineError, write_atomically, path, *[b"x" * 60_000] * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, earlier)
    assert message.startswith(f"{path}: cannot be written (file too large); needs 0.6 MB, ")
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["best.pt"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    for path, reason in (
        (Path("/proc/nowhere/best.pt"), "no such file or directory"),
        (tmp_path / "file" / "best.pt", "file exists"),
        (tmp_path / "file" / "deeper" / "best.pt", "not a directory"),
        (tmp_path / "folder", "is a directory"),
        (tmp_path / ("x" * 250), "file name too long"),
    ):
        message = refusal(MachineError, write_atomically, path, b"y")
        assert message.startswith(f"{path}: cannot be written ({reason}); needs 0.0 MB, ")
    assert (tmp_path / "file").read_bytes() == b"x"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    write_atomically(tmp_path / "x", b"before")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"after")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("x", b"before")]


# Reading


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>", "is a web page; the download went wrong"),
        (b"\n\n  <HTML lang=en>", "is a web page; the download went wrong"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "is a Git-LFS pointer; fetch the file itself with 'git lfs pull'",
        ),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip; unpack it first"),
        ("a,b".encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        (b"\xfe\xff\0a", "is text in UTF-16; save it as UTF-8"),
    ],
)
def test_disguises(tmp_path, content, what):
    path = tmp_path / "data"
    path.write_bytes(content)
    assert refusal(UserError, refuse_disguise, path) == f"{path}: {what}"


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"\x89PNG", b"emotion,pixels\n", b" ", b"\xff\xd8\xff"])
def test_what_is_no_disguise(tmp_path, content):
    path = tmp_path / "data"
    path.write_bytes(content)
    refuse_disguise(path)
    assert require_file(path).st_size == len(content)


def test_places_that_are_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refusal(UserError, refuse_disguise, tmp_path / "pipe") == f"{tmp_path}/pipe: is a pipe or device, not a file"
    assert refusal(UserError, require_file, tmp_path) == f"{tmp_path}: is a folder, not a file"
    assert refusal(UserError, require_file, tmp_path / "no") == f"{tmp_path}/no: no such file"
    assert "too many levels of symbolic links" in refusal(UserError, require_file, tmp_path / "loop")
    assert "embedded null byte" in refusal(UserError, require_file, Path("a\0b"))
    assert "file name too long" in refusal(UserError, require_file, Path("x" * 300))


def test_file_without_permission(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, whom nothing is forbidden
    assert refusal(MachineError, require_file, path) == f"{path}: no permission to read it"


def test_small_text_and_hash(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert read_small_text(path, most=6) == "abc"
    assert refusal(UserError, read_small_text, path, most=5) == f"{path}: 6 bytes; expected at most 5"
    path.write_bytes(b"\xff")
    assert refusal(UserError, read_small_text, path, most=5) == f"{path}: not text in UTF-8"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# Runs


def settings(folder: Path, **more) -> Config:
    names = ("checkpoint_dir", "log_dir", "results_dir", "figures_dir")
    return Config(**{name: str(folder / name) for name in names} | {"arch": "tiny_resnet", "model_name": "t"} | more)


STARTER = """
import sys, time
time.strftime = lambda *_: "20260101_000000"
from utils.config import Config
from utils.runs import new_run
sys.stdin.readline()
config = Config(checkpoint_dir=sys.argv[1], arch="tiny_resnet", model_name="t")
print(*[new_run(config).name for _ in range(20)])
"""


def test_runs_started_in_the_same_second_get_different_folders(tmp_path):
    with contextlib.ExitStack() as stack:
        starters = [stack.enter_context(program(STARTER, tmp_path / "runs")) for _ in range(4)]
        for one in starters:
            one.stdin.write("go\n")
            one.stdin.flush()
        names = [name for one in starters for name in one.stdout.read().split()]
    assert len(names) == 80
    assert sorted(names) == sorted(path.name for path in (tmp_path / "runs").iterdir())
    base = "tiny_resnet_t_20260101_000000"
    assert set(names) == {base} | {f"{base}-{number}" for number in range(2, 81)}


def test_new_run_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper", Path("/proc/nowhere")):
        assert "cannot be written" in refusal(MachineError, new_run, settings(tmp_path, checkpoint_dir=str(folder)))


def test_name_of_a_run_stays_in_its_folder(tmp_path):
    files = new_run(settings(tmp_path, arch="../../x y"))
    assert files.checkpoints.parent == tmp_path / "checkpoint_dir"
    assert re.fullmatch(r"\.\.-\.\.-x-y_t_\d{8}_\d{6}", files.name)
    assert (files.best.name, files.last.name) == ("best.pt", "last.pt")
    assert files.dump("val") == tmp_path / "results_dir" / f"{files.name}.val.npz"


def test_longest_name_leaves_room_for_what_is_added(tmp_path):
    files = new_run(settings(tmp_path, arch="resnet50_pretrained_vgg", model_name="x" * 100))
    write_atomically(files.dump("test"), b"1")
    assert files.dump("test").read_bytes() == b"1"


def test_leftovers_of_a_run_are_removed_in_every_folder_it_writes_to(tmp_path):
    files, dead = new_run(settings(tmp_path)), dead_process()
    ours = [
        files.last.with_name(f".last.pt.{dead}.tmp"),
        files.logs / f".metrics.csv.{dead}.tmp",
        files.results / f".{files.name}.test.npz.{dead}.tmp",
        files.figures / f".{files.name}.test.png.{dead}.tmp",
    ]
    of_others = files.results / f".{files.name}-2.test.npz.{dead}.tmp"  # perhaps alive on another machine
    for path in (*ours, of_others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    with files.locked():
        assert [path.exists() for path in ours] == [False] * 4
        assert of_others.exists()


def test_second_program_is_kept_out_and_a_dead_one_is_not_waited_for(tmp_path):
    files = new_run(settings(tmp_path))
    leftover = files.checkpoints / f".last.pt.{dead_process()}.tmp"
    with program(HOLDER, files.checkpoints.parent, files.name) as holder:
        assert holder.stdout.readline() == "locked\n"
        leftover.write_bytes(b"half")
        message = refusal(UserError, files.locked().__enter__)
        assert message == f"{files.checkpoints}: another program is at work in this run"
        assert leftover.exists()
        holder.kill()
        holder.wait()
    with files.locked():
        assert not leftover.exists()
        with new_run(settings(tmp_path)).locked():
            assert len(list(files.checkpoints.parent.iterdir())) == 2
    with files.locked():
        assert files.checkpoints.is_dir()


def test_lock_that_the_system_does_not_have(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    files = new_run(settings(tmp_path))
    monkeypatch.setattr("utils.files.fcntl.flock", refuse)
    assert "no locks available" in refusal(MachineError, files.locked().__enter__)


def test_lock_in_a_folder_that_is_not_there(tmp_path):
    files = run_files("gone", settings(tmp_path))
    assert "no such file or directory" in refusal(MachineError, files.locked().__enter__)


def with_checkpoint(config: Config, name: str, when: int) -> None:
    folder = Path(config.checkpoint_dir) / name
    folder.mkdir(parents=True)
    (folder / "last.pt").write_bytes(b"x")
    os.utime(folder, (when, when))


def test_find_run(tmp_path, monkeypatch):
    config = settings(tmp_path)
    for when, name in enumerate(("vgg_b_2026", "resnet_a_2026", "resnet_a_2027")):
        with_checkpoint(config, name, when)
    (Path(config.checkpoint_dir) / "empty").mkdir()
    assert list_runs(config) == ["vgg_b_2026", "resnet_a_2026", "resnet_a_2027"]
    expected = run_files("vgg_b_2026", config)
    assert find_run("vgg_b_2026", config) == expected
    assert find_run(str(expected.checkpoints), config) == expected
    assert find_run("empty", config).name == "empty"
    monkeypatch.chdir(tmp_path)
    for name in (
        "checkpoint_dir/vgg_b_2026",
        "checkpoint_dir/vgg_b_2026/",
        "./checkpoint_dir/../checkpoint_dir/vgg_b_2026",
    ):
        assert find_run(name, config) == expected
    monkeypatch.chdir(expected.checkpoints)
    assert find_run(".", config) == expected
    elsewhere = settings(tmp_path / "elsewhere")
    assert find_run(str(expected.checkpoints), elsewhere).checkpoints == expected.checkpoints


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet_a_2028", "closest: resnet_a_202"),
        ("vgg_b", "closest: vgg_b_2026"),
        ("zzz", "it has no such folder"),
        ("", "it has no such folder"),
        (".", "it has no such folder"),
        ("..", "it has no such folder"),
        ("results_dir", "it has no such folder"),
        ("../results_dir", "it has no such folder"),
        ("/", "it has no such folder"),
        ("a\0b", "it has no such folder"),
        ("x" * 300, "it has no such folder"),
        ("x" * 5000, "it has no such folder"),
    ],
)
def test_run_that_is_not_there(tmp_path, monkeypatch, name, hint):
    config = settings(tmp_path)
    for when, there in enumerate(("vgg_b_2026", "resnet_a_2026", "resnet_a_2027")):
        with_checkpoint(config, there, when)
    (tmp_path / "results_dir").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    message = refusal(UserError, find_run, name, config)
    assert message.startswith(f"{config.checkpoint_dir}: no run '{name[:80]}'; {hint}")
    assert sorted(tmp_path.rglob("*")) == before


def test_no_runs_at_all(tmp_path):
    assert list_runs(settings(tmp_path)) == []
    assert "no run 'x'" in refusal(UserError, find_run, "x", settings(tmp_path))
