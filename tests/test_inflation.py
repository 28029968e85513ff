"""What knowing the people is worth: one network under two protocols, on the same images."""

import dataclasses

import numpy as np
import pytest
from test_pooling import FACES, KFOLD, RANDOM, SHARED, by_hand, changed, folds, refusal

from utils.inflation import inflation, inflation_text, network_name
from utils.metrics import interval_over_groups
from utils.pooling import pool
from utils.predictions import Predictions, combine

PERSON = np.array([int(identity[1:3]) for identity in sorted(FACES.ids)])


@pytest.fixture
def pair() -> tuple[Predictions, Predictions]:
    """(persons apart, the same people in train and test), the latter in another order of images."""
    mixed = pool(folds("random", seed=7), SHARED, FACES.ids)
    return pool(folds(), SHARED, FACES.ids), mixed.part(np.random.default_rng(0).permutation(len(mixed.ids)))


def test_difference_is_taken_image_by_image(pair):
    row = inflation(*pair)
    apart, mixed = (by_hand(dump) for dump in pair)
    right = [np.array([one[i] for i in sorted(FACES.ids)], dtype=float) for one in (apart, mixed)]
    assert (row.images, row.persons) == (len(FACES), 8)
    assert (row.apart, row.mixed) == pytest.approx((right[0].mean(), right[1].mean()))
    assert row.difference == pytest.approx(row.mixed - row.apart) and row.difference != 0
    assert row.apart_interval == interval_over_groups(right[0], PERSON)
    assert row.mixed_interval == interval_over_groups(right[1], PERSON)
    assert row.difference_interval == interval_over_groups(right[1] - right[0], PERSON)


def test_of_equal_predictions_there_is_none(pair):
    apart, _ = pair
    row = inflation(apart, changed(apart, protocol=RANDOM, run="other"))
    assert row.difference == 0 and row.difference_interval == (0, 0) and row.apart == row.mixed


def test_words(pair):
    row = dataclasses.replace(
        inflation(*pair, name="a net"), apart=0.5, apart_interval=(0.4, 0.61), mixed=0.75, mixed_interval=(0.7, 0.8),
        difference=0.25, difference_interval=(-0.01, 0.3),
    )  # fmt: skip
    assert inflation_text(row).splitlines() == [
        "a net, 48 images of 8 persons",
        "  other people in train and test  50.00%  [40.00%, 61.00%]",
        "  same people in train and test   75.00%  [70.00%, 80.00%]",
        "  inflation                       +25.00 points  [-1.00, +30.00]",
    ]


def test_names_of_networks(pair):
    apart, _ = pair
    assert network_name(apart) == "tiny_resnet, from scratch" == inflation(*pair).name
    assert network_name(changed(apart, weights="imagenet")) == "tiny_resnet, from imagenet"
    assert network_name(changed(apart, origin={"dataset": "fer2013"})) == "tiny_resnet, from FER2013"
    both = combine([apart, pool(folds(seed=3, run="other"), SHARED, FACES.ids)], ["one", "two"])
    assert network_name(both) == "average of 2"


@pytest.mark.parametrize("word", ["official", "files", "holdout", "elsewhere", "random"])
def test_a_protocol_that_does_not_keep_people_apart_is_refused(pair, word):
    apart, mixed = pair
    message = refusal(lambda: inflation(changed(apart, protocol=f"{word}: x"), mixed))
    assert message == f"kfold: protocol {word}; expected loso or kfold"


@pytest.mark.parametrize("word", ["kfold", "loso", "official"])
def test_what_it_is_compared_with_must_be_random(pair, word):
    apart, mixed = pair
    message = refusal(lambda: inflation(apart, changed(mixed, protocol=f"{word}: x")))
    assert message == f"random: protocol {word}; expected random"


def test_swapped_dumps_are_refused(pair):
    assert refusal(lambda: inflation(*pair[::-1])) == "random: protocol random; expected loso or kfold"


