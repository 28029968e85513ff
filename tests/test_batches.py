"""Batches: every sample once an epoch, the same ones wherever one begins and whoever prepares them."""

import dataclasses
import math
import mmap
import threading

import numpy as np
import pytest
import torch

from utils import batches as batches_module
from utils.augment import training_batch
from utils.batches import TrainingBatches
from utils.config import Config
from utils.datasets.faces import Faces, Picked
from utils.randomness import shuffled

CONFIG = Config(image_size=16, in_channels=1, augment="fast", batch_size=8, shift=0.1)
CPU = torch.device("cpu")


def numbered(count: int) -> Faces:
    """Faces of one tone each, so that a batch without augmentation tells which ones it holds."""
    images = np.repeat(np.arange(count, dtype=np.uint8), 16 * 16).reshape(count, 16, 16)
    return Faces(images, np.arange(count) % 7, [str(i) for i in range(count)], None, tuple("abcdefg"))


def made(count: int = 45, **changes) -> TrainingBatches:
    return TrainingBatches(numbered(count), dataclasses.replace(CONFIG, **changes), CPU)


def samples_of(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


def assert_same(one: list, other: list) -> None:
    assert len(one) == len(other)
    for (images, labels), (other_images, other_labels) in zip(one, other, strict=True):
        assert torch.equal(images, other_images) and torch.equal(labels, other_labels)


def background_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread is not threading.main_thread()}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("count", [8, 9, 15, 16, 17, 45])
def test_every_sample_comes_exactly_once_with_its_label(count, workers):
    batches = made(count, augment="none", num_workers=workers)
    for epoch in range(2):
        seen = list(batches.epoch(epoch))
        order = [sample for images, _ in seen for sample in samples_of(images)]
        assert sorted(order) == list(range(count)) and order == shuffled(0, epoch, count).tolist()
        assert [label for _, labels in seen for label in labels.tolist()] == [sample % 7 for sample in order]
        assert len(seen) == batches.steps
        assert all(images.dtype == torch.float32 and labels.dtype == torch.int64 for images, labels in seen)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(8, [8]), (9, [9]), (10, [8, 2]), (16, [8, 8]), (17, [8, 9]), (18, [8, 8, 2]), (5, [5]), (1, [1])],
)
def test_a_single_left_over_image_joins_its_neighbour(count, sizes):
    assert [len(labels) for _, labels in made(count).epoch(0)] == sizes


def test_the_order_differs_by_epoch_and_seed():
    orders = [
        [sample for images, _ in made(augment="none", seed=seed).epoch(epoch) for sample in samples_of(images)]
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, 0)]
    ]
    assert orders[0] == orders[3] and orders[0] != orders[1] and orders[0] != orders[2] and orders[1] != orders[2]


def test_batches_hold_augmented_images_of_the_samples_in_order():
    batches = made()
    order = shuffled(0, 4, 45)[8:16]
    images, labels = list(batches.epoch(4))[1]
    assert torch.equal(images, training_batch(batches.images[order], order, 4, CONFIG))
    assert torch.equal(labels, batches.labels[order])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("first", [0, 1, 3, 5, 6])
def test_beginning_within_an_epoch_gives_the_rest_of_it(first, workers):
    batches = made(num_workers=workers)
    assert_same(list(batches.epoch(2, first)), list(made().epoch(2))[first:])


def test_a_background_thread_gives_the_same_batches():
    for epoch in range(2):
        assert_same(list(made(num_workers=3).epoch(epoch)), list(made().epoch(epoch)))


@pytest.mark.parametrize("first", [0, 1, 4])
def test_batches_made_several_at_once_are_the_same(first):
    """As on an accelerator: with everything that is drawn for an image, and a last batch that is shorter."""
    changes = {"scale": 0.1, "rotation": 20.0, "sharp": 0.3, "erase": 0.5, "noise": 0.1, "normalize": "per_image"}
    one_by_one, together = made(44, **changes), made(44, **changes)
    assert one_by_one._steps_at_once == 1
    together._steps_at_once = 4
    assert_same(list(together.epoch(1, first)), list(one_by_one.epoch(1, first)))


