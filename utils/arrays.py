"""NumPy files from strangers: sizes are checked before memory is taken, objects are refused."""

import io
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from utils.errors import UserError
from utils.files import refuse_disguise, require_file

MOST_BYTES = 2**31


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
            unpacked = sum(member.file_size for member in members)
            if unpacked > min(MOST_BYTES, 100 * require_file(path).st_size + 2**20):
                raise UserError(f"{path}: would unpack to {unpacked / 1e6:.0f} MB; refused")
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    name = member.filename.removesuffix(".npy")
                    arrays[name] = _read_array(file, member.file_size, f"{path}: array {name}")
            return arrays
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
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
    """Read one array of which ``size`` bytes, header included, are said to follow."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file, max_header_size=10_000)
    except (ValueError, EOFError, SyntaxError) as error:
        raise UserError(f"{where}: not an array file ({str(error).splitlines()[0]})") from None
    if dtype.kind not in "biufU":
        raise UserError(f"{where}: holds {dtype}; expected numbers or text")
    count = 1
    for length in shape:
        count *= int(length)
    if count * dtype.itemsize > min(size, MOST_BYTES):
        raise UserError(f"{where}: claims the shape {shape}, more than the file holds")
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise UserError(f"{where}: cut off")
    array = np.frombuffer(data, dtype=dtype)
    return array.reshape(shape, order="F" if fortran else "C")
