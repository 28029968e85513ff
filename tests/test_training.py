"""The story of a run from end to end: training, resuming, signals, kills, selection, the one look at the test part."""

import csv
import dataclasses
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, command, environment, refusal, start, start_here

from models import pretrained_path
from trainers import experiment
from trainers.learner import Learner, StepResult
from trainers.logs import EpochBar, RunLog
from trainers.trainer import Trainer, newest_intact
from utils.checkpoint import Checkpoint, load_checkpoint, network, rebuild_model, save_checkpoint
from utils.config import Config, load_config
from utils.datasets.faces import Split
from utils.errors import Interrupted, TrainingError
from utils.inference import predict
from utils.metrics import score
from utils.predictions import load_predictions, softmax
from utils.runs import RunFiles, run_files
from utils.runtime import StopRequest
from utils.splits import load_splits


def config_in(folder: Path, *changes: str) -> Config:
    kept = [text for text in SMALL if text.partition("=")[0] not in {c.partition("=")[0] for c in changes}]
    folders = [f"{name}={folder / name}" for name in ("log_dir", "checkpoint_dir", "results_dir", "figures_dir")]
    return load_config(None, [*kept, *folders, *changes])


def trainer_in(folder: Path, *changes: str, stop: StopRequest | None = None) -> Trainer:
    config = config_in(folder, *changes)
    (split,) = load_splits(config)
    files = run_files("run", config)
    files.checkpoints.mkdir(parents=True, exist_ok=True)
    log = RunLog(files.logs, "{}", config.max_epoch_num, split.train.classes, 0)
    return Trainer(Learner(config, split.train), split, files, log, stop or StopRequest())


class StopAfter(StopRequest):
    """Asks for a stop at the n-th question, as a signal at that moment would."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.left = questions

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupted(signal.SIGTERM)


class KilledError(Exception):
    """What nothing is prepared for, as `kill -9`."""


def weights_of(checkpoint: Checkpoint) -> list[torch.Tensor]:
    assert checkpoint.ema is not None
    tensors = [*checkpoint.model.values(), *checkpoint.ema.values()]
    for state in checkpoint.optimizer["state"].values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    return tensors


def assert_same_run(one: RunFiles, two: RunFiles) -> None:
    for name in ("best", "last"):
        a, b = load_checkpoint(getattr(one, name)), load_checkpoint(getattr(two, name))
        for mine, other in zip(weights_of(a), weights_of(b), strict=True):
            assert torch.equal(mine, other)
        assert a.metrics == b.metrics
        assert {**a.progress, "seconds": 0} == {**b.progress, "seconds": 0}
    assert (one.logs / "metrics.csv").read_bytes() == (two.logs / "metrics.csv").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run that was never stopped."""
    trainer = trainer_in(tmp_path_factory.mktemp("whole"))
    trainer.fit()
    return trainer


def test_resume_is_the_same_as_never_stopped(whole: Trainer, tmp_path: Path) -> None:
    steps = whole.learner.batches.steps
    # in mid-epoch, right after the last step of one, within validation, and in the last epoch
    for number, questions in enumerate((2, steps, steps + 1, 2 * (steps + 1) + 3)):
        folder = tmp_path / str(number)
        first = trainer_in(folder, stop=StopAfter(questions))
        with pytest.raises(Interrupted):
            first.fit()
        second = trainer_in(folder)
        checkpoint, warning = newest_intact(second.files)
        assert warning == ""
        second.resume(checkpoint)
        second.fit()
        assert_same_run(whole.files, second.files)


def test_a_run_that_goes_on_elsewhere_says_where_it_was(tmp_path: Path) -> None:
    """On an accelerator first, then on a processor, then on another one of that name."""
    first = trainer_in(tmp_path, "max_epoch_num=1")
    first.fit()
    here = load_checkpoint(first.files.last)
    assert "earlier" not in here.environment
    there = dataclasses.replace(
        here,
        config=dataclasses.replace(here.config, device="cuda"),
        environment=here.environment | {"accelerator": "TPU 9", "earlier": "Z80 (cpu)"},
    )
    second = trainer_in(tmp_path, "max_epoch_num=1")
    second.resume(there)
    assert second.environment["earlier"] == "Z80 (cpu), TPU 9 (cuda)"
    third = trainer_in(tmp_path, "max_epoch_num=1")
    third.resume(dataclasses.replace(here, environment=second.environment))
    assert third.environment == second.environment


