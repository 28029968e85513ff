"""What an ensemble is worth, and in which ways it could have been made: everything from the members' dumps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.agreement import dual_scores, human_agreement, of_seven_classes
from utils.calibration import at_temperature, fit_temperature
from utils.datasets.ferplus import DROPPED, Votes, ferplus_majority
from utils.ensemble import greedy, refuse_folds
from utils.errors import UserError
from utils.metrics import Scores, mcnemar, score, wilson
from utils.predictions import Predictions, combine
from utils.variants import (
    AVERAGE,
    FOLDS,
    Members,
    Variant,
    by_number,
    disagreement,
    error_correlation,
    holm,
    members_of,
    oracle,
    risk_coverage,
    variants,
)

Asked = tuple[float, float]  # the least and the aim, in percent


@dataclass(frozen=True, eq=False)
class Row:
    """One way to make the ensemble, and its figures; those of validation are of images that it was fitted on."""

    variant: Variant
    validation: Scores
    test: Scores
    p_against_average: float
    p_against_best: float


@dataclass(frozen=True, eq=False)
class Study:
    """Attributes:
    members: their probabilities; copies: ids of the test images that have a copy in train.
    best: the member with the highest validation accuracy; order: those chosen greedily, in that order.
    rows: one for each way.
    temperature: of the plain average, fitted on validation.
    """

    members: Members
    copies: list[str]
    best: int
    order: list[int]
    rows: list[Row]
    temperature: float

    @property
    def hits(self) -> np.ndarray:
        """bool [M, N]: which test images each member gets right."""
        return self.members.test.argmax(2) == self.members.targets

    @property
    def average(self) -> np.ndarray:
        """float64 [N, C]: the plain average on test."""
        return self.rows[0].variant.test

    @property
    def calibrated(self) -> np.ndarray:
        """float64 [N, C]: the same after `temperature`."""
        return at_temperature(self.average, self.temperature)


def study(validation: Sequence[Predictions], test: Sequence[Predictions], names: Sequence[str]) -> Study:
    """Fit on validation, judge on test.

    Raises:
        UserError: dumps that do not belong together, runs of folds, or fewer validation images than stacking deals out.
    """
    refuse_folds(test, names)
    members, order = members_of(validation, test, names), greedy(validation, names)
    if len(members.validation_targets) < FOLDS:
        raise UserError(f"{len(members.validation_targets)} validation images; stacking needs {FOLDS} or more")
    copies = sorted(combine(test, names).meta.get("copies_in_train", ()))
    best = int((members.validation.argmax(2) == members.validation_targets).mean(1).argmax())
    ways = variants(members, order)
    hits = [way.test.argmax(1) == members.targets for way in ways]
    best_hits = members.test[best].argmax(1) == members.targets
    rows = [
        Row(
            way,
            score(way.validation, members.validation_targets),
            score(way.test, members.targets),
            mcnemar(hit, hits[0]),
            mcnemar(hit, best_hits),
        )
        for way, hit in zip(ways, hits, strict=True)
    ]
    logs = np.log(np.maximum(ways[0].validation, 1e-12))
    return Study(members, copies, best, order, rows, fit_temperature(logs, members.validation_targets))


def in_order(found: Study) -> np.ndarray:
    """float64 [K]: test accuracy of the average after each of the members chosen greedily."""
    sums = np.cumsum(found.members.test[found.order], 0)
    return (sums.argmax(2) == found.members.targets).mean(1)


def pair_table(found: Study) -> list[dict[str, Any]]:
    """One row for each two members: how often they differ, how their errors go together, McNemar's p, and Holm's."""
    names, hits = found.members.names, found.hits
    differing, correlation = disagreement(found.members.test.argmax(2)), error_correlation(hits)
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    p_values = np.array([mcnemar(hits[a], hits[b]) for a, b in pairs])
    return [
        {
            "first": names[a],
            "second": names[b],
            "first_accuracy": float(hits[a].mean()),
            "second_accuracy": float(hits[b].mean()),
            "disagreement": float(differing[a, b]),
            "error_correlation": float(correlation[a, b]),
            "mcnemar_p": float(p),
            "holm_p": float(adjusted),
        }
        for (a, b), p, adjusted in zip(pairs, p_values, holm(p_values), strict=True)
    ]


def variant_table(found: Study) -> list[dict[str, Any]]:
    """One row for each way to make the ensemble."""
    return [
        {
            "variant": row.variant.name,
            "fitted": row.variant.fitted,
            "validation_accuracy": row.validation.accuracy,
            "test_accuracy": row.test.accuracy,
            "low": row.test.interval[0],
            "high": row.test.interval[1],
            "log_loss": row.test.loss,
            "ece": row.test.ece,
            "mcnemar_p_against_average": row.p_against_average,
            "mcnemar_p_against_best_member": row.p_against_best,
        }
        for row in found.rows
    ]


def study_text(found: Study, votes: Votes | None) -> str:
    """The tables, as Markdown; those of FER+ where there are ``votes``."""
    sections = [_variant_lines(found), _diversity_lines(found), _belief_lines(found)]
    if votes is not None:
        sections.append(_dual_lines(found, votes))
    return "\n\n".join("\n".join(lines) for lines in sections)


def reached_text(studies: Mapping[str, tuple[Study, Asked, Asked]]) -> str:
    """What was reached on FER2013's test part beside what was asked and aimed at, as Markdown.

    Args:
        studies: what the networks of each were trained on → (study, what was asked of its best network and of an
            average: the least and the aim, in percent).
    """
    lines = ["| trained on | on test | at least | aimed at | reached | |", "|---|---|---|---|---|---|"]
    for machine, (found, alone, together) in studies.items():
        best = score(found.members.test[found.best], found.members.targets)
        every, chosen = found.rows[:2]
        rows = [
            (f"the best by validation, `{found.members.names[found.best]}`", alone, best),
            (f"average of {len(found.order)}, chosen greedily on validation", together, chosen.test),
            (f"average of all {len(found.members.names)}", together, every.test),
        ]
        for what, (least, aim), test in rows:
            low, high = test.interval
            value = f"**{test.accuracy:.2%}** [{100 * low:.1f}, {100 * high:.1f}]"
            told = _verdict(100 * test.accuracy, least, aim)
            lines.append(f"| {machine} | {what} | {least:g}% | {aim:g}% | {value} | {told} |")
    return "\n".join(lines)


def _verdict(reached: float, least: float, aim: float) -> str:
    if reached >= aim:
        return "yes"
    short = f"{aim - reached:.2f} points short"
    if aim == least:
        return short
    return f"the least, not the aim: {short}" if reached >= least else f"{least - reached:.2f} and {short}"


def _variant_lines(found: Study) -> list[str]:
    lines = [
        "| ensemble | fitted on validation | validation | **test** | 95 % interval | log loss | ECE "
        "| p against the average | p against validation's best member |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found.rows:
        way, test, (low, high) = row.variant, row.test, row.test.interval
        against = "" if row is found.rows[0] else f"{row.p_against_average:.2g}"
        lines.append(
            f"| {way.name} | {way.fitted} | {row.validation.accuracy:.2%} | **{test.accuracy:.2%}** "
            f"| {low:.2%} – {high:.2%} | {test.loss:.3f} | {test.ece:.3f} | {against} | {row.p_against_best:.2g} |"
        )
    return lines


def _diversity_lines(found: Study) -> list[str]:
    pairs, names = pair_table(found), found.members.names
    mean = {key: float(np.mean([row[key] for row in pairs])) for key in ("disagreement", "error_correlation")}
    apart = sum(row["holm_p"] < 0.05 for row in pairs)
    drawn = by_number(found.members.test, found.members.targets)
    order = ", ".join(f"`{names[index]}`" for index in found.order)
    best = found.hits[found.best]
    return [
        f"The best member on validation is `{names[found.best]}`: {best.mean():.2%} on test. Greedy choice on "
        f"validation takes {order}.",
        f"Two members differ on {mean['disagreement']:.1%} of the test images on average; the correlation of their "
        f"errors is {mean['error_correlation']:.2f}; {apart} of {len(pairs)} pairs differ in accuracy (McNemar, "
        f"Holm-adjusted, 0.05). At least one member is right on {oracle(found.hits):.2%}. A member drawn at random has "
        f"{drawn[0, 0]:.2%}, the average of all {len(drawn)} has {drawn[-1, 0]:.2%}.",
    ]


def _belief_lines(found: Study) -> list[str]:
    before, after = (score(p, found.members.targets) for p in (found.average, found.calibrated))
    risk = risk_coverage(found.average, found.members.targets)
    half = risk[len(risk) // 2 - 1]
    return [
        f"One temperature for the plain average, {found.temperature:.3f}, fitted on validation, brings its ECE on test "
        f"from {before.ece:.3f} to {after.ece:.3f} and its log loss from {before.loss:.3f} to {after.loss:.3f}. On the "
        f"half of the images of which it is most confident, it errs on {half:.1%}."
    ]


def _dual_lines(found: Study, votes: Votes) -> list[str]:
    test = set(found.members.ids)
    own = np.array([identity in test for identity in votes.ids])
    own &= ferplus_majority(votes, "plurality") != DROPPED  # the images of the row beside which it is held
    on_test = Votes(votes.counts[own], list(np.array(votes.ids)[own]))
    best = found.members.names[found.best]
    judged = {f"`{best}`": found.members.test[found.best]}
    judged |= {row.variant.name: row.variant.test for row in found.rows[:2]}  # of all, and of those chosen greedily
    scored = {
        name: dual_scores(probabilities, found.members.targets, found.members.ids, votes, found.copies)
        for name, probabilities in judged.items()
    }
    lines = ["| judged by | images | " + " | ".join(scored) + " |", "|---|---|" + "---|" * len(scored)]
    for rows in zip(*scored.values(), strict=True):
        if not rows[0].images:
            continue
        cells = []
        for one in rows:
            low, high = wilson(one.correct, one.images)
            cells.append(f"{one.correct / one.images:.2%} [{100 * low:.1f}, {100 * high:.1f}]")
        lines.append(f"| {rows[0].what} | {rows[0].images:,} | " + " | ".join(cells) + " |")
    agreement, among_seven = human_agreement(on_test), human_agreement(of_seven_classes(on_test))
    plurality = scored[AVERAGE][1]
    own_share = plurality.correct / plurality.images
    return [
        *lines,
        "",
        f"One of FER+'s raters says what most of the others say on {agreement:.1%} of these images; the average of all "
        f"says what most of all ten say on {own_share:.1%}, {own_share / agreement:.2f} times as often. A rater may "
        f"also say contempt, unknown or no face, which networks cannot: of votes for the seven classes alone "
        f"{among_seven:.1%} are what most of the others are, and the average agrees {own_share / among_seven:.2f} "
        f"times as often.",
    ]
