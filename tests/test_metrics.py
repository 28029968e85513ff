"""Figures against scikit-learn, SciPy and written-out formulas."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from utils.metrics import (
    class_f1,
    confusion_matrix,
    expected_calibration_error,
    log_loss,
    macro_f1,
    mcnemar,
    precision,
    recall,
    score,
    wilson,
)
from utils.pooling import spread
from utils.predictions import Predictions
from utils.report import as_json, judge, over_persons, scores_table, without_copies


def made_up(seed: int = 0, count: int = 500, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and targets of a classifier that is right a little more often than not."""
    random = np.random.default_rng(seed)
    targets = random.choice(classes, count, p=random.dirichlet(np.ones(classes) * 5))
    logits = random.normal(size=(count, classes)) * 2
    logits[np.arange(count), targets] += 2
    exponents = np.exp(logits)
    return exponents / exponents.sum(1, keepdims=True), targets


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 7])
def test_scores_agree_with_scikit_learn(seed, classes):
    probabilities, targets = made_up(seed, classes=classes)
    predicted, names = probabilities.argmax(1), list(range(classes))
    got = score(probabilities, targets)
    assert got.images == 500
    assert got.accuracy == pytest.approx(sk.accuracy_score(targets, predicted))
    assert got.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(targets, predicted))
    assert got.macro_f1 == pytest.approx(sk.f1_score(targets, predicted, average="macro", labels=names))
    assert got.recall == pytest.approx(sk.recall_score(targets, predicted, average=None, labels=names))
    assert got.loss == pytest.approx(sk.log_loss(targets, probabilities, labels=names))
    assert got.interval == pytest.approx(wilson(round(got.accuracy * 500), 500))
    matrix = confusion_matrix(predicted, targets, classes)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(targets, predicted, labels=names))


def test_rows_of_the_confusion_matrix_are_the_true_classes():
    matrix = confusion_matrix(np.array([1, 1, 2]), np.array([0, 0, 2]), 3)
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]] and matrix.dtype == np.int64


@pytest.mark.filterwarnings("error")
def test_a_class_without_images_has_no_recall_and_stays_out_of_the_means():
    probabilities, targets = made_up()
    keep = (targets != 1) & (targets != 6)
    got = score(probabilities[keep], targets[keep])
    predicted, there = probabilities[keep].argmax(1), [0, 2, 3, 4, 5]
    assert (predicted == 1).any()
    assert [math.isnan(value) for value in got.recall] == [False, True, False, False, False, False, True]
    expected = sk.recall_score(targets[keep], predicted, average=None, labels=there)
    assert got.balanced_accuracy == pytest.approx(expected.mean())
    assert got.macro_f1 == pytest.approx(sk.f1_score(targets[keep], predicted, average="macro", labels=there))


def test_a_class_of_one_image_counts():
    matrix = np.array([[1, 0], [1, 2]])
    assert recall(matrix).tolist() == pytest.approx([1, 2 / 3])
    assert class_f1(matrix).tolist() == pytest.approx([2 / 3, 4 / 5])


def test_a_class_that_is_never_called_counts_as_zero():
    matrix = np.array([[4, 0], [3, 0]])
    assert recall(matrix).tolist() == [1.0, 0.0] and macro_f1(matrix) == pytest.approx((8 / 11 + 0) / 2)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        (10, 100, 0.0552, 0.1744),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17, 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_has_the_published_values(correct, total, low, high):
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)
    reference = binomtest(correct, total).proportion_ci(method="wilson")
    assert wilson(correct, total) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_figures_of_each_class_agree_with_scikit_learn():
    probabilities, targets = made_up(classes=5)
    predicted = probabilities.argmax(1)
    matrix = confusion_matrix(predicted, targets, 5)
    expected = sk.precision_recall_fscore_support(targets, predicted, labels=range(5))
    for ours, theirs in zip((precision, recall, class_f1), expected[:3], strict=True):
        np.testing.assert_allclose(ours(matrix), theirs)


def test_a_class_without_images_or_never_named_has_no_figure():
    matrix = np.array([[3, 0, 1], [0, 0, 0], [2, 0, 4]])
    assert np.isnan(precision(matrix)).tolist() == np.isnan(class_f1(matrix)).tolist() == [False, True, False]
    never_named = np.array([[3, 0], [2, 0]])
    assert np.isnan(precision(never_named)[1]) and class_f1(never_named)[1] == 0