def test_a_run_killed_in_mid_epoch_goes_on_from_within_it(
    whole: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.trainer.SECONDS_BETWEEN_SAVES_INSIDE", -1)
    killed = trainer_in(tmp_path)
    plain = killed.learner.train_step

    def train_step(images: torch.Tensor, labels: torch.Tensor, epoch: int, step: int) -> StepResult:
        if (epoch, step) == (1, 3):
            raise KilledError
        return plain(images, labels, epoch, step)

    monkeypatch.setattr(killed.learner, "train_step", train_step)
    with pytest.raises(KilledError):
        killed.fit()
    second = trainer_in(tmp_path)
    checkpoint, _ = newest_intact(second.files)
    assert (checkpoint.epoch, checkpoint.step) == (1, 3) and checkpoint.progress["seconds"] > 0
    second.resume(checkpoint)
    second.fit()
    assert_same_run(whole.files, second.files)


# Settings of a recipe that are off by default; all of them together, with an epoch that has an inside.
RECIPE = ("max_epoch_num=2", "sam_rho=0.05", "loss=sce", "cutmix=1")


def test_resume_is_the_same_as_never_stopped_with_every_part_of_a_recipe(tmp_path: Path) -> None:
    never = trainer_in(tmp_path / "never", *RECIPE)
    never.fit()
    with pytest.raises(Interrupted):
        trainer_in(tmp_path / "stopped", *RECIPE, stop=StopAfter(never.learner.batches.steps + 3)).fit()
    stopped = trainer_in(tmp_path / "stopped", *RECIPE)
    stopped.resume(newest_intact(stopped.files)[0])
    stopped.fit()
    assert_same_run(never.files, stopped.files)


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(whole: Trainer, tmp_path: Path) -> None:
    again, other = trainer_in(tmp_path / "again"), trainer_in(tmp_path / "other", "seed=1")
    again.fit()
    other.fit()
    assert_same_run(whole.files, again.files)
    mine, theirs = load_checkpoint(whole.files.last).model, load_checkpoint(other.files.last).model
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_background_thread_changes_nothing(whole: Trainer, tmp_path: Path) -> None:
    ahead = trainer_in(tmp_path, "num_workers=4")
    ahead.fit()
    mine, theirs = load_checkpoint(whole.files.last).model, load_checkpoint(ahead.files.last).model
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_best_is_the_epoch_of_highest_validation_accuracy(whole: Trainer) -> None:
    with open(whole.files.logs / "metrics.csv") as file:
        accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    best = load_checkpoint(whole.files.best)
    assert len(accuracies) == 3
    assert best.epoch == 1 + int(np.argmax(accuracies))
    assert best.metrics["accuracy"] == pytest.approx(max(accuracies))
    assert best.selection["split"] == "val"


def test_best_checkpoint_rebuilds_the_weights_that_were_judged(whole: Trainer) -> None:
    checkpoint = load_checkpoint(whole.files.best)
    val = whole.split.val
    probabilities = softmax(predict(rebuild_model(checkpoint), val.images, checkpoint.config)[0])
    assert dataclasses.asdict(score(probabilities, val.labels))["loss"] == checkpoint.metrics["loss"]


def test_a_trial_run_keeps_the_test_part_closed(tmp_path: Path) -> None:
    done = start(tmp_path, "main_fer.py", *SMALL, "max_epoch_num=1", "judge_test=false")
    assert done.returncode == 0, done.stderr
    assert "test (" not in done.stdout and "chose the epochs" in done.stdout
    (dump,) = tmp_path.glob("saved/results/*")
    assert dump.name.endswith(".val.npz") and str(dump.name) in done.stdout
    refused = start(tmp_path, "main_fer.py", *SMALL, "protocol=kfold", "folds=3", "judge_test=false")
    assert refused.returncode == 2 and "judge_test" in refused.stderr


def test_training_never_looks_at_the_test_part(tmp_path: Path, whole: Trainer) -> None:
    trainer = trainer_in(tmp_path)
    test = dataclasses.replace(trainer.split.test, images=None)  # type: ignore[type-var]
    trainer.split = Split(trainer.split.name, trainer.split.train, trainer.split.val, test, trainer.split.protocol)  # type: ignore[arg-type]
    trainer.fit()
    assert_same_run(whole.files, trainer.files)


def test_early_stopping_waits_as_long_as_it_says(tmp_path: Path) -> None:
    trainer = trainer_in(
        tmp_path, "max_epoch_num=50", "max_plateau_count=2", "lr=1e-9", "min_lr=0", "schedule=constant", "ema_decay=0"
    )
    trainer.fit()
    history = [row["val_accuracy"] for row in trainer.progress.history]
    best = int(np.argmax(history))
    assert len(history) == best + 3


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, "max_epoch_num=2", "augment=none", "mixup=0")
    trainer.train_epoch()
    trainer.validate()
    before = {name: tensor.clone() for name, tensor in trainer.learner.model.state_dict().items()}
    with torch.no_grad():
        trainer.learner.model.get_parameter("fc.bias").fill_(float("nan"))
    kept = trainer.files.last.read_bytes()
    with pytest.raises(TrainingError, match=r"epoch 2, step 1: loss is nan.*last\.pt is intact"):
        trainer.fit()
    assert trainer.files.last.read_bytes() == kept
    after = trainer.learner.model.state_dict()
    weights = [name for name in before if "running" not in name and "num_batches" not in name and name != "fc.bias"]
    assert all(torch.equal(before[name], after[name]) for name in weights)


