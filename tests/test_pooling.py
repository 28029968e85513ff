"""From folds to one dump, what persons and folds say about it, and what the same people in train are worth."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from conftest import refusal

from utils.datasets.faces import Faces
from utils.metrics import interval_over_groups
from utils.pooling import judged_data, pool, pooled_hash, spread, spread_text
from utils.predictions import Predictions, combine
from utils.splits.protocols import kfold, random_folds

CLASSES = ("angry", "fear", "happy")
KFOLD = "kfold: 4 folds of persons, the next one validates; no person in two parts"
SHARED = {"data": "all of it", "splits": "a hash"}
RANDOM = "random: 4 folds of images, the next one validates; same people in train and test"


def people(count: int = 8, of_each: int = 2) -> Faces:
    n = count * of_each * len(CLASSES)
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8)
    labels = np.tile(np.repeat(np.arange(len(CLASSES)), of_each), count)
    subjects = [f"P{i // (of_each * len(CLASSES)):02d}" for i in range(n)]
    return Faces(images, labels, [f"{who}_{i:03d}" for i, who in enumerate(subjects)], subjects, CLASSES)


FACES = people()
SPLITS = {"kfold": kfold(FACES, folds=4, seed=0), "random": random_folds(FACES, folds=4, seed=0)}


def dump(faces: Faces, seed: int, **meta) -> Predictions:
    """Noise that leans towards the true class."""
    logits = np.random.default_rng(seed).normal(size=(2, len(faces), 3)).astype(np.float32)
    logits[:, np.arange(len(faces)), faces.labels] += 1
    return Predictions(logits, faces.labels, faces.ids, faces.classes, meta)


def folds(protocol: str = "kfold", part: str = "test", seed: int = 0, run: str = "") -> list[Predictions]:
    found = []
    for number, split in enumerate(SPLITS[protocol]):
        faces = split.parts()[part]
        meta = {"run": run or protocol, "config": {"lr": 1}, "protocol": split.protocol, "split": part, "views": 2}
        meta |= {"checkpoint": f"{number}" * 64, "fold": split.name, "epoch": number, "training_seconds": 10.5}
        meta |= {"copies_in_train": faces.ids[:1], "arch": "tiny_resnet", "weights": "none"}
        meta |= {"data": "of this fold", "subjects": dict(zip(faces.ids, faces.subjects, strict=True))}
        found.append(dump(faces, 10 * seed + number, **meta))
    return found


def changed(predictions: Predictions, **meta) -> Predictions:
    return dataclasses.replace(predictions, meta={**predictions.meta, **meta})


# ------------------------------------------------------------------------------------------------ pooled dumps


def test_every_image_stands_in_the_pooled_dump_once_with_what_its_fold_said():
    parts = folds()
    pooled = pool(parts, SHARED, FACES.ids)
    assert pooled.ids == sorted(FACES.ids) and pooled.classes == CLASSES
    for number, part in enumerate(parts):
        for index, identity in enumerate(part.ids):
            place = pooled.ids.index(identity)
            np.testing.assert_array_equal(pooled.logits[:, place], part.logits[:, index])
            assert pooled.targets[place] == part.targets[index] == FACES.labels[FACES.ids.index(identity)]
            assert pooled.meta["fold_of"][identity] == number
            assert pooled.meta["subjects"][identity] == identity[:3]
    assert set(pooled.meta["fold_of"]) == set(pooled.meta["subjects"]) == set(FACES.ids)


def test_what_a_pooled_dump_says_of_its_folds():
    meta = pool(folds(), SHARED, FACES.ids).meta
    assert [fold["fold"] for fold in meta["folds"]] == [split.name for split in SPLITS["kfold"]]
    assert [fold["epoch"] for fold in meta["folds"]] == [0, 1, 2, 3]
    assert meta["training_seconds"] == 42 and (meta["data"], meta["splits"]) == ("all of it", "a hash")
    assert meta["copies_in_train"] == [split.test.ids[0] for split in SPLITS["kfold"]] and not {"fold", "epoch"} & set(
        meta
    )
    assert (meta["protocol"], meta["split"], meta["run"], meta["views"]) == (KFOLD, "test", "kfold", 2)
    hashes = "".join(str(number) * 64 for number in range(4))
    assert meta["checkpoint"] == hashlib.sha256(hashes.encode()).hexdigest()
    assert meta["checkpoint"] != pooled_hash([str(number) * 64 for number in (1, 0, 2, 3)])


def test_validation_ids_begin_with_their_fold_because_an_image_may_validate_twice():
    parts = folds(part="val")
    parts[1] = dataclasses.replace(parts[1], ids=[*parts[1].ids[:-1], parts[0].ids[0]])
    pooled = pool(parts, SHARED, FACES.ids)
    expected = sorted(f"{part.meta['fold']}/{identity}" for part in parts for identity in part.ids)
    assert pooled.ids == expected and set(pooled.meta["fold_of"]) == set(expected)
    assert "subjects" not in pooled.meta and pooled.meta["copies_in_train"] == []
    np.testing.assert_array_equal(pooled.logits[:, 0], parts[0].logits[:, np.argsort(parts[0].ids)[0]])


@pytest.mark.parametrize("key", ["run", "config", "protocol", "split"])
def test_folds_of_another_run_are_refused(key):
    parts = folds()
    other = {"config": {"lr": 2}}.get(key, "another")
    parts[2] = dataclasses.replace(parts[2], meta={**parts[2].meta, key: other})
    assert (
        refusal(lambda: pool(parts, SHARED, FACES.ids)) == "fold fold-03 of kfold: of another run, or with other views"
    )


def test_folds_that_begin_with_other_weights_are_refused():
    parts = [changed(part, origin={"run": "a", "checkpoint": "1"}) for part in folds()]
    assert pool(parts, SHARED, FACES.ids).meta["origin"]["checkpoint"] == "1"
    parts[2] = changed(parts[2], origin={"run": "a", "checkpoint": "2"})
    message = refusal(lambda: pool(parts, SHARED, FACES.ids))
    assert message == "fold fold-03 of kfold: begins with other weights than the first"


def test_where_a_fold_was_trained_may_differ():
    parts = folds()
    for number, (key, value) in enumerate((("threads", 4), ("device", "cuda"), ("checkpoint_dir", "/elsewhere"))):
        config = {"lr": 1, "threads": 1, "device": "cpu", "checkpoint_dir": "saved"}
        parts[number] = dataclasses.replace(
            parts[number], meta={**parts[number].meta, "config": {**config, key: value}}
        )
    assert len(pool(parts, SHARED, FACES.ids).ids) == len(FACES)


def test_folds_of_other_shapes_are_refused():
    for change in ({"classes": ("a", "b", "c")}, {"logits": folds()[3].logits[:1]}):
        parts = folds()
        parts[3] = dataclasses.replace(parts[3], **change)
        assert refusal(lambda parts=parts: pool(parts, SHARED, FACES.ids)).startswith(
            "fold fold-04 of kfold: of another run"
        )


def test_an_image_judged_in_two_folds_is_refused():
    parts = folds()
    parts[1] = dataclasses.replace(parts[1], ids=[parts[0].ids[0], *parts[1].ids[1:]])
    assert refusal(lambda: pool(parts, SHARED, FACES.ids)) == "kfold: an image is judged in two folds"


def test_an_image_judged_in_no_fold_is_refused():
    parts = folds()
    gone = parts[2].ids[-1]
    parts[2] = parts[2].part(np.arange(len(parts[2].ids) - 1))
    message = refusal(lambda: pool(parts, SHARED, FACES.ids))
    assert message == f"kfold: image '{gone}' is judged in no fold (1 in all)"
    assert "judged in no fold" in refusal(lambda: pool(folds()[:3], SHARED, FACES.ids))
    validation = folds(part="val")  # of which not every image need be in a fold's
    assert pool(validation[:3], SHARED, FACES.ids).meta["split"] == "val"


def test_persons_are_told_where_every_fold_knows_them():
    parts = folds()
    nobody = {key: value for key, value in parts[1].meta.items() if key != "subjects"}
    parts[1] = dataclasses.replace(parts[1], meta=nobody)
    assert "subjects" not in pool(parts, SHARED, FACES.ids).meta


def test_the_data_of_runs_on_one_set_are_the_same_whatever_the_folds():
    prints = {judged_data(kfold(FACES, folds=folds, seed=seed)) for folds in (3, 4) for seed in (0, 1)}
    prints |= {judged_data(SPLITS["random"]), judged_data(SPLITS["kfold"][::-1])}
    assert len(prints) == 1
    images = FACES.images.copy()
    images[5, 0, 0] ^= 1
    for other in (dataclasses.replace(FACES, images=images), dataclasses.replace(FACES, labels=2 - FACES.labels)):
        assert judged_data(kfold(other, folds=4, seed=0)) not in prints


# ------------------------------------------------------------------------------------------------ folds and persons


def by_hand(predictions: Predictions) -> dict[str, bool]:
    """Whether each image was right: mean over the views of each view's softmax, one image at a time."""
    right = {}
    for index, identity in enumerate(predictions.ids):
        views = [np.exp(view[index].astype(float)) for view in predictions.logits]
        mean = sum(view / view.sum() for view in views)
        right[identity] = int(np.argmax(mean)) == int(predictions.targets[index])
    return right


