"""Several runs side by side: their figures, and which of them can be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from utils.ensemble import in_order_of
from utils.errors import UserError
from utils.metrics import interval_over_groups, mcnemar
from utils.pages.judged import all_views
from utils.pages.markup import Html, missing, paragraph, section, table
from utils.pages.material import Material
from utils.pages.told import dataset_name, part_name
from utils.predictions import combine
from utils.report import judge, over_persons, share
from utils.variants import holm


@dataclass(frozen=True)
class Pair:
    """Two runs on the same images.

    Attributes:
        first, second: their names.
        difference: of the second's accuracy from the first's; ``interval`` of it by drawing whole persons, None where
            they are not known.
        only_first, only_second: images that one gets right and the other does not.
        p: McNemar's.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float] | None
    only_first: int
    only_second: int
    p: float


def compared_section(runs: Sequence[Material]) -> Html:
    """Tables of the runs beside each other: figures, recall of each class, and each two of them."""
    return section("Side by side", _figures(runs), *_recalls(runs), *_pairs(runs))


def compare(one: Material, other: Material) -> Pair:
    """Hold two runs against each other, image by image, over all their views.

    Raises:
        UserError: they were not judged on the same images of the same data, or are the same predictions.
    """
    first = one.judged
    combine([first, other.judged], [one.name, other.name])  # refuses what does not belong together
    second = in_order_of(first.ids, other.judged)
    right = [dump.probabilities().argmax(1) == dump.targets for dump in (first, second)]
    gain = right[1].astype(float) - right[0]
    interval = None
    if subjects := one.told("subjects"):
        names, person = np.unique([subjects[identity] for identity in first.ids], return_inverse=True)
        interval = interval_over_groups(gain, person) if len(names) > 1 else None
    counts = int((gain < 0).sum()), int((gain > 0).sum())
    return Pair(one.name, other.name, float(gain.mean()), interval, *counts, mcnemar(*right))


def _figures(runs: Sequence[Material]) -> Html:
    head = ("run", "data", "images", "accuracy", "95 % interval", "without copies", "balanced", "macro F1", "ECE")
    rows = []
    for run in runs:
        judged, persons = judge(run.judged), over_persons(run.judged)
        shown, fresh = all_views(judged), all_views(judged, ", no copies")
        assert shown is not None  # the clean view is always there
        low, high = persons.get("views" if "views" in judged else "clean", shown.interval)
        rows.append(
            (
                run.name,
                f"{dataset_name(run.meta)}, {part_name(run.part)}",
                f"{shown.images:,}",
                f"{shown.accuracy:.2%}",
                f"{low:.2%} – {high:.2%}",
                f"{fresh.accuracy:.2%}" if fresh else "–",
                f"{shown.balanced_accuracy:.2%}",
                f"{shown.macro_f1:.3f}",
                f"{shown.ece:.3f}",
            )
        )
    return table("Over all views of each image", head, rows)


def _recalls(runs: Sequence[Material]) -> list[Html]:
    """One table for each set of classes."""
    tables = []
    for classes in dict.fromkeys(run.judged.classes for run in runs):
        rows = []
        for run in runs:
            if run.judged.classes == classes and (scores := all_views(judge(run.judged))):
                rows.append((run.name, *map(share, scores.recall)))
        tables.append(table("Recall of each class", ("run", *classes), rows))
    return tables


def _pairs(runs: Sequence[Material]) -> list[Html]:
    found, refused = [], []
    for one, other in combinations(runs, 2):
        try:
            found.append(compare(one, other))
        except UserError as error:
            refused.append(missing(f"{one.name} and {other.name} are not held against each other: {error}."))
    if not found:
        return refused
    persons = any(pair.interval for pair in found)
    head = ("first", "second", "difference", *(["95 % over persons"] * persons))
    head += ("only first right", "only second right", "McNemar p", "Holm p", "told apart")
    rows = []
    for pair, adjusted in zip(found, holm(np.array([pair.p for pair in found])), strict=True):
        interval = "–" if pair.interval is None else " to ".join(f"{100 * end:+.2f}" for end in pair.interval)
        told = (f"{pair.only_first:,}", f"{pair.only_second:,}", _p(pair.p), _p(adjusted))
        verdict = "yes" if adjusted < 0.05 else "no"
        rows.append((pair.first, pair.second, f"{100 * pair.difference:+.2f}", *([interval] * persons), *told, verdict))
    words = "Two runs are told apart where Holm's p, adjusted for the number of pairs, is below 0.05."
    if persons:
        words += " McNemar's test takes the images of one person for independent; the interval over persons does not."
    return [table("Each two runs on the same images, differences in points", head, rows), paragraph(words), *refused]


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.2g}"
