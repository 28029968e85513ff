"""Rows of a CSV file from anywhere: what is wrong with one is said with file, row and column."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from utils.errors import UserError
from utils.files import refuse_disguise


def csv_rows(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The columns ``wanted`` of each row of a CSV file; other columns are passed over.

    Yields:
        The row's number as a spreadsheet shows it (the header is row 1), and its values without blanks around them,
        in the order of ``wanted``.

    Raises:
        UserError: no such file, not a CSV in UTF-8, a column missing or doubled, a row too long or too short.
    """
    refuse_disguise(path)
    number = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            number = 1
            columns = _columns(path, header, wanted)
            for number, row in enumerate(reader, start=2):
                if not row:  # a blank line
                    continue
                if len(row) != len(header):
                    raise UserError(f"{path}: row {number}: {len(row)} columns, expected {len(header)}")
                yield number, [row[column].strip() for column in columns]
    except UnicodeDecodeError:
        raise UserError(f"{path}: after row {number}: not text in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: row {number + 1}: not a valid CSV row ({error})") from None


def whole_number(text: str, most: int) -> int | None:
    """The number that ``text`` spells in plain digits, or None where it is not one from 0 to ``most``."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most:
        return int(text)
    return None


def shown(text: str, most: int = 40) -> str:
    """The start of ``text``, safe to stand in a message of one line."""
    return "".join(c if c.isprintable() else "?" for c in text[:most])


def _columns(path: Path, header: list[str], wanted: Sequence[str]) -> list[int]:
    for name in wanted:
        if header.count(name) != 1:
            found = f"header is '{shown(','.join(header), 60)}'"
            raise UserError(f"{path}: {found}; expected the columns {', '.join(wanted)}, each once")
    return [header.index(name) for name in wanted]
