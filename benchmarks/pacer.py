"""Counts a peer's steps: warm-up, then rounds when the parent says go. Every peer calls it after every step."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any, SupportsFloat, TextIO

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

WARM_UP = 20  # steps
ENOUGH = 8.0  # seconds of warm-up after which fewer do, where a step takes long


class EndedError(Exception):
    """No more steps are wanted."""


class Pacer:
    """Between a peer, which only steps, and the parent, which says when to measure.

    Args:
        say: takes an answer to the parent.
        hear: gives the parent's next line: ``go STEPS``, or anything else (an empty one: it has gone) to end.
        warm_up: steps before the first round, at most.
        finish: waits for the device to have done what it was asked to.
    """

    def __init__(
        self,
        say: Callable[[dict[str, Any]], None],
        hear: Callable[[], str],
        warm_up: int = WARM_UP,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        self._say, self._hear, self._warm_up, self._finish = say, hear, warm_up, finish
        self._steps, self._wanted, self._images, self._fed = 0, 0, 0, 0.0
        self._started = time.perf_counter()

    def fed(self, seconds: float) -> None:
        """So much of the step now running went into its input."""
        self._fed += seconds

    def step(self, images: int, loss: SupportsFloat | None = None) -> None:
        """A step on ``images`` images is over; a loss on a device is not read, which would wait for it.

        Raises:
            EndedError: the parent wants no more.
        """
        self._steps += 1
        self._images += images
        if self._wanted:
            if self._steps == self._wanted:
                self._finish()
                seconds = time.perf_counter() - self._started
                self._answer({"seconds": seconds, "images": self._images, "fed": self._fed})
            return
        slow = self._steps >= 2 and time.perf_counter() - self._started > ENOUGH
        if self._steps >= self._warm_up or slow:
            self._finish()
            self._answer({"warm_up": self._steps})

    def _answer(self, answer: dict[str, Any]) -> None:
        self._say(answer | {"peak_memory": peak_memory()})
        word, _, steps = self._hear().partition(" ")
        if word != "go":
            raise EndedError
        self._steps, self._wanted, self._images, self._fed = 0, int(steps), 0, 0.0
        self._started = time.perf_counter()


class Losses(Pacer):
    """Instead of time: the loss of each of the first steps, in ``losses``."""

    def __init__(self, steps: int) -> None:
        super().__init__(lambda _: None, lambda: "")
        self.losses: list[float] = []
        self._left = steps

    def step(self, images: int, loss: SupportsFloat | None = None) -> None:
        """Keep the loss; raises `EndedError` after the last step."""
        self.losses.append(math.nan if loss is None else float(loss))
        self._left -= 1
        if self._left == 0:
            raise EndedError


def peak_memory() -> int:
    """Bytes of memory that this process has held at most; 0 where the system does not tell."""
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def line_of(stream: TextIO) -> Callable[[], str]:
    """A function that waits for the next line of ``stream``."""
    return lambda: stream.readline().strip()