def test_spread_over_folds_and_persons():
    pooled = pool(folds(), SHARED, FACES.ids)
    found, right = spread(pooled), by_hand(pooled)
    shares = [np.mean([right[i] for i in split.test.ids]) for split in SPLITS["kfold"]]
    assert found.folds == pytest.approx(shares) and len(set(shares)) > 1
    mean = sum(shares) / 4
    assert found.mean == pytest.approx(mean)
    assert found.sd == pytest.approx((sum((share - mean) ** 2 for share in shares) / 3) ** 0.5)
    for name, hits, images in found.persons:
        own = [i for i in FACES.ids if i.startswith(name)]
        assert (hits, images) == (sum(right[i] for i in own), len(own))
    assert [name for name, _, _ in found.persons] == sorted(set(FACES.subjects))
    hit = np.array([right[i] for i in pooled.ids])
    assert found.interval == interval_over_groups(hit, np.array([int(i[1:3]) for i in pooled.ids]))
    low, high = found.interval
    assert low < hit.mean() < high
    assert spread_text(found) == (
        f"mean of 4 folds {mean:.2%}, sd {100 * found.sd:.2f} points; "
        f"95 % interval over 8 persons (bootstrap) {low:.2%}-{high:.2%}"
    )


def test_spread_of_what_has_neither_folds_nor_persons():
    bare = dump(FACES, 0, run="r")
    found = spread(bare)
    assert (found.folds, found.persons, found.interval, spread_text(found)) == ((), (), None, "")
    assert np.isnan(found.mean) and np.isnan(found.sd)
    validation = spread(pool(folds(part="val"), SHARED, FACES.ids))
    assert len(validation.folds) == 4 and validation.interval is None and ";" not in spread_text(validation)


