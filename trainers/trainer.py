"""The one training loop: whatever differs between data sets, networks and recipes is data to it."""

import dataclasses
import json
import math
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.learner import Learner, StepResult
from trainers.logs import RunLog
from utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from utils.datasets.faces import Split
from utils.errors import Interrupted, MachineError, TrainingError, UserError
from utils.inference import predict
from utils.metrics import Scores, confusion_matrix, score
from utils.optim import Plateau
from utils.predictions import softmax
from utils.runs import RunFiles
from utils.runtime import StopRequest, environment, machine_of, one_memory_error
from utils.seen import seen_in
from utils.transfer import check_unseen
from Visualization.figures import training_curves_figure
from Visualization.saving import save_figure

# An epoch on a few hundred images is over sooner than it is written down; a kill may cost this much work.
SECONDS_BETWEEN_SAVES = 10
# Within an epoch it may cost this much: a save between two steps keeps them waiting.
SECONDS_BETWEEN_SAVES_INSIDE = 600
# Looking at a loss makes an accelerator wait; one that is not finite is noticed this much later.
STEPS_BETWEEN_LOOKS = 50


@dataclass
class Progress:
    """How far a run is; saved with every checkpoint, so that going on is the same as never having stopped.

    ``epoch`` counts finished epochs, ``step`` the steps done in the next; sums are over the images of that one.
    """

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    waited: int = 0
    loss_sum: float = 0.0
    hits: int = 0
    seen: int = 0
    seconds: float = 0.0
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """Trains one network on one split and keeps its best and its last checkpoint."""

    def __init__(self, learner: Learner, split: Split, files: RunFiles, log: RunLog, stop: StopRequest) -> None:
        """Args:
        learner: the network and its optimiser.
        split: ``train`` is learned from, ``val`` chooses; ``test`` is not touched here.
        files: where checkpoints go; log: where numbers go; stop: asked between two steps.
        """
        self.learner, self.config, self.team = learner, learner.config, learner.team
        self.split, self.files, self.log, self.stop = split, files, log, stop
        self.progress = Progress()
        self._saved = -math.inf
        self._unread: list[tuple[int, StepResult]] = []
        self.metrics: dict[str, Any] = {}
        self.data = {name: part.fingerprint() for name, part in (("train", split.train), ("val", split.val))}
        if learner.teacher is not None:
            self.data["teacher"] = learner.teacher.hash
        self.environment = environment()
        self.origin, self.seen = {}, [seen_in(split.train, learner.config)]
        if learner.origin is not None:
            check_unseen(learner.origin, learner.config, split)
            self.origin, self.seen = learner.origin.identity(), self.seen + learner.origin.checkpoint.seen

    def fit(self) -> None:
        """Train to the last epoch or until validation has stopped rising.

        Raises:
            Interrupted: a signal came; the state is saved.
            TrainingError: a loss is not finite, or memory ran out; the last checkpoint is intact.
        """
        self.log.rewrite(self.progress.history)
        self.learner.agree()
        try:
            with one_memory_error():
                while not self.progress.finished:
                    self.train_epoch()
                    self.validate()
        except Interrupted as stop:
            self._save(self.files.last)
            where = f"epoch {self.progress.epoch + 1}, step {self.progress.step}"
            raise Interrupted(stop.signal_number, f"saved at {where}; go on with --resume {self.files.name}") from None
        except TrainingError as error:
            kept = f"; {self.files.last} is intact" if self.files.last.exists() else ""
            raise TrainingError(f"{error}{kept}") from None
        except torch.OutOfMemoryError as error:
            tried = f"batch_size {self.config.batch_size} at {self.config.image_size} px"
            raise TrainingError(f"epoch {self.progress.epoch + 1}: out of memory with {tried}; try half") from error

    def train_epoch(self) -> None:
        """Go through what is left of the current epoch's steps."""
        progress, batches = self.progress, self.learner.batches
        started = time.monotonic()
        self.learner.train_mode()
        try:
            with self.log.epoch_bar(progress.epoch, batches.steps, progress.step) as bar:
                for images, labels in batches.epoch(progress.epoch, progress.step):
                    if progress.epoch == 0 and progress.step == 0:
                        self.log.sample_images(images, labels, self.split.train.classes)
                    result = self.learner.train_step(images, labels, progress.epoch, progress.step)
                    self._unread.append((progress.step, result))
                    progress.step += 1
                    if self.learner.looks_at_each or progress.step % STEPS_BETWEEN_LOOKS == 0:
                        self._read_steps()
                        started = self._save_inside(started)
                    bar.advance(result.images, progress.loss_sum / max(1, progress.seen))
                    self._check_stop()
        finally:
            self._read_steps()
            progress.seconds += time.monotonic() - started

    def validate(self) -> Scores:
        """Judge the weights on the validation part, keep them if they are the best, close the epoch.

        Raises:
            TrainingError: the network's outputs are not finite; nothing is saved.
        """
        started = time.monotonic()
        part = self.split.val
        self.learner.agree()
        mine = part.take(np.arange(len(part))[self.team.share(len(part))]).images
        # a process that stopped between two batches of its own would be waited for in vain
        between = self.stop.check if self.team.size == 1 else lambda: None
        logits = self.team.joined(predict(self.learner.judged, mine, self.config, between_batches=between), axis=1)
        if not np.isfinite(logits).all():
            where = f"epoch {self.progress.epoch + 1}: the network's outputs on validation"
            hint = f"try a smaller lr than {self.config.lr:g}, or grad_clip=1"
            raise self.team.alike(TrainingError(f"{where} are not finite; {hint}"))
        probabilities = softmax(logits[0])
        # told, so that machines that round differently still take the same decisions
        scores = self.team.led(lambda: score(probabilities, part.labels))
        matrix = confusion_matrix(probabilities.argmax(1), part.labels, len(part.classes))
        self.progress.seconds += time.monotonic() - started
        improved = self._close_epoch(scores)
        due = self.progress.finished or time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES
        self._save(*([self.files.best] if improved else []), *([self.files.last] if due else []))
        self.log.epoch_done(self.progress.history, matrix, improved)
        if self.config.device.startswith("cuda") and len(self.progress.history) == 1:
            peak, whole = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
            self.log.say(f"memory: {peak / 1e9:.1f} of {whole / 1e9:.1f} GB at the peak")
        return scores

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up the run of ``checkpoint`` where it was.

        Raises:
            UserError: the data are not those the run began with.
        """
        changed = [name for name, fingerprint in self.data.items() if checkpoint.data.get(name) != fingerprint]
        if changed:
            raise UserError(f"{self.files.checkpoints}: the {' and '.join(changed)} data have changed since it began")
        learner = self.learner
        learner.model.load_state_dict(checkpoint.model)
        if learner.averaged is not None and checkpoint.ema is not None:
            learner.averaged.model.load_state_dict(checkpoint.ema)
        learner.optimizer.load_state_dict(checkpoint.optimizer)
        learner.plateau = Plateau(**checkpoint.scheduler)
        self.progress, self.metrics = Progress(**checkpoint.progress), checkpoint.metrics
        self.origin, self.seen = checkpoint.origin, checkpoint.seen or self.seen
        earlier = checkpoint.environment.get("earlier", "")
        before = machine_of(checkpoint.config.device, checkpoint.environment)
        if before != machine_of(self.config.device, self.environment):
            earlier = f"{earlier}, {before}".removeprefix(", ")
        if earlier:
            self.environment["earlier"] = earlier

    def _read_steps(self) -> None:
        """Add to the sums what the steps since the last look have told.

        Raises:
            TrainingError: one of them was not finite; nothing that came of it has been saved.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        progress = self.progress
        told = torch.stack([result.told for _, result in unread]).tolist()
        for (step, result), (loss, norm, hits) in zip(unread, told, strict=True):
            self.learner.check_finite(loss, norm, progress.epoch, step)
            progress.loss_sum += loss * result.images
            progress.hits += int(hits)
            progress.seen += result.images
        if self.learner.micro_batch != self.config.micro_batch:
            self.config = dataclasses.replace(self.config, micro_batch=self.learner.micro_batch)
            self.log.say(f"memory ran out: {self.config.micro_batch} images in one pass from here on")

    def _save_inside(self, started: float) -> float:
        """Save in mid-epoch where the steps since ``started`` took long; returns since when they count from here on.

        Called when all steps have been read, so that none was not finite. The leading process decides for itself:
        to save, it need not speak with the others.
        """
        now = time.monotonic()
        if now - started <= SECONDS_BETWEEN_SAVES_INSIDE:
            return started
        self.progress.seconds += now - started
        self._save(self.files.last)
        return now

    def _check_stop(self) -> None:
        """Raises:
        Interrupted: this process has been asked to stop, or another one of its team; all stop after the same step.
        """
        if self.team.size == 1:
            self.stop.check()
        elif self.team.any(self.stop.signal is not None):
            raise Interrupted(self.stop.signal or signal.SIGTERM)

    def _close_epoch(self, scores: Scores) -> bool:
        """Write the epoch into the history; whether it is the best so far."""
        progress, config = self.progress, self.config
        row = {
            "epoch": progress.epoch + 1,
            "lr": self.learner.optimizer.param_groups[0]["lr"],
            "train_loss": progress.loss_sum / progress.seen,
            "train_accuracy": progress.hits / progress.seen,
            "val_loss": scores.loss,
            "val_accuracy": scores.accuracy,
            "val_balanced_accuracy": scores.balanced_accuracy,
            "val_macro_f1": scores.macro_f1,
        }
        value = -scores.loss if config.select_by == "loss" else float(getattr(scores, config.select_by))
        improved = value > progress.best
        if improved:
            progress.best, progress.best_epoch, progress.waited = value, progress.epoch + 1, 0
        else:
            progress.waited += 1
        self.learner.plateau.after_epoch(improved, config.plateau_patience)
        progress.history.append(row)
        progress.epoch, progress.step, progress.seen = progress.epoch + 1, 0, 0
        progress.loss_sum, progress.hits = 0.0, 0
        progress.finished = progress.epoch >= config.max_epoch_num or 0 < config.max_plateau_count <= progress.waited
        self.metrics = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(scores).items()}
        return improved

    def _save(self, *paths: Path) -> None:
        """Write the present state to each of ``paths``."""
        if self.files.last in paths:
            self._saved = time.monotonic()
        if not paths or not self.team.leads:
            return
        learner, progress = self.learner, self.progress
        checkpoint = Checkpoint(
            run=self.files.name,
            config=self.config,
            classes=self.split.train.classes,
            epoch=progress.epoch,
            step=progress.step,
            metrics=self.metrics,
            selection={"split": "val", "metric": self.config.select_by, "protocol": self.split.protocol},
            data=self.data,
            model=learner.model.state_dict(),
            ema=None if learner.averaged is None else learner.averaged.model.state_dict(),
            optimizer=learner.optimizer.state_dict(),
            scheduler=dataclasses.asdict(learner.plateau),
            progress=dataclasses.asdict(progress),
            environment=self.environment,
            origin=self.origin,
            seen=self.seen,
        )
        save_checkpoint(checkpoint, *paths)


