"""Several processes that train one network: who does which part, and what they tell each other.

`torchrun` starts them and says who is who (https://docs.pytorch.org/docs/stable/elastic/run.html). A process that was
started alone is a team of one, for which nothing here costs anything.
"""

import contextlib
import datetime
import importlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

from models import ModelError
from utils.errors import MachineError, SaidElsewhere, UserError

T = TypeVar("T")
START = "torchrun --nproc_per_node N main_fer.py ..."
# torchrun notices at once that a process has died; this is for one that hangs, or reads its data for long.
_PATIENCE = datetime.timedelta(minutes=30)
_RUN = "fer/run"  # the note that says which run is under way


@dataclass(frozen=True)
class Team:
    """The processes of one training.

    What is documented to speak with the others must be called by all of them, in the same order; it raises
    `MachineError` where one of them is gone.

    Attributes:
        rank: this process, from 0; size: how many there are.
        local_rank, local_size: the same on this machine.
        board: (host, port) where `torchrun` keeps notes that outlive the processes, but not itself; None where it
            does not.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    board: tuple[str, int] | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of ``count`` things: together the parts are all of them, each once, of even sizes.

        No part is of one thing, because batch norm needs two: of a few, the first processes take two or three each.
        """
        takers = min(self.size, max(1, count // 2))
        first, last = (count * min(taker, takers) // takers for taker in (self.rank, self.rank + 1))
        return slice(first, last)

    @contextlib.contextmanager
    def agreed(self) -> Iterator[None]:
        """What one process refuses within the block, all refuse; speaks with the others, but not within the block.

        Raises:
            UserError, ModelError: on the first process that has refused, which says why.
            SaidElsewhere: on all others.
        """
        if self.size == 1:
            yield
            return
        refusal = None
        try:
            yield
        except (UserError, ModelError) as error:
            refusal = error
        codes = self._gathered(0 if refusal is None else refusal.exit_code)
        speaker = next((rank for rank, code in enumerate(codes) if code), None)
        if refusal is not None and speaker == self.rank:
            raise refusal
        if speaker is not None:
            raise SaidElsewhere(codes[speaker])

    def alike(self, error: UserError) -> Exception:
        """``error``, which all processes raise at the same place, as this one raises it: one of them says it."""
        return error if self.leads else SaidElsewhere(error.exit_code)

    def led(self, work: Callable[[], T]) -> T:
        """What ``work`` returns on the leading process, told to all (plain types, tensors, dataclasses).

        Raises:
            UserError, ModelError, SaidElsewhere: as `agreed`.
        """
        told: list[Any] = [None]
        with self.agreed():
            if self.leads:
                told = [work()]
        if self.size > 1:
            with _speaking(self.rank):
                distributed.broadcast_object_list(told, src=0)
        return told[0]

    def any(self, fact: bool) -> bool:
        """Whether ``fact`` holds on any process; on the processors, so that no GPU is waited for."""
        if self.size == 1:
            return fact
        found = torch.tensor([float(fact)])
        self.add_up([found])
        return bool(found > 0)

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by the sum over all processes; all on one device, added as float32."""
        if self.size > 1:
            self._in_one(tensors, torch.float32, distributed.all_reduce)

    def as_leader(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by what the leading process has; all on one device, integers up to 2**53."""
        if self.size > 1:
            self._in_one(tensors, torch.float64, lambda flat: distributed.broadcast(flat, src=0))

    def joined(self, rows: np.ndarray, axis: int) -> np.ndarray:
        """The arrays of all processes, one after another along ``axis``; the other axes are the same everywhere."""
        return rows if self.size == 1 else np.concatenate(self._gathered(rows), axis)

    def remember(self, run: str) -> None:
        """Note the run's name on the board, for the processes that `torchrun` starts anew when one is lost."""
        if self.leads and (store := self._notes()) is not None:
            store.set(_RUN, run)

    def remembered(self) -> str | None:
        """The run that was under way when `torchrun` started these processes anew; None where none was."""
        store = self._notes()
        return store.get(_RUN).decode() if store is not None and store.check([_RUN]) else None

    def _notes(self) -> distributed.TCPStore | None:
        return None if self.board is None else distributed.TCPStore(*self.board, is_master=False, timeout=_PATIENCE)

    def _gathered(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.size
        with _speaking(self.rank):
            distributed.all_gather_object(values, value)
        return values

    def _in_one(
        self, tensors: Sequence[torch.Tensor], kind: torch.dtype, send: Callable[[torch.Tensor], object]
    ) -> None:
        """Send many tensors as one, which is faster, and whatever their layout in memory."""
        if not tensors:
            return
        with torch.no_grad():
            flat = torch.cat([tensor.reshape(-1).to(kind) for tensor in tensors])
            with _speaking(self.rank):
                send(flat)
            for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(part.view(tensor.shape))


ALONE = Team()


def launched() -> bool:
    """Whether `torchrun` (or what sets the same variables) started this process."""
    return "WORLD_SIZE" in os.environ


@contextlib.contextmanager
def open_team() -> Iterator[Team]:
    """The team that this process belongs to, while the block lasts; it speaks through Gloo, between GPUs through NCCL.

    Raises:
        UserError: the variables that say who is who are incomplete or make no sense.
        MachineError: the processes do not find each other.
    """
    team = _read_environment() if launched() else ALONE
    if team.size == 1:
        yield team
        return
    # For its default arguments this module takes the group that is there when it is first imported, which making an
    # optimizer does. It would keep that group's threads for good, and one that lets go of a tensor while the
    # interpreter ends aborts the process (https://github.com/pytorch/pytorch/pull/179291). Now it finds no group.
    importlib.import_module("torch.distributed.nn.functional")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store = None if team.board is None else _fresh_store(team, team.board)  # None: torch makes one
        distributed.init_process_group(backend, None, _PATIENCE, team.size, team.rank, store)
    except (RuntimeError, ValueError) as error:
        raise MachineError(f"processes do not find each other ({_reason(error)}); start them: {START}") from None
    try:
        yield team
    finally:
        distributed.destroy_process_group()


def _fresh_store(team: Team, board: tuple[str, int]) -> distributed.Store:
    """A part of the board for this start alone; raises RuntimeError where a process does not come.

    The board outlives a restart, and torch would find on it the addresses of processes that are gone. So every process
    calls with a word of its own that nobody has used before, and is answered with that of the leading one.
    """
    store, word = distributed.TCPStore(*board, is_master=False, timeout=_PATIENCE), secrets.token_hex(8)
    if team.leads:
        end = time.monotonic() + _PATIENCE.total_seconds()
        for rank in range(1, team.size):
            while not store.check([f"fer/joined/{word}/{rank}"]):
                if store.check([f"fer/call/{rank}"]):  # perhaps still that of a process that is gone; ask again
                    store.set(f"fer/answer/{store.get(f'fer/call/{rank}').decode()}", word)
                if time.monotonic() > end:
                    raise RuntimeError(f"process {rank} has not come")
                time.sleep(0.02)
        return distributed.PrefixStore(f"fer/{word}", store)
    store.set(f"fer/call/{team.rank}", word)
    leaders = store.get(f"fer/answer/{word}").decode()  # waits for it
    store.set(f"fer/joined/{leaders}/{team.rank}", "")
    return distributed.PrefixStore(f"fer/{leaders}", store)


def _read_environment() -> Team:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise UserError(f"WORLD_SIZE is set but {name} is not; start several processes with: {START}")
    whole = os.environ["WORLD_SIZE"]
    numbers = {name: os.environ.get(name, whole) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    for name, text in (numbers | {"MASTER_PORT": os.environ["MASTER_PORT"]}).items():
        if not text.isdecimal():
            raise UserError(f"{name} is {text[:40]!r}; expected a whole number; start several processes with: {START}")
    rank, size, local_rank, local_size = map(int, numbers.values())
    if not (rank < size and local_rank < local_size <= size):
        table = ", ".join(f"{name} {text[:40]}" for name, text in numbers.items())
        raise UserError(f"{table}: ranks count from 0 and stay below sizes; start several processes with: {START}")
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    board = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])) if kept else None
    return Team(rank, size, local_rank, local_size, board)


@contextlib.contextmanager
def _speaking(rank: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        lost = f"process {rank} has lost another one ({_reason(error)})"
        raise MachineError(f"{lost}; the last checkpoint is intact, go on with --resume") from None


def _reason(error: BaseException) -> str:
    """The first sentence of what torch says, without the line of its source that Gloo puts in front."""
    text = re.sub(r"\[\S+:\d+\] ", "", str(error))
    return (text.splitlines() or ["no reason given"])[0].split(". ")[0][:160]
