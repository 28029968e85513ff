"""Tables of what was measured: one dataclass a row."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from utils.files import write_atomically


def write_records(records: Sequence[Any], path: Path, number: str = "") -> None:
    """Write a CSV file, atomically, in a folder that is made if need be.

    Args:
        records: instances of one dataclass, at least one; its fields are the columns.
        path: the file.
        number: format of floats, as Python's ``format`` takes it.

    Raises:
        MachineError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(records[0])], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({k: format(v, number) if isinstance(v, float) else v for k, v in asdict(record).items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())
