"""What a training would be, said before it begins: data, network, memory and time."""

import statistics
import sys
import time

import torch

from models import count_flops, count_parameters
from trainers.learner import Learner
from utils.config import FIELDS, Config
from utils.datasets.duplicates import count_leaks
from utils.datasets.faces import Split

try:
    import resource
except ImportError:  # not on Windows, where the peak is not shown
    resource = None  # type: ignore[assignment]

TIMED_STEPS = 3


def print_check(config: Config, split: Split) -> None:
    """Print settings that differ from the defaults, counts, copies across parts, cost and time of an epoch."""
    print("settings (those that differ from the defaults)")
    for name, f in FIELDS.items():
        value = getattr(config, name)
        if value != f.default:
            print(f"  {name} = {value}")
    print(f"\ndata: {config.dataset}, {split.protocol}")
    width = max(map(len, split.train.classes)) + 2
    print("  " + "images".rjust(14) + "".join(name.rjust(width) for name in split.train.classes))
    for name, part in split.parts().items():
        print(f"  {name:5s}{len(part):9d}" + "".join(str(count).rjust(width) for count in part.counts()))
    for sentence, count in count_leaks(split).items():
        print(f"  {count:6d} {sentence}")
    black = {name: int((part.images.reshape(len(part), -1).max(1) == 0).sum()) for name, part in split.parts().items()}
    print(f"  {sum(black.values()):6d} all-black images ({', '.join(f'{n} {c}' for n, c in black.items())})")
    _print_cost(config, split)


def _print_cost(config: Config, split: Split) -> None:
    learner = Learner(config, split.train)
    flops = count_flops(learner.model, config.image_size, config.in_channels)
    seconds = _seconds_per_step(learner)
    steps = learner.batches.steps
    print(f"\nnetwork: {config.arch}, {config.image_size} px, {config.in_channels} channels, weights {config.weights}")
    print(f"  {count_parameters(learner.model):,} parameters; {flops / 1e9:.2f} GFLOP for one image forward")
    print(f"  {config.device}, {config.precision}, channels_last {config.channels_last}, {config.threads} threads")
    print(f"  memory at the peak so far: {_peak_memory(config) / 1e9:.2f} GB")
    print(f"  {steps} steps an epoch, about {seconds * steps / 60:.1f} minutes; at most {config.max_epoch_num} epochs")


def _seconds_per_step(learner: Learner) -> float:
    """Median of a few real steps on real images, after one to warm up."""
    times = []
    learner.model.train()
    started = time.perf_counter()
    for number, (images, labels) in enumerate(learner.batches.epoch(0)):
        learner.train_step(images, labels, 0, number)  # reads the loss, so it has ended when it returns
        now = time.perf_counter()
        times.append(now - started)
        started = now
        if number == TIMED_STEPS:
            break
    return statistics.median(times[1:] or times)


def _peak_memory(config: Config) -> int:
    if config.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