def test_memory_mapped_and_colour_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    faces = dataclasses.replace(numbered(10), images=np.load(tmp_path / "images.npy", mmap_mode="c"))
    config = dataclasses.replace(CONFIG, in_channels=3)
    mapped = list(TrainingBatches(faces, config, CPU).epoch(0))
    assert mapped[0][0].shape == (8, 3, 16, 16)
    assert_same(mapped, list(TrainingBatches(dataclasses.replace(faces, images=images), config, CPU).epoch(0)))


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="the system takes no advice on pages")
@pytest.mark.parametrize("first", [0, 7])
def test_a_batch_of_a_large_mapped_array_is_called_up_before_it_is_read(tmp_path, monkeypatch, first):
    """Exactly the pages on which its images lie, also where the array is a part of the file's."""
    called: list[tuple[int, int]] = []

    class Recorded(mmap.mmap):
        def madvise(self, option: int, start: int, length: int) -> None:
            assert option == mmap.MADV_WILLNEED and start % mmap.PAGESIZE == 0
            called.append((start, start + length))
            super().madvise(option, start, length)

    monkeypatch.setattr(batches_module, "LARGE", 0)
    monkeypatch.setattr(mmap, "mmap", Recorded)
    every = numbered(45)
    np.save(tmp_path / "images.npy", every.images)
    content = (tmp_path / "images.npy").read_bytes()
    part = dataclasses.replace(every, images=np.load(tmp_path / "images.npy", mmap_mode="c")).take(np.arange(first, 45))
    next(iter(TrainingBatches(part, dataclasses.replace(CONFIG, augment="none"), CPU).epoch(0)))
    for sample, (start, end) in zip(shuffled(0, 0, 45 - first)[:8].tolist(), called, strict=True):
        assert content[start:end].endswith(bytes([first + sample]) * 256) and end - start < mmap.PAGESIZE + 256


@pytest.mark.parametrize("room", [math.inf, 0])
def test_images_picked_from_a_mapped_array_give_the_batches_of_a_copy(tmp_path, monkeypatch, room):
    """A part of a set that is larger than memory, gathered ahead by a thread, is the same bit for bit."""
    monkeypatch.setattr(batches_module, "_room", lambda device: room)
    every = numbered(45)
    np.save(tmp_path / "images.npy", every.images)
    which = np.arange(45) % 3 > 0
    mapped = dataclasses.replace(every, images=np.load(tmp_path / "images.npy", mmap_mode="c")).take(which)
    assert isinstance(mapped.images, Picked) and not isinstance(every.take(which).images, Picked)
    before = background_threads()
    epoch = TrainingBatches(mapped, CONFIG, CPU).epoch(1)
    first = next(epoch)
    assert len(background_threads() - before) == (room == 0)
    assert_same([first, *epoch], list(TrainingBatches(every.take(which), CONFIG, CPU).epoch(1)))
    assert ended(before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failure_comes_to_whoever_asks_for_batches(monkeypatch, workers):
    calls = []

    def fails(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise MemoryError("no room")
        return training_batch(*arguments)

    monkeypatch.setattr(batches_module, "training_batch", fails)
    got = []
    with pytest.raises(MemoryError, match="no room"):
        for batch in made(num_workers=workers).epoch(0):
            got.append(batch)
    assert len(got) == 2


def ended(before: set[threading.Thread]) -> bool:
    for thread in background_threads() - before:
        thread.join(timeout=30)
    return background_threads() <= before


def test_the_thread_ends_with_the_epoch():
    before = background_threads()
    assert len(list(made(num_workers=1).epoch(0))) == 6
    assert ended(before)


def test_abandoning_an_epoch_ends_its_thread():
    before = background_threads()
    epoch = made(num_workers=1, batch_size=2).epoch(0)
    next(epoch)
    assert len(background_threads() - before) == 1
    epoch.close()
    assert ended(before)


def test_a_failure_in_the_training_loop_ends_the_thread():
    before = background_threads()

    def train() -> None:
        for _ in made(num_workers=1, batch_size=2).epoch(0):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert ended(before)


def test_no_thread_before_the_first_batch_is_asked_for():
    before = background_threads()
    made(num_workers=1).epoch(0)
    assert background_threads() == before
