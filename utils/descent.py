"""What is behind a dump: its networks, all that taught them, their machines, and pictures of other sets."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from utils.config import config_from_dict
from utils.distillation import NONE
from utils.labels import TITLES
from utils.predictions import Predictions, load_predictions

# What the names of weights end in → the set that they were trained on.
SETS = {"vggface2": "VGGFace2", "imagenet": "ImageNet"}


def ancestry(dump: Predictions, root: Path) -> Iterator[Mapping[str, Any]]:
    """The facts (``config``, ``environment``, ``origin``) of each network of a dump, and of all that taught it.

    Args:
        dump: predictions of a network, or of an average.
        root: the folder that ``distil_from`` is looked up in.
    """
    for network in dump.meta.get("networks", [dump.meta]):
        yield network
        teacher = config_from_dict(network["config"], "dump").distil_from
        if teacher != NONE:
            yield from ancestry(load_predictions(root / teacher), root)


def on_processors(dump: Predictions, root: Path) -> bool:
    """Whether a network, and all that taught it, never were on an accelerator; arguments as for `ancestry`.

    Of a run that another began with (``origin``) the machine is not known.
    """
    return not any(map(_accelerated, ancestry(dump, root)))


def other_sets(dump: Predictions, root: Path) -> list[str]:
    """The sets beside its own that a network, or one that taught it, began with; arguments as for `ancestry`.

    Of a run that another began with (``origin``) the data set is known, not its weights.
    """
    found = set()
    for network in ancestry(dump, root):
        weights = config_from_dict(network["config"], "dump").weights
        if weights != NONE:
            stem = Path(weights).stem
            found.add(SETS.get(stem.rpartition("_")[2], stem))
        origin = network.get("origin")
        while origin:
            found.add(TITLES[origin["dataset"]])
            origin = origin.get("origin")
    return sorted(found - {TITLES.get(dump.meta["dataset"])})


def _accelerated(network: Mapping[str, Any]) -> bool:
    # a run settles 'auto' for itself; the first runs, on processors, did not, and shipped networks do not say
    device = config_from_dict(network["config"], "dump").device
    earlier = (network.get("environment") or {}).get("earlier", "")
    return device not in ("auto", "cpu") or "(cuda)" in earlier or "(mps)" in earlier
