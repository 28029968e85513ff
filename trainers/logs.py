"""Where the numbers of a run go: the terminal, metrics.csv and TensorBoard. None of it can stop a training."""

import contextlib
import csv
import io
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from utils.errors import MachineError
from utils.files import write_atomically
from Visualization.figures import confusion_matrix_figure, labelled_images_figure


class RunLog:
    """Writes the log of one run under ``saved/logs/<run>``; of several processes, only one ``speaks``."""

    def __init__(
        self,
        folder: Path,
        config_text: str,
        epochs: int,
        classes: Sequence[str],
        first_step: int,
        *,
        speaks: bool = True,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.epochs, self.classes, self.speaks = folder, epochs, classes, speaks
        self.board: SummaryWriter | None = None
        if not speaks:
            return
        with self._tolerant():
            folder.mkdir(parents=True, exist_ok=True)
            # what an interrupted run had logged beyond its checkpoint is logged again
            self.board = SummaryWriter(str(folder), purge_step=first_step)
            self.board.add_text("config", f"```json\n{config_text}\n```", 0)

    def say(self, text: str) -> None:
        """One line for the person at the terminal."""
        if not self.speaks:
            return
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def rewrite(self, history: Sequence[dict[str, float]]) -> None:
        """Make metrics.csv agree with ``history``, one row an epoch."""
        if not history or not self.speaks:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.0f}" if k == "epoch" else f"{v:.8g}" for k, v in row.items()} for row in history)
        with self._tolerant():
            write_atomically(self.folder / "metrics.csv", text.getvalue().encode())

    def epoch_done(self, history: Sequence[dict[str, float]], matrix: np.ndarray, is_best: bool) -> None:
        """Log the epoch that ``history`` ends with; matrix: int64 [C, C] of the validation part."""
        row = history[-1]
        epoch = int(row["epoch"])
        self.rewrite(history)
        if self.board is not None:
            with self._tolerant():
                for name, key in (
                    ("Accuracy/Train", "train_accuracy"),
                    ("Accuracy/Val", "val_accuracy"),
                    ("Loss/Train", "train_loss"),
                    ("Loss/Val", "val_loss"),
                    ("Learning rate", "lr"),
                ):
                    self.board.add_scalar(name, row[key], epoch)
                if is_best:  # drawing one takes longer than an epoch on a small set
                    figure = confusion_matrix_figure(matrix, self.classes, f"Validation, epoch {epoch}")
                    self.board.add_figure("Confusion matrix/Val", figure, epoch)
                self.board.flush()
        train = f"train {row['train_loss']:.4f} {row['train_accuracy']:6.2%}"
        val = f"val {row['val_loss']:.4f} {row['val_accuracy']:6.2%}"
        self.say(f"epoch {epoch:3d}/{self.epochs}  {train}  {val}  lr {row['lr']:.2e}{'  best' if is_best else ''}")

    def sample_images(self, images: torch.Tensor, labels: torch.Tensor, classes: Sequence[str]) -> None:
        """Show the first augmented batch, as the network sees it, with its labels."""
        if self.board is None:
            return
        shown = images[:16].float().cpu()
        low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
        pictures = (255 * (shown - low) / (high - low).clamp(min=1e-6)).byte().permute(0, 2, 3, 1).numpy()
        likeliest = labels.argmax(1) if labels.is_floating_point() else labels
        names = [classes[label] for label in likeliest[:16].tolist()]
        with self._tolerant():
            self.board.add_figure("Augmented samples", labelled_images_figure(pictures, names), 0)

    @contextlib.contextmanager
    def epoch_bar(self, epoch: int, steps: int, first_step: int) -> Iterator["EpochBar"]:
        """A progress bar with images/s and ETA on a terminal; a plain line every so often elsewhere."""
        bar = EpochBar(f"epoch {epoch + 1}/{self.epochs}", steps, first_step, speaks=self.speaks)
        try:
            yield bar
        finally:
            bar.close()

    def close(self) -> None:
        """Flush and close TensorBoard's file."""
        if self.board is not None:
            with self._tolerant():
                self.board.close()

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        try:
            yield
        except (OSError, MachineError) as error:
            warnings.warn(f"{self.folder}: log not written ({error}); training goes on", stacklevel=3)
            self.board = None


class EpochBar:
    """Progress within one epoch."""

    SECONDS_BETWEEN_LINES = 30

    def __init__(self, name: str, steps: int, first_step: int, *, speaks: bool = True) -> None:
        self.name, self.steps, self.step, self.images = name, steps, first_step, 0
        self.first_step = first_step
        self.started = self.said = time.monotonic()
        self.speaks = speaks
        quiet = not speaks or not sys.stderr.isatty()
        self.bar = tqdm(
            total=steps,
            initial=first_step,
            desc=name,
            unit="step",
            leave=False,
            disable=quiet,
            dynamic_ncols=True,
        )

    def advance(self, images: int, loss: float) -> None:
        """One more step, of ``images`` images; loss: mean of the epoch so far."""
        self.step += 1
        self.images += images
        now = time.monotonic()
        rate = self.images / max(now - self.started, 1e-9)
        if not self.bar.disable:
            self.bar.set_postfix_str(f"{rate:.0f} images/s, loss {loss:.3f}", refresh=False)
            self.bar.update()
        elif self.speaks and now - self.said > self.SECONDS_BETWEEN_LINES:
            self.said = now
            left = (now - self.started) / (self.step - self.first_step) * (self.steps - self.step)
            print(
                f"{self.name}  step {self.step}/{self.steps}  {rate:.0f} images/s  {left:.0f} s left",
                flush=True,
            )

    def close(self) -> None:
        """Remove the bar."""
        self.bar.close()
