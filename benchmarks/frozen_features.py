"""From which image size on weights from elsewhere see an expression: a linear readout of the frozen network.

``python -m benchmarks.frozen_features FILE ... [key=value ...]`` takes a network, its weights and preprocessing from
each settings file, fits the readout to training images at each size, and dumps what it says of the validation part.
Training the networks themselves at 224 pixels takes a processor many hours; this takes it minutes.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from utils.checkpoint import network
from utils.cli import Parser, run_cli
from utils.config import Config, load_config
from utils.errors import UserError
from utils.explaining.features import features
from utils.metrics import score
from utils.predictions import Predictions, save_predictions
from utils.runtime import placed, resolve
from utils.splits import Split, load_splits

SIZES = (48, 64, 96, 112, 160, 224)
IMAGES = 5000  # of the training part, that the readout is fitted to
PENALTY = 0.1  # on half the squared weights of the readout, whose inputs have unit variance


def main() -> None:
    """One dump for each network and size.

    Raises:
        UserError: no settings file, or one that names no weights or splits its data into folds.
    """
    parser = Parser("From which image size on weights from elsewhere see an expression: linear readouts, all frozen.")
    parser.add_argument("files", nargs="+", metavar="FILE|key=value", help="settings with weights; settings on top")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help=f"pixels (default: {SIZES})")
    parser.add_argument("--out", type=Path, default=Path("results/frozen"), help="folder of the dumps")
    arguments = parser.parse_intermixed_args()
    overrides = [text for text in arguments.files if "=" in text]
    files = [text for text in arguments.files if "=" not in text]
    if not files:
        raise UserError(f"{overrides[0]}: settings on top of no file; name one with weights, as configs/ablation/24_*")
    for file in files:
        for size in arguments.sizes:
            one_size = (f"image_size={size}", "start_size=null", "refit_norms=false", "refit_size=null")
            config = load_config(file, [*overrides, *one_size])
            if config.weights == "none":
                raise UserError(f"{file}: weights is none, so there is nothing to look at")
            split, *more = load_splits(config)
            if more:
                raise UserError(f"{file}: protocol {config.protocol} makes folds; expected one split, as of FER2013")
            dump = readout(resolve(config), split)
            save_predictions(dump, arguments.out / f"{dump.meta['run']}.val.npz", half=True)
            print(f"{dump.meta['run']}: {score(dump.probabilities(), dump.targets).accuracy:.2%}", flush=True)


def readout(config: Config, split: Split) -> Predictions:
    """What a readout that was fitted to training images says of the validation part.

    Args:
        config: network, weights, preprocessing, image size; its seed draws `IMAGES` training images.
        split: the data.
    """
    model = placed(network(config), config)
    drawn = np.sort(np.random.default_rng(config.seed).permutation(len(split.train))[:IMAGES])
    validation = split.parts()["val"]
    known = features(model, split.train.images[drawn], config)
    unknown = features(model, validation.images, config)
    logits = fitted(known, split.train.labels[drawn], unknown, len(validation.classes))
    meta = {
        "scores": "logits",
        "run": f"{Path(config.weights).stem}_{config.image_size}px",
        "arch": config.arch,
        "dataset": config.dataset,
        "split": "val",
        "protocol": split.protocol,
        "data": validation.fingerprint(),
        "config": dataclasses.asdict(config),
        "fitted_to": len(drawn),
    }
    return Predictions(logits[None], validation.labels, validation.ids, validation.classes, meta)


def fitted(known: np.ndarray, labels: np.ndarray, unknown: np.ndarray, classes: int) -> np.ndarray:
    """Softmax regression with `PENALTY`, on features brought to mean 0 and variance 1.

    Args:
        known: float32 [N, D], with labels int [N].
        unknown: float32 [M, D].
        classes: how many there are; some may have no image among those known.

    Returns:
        float32 [M, classes]: logits.
    """
    mean, deviation = known.mean(0), known.std(0) + 1e-6  # a feature that is always zero stays zero
    x, y = torch.from_numpy((known - mean) / deviation), torch.from_numpy(labels)
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight + bias, y) + PENALTY / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        return (torch.from_numpy((unknown - mean) / deviation) @ weight + bias).numpy()


def frozen_text(dumps: Sequence[Predictions]) -> str:
    """The table, as Markdown: weights down, sizes across, accuracy on validation; empty cells were not measured."""
    found: dict[str, dict[int, float]] = {}
    for dump in dumps:
        name = dump.meta["run"].rpartition("_")[0]
        accuracy = score(dump.probabilities(), dump.targets).accuracy
        found.setdefault(name, {})[dump.meta["config"]["image_size"]] = accuracy
    sizes = sorted({size for row in found.values() for size in row})
    lines = [f"| weights | {' | '.join(f'{size} px' for size in sizes)} |", "|---|" + "---|" * len(sizes)]
    for name, row in sorted(found.items()):
        cells = [f"{row[size]:.1%}" if size in row else "" for size in sizes]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_cli(main)
