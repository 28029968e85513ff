"""The machine that a run finds: device, arithmetic, threads, and the signals that ask it to stop."""

import contextlib
import ctypes
import dataclasses
import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from models.slow_convolutions import speed_up_convolutions
from utils.config import Config
from utils.distributed import START, Team, launched
from utils.errors import Interrupted, MachineError, UserError
from utils.probe import arithmetic, threads_that_pay

# Images in a step where batch_size is "auto"
AUTO_BATCH = 128
# Before any run of this process has set its own: the most that a later one can ask for
MOST_THREADS = torch.get_num_threads()
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h
# In what torch says when memory runs out, where it has no error of its own for that: on a processor, and on mps.
_MEMORY_RAN_OUT = ("can't allocate memory", "not enough memory", "out of memory")


def resolve(config: Config, say: Callable[[str], None] = lambda _: None) -> Config:
    """``config`` with every 'auto' replaced by what this machine is best at, so that a checkpoint says it.

    Args:
        config: any settings.
        say: told what was measured, where something was left to measurement.

    Raises:
        MachineError: the device is not there.
        UserError: several processes are asked for, and one was started by itself.
    """
    if config.distributed and not launched():
        raise UserError(f"distributed is true: start the processes with {START}, or set distributed=false for one")
    device = find_device(config.device)
    keep_freed_memory()
    if device.type == "cpu":
        precision, channels_last, threads = _measured(config, say)
    else:
        bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = ("bf16" if bf16 else "fp32") if config.precision == "auto" else config.precision
        channels_last = (
            ("on" if device.type == "cuda" else "off") if config.channels_last == "auto" else config.channels_last
        )
        threads = config.threads or MOST_THREADS
    torch.set_num_threads(threads)
    if not config.batch_size:
        config = dataclasses.replace(config, batch_size=AUTO_BATCH, micro_batch=config.micro_batch or AUTO_BATCH)
    return dataclasses.replace(
        config, device=str(device), precision=precision, channels_last=channels_last, threads=threads
    )


def _measured(config: Config, say: Callable[[str], None]) -> tuple[str, str, int]:
    """Precision, channels_last and threads for a processor: as asked for, or as a probe finds them fastest."""
    precision, channels_last, threads = config.precision, config.channels_last, config.threads
    found = []
    if "auto" in (precision, channels_last):
        probed = arithmetic(Path(config.cache_dir), _processor_name())
        precision, channels_last = probed.best(precision, channels_last)
        layout = "with" if channels_last == "on" else "without"
        gain = probed.gain(precision, channels_last)
        found.append(f"{precision} {layout} channels_last, {gain:.1f} times as fast as plain fp32")
    if not threads:
        threads, gain = threads_that_pay(MOST_THREADS, precision, channels_last)
        if MOST_THREADS > 1:
            found.append(f"{threads} of {MOST_THREADS} threads, {gain:.1f} times as fast as one")
    if found:
        say(f"measured on this machine: {'; '.join(found)}")
    return precision, channels_last, threads


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for the next step; only glibc needs to be told.

    It returns large blocks to the system and takes them anew, page by page, in every step: 1.2 million page faults for
    128 images of 160 px through MobileNet-v1. Without those of blocks over 32 MiB its step takes 0.61 of the time (two
    cores of a Xeon without AMX), for a quarter more memory; `quick_vgg`'s at 48 px without any 0.83 (a Zen 4 core).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return
    mallopt(M_MMAP_MAX, 0)  # blocks with a mapping of their own, which goes back to the system with them
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # bytes, the most that it takes


def as_member(config: Config, team: Team) -> Config:
    """What the leading process of ``team`` has resolved, as this one needs it: its own GPU, and its threads are set.

    Raises:
        MachineError: this machine has fewer GPUs than processes.
        UserError: a batch gives some process less than the two images that batch norm needs; or the processes could
            not keep in step within a batch, as `Config.sync_batchnorm` asks.
    """
    if team.size == 1:
        return config
    if config.batch_size < 2 * team.size:
        at_least = f"batch_size counts the images of all processes together, so at least {2 * team.size}"
        raise UserError(f"batch_size is {config.batch_size} for {team.size} processes; {at_least}")
    if config.sync_batchnorm and (config.micro_batch is not None or config.compile != "off"):
        raise UserError("sync_batchnorm takes a batch in one pass; leave out micro_batch, batch_size=auto and compile")
    torch.set_num_threads(config.threads)
    keep_freed_memory()
    if torch.device(config.device).type != "cuda":
        return config
    device = find_device(f"cuda:{team.local_rank}")
    torch.cuda.set_device(device)
    return dataclasses.replace(config, device=str(device))


def find_device(name: str) -> torch.device:
    """The device ``name``; ``auto`` is the accelerator where there is one.

    Raises:
        UserError: no such kind of device.
        MachineError: it is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device '{name[:40]}' is unknown; use auto, cpu, cuda, cuda:0 or mps") from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise MachineError(f"device '{name}' is not on this machine; use device=auto or device=cpu")
    # torch keeps a number of 8 bits: to it, cuda:256 is cuda:0, and cuda:999 is cuda:-25
    if device.type == "cuda" and (str(device) != name or (device.index or 0) >= torch.cuda.device_count()):
        raise MachineError(f"device '{name}' is not on this machine, which has {torch.cuda.device_count()} of them")
    return device


def autocast(config: Config) -> contextlib.AbstractContextManager[None]:
    """The arithmetic of a forward pass, as ``config.precision`` says."""
    kind = torch.device(config.device).type
    return torch.autocast(kind, torch.bfloat16) if config.precision == "bf16" else contextlib.nullcontext()


def memory_format(config: Config) -> torch.memory_format:
    """The layout of images and kernels, as ``config.channels_last`` says."""
    return torch.channels_last if config.channels_last == "on" else torch.contiguous_format


def placed(model: nn.Module, config: Config) -> nn.Module:
    """``model`` on the device and in the memory format that ``config`` says."""
    if torch.device(config.device).type == "cpu" and config.precision == "bf16":
        speed_up_convolutions(model)
    return _with_format(model.to(config.device), memory_format(config))


def environment() -> dict[str, str | int]:
    """What a number may depend on besides the config."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": version("torchvision"),  # importing it would take a second
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor_name(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "processors": processors(),
    }


def machine_of(device: str, environment: Mapping[str, Any]) -> str:
    """What does the work of a run on ``device`` in an `environment`: its accelerator or its processor, by name."""
    kind = torch.device(device).type
    name = environment.get("processor" if kind == "cpu" else "accelerator", "unknown")
    return f"{name} ({kind})"


@contextlib.contextmanager
def one_memory_error() -> Iterator[None]:
    """Let memory that runs out within the block be one error, whatever the device.

    Raises:
        torch.OutOfMemoryError: which torch itself raises on CUDA only.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(text in str(error) for text in _MEMORY_RAN_OUT):
            raise torch.OutOfMemoryError(str(error)) from error
        raise


class StopRequest:
    """Within its ``with`` block, SIGTERM and Ctrl-C are noted; `check` raises them between two steps.

    A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # the number of the one that has come

    def check(self) -> None:
        """Raises:
        Interrupted: a signal has come since the block was entered.
        """
        if self.signal is not None:
            raise Interrupted(self.signal)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number

    @contextlib.contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Install the handlers, and put the earlier ones back at the end."""
        earlier = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)


def _with_format(model: nn.Module, layout: torch.memory_format) -> nn.Module:
    return model.to(memory_format=layout)  # type: ignore[call-overload]


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
