"""NumPy files from strangers: sizes are checked before memory is taken, objects are refused."""

import io
import math
import re
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from utils.errors import UserError
from utils.files import refuse_disguise, require_file

MOST_BYTES = 2**31
# The header that NumPy writes before plain arrays; read by this pattern, since nothing in it needs evaluating.
_HEADER = re.compile(
    rb"\{ ?'descr': ?'([<>|=]?[A-Za-z]\d{0,6})', ?'fortran_order': ?(True|False), ?"
    rb"'shape': ?\(([\d, ]{0,200})\),? ?\} *\n?"
)


def read_npy(path: Path) -> np.ndarray:
    """The array in a ``.npy`` file.

    Raises:
        UserError: not an array of numbers or text, cut off, or larger than 2 GiB.
    """
    refuse_disguise(path)
    with open(path, "rb") as file:
        return _read_array(file, require_file(path).st_size, str(path))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a ``.npz`` file, by name.

    Raises:
        UserError: damaged, not arrays of numbers or text, or unpacking to more than 2 GiB or 100 times the file.
    """
    refuse_disguise(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
                raise UserError(f"{path}: packed in a way that NumPy does not use; refused")
            unpacked = sum(member.file_size for member in members)
            if unpacked > min(MOST_BYTES, 100 * require_file(path).st_size + 2**20):
                raise UserError(f"{path}: would unpack to {unpacked / 1e6:.0f} MB; refused")
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    name = member.filename.removesuffix(".npy")
                    arrays[name] = _read_array(file, member.file_size, f"{path}: array {name}")
            return arrays
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: damaged, or not an .npz file ({error})") from None


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of a compressed ``.npz`` file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _read_array(file: IO[bytes], size: int, where: str) -> np.ndarray:
    """Read the one array that fills a file of ``size`` bytes; its header is believed only if it says so too."""
    start = file.read(10)
    header = file.read(int.from_bytes(start[8:], "little"))
    match = _HEADER.fullmatch(header)
    if not start.startswith(b"\x93NUMPY\x01\x00") or not match:
        raise UserError(f"{where}: not an array file, or not of plain numbers or text")
    try:
        dtype = np.dtype(match[1].decode())
        shape = tuple(int(length) for length in match[3].split(b",") if length.strip())
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{where}: not an array file (its header makes no sense)") from None
    if dtype.kind not in "biufU" or dtype.itemsize == 0:
        raise UserError(f"{where}: holds {dtype}; expected numbers or text")
    claimed = math.prod(shape) * dtype.itemsize
    fits = claimed <= MOST_BYTES and claimed == size - len(start) - len(header) and max(shape, default=0) <= size
    if not fits or len(shape) > 8:
        raise UserError(f"{where}: claims the shape ({match[3].decode()}), which is not what the file holds")
    data = file.read(claimed)
    if len(data) != claimed or file.read(1):  # reading to the very end also has zip files check their checksum
        raise UserError(f"{where}: cut off")
    array = np.frombuffer(data, dtype=dtype)
    if dtype.kind == "U" and array.size and array.view(dtype.str[0] + "u4").max() > sys.maxunicode:
        raise UserError(f"{where}: holds characters that do not exist")
    return array.reshape(shape, order="F" if match[2] == b"True" else "C")
