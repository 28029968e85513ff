"""Ways to make an ensemble, how members differ, and FER+: figures that can be worked out by hand."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from utils.agreement import dual_scores, human_agreement, load_votes, of_seven_classes, save_votes
from utils.calibration import at_temperature, fit_temperature
from utils.datasets.ferplus import Votes
from utils.ensemble import load_runs
from utils.errors import UserError
from utils.labels import FERPLUS_COLUMNS
from utils.metrics import score
from utils.predictions import Predictions, save_predictions, softmax
from utils.study import pair_table, reached_text, study, study_text
from utils.variants import (
    by_number,
    disagreement,
    error_correlation,
    geometric_mean,
    holm,
    mixture_weights,
    oracle,
    risk_coverage,
    stacked,
)
from Visualization.ensembles import members_figure, pairs_figure, risk_coverage_figure
from Visualization.gen_study import _adjusted, figures, main


def drawn(skill: float, part: str, seed: int, count: int = 400) -> Predictions:
    """Two views of noise, raised by ``skill`` at the true class; the images come in an order of their own."""
    targets = np.random.default_rng(len(part)).integers(0, 3, count)
    random = np.random.default_rng([seed, len(part)])
    logits = random.normal(size=(2, count, 3)).astype(np.float32)
    logits[:, np.arange(count), targets] += skill
    meta = {"run": f"r{seed}", "split": part, "dataset": "fer2013", "scores": "logits", "data": part, "protocol": "p"}
    ids = [f"{part}/{index:05d}" for index in range(count)]
    whole = Predictions(logits, targets, ids, ("a", "b", "c"), meta | {"copies_in_train": ids[:5]})
    return whole.part(random.permutation(count))


@pytest.fixture
def random() -> np.random.Generator:
    """Each test's own, so that none depends on which came before it."""
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def pairs():
    return [[drawn(skill, part, seed) for part in ("val", "test")] for seed, skill in enumerate((1.5, 1.2, 0.0))]


def test_weights_of_a_known_mixture_are_found(random):
    """Labels drawn from 0.7 of one member and 0.3 of another; a third one is of no use."""
    members = random.dirichlet((0.5, 0.5, 0.5), (3, 20_000))
    mixed = 0.7 * members[0] + 0.3 * members[1]
    targets = (random.random((20_000, 1)) > mixed.cumsum(1)).sum(1).clip(0, 2)
    np.testing.assert_allclose(mixture_weights(members, targets), (0.7, 0.3, 0), atol=0.02)


def test_stacking_undoes_what_is_wrong_with_members(random):
    """One member calls classes by each other's names: an average suffers, a stack learns it."""
    targets = random.integers(0, 3, 600)
    logits = random.normal(size=(2, 600, 3))
    logits[0, np.arange(600), targets] += 2
    logits[1, np.arange(600), (targets + 1) % 3] += 2
    members = softmax(logits)
    penalty, stack = stacked(members[:, :400], targets[:400])
    hits = (stack(members[:, 400:]).argmax(1) == targets[400:]).mean()
    assert hits > (members.mean(0)[400:].argmax(1) == targets[400:]).mean() + 0.1 and penalty > 0


def test_stacking_is_the_geometric_mean_where_nothing_is_better(random):
    members = softmax(random.normal(size=(3, 3000, 4)))
    cumulated = geometric_mean(members).cumsum(1)
    targets = (random.random((3000, 1)) > cumulated).sum(1).clip(0, 3)
    penalty, stack = stacked(members, targets)
    assert penalty >= 100
    np.testing.assert_allclose(stack(members), geometric_mean(members), atol=0.1)


def test_how_members_differ_by_hand():
    hits = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]], bool)
    assert oracle(hits) == 0.75
    np.testing.assert_allclose(error_correlation(hits), [[1, 0, 1], [0, 1, 0], [1, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(disagreement(np.array([[0, 1, 2, 2], [0, 2, 1, 2]])), [[0, 0.5], [0.5, 0]])
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])  # 0.03 · 2, then never less


def test_risk_over_coverage_by_hand():
    confident = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]])
    np.testing.assert_allclose(risk_coverage(confident, np.array([0, 1, 0, 1])), [0, 1 / 2, 2 / 3, 2 / 4])


