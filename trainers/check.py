"""What a training would be, said before it begins: data, network, memory and time."""

import statistics
import sys
import time
from collections.abc import Sequence

import torch

from models import count_flops, count_parameters
from trainers.learner import Learner
from utils.config import FIELDS, Config
from utils.datasets.duplicates import count_leaks
from utils.datasets.faces import Faces, Split

try:
    import resource
except ImportError:  # not on Windows, where the peak is not shown
    resource = None  # type: ignore[assignment]

TIMED_STEPS = 3


def print_check(config: Config, splits: Sequence[Split], learner: Learner) -> None:
    """Print settings that differ from the defaults, counts, copies across parts, cost and time of an epoch."""
    print("settings (those that differ from the defaults)")
    for name, f in FIELDS.items():
        value = getattr(config, name)
        if value != f.default:
            print(f"  {name} = {value}")
    print(f"\ndata: {config.dataset}, {splits[0].protocol}")
    if len(splits) > 1:
        _print_folds(splits)
    else:
        _print_parts(splits[0])
    _print_cost(config, splits, learner)


def _print_parts(split: Split) -> None:
    width = max(map(len, split.train.classes)) + 2
    print("  " + "images".rjust(14) + "".join(name.rjust(width) for name in split.train.classes))
    for name, part in split.parts().items():
        print(f"  {name:5s}{len(part):9d}" + "".join(str(count).rjust(width) for count in part.counts()))
    for sentence, count in {**split.trimmed, **count_leaks(split)}.items():
        print(f"  {count:6d} {sentence}")
    black = {name: sum(not image.any() for image in part.images) for name, part in split.parts().items()}
    print(f"  {sum(black.values()):6d} all-black images ({', '.join(f'{n} {c}' for n, c in black.items())})")


def _print_folds(splits: Sequence[Split]) -> None:
    """One line a fold: images and persons of each part, and the test images of each class."""
    classes = splits[0].train.classes
    print(f"  {'fold':16s}{'train':>14s}{'val':>12s}{'test':>12s}   of these {', '.join(classes)}")
    for number, split in enumerate(splits, 1):
        cells = [_images_and_persons(part) for part in split.parts().values()]
        counts = " ".join(f"{count:3d}" for count in split.parts()["test"].counts())
        print(f"  {f'{number} {split.name}':16s}{cells[0]:>14s}{cells[1]:>12s}{cells[2]:>12s}   {counts}")
    leaks = sum(count_leaks(split)["test images with an exact copy in train"] for split in splits)
    print(f"  {leaks:6d} test images with an exact copy in the train part of their fold")


def _images_and_persons(part: Faces) -> str:
    return str(len(part)) if part.subjects is None else f"{len(part)} ({len(set(part.subjects))} p.)"


def _print_cost(config: Config, splits: Sequence[Split], learner: Learner) -> None:
    flops = count_flops(learner.model, config.image_size, config.in_channels)
    seconds = _seconds_per_step(learner)
    steps = learner.batches.steps
    print(f"\nnetwork: {config.arch}, {config.image_size} px, {config.in_channels} channels, weights {config.weights}")
    if learner.begins:
        print(f"  {learner.begins}")
    trained = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
    every = count_parameters(learner.model)
    kept = f", {trained:,} of them trained" if trained < every else ""
    print(f"  {every:,} parameters{kept}; {flops / 1e9:.2f} GFLOP for one image forward")
    print(f"  {config.device}, {config.precision}, channels_last {config.channels_last}, {config.threads} threads")
    print(f"  memory at the peak so far: {_peak_memory(config) / 1e9:.2f} GB")
    folds = f" in each of {len(splits)} folds" if len(splits) > 1 else ""
    epoch = seconds * steps
    took = f"{epoch:.1f} s" if epoch < 90 else f"{epoch / 60:.1f} minutes"
    print(f"  {steps} steps an epoch, about {took}; at most {config.max_epoch_num} epochs{folds}")


def _seconds_per_step(learner: Learner) -> float:
    """Median of a few real steps on real images, after one to warm up."""
    times = []
    learner.train_mode()
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