def test_where_losses_are_looked_at_seldom_nothing_that_is_not_finite_is_saved(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, "max_epoch_num=2", "augment=none", "mixup=0")
    trainer.learner.looks_at_each = False
    trainer.train_epoch()
    trainer.validate()
    assert trainer.progress.history[0]["train_loss"] > 0
    with torch.no_grad():
        trainer.learner.model.get_parameter("fc.bias").fill_(float("nan"))
    kept = trainer.files.last.read_bytes()
    with pytest.raises(TrainingError, match=r"epoch 2, step 1: loss is nan.*last\.pt is intact"):
        trainer.fit()
    assert trainer.files.last.read_bytes() == kept


def test_nan_on_validation_never_becomes_the_best(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, "ema_decay=0")
    trainer.train_epoch()
    with torch.no_grad():
        trainer.learner.model.get_parameter("fc.bias").fill_(float("nan"))
    with pytest.raises(TrainingError, match="epoch 1: .*validation are not finite"):
        trainer.validate()
    assert not trainer.files.best.exists()


@pytest.mark.parametrize("refuse", [lambda: torch.empty(2**60), lambda: np.empty(2**50)])
def test_memory_that_runs_out_outside_a_step_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuse: Callable[[], object]
) -> None:
    monkeypatch.setattr("trainers.trainer.predict", lambda *_, **__: refuse())
    with pytest.raises(TrainingError, match="^epoch 1: out of memory with batch_size 32 at 24 px; try half$") as caught:
        trainer_in(tmp_path).fit()
    assert caught.value.exit_code == 3


def test_a_run_that_found_no_memory_goes_on_in_more_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        trainer_in(tmp_path, stop=StopAfter(2)).fit()
    config = config_in(tmp_path, "micro_batch=8")
    sizes: list[int] = []
    plain = Learner._forward_and_back
    monkeypatch.setattr(
        Learner,
        "_forward_and_back",
        lambda self, images, *more: sizes.append(len(images)) or plain(self, images, *more),
    )
    files = experiment.resume("run", config, ["micro_batch"])
    assert max(sizes) == 8 and load_checkpoint(files.last).config.micro_batch == 8


def test_a_log_that_cannot_be_written_does_not_stop_training(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, "max_epoch_num=2")
    trainer.log.close()
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="log not written"):
        trainer.log = RunLog(blocked, "{}", 2, trainer.split.train.classes, 0)
        trainer.fit()
    assert trainer.progress.finished


