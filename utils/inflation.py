"""By how much a result is flattered when the same people stand in train and test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.config import MAY_CHANGE, differing, with_defaults
from utils.ensemble import in_order_of
from utils.errors import UserError
from utils.labels import TITLES
from utils.metrics import interval_over_groups
from utils.predictions import Predictions
from utils.splits.protocols import GROUPED

# Settings in which the two runs may differ: how images are dealt out, names, and what a machine chooses for itself.
FREE = (
    *("protocol", "folds", "val_subjects", "split_seed", "split_file"),
    *("model_name", "init_from", "precision", "compile", *MAY_CHANGE),
)


@dataclass(frozen=True)
class Inflation:
    """One network under two protocols, judged on the same images; shares in [0, 1], differences too.

    Every interval holds 95 %, by drawing whole persons.
    """

    name: str
    images: int
    persons: int
    apart: float
    apart_interval: tuple[float, float]
    mixed: float
    mixed_interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float]


def inflation(apart: Predictions, mixed: Predictions, name: str | None = None) -> Inflation:
    """Compare the pooled dumps of two protocols.

    Args:
        apart: of a protocol that keeps persons apart.
        mixed: of protocol ``random``, on the same images.
        name: what to call the network; what the dump knows of it by default.

    Raises:
        UserError: other protocols, other images, another network, or persons that are not known.
    """
    for dump, wanted in ((apart, GROUPED), (mixed, ("random",))):
        word = str(dump.meta.get("protocol")).partition(":")[0]
        if word not in wanted:
            raise UserError(f"{dump.meta.get('run')}: protocol {word}; expected {' or '.join(wanted)}")
    one, other = ((sorted(dump.ids), dump.classes, dump.meta.get("data")) for dump in (apart, mixed))
    if one != other:
        raise UserError(f"{mixed.meta.get('run')}: judged on other images or classes than {apart.meta.get('run')}")
    if what := difference(apart, mixed):
        raise UserError(f"{mixed.meta.get('run')}: another network than {apart.meta.get('run')}: {what}")
    subjects = apart.meta.get("subjects")
    if not subjects:
        raise UserError(f"{apart.meta.get('run')}: its dump does not say who is on the images")
    mixed = in_order_of(apart.ids, mixed)
    names, person = np.unique([subjects[identity] for identity in apart.ids], return_inverse=True)
    right = [dump.probabilities().argmax(1) == dump.targets for dump in (apart, mixed)]
    gain = right[1].astype(float) - right[0]
    return Inflation(
        name=name or network_name(apart),
        images=len(apart.ids),
        persons=len(names),
        apart=float(right[0].mean()),
        apart_interval=interval_over_groups(right[0], person),
        mixed=float(right[1].mean()),
        mixed_interval=interval_over_groups(right[1], person),
        difference=float(gain.mean()),
        difference_interval=interval_over_groups(gain, person),
    )


def difference(apart: Predictions, mixed: Predictions) -> str:
    """What makes two dumps' networks different ones, but for how the images were dealt out; empty where nothing does.

    Of averages, each member of one must have its like among the members of the other.
    """
    left = _networks(mixed)
    for network in _networks(apart):
        found = [_unlike(network, other) for other in left]
        if "" not in found:
            return found[0] if found else "fewer members"
        del left[found.index("")]
    return "more members" if left else ""


def _networks(dump: Predictions) -> list[Mapping[str, Any]]:
    """Settings and origin of each network behind a dump."""
    if "members" not in dump.meta:
        return [dump.meta]
    if "networks" not in dump.meta:
        raise UserError(f"{dump.meta.get('run')}: does not say which networks it averages; make it anew")
    return list(dump.meta["networks"])


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    configs = [with_defaults(network.get("config") or {}) for network in (one, other)]
    origins = [(network.get("origin") or {}) for network in (one, other)]
    if keys := differing(configs[0], configs[1], FREE):
        return f"{keys[0]} {configs[1][keys[0]]}, not {configs[0][keys[0]]}"
    if origins[0].get("checkpoint") != origins[1].get("checkpoint"):
        return f"begins with {origins[1].get('run', 'fresh weights')}, not {origins[0].get('run', 'fresh weights')}"
    views = [network.get("views") for network in (one, other)]
    return "" if views[0] == views[1] else f"views {views[1]}, not {views[0]}"


def network_name(dump: Predictions) -> str:
    """The network of a dump, and what it began with."""
    if "members" in dump.meta:
        return f"average of {len(dump.meta['members'])}"
    origin, weights = dump.meta.get("origin") or {}, dump.meta.get("weights")
    begins = (
        f"from {TITLES[origin['dataset']]}" if origin else "from scratch" if weights == "none" else f"from {weights}"
    )
    return f"{dump.meta.get('arch')}, {begins}"


def inflation_text(row: Inflation) -> str:
    """The comparison in three lines for the terminal."""
    low, high = row.difference_interval
    return (
        f"{row.name}, {row.images} images of {row.persons} persons\n"
        f"  other people in train and test  {_share(row.apart, row.apart_interval)}\n"
        f"  same people in train and test   {_share(row.mixed, row.mixed_interval)}\n"
        f"  inflation                       {100 * row.difference:+.2f} points  [{100 * low:+.2f}, {100 * high:+.2f}]"
    )


def _share(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.2%}  [{interval[0]:.2%}, {interval[1]:.2%}]"
