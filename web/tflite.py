"""Reads the part of a TensorFlow Lite file that a plain convolutional network needs; no package does it in so little.

The file is a FlatBuffer: tables that point to their fields. Field numbers are those of TensorFlow's `schema.fbs`.
"""

import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from utils.errors import UserError

DEQUANTIZE = "DEQUANTIZE"
# The operations that face detectors are made of, by the schema's BuiltinOperator.
CODES = {
    0: "ADD", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: DEQUANTIZE, 17: "MAX_POOL_2D", 19: "RELU",
    22: "RESHAPE", 23: "RESIZE_BILINEAR", 34: "PAD",
}  # fmt: skip
TYPES = {0: np.float32, 1: np.float16, 2: np.int32}


def read_tflite(path: Path) -> "TfliteGraph":
    """The only graph of a file.

    Raises:
        UserError: no such file, or not TensorFlow Lite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if content[4:8] != b"TFL3":
        raise UserError(f"{path}: not a TensorFlow Lite file")
    return TfliteGraph(_Table(content, _offset(content, 0)))


@dataclass(frozen=True)
class Operation:
    """One step of a network.

    Attributes:
        code: its name in `CODES`, or its number.
        inputs, outputs: numbers of tensors.
    """

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    _options: "_Table | None"

    def number(self, field: int, kind: str = "") -> int:
        """An option by its field number; 0 where the file leaves it out. Bytes where the schema has an enumeration."""
        return self._options.number(field, kind or self._kind(field)) if self._options else 0

    def flag(self, field: int) -> bool:
        """An option that is true or false."""
        return bool(self.number(field, "b"))

    def _kind(self, field: int) -> str:
        activation = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "ADD": 0}.get(self.code)
        return "b" if field == activation else "i"


class TfliteGraph:
    """Tensors and operations of a network, in the order of the file."""

    def __init__(self, model: "_Table") -> None:
        self._codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
        self._buffers = model.tables(4)
        self._graph = model.tables(2)[0]
        self._tensors = self._graph.tables(0)
        self.inputs, self.outputs = (tuple(self._graph.array(field, np.int32).tolist()) for field in (1, 2))

    @cached_property
    def operations(self) -> list[Operation]:
        """Every step, first to last."""
        steps = []
        for table in self._graph.tables(3):
            code = self._codes[table.number(0, "I")]
            inputs, outputs = (tuple(table.array(field, np.int32).tolist()) for field in (1, 2))
            steps.append(Operation(CODES.get(code, str(code)), inputs, outputs, table.table(4)))
        return steps

    def shape(self, number: int) -> list[int]:
        """Of a tensor; images as [1, height, width, channels]."""
        return self._tensors[number].array(0, np.int32).tolist()

    def constant(self, number: int) -> np.ndarray:
        """The values of a tensor that the file holds."""
        tensor = self._tensors[number]
        values = self._buffers[tensor.number(2, "I")].array(0, np.uint8)
        return values.view(TYPES[tensor.number(1, "b")]).reshape(self.shape(number))


class _Table:
    """A FlatBuffer table: fields by number, absent ones zero or empty."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content, self._start = content, start
        self._index = start - struct.unpack_from("<i", content, start)[0]
        self._fields = (struct.unpack_from("<H", content, self._index)[0] - 4) // 2

    def number(self, field: int, kind: str) -> int:
        place = self._place(field)
        return struct.unpack_from(f"<{kind}", self._content, place)[0] if place else 0

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return _Table(self._content, _offset(self._content, place)) if place else None

    def tables(self, field: int) -> list["_Table"]:
        start, count = self._vector(field)
        return [_Table(self._content, _offset(self._content, start + 4 * number)) for number in range(count)]

    def array(self, field: int, kind: type[np.generic]) -> np.ndarray:
        start, count = self._vector(field)
        return np.frombuffer(self._content, kind, count, start)

    def _vector(self, field: int) -> tuple[int, int]:
        """Where the elements begin, and how many there are."""
        place = self._place(field)
        if not place:
            return 0, 0
        start = _offset(self._content, place)
        return start + 4, struct.unpack_from("<I", self._content, start)[0]

    def _place(self, field: int) -> int:
        if field >= self._fields:
            return 0
        step = struct.unpack_from("<H", self._content, self._index + 4 + 2 * field)[0]
        return self._start + step if step else 0


def _offset(content: bytes, place: int) -> int:
    """Where the pointer at ``place`` points to."""
    return place + struct.unpack_from("<I", content, place)[0]