def slow_calibration_error(probabilities: np.ndarray, targets: np.ndarray, bins: int) -> float:
    error = 0.0
    for number in range(bins):
        members = [
            (max(row), int(row.argmax() == target))
            for row, target in zip(probabilities, targets, strict=True)
            if number / bins < max(row) <= (number + 1) / bins
        ]
        if members:
            confidence = sum(c for c, _ in members) / len(members)
            accuracy = sum(hit for _, hit in members) / len(members)
            error += len(members) / len(targets) * abs(accuracy - confidence)
    return error


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_by_brute_force(bins):
    for seed in range(3):
        probabilities, targets = made_up(seed)
        expected = slow_calibration_error(probabilities, targets, bins)
        assert expected_calibration_error(probabilities, targets, bins) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_at_the_corners():
    certain = np.eye(3)[[0, 1, 2, 0]]
    assert expected_calibration_error(certain, np.array([0, 1, 2, 0])) == 0
    assert expected_calibration_error(certain, np.array([1, 2, 0, 1])) == 1
    edge = np.array([[0.5, 0.5], [0.625, 0.375]])  # a confidence on an edge belongs to the bin below it
    assert expected_calibration_error(edge, np.array([0, 1]), bins=4) == pytest.approx((0.5 + 0.625) / 2)
    even = np.full((4, 4), 0.25)
    assert expected_calibration_error(even, np.array([0, 1, 2, 3])) == pytest.approx(0)


def test_log_loss_of_a_certain_error_is_large_and_finite():
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(1e-12))
    assert log_loss(np.full((5, 4), 0.25), np.arange(5) % 4) == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (0, 1), (5, 5), (3, 12), (12, 3), (40, 20), (300, 250), (2, 900)]
)
def test_mcnemar_is_the_exact_binomial_test(first, second):
    first_hit = np.array([True] * first + [False] * second + [True] * 50 + [False] * 30)
    second_hit = np.array([False] * first + [True] * second + [True] * 50 + [False] * 30)
    expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar(first_hit, second_hit) == pytest.approx(expected, rel=1e-9)


# ------------------------------------------------------------------------------------------------ the report


def predictions(views: int = 2, copies: tuple[int, ...] = (3, 7, 9), count: int = 60) -> Predictions:
    random = np.random.default_rng(5)
    ids = [f"test/{i:05d}" for i in range(count)]
    meta = {"copies_in_train": [ids[i] for i in copies]}
    logits = random.normal(size=(views, count, 7)).astype(np.float32)
    return Predictions(logits, np.arange(count) % 7, ids, tuple("abcdefg"), meta)


def test_without_copies_leaves_out_exactly_those_with_a_copy_in_train():
    given = predictions()
    rest = without_copies(given)
    kept = [i for i in range(60) if i not in (3, 7, 9)]
    assert rest.ids == [given.ids[i] for i in kept]
    np.testing.assert_array_equal(rest.logits, given.logits[:, kept])
    np.testing.assert_array_equal(rest.targets, given.targets[kept])
    none = predictions(copies=())
    assert without_copies(none).ids == none.ids


def test_judge_tells_clean_and_views_with_and_without_copies():
    given = predictions()
    judged = judge(given)
    assert list(judged) == ["clean", "views", "clean, no copies", "views, no copies"]
    assert judged["clean"] == score(given.probabilities(1), given.targets)
    assert judged["views"] == score(given.probabilities(), given.targets)
    assert judged["views, no copies"] == score(without_copies(given).probabilities(), without_copies(given).targets)
    assert [s.images for s in judged.values()] == [60, 60, 57, 57]


def test_judge_says_nothing_twice_and_nothing_of_no_images():
    assert list(judge(predictions(views=1, copies=()))) == ["clean"]
    assert list(judge(predictions(views=1))) == ["clean", "clean, no copies"]
    assert list(judge(predictions(copies=tuple(range(60))))) == ["clean", "views"]


def test_table_and_json_hold_the_figures():
    judged = judge(predictions())
    lines = scores_table(judged, tuple("abcdefg"), 2).splitlines()
    assert len(lines) == 1 + 4 + 1
    assert lines[1].split()[:3] == ["clean", "60", f"{judged['clean'].accuracy:.2%}"]
    assert lines[2].startswith("2 views ") and lines[4].startswith("2 views, no copies")
    assert f"g {judged['views'].recall[6]:.1%}" in lines[-1]
    table = as_json(judged)
    assert table["views"]["accuracy"] == judged["views"].accuracy
    assert table["clean"]["interval"] == list(judged["clean"].interval)


def test_table_with_persons_has_their_interval():
    given = predictions(copies=(0, 1, 2))
    known = dataclasses.replace(
        given, meta={**given.meta, "subjects": {i: f"p{n % 5}" for n, i in enumerate(given.ids)}}
    )
    judged, found = judge(known), over_persons(known)
    assert list(found) == list(judged) and found["views"] == spread(known).interval != judged["views"].interval
    assert found["clean, no copies"] == spread(without_copies(known), 1).interval
    lines = scores_table(judged, tuple("abcdefg"), 2, found).splitlines()
    assert "95 % over persons" in lines[0] and len({len(line) for line in lines[:5]}) == 1
    assert "{:.2%}-{:.2%}".format(*found["views"]) in lines[2]
    assert over_persons(given) == {} and "95 % interval" in scores_table(judged, tuple("abcdefg"), 2, {})


def test_json_has_null_where_there_is_no_recall():
    given = predictions(views=1, copies=())
    some = given.part(given.targets != 2)
    assert as_json(judge(some))["clean"]["recall"][2] is None
    assert "c –" in scores_table(judge(some), some.classes, 1)
