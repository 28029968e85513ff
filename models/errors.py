"""The one error of this package that its user can mend, and the hint that goes with it."""

import difflib
from collections.abc import Iterable


class ModelError(ValueError):
    """A wrong name, option, input size or weights file; its text is one line meant for the user."""

    exit_code = 2


class DownloadError(ModelError):
    """Weights could not be downloaded, for want of a network for example."""

    exit_code = 4


def closest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Returns the names in `known` nearest to `name`, comma-separated, best first."""
    known = list(known)
    return ", ".join(difflib.get_close_matches(name, known, n=count, cutoff=0.4) or sorted(known)[:count])


def check_choice(what: str, value: object, allowed: Iterable[str]) -> None:
    """Refuses a value that is not among the allowed ones.

    Raises:
        ModelError: naming the value and the closest allowed ones.
    """
    if value not in list(allowed):
        raise ModelError(f"unknown {what} {value!r}; closest: {closest(str(value), allowed)}")
