"""With which arithmetic, memory format and threads this machine trains fastest: measured, not assumed.

bf16 pays only on processors that multiply it in hardware, channels_last only with some kernels, and several threads
only while nobody else needs their cores. `torch.compile` is not probed: on processors it gains nothing and takes
longer than the probe could save, so it is a setting.
"""

import hashlib
import itertools
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import nn

from utils.files import write_atomically

# bf16 changes numbers a little, and more threads take cores from others, so they have to be worth it.
WORTH_IT = 1.15
_ROUNDS = 7
_WAYS = tuple(itertools.product(("fp32", "bf16"), ("off", "on")))  # precision, channels_last


@dataclass(frozen=True)
class Arithmetic:
    """Seconds of a small training step on one thread, by precision and channels_last (``"bf16 on"``)."""

    seconds: dict[str, float]

    def best(self, precision: str, channels_last: str) -> tuple[str, str]:
        """The fastest precision and memory format among those that settings leave open (``"auto"``)."""
        ways = [way for way in _WAYS if precision in ("auto", way[0]) and channels_last in ("auto", way[1])]
        fastest = min(ways, key=self._took)
        plain = [way for way in ways if way[0] == "fp32"]
        if fastest[0] == "bf16" and plain:
            same_numbers = min(plain, key=self._took)
            if self._took(same_numbers) < WORTH_IT * self._took(fastest):
                return same_numbers
        return fastest

    def gain(self, precision: str, channels_last: str) -> float:
        """How many times as fast as fp32 without channels_last."""
        return self._took(("fp32", "off")) / self._took((precision, channels_last))

    def _took(self, way: tuple[str, str]) -> float:
        return self.seconds[" ".join(way)]


def arithmetic(cache_dir: Path, processor: str) -> Arithmetic:
    """What was measured on this processor with this torch, now or earlier; kept as a note in ``cache_dir``."""
    key = [processor, platform.machine(), torch.__version__, torch.backends.cpu.get_cpu_capability(), 1]
    note = cache_dir / f"probe-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
    try:
        known = {str(way): float(took) for way, took in json.loads(note.read_text())["seconds"].items()}
        if known.keys() == {" ".join(way) for way in _WAYS} and min(known.values()) > 0:
            return Arithmetic(known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # no note yet, or a damaged one: measure
    # one thread: several on a busy machine wait for each other, and the noise drowns the difference
    steps = {" ".join(way): _step(*way, images=16) for way in _WAYS}
    times = _timed({name: (1, step) for name, step in steps.items()})
    found = Arithmetic({name: min(took) for name, took in times.items()})
    write_atomically(note, json.dumps({"machine": key, "seconds": found.seconds}, indent=2).encode())
    return found


def threads_that_pay(most: int, precision: str, channels_last: str) -> tuple[int, float]:
    """How many of at most ``most`` threads train fastest at present, and how many times as fast as one.

    Measured at every start, because it depends on what else the machine does.
    """
    counts = sorted({1, (most + 1) // 2, most})
    if counts == [1]:
        return 1, 1.0
    step = _step(precision, channels_last, images=64)
    # the median, because what matters is not what threads can do but what they do while others are there
    took = {int(name): median(times) for name, times in _timed({str(n): (n, step) for n in counts}).items()}
    paying = next(count for count in counts if took[count] < WORTH_IT * min(took.values()))
    return paying, took[1] / took[paying]


def _timed(steps: dict[str, tuple[int, Callable[[], None]]]) -> dict[str, list[float]]:
    """Seconds of each step, given as threads and call; turn by turn, so that all meet the same noise."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    threads = torch.get_num_threads()
    try:
        for _ in range(1 + _ROUNDS):
            for name, (count, step) in steps.items():
                torch.set_num_threads(count)
                start = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return {name: took[1:] for name, took in times.items()}  # the first is a warm-up


def _step(precision: str, channels_last: str, images: int) -> Callable[[], None]:
    """Forward and backward of what convolutional networks are made of: a few milliseconds."""
    layout = torch.channels_last if channels_last == "on" else torch.contiguous_format
    layers = [nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)]
    model = nn.Sequential(*layers).to(memory_format=layout)  # type: ignore[call-overload]
    batch = torch.zeros(images, 64, 16, 16).to(memory_format=layout)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(batch).float().square().mean()
        loss.backward()

    return step
