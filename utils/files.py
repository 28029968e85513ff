"""Reading files that may be anything, and writing files so that a kill at any instant loses nothing."""

import contextlib
import csv
import glob
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from utils.errors import MachineError, UserError

try:
    import fcntl
except ImportError:  # not on Windows, where programs that write the same files are not kept apart
    fcntl = None  # type: ignore[assignment]

_DISGUISES = {
    b"<!doctype html": "a web page; the download went wrong",
    b"<html": "a web page; the download went wrong",
    b"version https://git-lfs": "a Git-LFS pointer; fetch the file itself with 'git lfs pull'",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
}
_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp$")


def require_file(path: Path) -> os.stat_result:
    """The status of a regular file that can be read.

    Raises:
        UserError: nothing is there, or it is a folder, a pipe or a device (which could block for ever).
        MachineError: it may not be read.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file") from None
    except PermissionError:
        raise MachineError(f"{path}: no permission to read it") from None
    except (OSError, ValueError) as error:  # a name of 300 characters, a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{str(path)[:80]!r}: not a usable file name ({str(reason).lower()})") from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: is a {'folder' if stat.S_ISDIR(status.st_mode) else 'pipe or device'}, not a file")
    if not os.access(path, os.R_OK):
        raise MachineError(f"{path}: no permission to read it")
    return status


def is_file(name: str) -> bool:
    """Whether there is a file of that name, whatever a user calls a file."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name of 300 characters, a NUL in it
        return False


def read_small_text(path: Path, *, most: int) -> str:
    """The text of a UTF-8 file of at most ``most`` bytes.

    Raises:
        UserError: no such file, not a file, too large, or not UTF-8.
    """
    size = require_file(path).st_size
    if size > most:
        raise UserError(f"{path}: {size} bytes; expected at most {most}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not text in UTF-8") from None


def refuse_disguise(path: Path) -> None:
    """Refuse a file that is something else than its name says: what a failed download leaves behind.

    Raises:
        UserError: the file is empty, a web page, a Git-LFS pointer, compressed, or text in UTF-16.
    """
    require_file(path)
    with open(path, "rb") as file:
        start = file.read(512)
    if not start:
        raise UserError(f"{path}: is empty")
    for mark, what in _DISGUISES.items():
        if start.lstrip().lower().startswith(mark):
            raise UserError(f"{path}: is {what}")


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A table, at least one row, as a CSV file; floats with six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return text.getvalue().encode()


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Write ``parts`` as one file: beside its final name, flushed to the disk, then renamed.

    Whoever looks at ``path``, at any instant and after any kill, finds the old file whole or the new one whole.

    Raises:
        MachineError: no space, no permission, read-only folder; the earlier file is intact.
    """
    with machine_errors(path, sum(map(len, parts))):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def lock(file: IO[str], *, wait: bool) -> None:
    """Keep every other open file of this path from being locked, until ``file`` is closed or the process is gone.

    Raises:
        OSError: another one is locked, and ``wait`` is false; or the file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut, where the system can."""
    with contextlib.suppress(OSError):  # folders cannot be opened on Windows
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path, start: str = "") -> None:
    """Delete the unfinished files that processes no longer alive have left in ``folder``.

    Args:
        folder: need not be there.
        start: what the names of the finished files would begin with.
    """
    for path in folder.glob(f".{glob.escape(start)}*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and not _alive(int(match.group(1))):
            with contextlib.suppress(OSError):  # not ours to delete, or a folder
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def machine_errors(path: Path, size: int) -> Iterator[None]:
    """Turn the system's refusal to write ``size`` bytes at ``path`` into one sentence.

    Raises:
        MachineError: with path, size and the space that is left.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise MachineError(
            f"{path}: cannot be written ({reason}); needs {_megabytes(size)}, {_free(path)} free"
        ) from error


def _free(path: Path) -> str:
    for folder in path.absolute().parents:
        with contextlib.suppress(OSError, AttributeError):  # no statvfs on Windows
            status = os.statvfs(folder)
            return _megabytes(status.f_bavail * status.f_frsize)
    return "unknown space"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _alive(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 would be Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