def test_other_images_or_classes_are_refused(pair):
    apart, mixed = pair
    expected = "random: judged on other images or classes than kfold"
    assert refusal(lambda: inflation(apart, mixed.part(np.arange(40)))) == expected
    assert refusal(lambda: inflation(apart, dataclasses.replace(mixed, classes=("a", "b", "c")))) == expected


def test_images_of_the_same_names_that_are_others_are_refused(pair):
    """Two sets of drawn faces, or two folders, name their images alike; the fingerprint of the data tells them."""
    apart, mixed = pair
    assert "judged on other images" in refusal(lambda: inflation(apart, changed(mixed, data="another set")))


ORIGIN = {"run": "a_run", "dataset": "fer2013", "checkpoint": "1" * 64}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"config": {"lr": 1, "arch": "resnet18"}}, "arch resnet18, not vgg16"),
        ({"config": {"lr": 2, "arch": "vgg16"}}, "lr 2, not 1"),
        ({"origin": ORIGIN}, "begins with a_run, not fresh weights"),
        ({"views": 1}, "views 1, not 2"),
    ],
    ids=["arch", "lr", "origin", "views"],
)
def test_another_network_is_refused(pair, meta, message):
    apart, mixed = (changed(dump, config={"lr": 1, "arch": "vgg16"}) for dump in pair)
    assert inflation(apart, mixed).images == len(FACES)
    assert refusal(lambda: inflation(apart, changed(mixed, **meta))) == f"random: another network than kfold: {message}"


def test_the_same_origin_under_another_name_and_another_machine_are_no_difference(pair):
    apart, mixed = (changed(dump, config={"lr": 1}, origin=ORIGIN) for dump in pair)
    other = {"lr": 1, "init_from": "a/path.pt", "threads": 4, "precision": "bf16", "split_seed": 3, "device": "cuda"}
    assert inflation(apart, changed(mixed, config=other)).images == len(FACES)
    moved = changed(mixed, origin=ORIGIN | {"checkpoint": "2" * 64})
    assert "begins with a_run, not a_run" in refusal(lambda: inflation(apart, moved))


def averages(*archs: str) -> Predictions:
    """What `combine` makes of random folds of these networks."""
    members = [
        changed(pool(folds("random", seed=n + 5, run=f"random_{n}"), SHARED, FACES.ids), config={"arch": a})
        for n, a in enumerate(archs)
    ]
    return combine(members, list(archs))


def test_averages_are_compared_member_by_member():
    members = [
        changed(pool(folds(seed=n, run=run), SHARED, FACES.ids), config={"arch": arch})
        for n, (arch, run) in enumerate((("one", "kfold"), ("two", "kfold_1")))
    ]
    apart = combine(members, ["first", "second"])
    assert inflation(apart, averages("two", "one")).name == "average of 2"
    message = "ensemble: another network than ensemble: "
    assert refusal(lambda: inflation(apart, averages("one", "three"))) == message + "arch three, not two"
    assert refusal(lambda: inflation(apart, averages("one"))) == message + "fewer members"
    assert refusal(lambda: inflation(apart, averages("one", "two", "one"))) == message + "more members"
    assert refusal(lambda: inflation(members[0], averages("one", "two"))) == (
        "ensemble: another network than kfold: more members"
    )
    old = {key: value for key, value in apart.meta.items() if key != "networks"}
    message = refusal(lambda: inflation(dataclasses.replace(apart, meta=old), averages("one", "two")))
    assert message == "ensemble: does not say which networks it averages; make it anew"


def test_images_of_nobody_are_refused(pair):
    apart, mixed = pair
    for nobody in (None, {}):
        message = refusal(lambda nobody=nobody: inflation(changed(apart, subjects=nobody), mixed))
        assert message == "kfold: its dump does not say who is on the images"


def test_what_these_dumps_say_of_their_protocols_is_what_the_protocols_say(pair):
    assert (pair[0].meta["protocol"], pair[1].meta["protocol"]) == (KFOLD, RANDOM)