def test_the_average_of_two_runs_on_the_same_folds_keeps_its_folds_and_persons():
    members = [pool(folds(seed=seed, run=f"kfold_{seed}"), SHARED, FACES.ids) for seed in (0, 1)]
    average = combine(members, ["one", "two"])
    assert average.meta["fold_of"] == members[0].meta["fold_of"]
    found = spread(average)
    assert len(found.folds) == 4 and len(found.persons) == 8 and found.interval is not None
    other = {identity: (number + 1) % 4 for identity, number in members[1].meta["fold_of"].items()}
    moved = dataclasses.replace(members[1], meta={**members[1].meta, "fold_of": other})
    assert "fold_of" not in combine([members[0], moved], ["one", "two"]).meta


# ------------------------------------------------------------------------------------------------ the interval


def bootstrap(value: np.ndarray, group: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    """Draw whole groups one draw at a time and pool their images."""
    members = [value[group == one] for one in range(group.max() + 1)]
    times = np.random.default_rng(0).multinomial(len(members), [1 / len(members)] * len(members), draws)
    means = []
    for row in times:
        drawn = [images for images, often in zip(members, row.tolist(), strict=True) for _ in range(often)]
        means.append(np.concatenate(drawn).mean())
    means.sort()
    return quantile(means, 0.025), quantile(means, 0.975)


def quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def uneven(seed: int = 0, groups: int = 9) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    group = random.permutation(np.repeat(np.arange(groups), random.integers(1, 12, groups)))
    return random.random(len(group)) < 0.2 + 0.7 * group / groups, group


@pytest.mark.parametrize("seed", [0, 1])
def test_interval_is_that_of_drawing_whole_groups_one_by_one(seed):
    value, group = uneven(seed)
    assert interval_over_groups(value, group, 2000) == pytest.approx(bootstrap(value, group, 2000), abs=1e-12)


def test_images_twice_tell_nothing_new_but_independent_ones_would():
    value, group = uneven()
    once = interval_over_groups(value, group)
    assert interval_over_groups(np.tile(value, 3), np.tile(group, 3)) == pytest.approx(once, abs=1e-12)
    alone = interval_over_groups(np.tile(value, 3), np.arange(3 * len(value)))
    assert alone[1] - alone[0] < 0.7 * (once[1] - once[0])


def test_interval_of_single_images_is_about_that_of_a_share():
    value = np.arange(400) < 300
    low, high = interval_over_groups(value, np.arange(400))
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.004)


def test_interval_where_all_groups_are_alike_and_of_signed_values():
    for share in (0.0, 0.5, 1.0):
        value = np.tile(np.array([share > 0, share == 1]), 6)
        assert interval_over_groups(value, np.repeat(np.arange(6), 2)) == pytest.approx((share, share))
    value, group = uneven()
    low, high = interval_over_groups(value, group)
    assert interval_over_groups(-value.astype(float), group) == pytest.approx((-high, -low), abs=1e-12)
    order = np.random.default_rng(1).permutation(len(value))
    assert interval_over_groups(value[order], group[order]) == (low, high)


def test_one_person_gives_no_interval():
    someone = dict.fromkeys(FACES.ids, "P00")
    found = spread(dump(FACES, 0, run="r", subjects=someone))
    assert len(found.persons) == 1
    assert found.interval is None, "drawing one person again and again says nothing about others"
