"""Copies of images within and across the parts of a data set, exact and mirrored."""

import numpy as np
import pytest

from utils.datasets.duplicates import copied_from, count_leaks, image_digests, image_hashes
from utils.datasets.faces import Faces, Split
from utils.datasets.sample import sample_split
from utils.labels import FER2013_CLASSES

RANDOM = np.random.default_rng(0)
POOL = RANDOM.integers(0, 256, (20, 48, 48), dtype=np.uint8)


def faces(images: np.ndarray) -> Faces:
    count = len(images)
    return Faces(images, np.zeros(count, np.int64), [f"{i}" for i in range(count)], None, FER2013_CLASSES)


def split_of(train: np.ndarray, val: np.ndarray, test: np.ndarray | None) -> Split:
    return Split("official", faces(train), faces(val), None if test is None else faces(test), "")


def test_digests_are_the_first_bytes_of_the_hashes():
    digests = image_digests(POOL)
    assert digests.dtype == np.int64 and digests.shape == (len(POOL),)
    assert [int(d).to_bytes(8, "little", signed=True) for d in digests] == [h[:8] for h in image_hashes(POOL)]
    assert image_digests(POOL[:0]).shape == (0,)


def test_equal_digests_mean_equal_pixels():
    hashes = image_hashes(np.stack([POOL[0], POOL[1], POOL[0].copy()]))
    assert hashes[0] == hashes[2] != hashes[1] and len(hashes[0]) == 16
    almost = POOL[0].copy()
    almost[47, 47] ^= 1
    assert image_hashes(almost[None])[0] != hashes[0]


def test_digests_do_not_depend_on_how_the_pixels_lie_in_memory():
    mirrored = POOL[:, :, ::-1]
    assert image_hashes(mirrored) == image_hashes(np.ascontiguousarray(mirrored)) != image_hashes(POOL)


def test_copied_from_says_which_images():
    part, other = faces(POOL[[5, 0, 1, 5, 9]]), faces(POOL[5:9])
    found = copied_from(part, other)
    assert found.dtype == bool and found.tolist() == [True, False, False, True, False]
    assert copied_from(faces(POOL[:0]), other).shape == (0,)
    assert not copied_from(part, faces(POOL[:0])).any()


@pytest.mark.parametrize("colour", [False, True])
def test_leaks_are_counted_by_kind(colour):
    pool = np.stack([POOL, POOL // 2, POOL // 3], axis=-1) if colour else POOL
    mirror = pool[:, :, ::-1]
    split = split_of(
        train=pool[[0, 1, 2, 0, 3]],
        val=np.stack([pool[0], mirror[1], pool[7]]),
        test=np.stack([pool[2], pool[3], mirror[0], pool[7], mirror[7], pool[8], pool[8], pool[8]]),
    )
    assert count_leaks(split) == {
        "train images that repeat an earlier one of train": 1,
        "val images that repeat an earlier one of val": 0,
        "test images that repeat an earlier one of test": 2,
        "val images with an exact copy in train": 1,
        "val images with a mirrored copy in train": 1,
        "test images with an exact copy in train": 2,
        "test images with a mirrored copy in train": 1,
        "test images with an exact copy in val": 1,
        "test images with a mirrored copy in val": 2,
    }


def test_a_symmetric_image_is_an_exact_copy_and_not_a_mirrored_one():
    black = np.zeros((1, 48, 48), np.uint8)
    counts = count_leaks(split_of(black, black, None))
    assert counts["val images with an exact copy in train"] == 1
    assert counts["val images with a mirrored copy in train"] == 0


def test_without_a_test_part_nothing_is_said_of_it():
    counts = count_leaks(split_of(POOL[:3], POOL[3:5], None))
    assert not any("test" in sentence for sentence in counts) and set(counts.values()) == {0}


def test_the_drawn_faces_have_no_copies():
    assert set(count_leaks(sample_split(210, seed=0)).values()) == {0}