def test_averages_of_all_sizes(random):
    members = softmax(random.normal(size=(3, 100, 4)))
    targets = random.integers(0, 4, 100)
    found = by_number(members, targets)
    assert found[0, 0] == pytest.approx((members.argmax(2) == targets).mean())
    assert found[2].tolist() == [(members.mean(0).argmax(1) == targets).mean()] * 3
    pairs = [(members[[a, b]].mean(0).argmax(1) == targets).mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found[1] == pytest.approx([np.mean(pairs), *np.quantile(pairs, [0.05, 0.95])])  # each of the three, once


def test_every_way_is_fitted_on_validation_alone(pairs):
    names = ["good", "fair", "noise"]
    found = study([val for val, _ in pairs], [test for _, test in pairs], names)
    assert found.best == 0 and found.order[0] == 0 and 2 not in found.order
    other = [Predictions(t.logits, (t.targets + 1) % 3, t.ids, t.classes, t.meta) for _, t in pairs]
    again = study([val for val, _ in pairs], other, names)  # other labels on test change nothing that is fitted
    for row, same in zip(found.rows, again.rows, strict=True):
        np.testing.assert_array_equal(row.variant.test, same.variant.test)
    assert again.temperature == found.temperature and again.order == found.order
    weighted = next(row for row in found.rows if row.variant.name == "weighted average")
    assert weighted.test.loss < found.rows[0].test.loss
    in_order = [t.targets[np.argsort(t.ids)] for _, t in pairs]
    assert (in_order[0] == in_order[1]).all() and found.rows[0].p_against_average == 1


def test_one_rater_against_the_others_by_hand():
    votes = Votes(np.array([[2, 1, 0], [1, 0, 0], [1, 1, 0]]), ["a", "b", "c"])
    # a: two say 0 while the others tie (the first wins, so both agree), one says 1 against two; b has one vote alone;
    # c: each stands against the other
    assert human_agreement(votes) == pytest.approx(2 / 5)


def test_votes_for_what_networks_cannot_say_can_be_left_out():
    contempt, happy = FERPLUS_COLUMNS.index("contempt"), FERPLUS_COLUMNS.index("happiness")
    counts = np.zeros((1, len(FERPLUS_COLUMNS)), int)
    counts[0, [contempt, happy]] = 2, 8
    left = of_seven_classes(Votes(counts, ["a"]))
    assert left.counts[0, happy] == 8 and left.counts.sum() == 8
    assert human_agreement(Votes(counts, ["a"])) == 0.8 and human_agreement(left) == 1


def test_both_sets_of_labels(tmp_path):
    counts = np.zeros((4, 10), int)
    counts[[0, 1, 2, 3], [4, 4, 0, 9]] = 10  # anger, anger, neutral, no face
    votes = Votes(counts, [f"test/{i}" for i in range(4)])
    save_votes(votes, tmp_path / "votes.npz")
    kept = load_votes(tmp_path / "votes.npz")
    assert kept.ids == votes.ids and (kept.counts == counts).all()
    probabilities = np.eye(7)[[0, 1, 6, 2]]
    targets = np.array([0, 0, 0, 2])  # angry, angry, angry, fear
    scores = {s.what: (s.images, s.correct) for s in dual_scores(probabilities, targets, votes.ids, kept, ["test/0"])}
    assert scores["FER2013's labels"] == (4, 2) and scores["FER+ plurality"] == (3, 2)
    assert scores["FER2013's label where a FER+ majority shares it"] == (2, 1)
    assert scores["FER+ plurality, without copies"] == (2, 1)
    with pytest.raises(UserError, match="give none of these images a class"):
        dual_scores(probabilities[3:], targets[3:], votes.ids[3:], kept, [])
    with pytest.raises(UserError, match="no votes on image 'x'"):
        dual_scores(probabilities[:1], targets[:1], ["x"], votes, [])


def test_the_program_writes_tables_and_pictures(tmp_path, pairs, capsys):
    for name, (val, test) in zip(("good", "fair"), pairs, strict=False):
        save_predictions(val, tmp_path / f"{name}.val.npz")
        save_predictions(test, tmp_path / f"{name}.test.npz")
    main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert "stacked" in capsys.readouterr().out
    with open(tmp_path / "out" / "pairs.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    hits = [t.probabilities().argmax(1) == t.targets for _, t in pairs[:2]]
    assert float(row["first_accuracy"]) == pytest.approx(hits[0].mean(), abs=1e-6)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("variants.csv", "pairs.csv", "members.png", "pairs.png", "reliability.png", "risk_coverage.png")
    }
    save_votes(Votes(np.eye(400, 10, dtype=int), sorted(pairs[0][1].ids)), tmp_path / "out" / "votes.npz")
    with pytest.raises(UserError, match="FER2013's 7 classes; these dumps have 3"):
        main([str(tmp_path), "--out", str(tmp_path / "out"), "--votes", str(tmp_path / "out" / "votes.npz")])
    (tmp_path / "fair.test.npz").unlink()
    with pytest.raises(UserError, match="an ensemble has two or more"):
        main([str(tmp_path)])


def test_the_plain_average_is_what_is_calibrated_and_the_first_row(pairs):
    validation, test = zip(*pairs, strict=True)
    found = study(validation, test, ["good", "fair", "poor"])
    mean = found.members.test.mean(0)
    np.testing.assert_allclose(found.average, mean)
    temperature = fit_temperature(np.log(found.members.validation.mean(0)), found.members.validation_targets)
    assert found.temperature == pytest.approx(temperature, abs=1e-4)
    before, after = (score(p, found.members.targets) for p in (mean, at_temperature(mean, temperature)))
    assert f"brings its ECE on test from {before.ece:.3f} to {after.ece:.3f}" in (text := study_text(found, None))
    line = next(line for line in text.splitlines() if line.startswith("| average of all"))
    assert f"| {before.loss:.3f} | {before.ece:.3f} |  |" in line  # with no p against itself


def test_the_picture_of_abstaining_shows_the_average_that_is_chosen(pairs):
    validation, test = zip(*pairs, strict=True)
    found = study(validation, test, [f"net{number}" for number in range(len(pairs))])
    figure = figures(found, "x")["risk_coverage"]
    label = next(t.get_text() for t in figure.legends[0].get_texts() if "chosen on validation" in t.get_text())
    assert label.startswith(f"average of {len(found.order)}, chosen on validation: ")
    assert f"{1 - found.rows[1].test.accuracy:.1%} if it answers all" in label


def test_what_has_seen_the_test_part_fits_nothing(tmp_path, pairs):
    with pytest.raises(UserError, match=r"no dumps \*\.test\.npz"):
        load_runs(tmp_path)
    (val, test), (other_val, other_test) = pairs[:2]
    save_predictions(test, tmp_path / "good.test.npz")
    for wrong, why in (
        (test, "holds predictions for 'test'; expected 'val'"),
        (other_val, "not of the network of good.test.npz .run r1 and r0."),
        (replace(val, meta={**val.meta, "checkpoint": "x"}), "checkpoint x and None"),
        (replace(val, classes=("c", "b", "a")), "not of the network"),
    ):
        save_predictions(wrong, tmp_path / "good.val.npz")
        with pytest.raises(UserError, match=why):
            load_runs(tmp_path)
    folds = [replace(one, meta={**one.meta, "fold_of": dict.fromkeys(one.ids, 0)}) for one in (test, other_test)]
    with pytest.raises(UserError, match="good: pooled from folds"):
        study([val, other_val], folds, ["good", "fair"])
    few = [one.part(np.argsort(one.ids)[:4]) for one in (val, other_val)]
    with pytest.raises(UserError, match="4 validation images; stacking needs 5"):
        study(few, [test, other_test], ["good", "fair"])


def test_a_copy_that_one_member_has_seen_the_average_has_seen(pairs):
    (val, test), (other_val, other_test) = pairs[:2]
    none = replace(test, meta={**test.meta, "copies_in_train": []})
    assert study([val, other_val], [none, other_test], ["good", "fair"]).copies == [f"test/{i:05d}" for i in range(5)]


def test_the_text_says_what_was_found(pairs):
    found = study([val for val, _ in pairs], [test for _, test in pairs], ["good", "fair", "noise"])
    text = study_text(found, None)
    assert f"**{found.rows[0].test.accuracy:.2%}**" in text and "of 3 pairs differ" in text and "FER+" not in text


def test_what_was_reached_stands_beside_what_was_aimed_at(pairs):
    found = study([val for val, _ in pairs], [test for _, test in pairs], ["good", "fair", "noise"])
    best, chosen, every = [
        100 * x for x in (found.hits[found.best].mean(), *(r.test.accuracy for r in found.rows[1::-1]))
    ]
    asked = {"a laptop": ((20.0, 20.0), (1.0, 99.5)), "a farm": ((99.0, 99.5), (99.0, 99.0))}
    lines = reached_text({name: (found, *pair) for name, pair in asked.items()}).splitlines()[2:]
    assert lines[0].startswith("| a laptop | the best by validation, `good` | 20% | 20% |")
    ends = [
        "yes",
        f"the least, not the aim: {99.5 - chosen:.2f} points short",
        f"the least, not the aim: {99.5 - every:.2f} points short",
        f"{99 - best:.2f} and {99.5 - best:.2f} points short",
        f"{99 - chosen:.2f} points short",
        f"{99 - every:.2f} points short",
    ]
    for line, value, end in zip(lines, [best, chosen, every] * 2, ends, strict=True):
        assert f"**{value:.2f}%**" in line and line.endswith(f"| {end} |")


def test_pairs_are_drawn_with_the_adjusted_p(pairs):
    found = study([val for val, _ in pairs], [test for _, test in pairs], ["good", "fair", "noise"])
    drawn, table = _adjusted(found), pair_table(found)
    assert drawn.tolist() == drawn.T.tolist() and np.diag(drawn).tolist() == [1, 1, 1]
    assert [drawn[0, 1], drawn[0, 2], drawn[1, 2]] == [row["holm_p"] for row in table]


def test_figures_show_what_they_are_given():
    figure = members_figure(np.array([[0.5, 0.4, 0.6], [0.6, 0.6, 0.6]]), np.array([0.55]), "title", "subtitle")
    assert figure.axes[0].lines[0].get_ydata().tolist() == [50, 60]
    p = np.array([[1, 0.01], [0.01, 1]])
    figure = pairs_figure(["a", "b"], p, np.array([[0, 0.2], [0.2, 0]]), "title", "subtitle")
    written = {text.get_text(): text.get_fontweight() for text in figure.axes[0].texts}
    assert written == {"20.0": "normal", "0.01": "bold"}
    figure = risk_coverage_figure([("net", np.full(100, 0.25))], "title", "subtitle")
    assert set(figure.axes[0].lines[0].get_ydata()) == {25.0}
    for wrong in (
        lambda: members_figure(np.zeros((0, 3)), np.zeros(0), "", ""),
        lambda: risk_coverage_figure([], "", ""),
    ):
        with pytest.raises(ValueError, match="nothing"):
            wrong()
