"""Batches gathered from one array: on the device that trains where it fits, else from memory or disk, ahead of need."""

import contextlib
import math
import mmap
import os
import queue
import threading
from collections.abc import Iterator

import numpy as np
import torch

from utils.augment import training_batch
from utils.config import Config
from utils.datasets.faces import Faces, Picked
from utils.distributed import ALONE, Team
from utils.mixing import mixes
from utils.randomness import shuffled

LARGE = 2**30  # bytes of a mapped array that may well not be in memory
AHEAD = 2**28  # bytes of augmented images that an accelerator may make at once, for several steps to come


class TrainingBatches:
    """The training part, augmented and in a new order every epoch; of each batch, this process's share.

    Attributes:
        sizes: images in each step of an epoch, the shares of all processes together; steps: how many there are.
    """

    def __init__(self, faces: Faces, config: Config, device: torch.device, team: Team = ALONE) -> None:
        """Args:
        faces: the training part; nothing is copied while ``device`` is a processor, however large it is.
        config: augmentation, batch size, seed.
        device: where batches are wanted.
        team: the processes that each want their share of them.
        """
        self._rows: torch.Tensor | None = None
        source = faces.images
        if isinstance(source, Picked):
            self._rows, source = torch.from_numpy(source.where), source.source
        self.images = torch.from_numpy(np.asarray(source))
        self._pages = _Pages(source) if isinstance(source, np.memmap) and source.nbytes > LARGE else None
        fits = math.prod(faces.images.shape) <= _room(device)
        if device.type != "cpu" and fits:
            self.images, self._rows, self._pages = self._stored(torch.arange(len(faces))).to(device), None, None
        labels = faces.labels if faces.soft is None else faces.soft
        self.labels = torch.from_numpy(labels).to(device)
        self.config, self.team = config, team
        self.sizes = [len(batch) for batch in self._cut(torch.zeros(len(faces)))]
        self.steps = len(self.sizes)
        self._prepares_ahead = config.num_workers > 0 or not fits
        # A processor's cache wants few images at a time; an accelerator waits for each operation to be started, and
        # augmentation is a hundred of them, whether for one batch or for many.
        step_bytes = 4 * config.batch_size * config.in_channels * config.image_size**2
        self._steps_at_once = 1 if device.type == "cpu" else max(1, AHEAD // step_bytes)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (images, labels) for each step from ``first_step`` on; epochs count from 0.

        Images are float32 [B, C, S, S]; labels int64 [B], or float32 [B, classes] where they are distributions. With
        mixup or cutmix, a process that is not alone gets one image more, in front: the partner of its first.
        """
        order = shuffled(self.config.seed, epoch, len(self.labels)).to(self.images.device)  # once, not at every step
        batches = self._made([self._share(samples) for samples in self._cut(order)[first_step:]], epoch)
        return _ahead(batches) if self._prepares_ahead else batches

    def _made(self, batches: list[torch.Tensor], epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Each batch of samples in turn; what is drawn for an image depends on no other that is made with it."""
        for start in range(0, len(batches), self._steps_at_once):
            together = batches[start : start + self._steps_at_once]
            sizes = [len(samples) for samples in together]
            images, labels = self._batch(torch.cat(together), epoch)
            yield from zip(images.split(sizes), labels.split(sizes), strict=True)

    def _batch(self, samples: torch.Tensor, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = self._stored(samples)
        samples = samples.to(self.labels.device)
        if images.device != samples.device:  # from pinned memory, copying does not keep the device waiting
            images = images.pin_memory().to(samples.device, non_blocking=True)
        return training_batch(images, samples, epoch, self.config), self.labels[samples]

    def _stored(self, samples: torch.Tensor) -> torch.Tensor:
        rows = samples if self._rows is None else self._rows[samples]
        if self._pages is not None:
            self._pages.call_up(rows)
        return self.images[rows.to(self.images.device)]

    def _share(self, batch: torch.Tensor) -> torch.Tensor:
        """The part of a batch that this process is to learn from."""
        if self.team.size == 1:
            return batch
        share = self.team.share(len(batch))
        partner = batch.roll(1)[share][:1] if mixes(self.config) else batch[:0]
        return torch.cat([partner, batch[share]])

    def _cut(self, order: torch.Tensor) -> list[torch.Tensor]:
        """Batches of equal size and a shorter last one; a single left-over image joins its neighbour,
        because batch norm needs two."""
        size = self.config.batch_size
        batches = list(order.split(size))
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches


class _Pages:
    """The pages of a mapped array, asked for a batch at a time.

    Left to itself, the system reads what surrounds each page that is touched, one after another: a twentieth of the
    images/s where they are drawn at random.
    """

    def __init__(self, array: np.memmap) -> None:
        whole = array
        while isinstance(whole.base, np.memmap):
            whole = whole.base
        self._map = whole.base if isinstance(whole.base, mmap.mmap) and hasattr(mmap, "MADV_WILLNEED") else None
        self._start = array.ctypes.data - whole.ctypes.data + whole.offset % mmap.ALLOCATIONGRANULARITY
        self._size = array.nbytes // max(1, len(array))

    def call_up(self, rows: torch.Tensor) -> None:
        """Have the system read these rows from disk, all at once, without waiting for them."""
        if self._map is not None:
            for row in rows.tolist():
                start = self._start + row * self._size
                page = start - start % mmap.PAGESIZE
                self._map.madvise(mmap.MADV_WILLNEED, page, start + self._size - page)


def _room(device: torch.device) -> float:
    """Bytes of images that may stay on ``device``: half of its memory, because the network wants the rest."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    if not hasattr(os, "sysconf"):  # Windows
        return math.inf
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def _ahead(
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The same batches, prepared by a background thread while the step before them runs."""
    ready: queue.Queue[tuple[torch.Tensor, torch.Tensor] | BaseException | None] = queue.Queue(maxsize=2)
    ended = threading.Event()

    def put(item: tuple[torch.Tensor, torch.Tensor] | BaseException | None) -> None:
        while not ended.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if ended.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that trains, which raises it
            put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        ended.set()
        thread.join()  # a thread that computes while the interpreter ends would abort the program
