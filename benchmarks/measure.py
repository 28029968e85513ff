"""Processes that wait for their turn, and rounds in which each has one."""

import contextlib
import json
import math
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from benchmarks.cases import OURS, TARGETS, Case, Entry
from benchmarks.job import ROOT, Job
from benchmarks.programs import last_line
from benchmarks.table import Row, State, best, median, moved, ratio

MOST_SECONDS = 300  # that a peer may be silent


class PeerError(Exception):
    """A peer that could not be started, fell silent, or ended; the others go on."""


class Worker:
    """One peer in a process of its own."""

    def __init__(
        self, peer: str, job: Job, environment: Mapping[str, str], *, warm_up: int = 0, losses: int = 0
    ) -> None:
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        command = [sys.executable, "-m", "benchmarks.worker", peer, json.dumps(asdict(job)), str(warm_up), str(losses)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:
            PeerError: the process has ended or says nothing.
        """
        try:
            line = self._lines.get(timeout=MOST_SECONDS)
        except queue.Empty:
            raise PeerError(f"silent for {MOST_SECONDS} s") from None
        if not line:
            self._process.wait()
            self._complaints.seek(0)
            raise PeerError(last_line(self._complaints.read()))
        return json.loads(line)

    def go(self, steps: int) -> dict[str, Any]:
        """Measure so many steps; raises `PeerError` as `answer`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, as its answer will say
            self._process.stdin.write(f"go {steps}\n")
            self._process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """Let the process end, or make it."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")


@dataclass
class Found:
    """What was measured of one entry: a value a round; or in ``note`` why not."""

    entry: Entry
    values: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)  # of a round that went into the input, in percent
    warm_up: int = 0
    memory: float = 0.0  # bytes
    note: str = ""


def run_case(
    case: Case, rounds: int, warm_up: int, environment: Mapping[str, str], state: Callable[[], State]
) -> tuple[list[Found], State, State]:
    """Start every peer, then measure in turns: A B C A B C. Once more if the machine was not the same throughout.

    Returns:
        What was found of each entry, and the machine before and after.
    """
    found = [Found(entry) for entry in case.entries]
    workers: dict[int, Worker] = {}
    try:
        for number, one in enumerate(found):
            threads = {"OMP_NUM_THREADS": str(one.entry.job.threads), "MKL_NUM_THREADS": str(one.entry.job.threads)}
            worker = Worker(one.entry.peer, one.entry.job, {**environment, **threads}, warm_up=warm_up)
            try:
                one.warm_up = worker.answer()["warm_up"]
                workers[number] = worker
            except PeerError as error:
                one.note = str(error)
                worker.end()
        for attempt in (1, 2):
            before = state()
            for one in found:
                one.values.clear()
                one.shares.clear()
            for _ in range(rounds):
                _round(found, workers, case.steps)
            after = state()
            if not moved(before, after) or attempt == 2:
                break
            print("  the machine changed in between; measured again", flush=True)
    finally:
        for worker in workers.values():
            worker.end()
    return found, before, after


def _round(found: Sequence[Found], workers: dict[int, Worker], steps: int) -> None:
    for number, worker in list(workers.items()):
        one = found[number]
        try:
            answer = worker.go(steps)
        except PeerError as error:
            one.note = str(error)
            worker.end()
            del workers[number]
            continue
        one.values.append(answer["images"] / answer["seconds"])
        one.shares.append(100 * answer["fed"] / answer["seconds"])
        one.memory = max(one.memory, answer.get("device_memory", answer["peak_memory"]))


def rows_of(case: str, unit: str, found: Sequence[Found], before: State, after: State) -> list[Row]:
    """The lines of the table for one case."""
    own = {one.entry.settings: one.values for one in found if one.entry.peer == OURS}
    return [row(case, unit, one, own.get(one.entry.against, []), before, after) for one in found]


def row(case: str, unit: str, one: Found, ours: Sequence[float], before: State, after: State) -> Row:
    """One line; ``ours`` are our values in the same rounds."""
    entry, job, values = one.entry, one.entry.job, one.values
    times: float | str = ratio(ours, values, unit) if values and ours and entry.peer != OURS else ""
    target = TARGETS.get((case, entry.peer, entry.settings))
    judged = times if entry.peer != OURS else median(values) if values else ""
    void = moved(before, after)
    reached = "" if target is None or judged == "" else "yes" if target.reached(float(judged)) and not void else "no"
    return Row(
        case=case,
        peer=entry.peer,
        settings=entry.settings,
        unit=unit,
        best=best(values, unit) if values else "",
        median=median(values) if values else "",
        ratio=times,
        target="" if target is None else str(target),
        reached=reached,
        rounds=len(values),
        warm_up=one.warm_up or "",
        precision=job.precision,
        channels_last=job.channels_last,
        batch=job.batch_size,
        threads=job.threads,
        peak_memory_gb=one.memory / 1e9 if one.memory else "",
        load_before=before.load,
        load_after=after.load,
        peak_before=before.peak,
        peak_after=after.peak,
        void="void" if void else "",
        note=one.note,
    )


def losses_of(jobs: Mapping[str, Job], steps: int, environment: Mapping[str, str]) -> dict[str, list[float] | str]:
    """Each peer's first losses, or why there are none."""
    found: dict[str, list[float] | str] = {}
    for peer, job in jobs.items():
        worker = Worker(peer, job, environment, losses=steps)
        try:
            found[peer] = worker.answer()["losses"]
        except PeerError as error:
            found[peer] = str(error)
        finally:
            worker.end()
    return found


def largest_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Between two courses of the loss, as a share of the first; infinite where a loss is not finite."""
    differences = [abs(a - b) / abs(a) for a, b in zip(one, other, strict=True)]
    return max(differences) if all(map(math.isfinite, differences)) else math.inf  # max() may overlook nan


def machine_state(device: str, threads: int) -> State:
    """The load, and the median rate of a few matrix products: fp32 on a processor, bf16 on an accelerator."""
    cpu = device == "cpu"
    side, kind = (1024, torch.float32) if cpu else (8192, torch.bfloat16)
    earlier = torch.get_num_threads()
    torch.set_num_threads(threads)
    matrix, rates = torch.ones(side, side, dtype=kind, device=device), []
    for _ in range(12):
        if not cpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        matrix @ matrix
        if not cpu:
            torch.cuda.synchronize()
        rates.append(2 * side**3 / (time.perf_counter() - started) / 1e9)
    torch.set_num_threads(earlier)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return State(load, median(rates[2:]))