def test_damaged_last_falls_back_to_best_and_says_so(whole: Trainer, tmp_path: Path) -> None:
    files = dataclasses.replace(whole.files, checkpoints=tmp_path)
    content = bytearray(whole.files.last.read_bytes())
    content[len(content) // 2] ^= 4
    files.last.write_bytes(content)
    files.best.write_bytes(whole.files.best.read_bytes())
    checkpoint, warning = newest_intact(files)
    assert checkpoint.epoch == load_checkpoint(whole.files.best).epoch
    assert "last.pt: damaged (checksum differs); going on from" in warning
    assert warning.count("\n") == 0


@pytest.mark.parametrize("lost", ["damaged", "no such file"])
def test_best_weights_that_are_lost_are_missed_before_more_is_trained(
    whole: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    folder = shutil.copytree(whole.files.checkpoints, tmp_path / whole.files.checkpoints.name)
    assert experiment._found(str(folder), whole.config, None)[1] is not None
    if lost == "damaged":
        content = bytearray((folder / "best.pt").read_bytes())
        content[len(content) // 2] ^= 4
        (folder / "best.pt").write_bytes(content)
    else:
        (folder / "best.pt").unlink()
    message = refusal(lambda: experiment._found(str(folder), whole.config, None))
    assert message.startswith(f"{folder}/best.pt: ") and message.endswith(f"delete {folder}, and start the run anew")
    ended = dataclasses.replace(whole.files, logs=tmp_path)
    ended.report.write_text("{}")  # judged before they were lost: nothing is left to do with them
    monkeypatch.setattr(experiment, "find_run", lambda name, config: dataclasses.replace(ended, checkpoints=folder))
    assert experiment._found(str(folder), whole.config, None)[1] is not None


# --- as a user starts it ---------------------------------------------------------------------------------------


def test_main_fer_from_end_to_end(tmp_path: Path) -> None:
    done = start(tmp_path, "main_fer.py", *SMALL)
    assert done.returncode == 0, done.stderr
    (best,) = tmp_path.glob("saved/checkpoints/*/best.pt")
    run = best.parent.name
    assert run.startswith("tiny_resnet_classic_")
    for path in ("logs/{}/metrics.csv", "logs/{}/curves.png", "logs/{}/report.json", "results/{}.val.npz"):
        assert (tmp_path / "saved" / path.format(run)).stat().st_size > 0
    assert list((tmp_path / "saved/logs" / run).glob("events.out.tfevents*"))
    assert (tmp_path / f"saved/confusion_matrices/{run}.test.png").read_bytes().startswith(b"\x89PNG")
    dump = load_predictions(tmp_path / f"saved/results/{run}.test.npz")
    report = json.loads((tmp_path / "saved/logs" / run / "report.json").read_text())
    assert report["test"]["views"]["accuracy"] == np.mean(dump.probabilities().argmax(1) == dump.targets)
    assert run in done.stdout
    assert "opened once" in done.stdout

    again = start(tmp_path, "gen_results.py")
    assert again.returncode == 0
    assert "up to date" in again.stdout
    dumped = (tmp_path / f"saved/results/{run}.test.npz").read_bytes()
    (tmp_path / f"saved/results/{run}.test.npz").write_bytes(dumped[:-9])  # damaged: made anew
    anew = start(tmp_path, "gen_results.py", run)
    assert anew.returncode == 0, anew.stderr
    assert load_predictions(tmp_path / f"saved/results/{run}.test.npz").targets.tolist() == dump.targets.tolist()
    more = start(tmp_path, "gen_results.py", str(best.relative_to(tmp_path)), "--views", "4", "--split", "val")
    assert more.returncode == 0, more.stderr
    assert more.stdout.startswith(f"{run}: judging the val part, 4 views of each image\n")
    assert load_predictions(tmp_path / f"saved/results/{run}.val.npz").logits.shape[0] == 4


def test_tensorboard_has_what_is_promised(whole: Trainer) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    whole.log.close()
    events = EventAccumulator(str(whole.files.logs))
    events.Reload()
    assert {"Accuracy/Train", "Accuracy/Val", "Loss/Train", "Loss/Val", "Learning rate"} <= set(
        events.Tags()["scalars"]
    )
    assert len(events.Scalars("Accuracy/Val")) == 3
    images = events.Tags()["images"]
    assert any("Augmented samples" in tag for tag in images)
    assert any("Confusion matrix" in tag for tag in images)
    assert "config/text_summary" in events.Tags()["tensors"]


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("main_fer.py", *arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_epoch(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch "):
            return
    raise AssertionError("ended before its first epoch did")


LONG = [text for text in SMALL if not text.startswith("max_epoch_num")] + ["max_epoch_num=200"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_so(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = started(tmp_path, *LONG)
    wait_for_epoch(process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in output
    (last,) = tmp_path.glob("saved/checkpoints/*/last.pt")
    assert load_checkpoint(last).progress["finished"] is False
    assert f"--resume {last.parent.name}" in output


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    process = started(tmp_path, *LONG)
    wait_for_epoch(process)
    process.send_signal(signal.SIGSTOP)  # so that both arrive before the first one is acted on
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode in (143, 130)


def test_kill_at_any_moment_loses_no_finished_checkpoint(tmp_path: Path) -> None:
    """Kill a run that saves many times a second, again and again; each time its files load and it goes on."""
    process = started(tmp_path, *LONG)
    wait_for_epoch(process)
    chance = random.Random(0)
    epochs = [0]
    for _ in range(4):
        time.sleep(chance.uniform(0.0, 0.4))
        process.kill()
        process.communicate()
        (folder,) = tmp_path.glob("saved/checkpoints/*")
        for name in ("best.pt", "last.pt"):
            load_checkpoint(folder / name)
        epochs.append(load_checkpoint(folder / "last.pt").epoch)
        process = started(tmp_path, "--resume", folder.name)
        wait_for_epoch(process)
    process.kill()
    process.communicate()
    assert epochs == sorted(epochs)
    assert epochs[-1] >= 4
    assert len(list(folder.glob(".*.tmp"))) <= 1  # those of earlier dead processes are gone


def test_resume_refuses_new_settings_and_unknown_runs(tmp_path: Path) -> None:
    done = start(tmp_path, "main_fer.py", "--resume", "x", "lr=1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a resumed run keeps its settings" in done.stderr
    done = start(tmp_path, "main_fer.py", "--resume", "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no run 'nothing'" in done.stderr


@pytest.mark.parametrize(
    ("setting", "code", "message"),
    [
        ("arch=resnet81", 2, "unknown model 'resnet81'; closest: resnet18"),
        ("device=cuda:7", 4, "device 'cuda:7' is not on this machine"),
        ("device=toaster", 2, "device 'toaster' is unknown"),
        ("num_classes=8", 2, "num_classes is 8; sample has 7"),
        ("weights=nowhere.pt", 2, "nowhere.pt"),
        ("image_size=16 arch=alexnet", 2, "alexnet"),
        ("distributed=1", 2, "distributed is true: start the processes with torchrun"),
        ("stem=conv3", 2, "stem"),
        ("lr=1e30", 2, "lr must be a number above 0"),
        ("--chek", 2, "did you mean --check?"),
        ("--config=missing.json", 2, "missing.json: no such file"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, setting: str, code: int, message: str) -> None:
    if torch.cuda.is_available() and "cuda" in setting:
        pytest.skip("this machine has CUDA devices")
    done = start(tmp_path, "main_fer.py", *SMALL, *setting.split())
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert message in done.stderr
    assert not list(tmp_path.rglob("checkpoints/*"))


def test_an_exploding_training_exits_with_3(tmp_path: Path) -> None:
    done = start(
        tmp_path,
        "main_fer.py",
        *SMALL,
        "lr=100",
        "schedule=constant",
        "ema_decay=0",
        "normalize=none",
        "momentum=0.999",
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "epoch " in done.stderr
    assert "try a smaller lr than 100" in done.stderr


def test_missing_data_say_what_goes_where(tmp_path: Path) -> None:
    done = start(tmp_path, "main_fer.py")
    assert done.returncode == 2
    assert "saved/data/fer2013/fer2013.csv" in done.stderr
    assert "make train" in done.stderr
    lines = done.stderr.splitlines()
    assert 5 <= len(lines) <= 10
    assert max(map(len, lines)) <= 120


def test_check_prints_and_writes_no_run(tmp_path: Path) -> None:
    done = start(tmp_path, "main_fer.py", "--check", *SMALL)
    assert done.returncode == 0, done.stderr
    for words in ("test images with an exact copy in train", "parameters", "GFLOP", "GB", "steps an epoch, about"):
        assert words in done.stdout
    assert not (tmp_path / "saved").exists()


def test_names_that_are_no_run_and_resume_with_check(tmp_path: Path) -> None:
    for arguments, message in ((("--resume", ""), "no run ''"), (("--resume", "x", "--check"), "leave out --resume")):
        done = start(tmp_path, "main_fer.py", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr


def test_a_finished_run_is_not_tested_again_and_an_unfinished_one_not_yet(tmp_path: Path) -> None:
    weights = tmp_path / "init.pt"
    torch.save(Learner(config_in(tmp_path), load_splits(config_in(tmp_path))[0].train).model.state_dict(), weights)
    process = started(tmp_path, *LONG, f"weights={weights}")
    wait_for_epoch(process)
    process.terminate()
    process.communicate(timeout=60)
    weights.unlink()  # a checkpoint holds all weights, so resuming does not ask for them
    (folder,) = tmp_path.glob("saved/checkpoints/*")
    early = start(tmp_path, "gen_results.py", folder.name)
    assert early.returncode == 2
    assert "training has not ended" in early.stderr
    checkpoint = load_checkpoint(folder / "last.pt")
    short = dataclasses.replace(checkpoint.config, max_epoch_num=checkpoint.epoch + 1)
    save_checkpoint(dataclasses.replace(checkpoint, config=short), folder / "last.pt")
    done = start(tmp_path, "main_fer.py", "--resume", folder.name)
    assert done.returncode == 0, done.stderr
    assert "opened once" in done.stdout
    (tmp_path / "saved/checkpoints/broken").mkdir()
    (tmp_path / "saved/checkpoints/broken/last.pt").write_bytes(b"nothing of use")
    every = start(tmp_path, "gen_results.py")  # one bad run does not keep the others from being dumped
    assert every.returncode == 2
    assert f"{folder.name}.test.npz: up to date" in every.stdout
    assert "no dump of 1 of 2 runs: broken" in every.stderr
    again = start(tmp_path, "main_fer.py", "--resume", folder.name)
    assert again.returncode == 0
    assert "has ended" in again.stdout
    assert "opened once" not in again.stdout


def test_a_signal_while_testing_says_how_to_go_on(whole: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    class StopsAtOnce(StopRequest):
        def check(self) -> None:
            raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(experiment, "StopRequest", StopsAtOnce)
    monkeypatch.setattr(Trainer, "fit", lambda self: None)
    with pytest.raises(Interrupted, match="training has ended; --resume run goes on with testing"):
        experiment._train(whole.learner, whole.split, whole.files, load_checkpoint(whole.files.last))


@pytest.mark.parametrize("name", ["results_dir", "figures_dir"])
def test_a_folder_for_results_that_cannot_be_made_is_noticed_before_training(tmp_path: Path, name: str) -> None:
    (tmp_path / "blocked").write_text("a file")
    done = start(tmp_path, "main_fer.py", *SMALL, f"{name}={tmp_path / 'blocked' / 'x'}")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1), done.stderr
    assert "epoch" not in done.stdout


def test_a_network_of_fixed_size_gets_the_size_from_the_settings(tmp_path: Path) -> None:
    config = config_in(tmp_path, "arch=timm:vit_tiny_patch16_224", "image_size=48", "in_channels=3", "drop_rate=null")
    assert network(config)(torch.zeros(1, 3, 48, 48)).shape == (1, 7)


def test_what_is_left_of_an_epoch_goes_by_the_steps_that_were_timed(capsys, monkeypatch):
    """A run that goes on within an epoch has done the steps before, in a time that nobody took."""
    now = iter([0.0, 40.0])
    monkeypatch.setattr("trainers.logs.time.monotonic", lambda: next(now))
    bar = EpochBar("epoch 1/2", steps=200, first_step=100)
    bar.advance(images=8, loss=1.0)
    assert capsys.readouterr().out == "epoch 1/2  step 101/200  0 images/s  3960 s left\n"


def test_the_test_part_of_a_trial_is_opened_only_where_it_is_named(tmp_path: Path) -> None:
    assert start_here(tmp_path, "main_fer.py", *SMALL, "max_epoch_num=1", "judge_test=false").returncode == 0
    (run,) = (path.name for path in (tmp_path / "saved" / "checkpoints").iterdir())
    words = f"{run}: judge_test is false, so its test part stays closed; --split test opens it\n"
    every, named = (start_here(tmp_path, "gen_results.py", *names) for names in ((), (run,)))
    assert (every.returncode, every.stdout) == (0, words) and (named.returncode, named.stderr) == (2, words)
    assert not list((tmp_path / "saved").rglob("*.test.*"))
    among = start_here(tmp_path, "gen_results.py", run, str(pretrained_path("quick_vgg")))  # those after it have a turn
    assert among.returncode == 2 and words in among.stderr and "no dump of 2 of 2 runs" in among.stderr
    assert start_here(tmp_path, "gen_results.py", run, "--split", "test").returncode == 0
    assert (tmp_path / f"saved/results/{run}.test.npz").is_file()
