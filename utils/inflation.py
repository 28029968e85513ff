"""By how much a result is flattered when the same people stand in train and test."""

from dataclasses import dataclass

import numpy as np

from utils.ensemble import in_order_of
from utils.errors import UserError
from utils.labels import TITLES
from utils.metrics import interval_over_groups
from utils.predictions import Predictions
from utils.splits.protocols import GROUPED


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
        UserError: other protocols, other images, or persons that are not known.
    """
    for dump, wanted in ((apart, GROUPED), (mixed, ("random",))):
        word = str(dump.meta.get("protocol")).partition(":")[0]
        if word not in wanted:
            raise UserError(f"{dump.meta.get('run')}: protocol {word}; expected {' or '.join(wanted)}")
    one, other = ((sorted(dump.ids), dump.classes, dump.meta.get("data")) for dump in (apart, mixed))
    if one != other:
        raise UserError(f"{mixed.meta.get('run')}: judged on other images or classes than {apart.meta.get('run')}")
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
