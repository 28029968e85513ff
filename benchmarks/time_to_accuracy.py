"""Accuracy against time: python -m benchmarks.time_to_accuracy [RUN ...] [--plain MINUTES --config FILE].

Adds to ``results/bench/time_to_accuracy.csv`` where runs stood on the validation part after every epoch, and when
(seconds since the training began, validation included), and draws all that the table holds. ``--plain`` trains the
network of a config for that long by a plain loop, with the config's rate and decay: DataLoader, torchvision's
transforms, fp32, a one-cycle schedule fitted to the time.
"""

import argparse
import dataclasses
import itertools
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.job import ROOT, Job, results_folder
from benchmarks.plain import Pictures, loader, still
from benchmarks.points import AIMS, Point, read_points, write_points
from models import create_model
from utils.checkpoint import load_checkpoint
from utils.cli import Parser, run_cli
from utils.config import Config, load_config
from utils.errors import UserError
from utils.optim import Plateau, learning_rate
from utils.runs import find_run
from utils.splits import load_splits
from Visualization.saving import save_figure
from Visualization.speed import time_to_accuracy_figure

RESULTS = "time_to_accuracy.csv"
DATASET = "fer2013"  # of what the table holds: accuracies on other images do not belong beside them
PLAIN_CONFIG = ROOT / "configs" / "fer2013_8min_config.json"


def main() -> None:
    """Add to the table, and draw it."""
    parser = Parser((__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help="runs of ours, trained without a break")
    parser.add_argument("--plain", type=float, metavar="MINUTES", help="train a plain loop for that long")
    parser.add_argument("--config", type=Path, default=PLAIN_CONFIG, help="of the plain loop (the 8-minute one)")
    parser.add_argument("--seed", type=int, default=0, help="of the plain loop (0)")
    parser.add_argument("--threads", type=int, default=2, help="of the plain loop (2)")
    parser.add_argument("--out", help="folder of the table (results/bench; a trial: saved/results/bench)")
    arguments = parser.parse_args()
    _check(arguments)
    in_earnest = arguments.plain is None or arguments.plain >= min(aim.minutes for aim in AIMS.values())
    path = Path(arguments.out or results_folder(in_earnest)) / RESULTS
    points = read_points(path)
    new = [point for name in arguments.runs for point in points_of_run(name)]
    if arguments.plain is not None:
        new += train_plain(arguments.config, arguments.plain, arguments.seed, arguments.threads)
    measured = {point.run for point in new}
    points = [point for point in points if point.run not in measured] + new
    points.sort(key=lambda point: (point.program, point.run))  # ours in front
    write_points(points, path)
    lines = [(point.program, point.run, point.seconds / 60, point.accuracy) for point in points]
    save_figure(time_to_accuracy_figure(lines), path.with_suffix(".png"))


def _check(arguments: argparse.Namespace) -> None:
    if arguments.threads < 1:
        raise UserError(f"--threads must be a whole number from 1; got {arguments.threads}")
    if arguments.plain is None:
        if not arguments.runs:
            raise UserError("nothing to add: name runs, or give --plain MINUTES")
    elif not 0 < arguments.plain < math.inf:
        raise UserError(f"--plain must be a number of minutes above 0; got {arguments.plain:g}")


def points_of_run(name: str) -> list[Point]:
    """What the log of a run of ours says; its times are those at which TensorBoard was told.

    Raises:
        UserError: no such run, of other images, or it was interrupted, so that its times say nothing.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = find_run(name, Config())
    config = load_checkpoint(files.best).config
    if config.dataset != DATASET:
        raise UserError(f"{files.checkpoints}: trained on {config.dataset}; the table is of {DATASET}")
    logs = list(files.logs.glob("events.out.tfevents*"))
    if len(logs) != 1:
        raise UserError(f"{files.logs}: {len(logs)} logs; only a run without a break has times that can be compared")
    log = EventAccumulator(str(logs[0]))
    log.Reload()
    begun = log.FirstEventTimestamp()
    return [
        Point(f"ours, {config.model_name}", name, config.seed, config.threads, e.step, e.wall_time - begun, e.value)
        for e in log.Scalars("Accuracy/Val")
    ]


def train_plain(path: Path, minutes: float, seed: int, threads: int) -> list[Point]:
    """A config's network, rate and decay by a plain loop that knows how long it has.

    Raises:
        UserError: the config is of other images, or FER2013 is not there.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    config = dataclasses.replace(load_config(path), max_epoch_num=1)  # the whole time is one "epoch" to it
    job = Job("train", augment="fast", batch_size=128, threads=threads, dataset=DATASET)
    if config.dataset != DATASET:
        raise UserError(f"{path}: dataset is {config.dataset}; the table is of {DATASET}")
    split = load_splits(config)[0]
    model = create_model(config.arch, num_classes=config.num_classes, in_channels=1, image_size=config.image_size)
    settings = {"momentum": config.momentum, "weight_decay": config.weight_decay, "nesterov": True}
    optimizer = torch.optim.SGD(model.parameters(), config.lr, **settings)  # type: ignore[arg-type]
    batches = loader(job, split.train)
    judged = DataLoader(Pictures(split.val, still, range(len(split.val))), 256)
    points: list[Point] = []
    name, program = f"plain_{minutes:g}min_{seed}", f"plain loop, {config.model_name}"
    begun = time.monotonic()
    for epoch in itertools.count(1):
        model.train()
        for images, labels in batches:
            share = (time.monotonic() - begun) / (60 * minutes)
            if share >= 1:
                break
            optimizer.param_groups[0]["lr"] = learning_rate(config, 0, int(1e4 * share), 10_000, Plateau())
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels, label_smoothing=config.label_smoothing)
            loss.backward()
            optimizer.step()
        accuracy = _accuracy(model, judged)
        seconds = time.monotonic() - begun
        points.append(Point(program, name, seed, threads, epoch, seconds, accuracy))
        print(f"epoch {epoch}  {seconds:.0f} s  val {accuracy:.2%}", flush=True)
        if seconds >= 60 * minutes:
            return points
    raise AssertionError("unreachable")


@torch.inference_mode()
def _accuracy(model: nn.Module, batches: DataLoader[Any]) -> float:
    model.eval()
    hits = [model(images).argmax(1) == labels for images, labels in batches]
    return float(torch.cat(hits).float().mean())


if __name__ == "__main__":
    run_cli(main)
