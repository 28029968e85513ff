"""Errors that a user can mend, and the exit code that each of them ends the program with."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right; shown as one line on standard error, without a traceback."""

    exit_code = 2


class MissingDataError(UserError):
    """The data set is not there; the text is a few lines on which files belong where."""


class TrainingError(UserError):
    """The training itself failed: a loss that is not finite, or memory that ran out."""

    exit_code = 3


class MachineError(UserError):
    """The machine refused: no such device, no space, no permission, no network."""

    exit_code = 4


class SaidElsewhere(Exception):  # noqa: N818 - not an error of its own
    """What is wrong has been said, here or by another process of the same training; the program ends in silence."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"it was said before why this program ends with exit code {exit_code}")
        self.exit_code = exit_code


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal asked the program to end; raised between two steps, never inside one."""

    def __init__(self, signal_number: int, saved: str = "") -> None:
        """Args:
        signal_number: which signal.
        saved: what was saved, and how to go on.
        """
        super().__init__(f"interrupted by signal {signal_number}{saved and '; '}{saved}")
        self.signal_number, self.exit_code, self.saved = signal_number, 128 + signal_number, saved


def closest(name: str, known: Iterable[str], count: int = 2) -> list[str]:
    """The names in ``known`` that look most like ``name``, best first; possibly none."""
    return difflib.get_close_matches(name.lower(), list(known), n=count, cutoff=0.6)