def train_split(
    learner: Learner, split: Split, files: RunFiles, checkpoint: Checkpoint | None, stop: StopRequest
) -> None:
    """Train on one split to the end, from the start or from ``checkpoint`` on; the caller holds the lock of ``files``.

    Raises:
        Interrupted, TrainingError: as `Trainer.fit`.
        UserError: the data are not those the run began with, or not those of the other processes.
    """
    config, team = learner.config, learner.team
    text = json.dumps(dataclasses.asdict(config), indent=2)
    first_step = checkpoint.epoch + 1 if checkpoint else 0
    log = RunLog(files.logs, text, config.max_epoch_num, split.train.classes, first_step, speaks=team.leads)
    where = f"{config.arch} on {config.dataset}, {config.device}, {config.precision}"
    log.say(f"run {files.name}{files.fold_name and ', ' + files.fold_name + ' (' + split.name + ')'}: {where}")
    for line in (learner.begins, *(f"{count} {sentence}" for sentence, count in split.trimmed.items())):
        if line:
            log.say(line)
    trainer = Trainer(learner, split, files, log, stop)
    leaders = team.led(lambda: trainer.data)
    with team.agreed():
        if trainer.data != leaders:
            raise UserError(f"process {team.rank}: {config.data_path} holds other data than that of process 0")
        if checkpoint:
            trainer.resume(checkpoint)
    try:
        trainer.fit()
    finally:
        log.close()
    if not team.leads:
        return
    try:  # a picture that cannot be written spoils no result
        curves = training_curves_figure(trainer.progress.history, files.name, select_by=config.select_by)
        save_figure(curves, files.curves)
    except MachineError as error:
        print(error, file=sys.stderr)


def newest_intact(files: RunFiles) -> tuple[Checkpoint, str]:
    """The checkpoint to resume from, and a sentence where it is not the newest one ("" otherwise).

    Raises:
        UserError: neither ``last.pt`` nor ``best.pt`` can be read.
    """
    if not files.last.exists() and not files.best.exists():
        raise UserError(f"{files.checkpoints}: stopped before its first checkpoint; start the run anew")
    try:
        return load_checkpoint(files.last), ""
    except UserError as error:
        if not files.best.exists():
            raise
        checkpoint = load_checkpoint(files.best)
        return checkpoint, f"{error}; going on from {files.best}, epoch {checkpoint.epoch}"
