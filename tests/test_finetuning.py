"""Training on from another run: stages that stay, the head's own rate, votes to learn from, going on after a stop."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FOLDED, ROOT, SMALL, refusal, start_here
from test_training import StopAfter, assert_same_run, config_in, trainer_in
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from models import ModelError
from trainers.experiment import check_network
from trainers.learner import Learner
from trainers.trainer import Trainer
from utils.checkpoint import Checkpoint, checkpoint_hash, load_checkpoint, save_checkpoint
from utils.datasets.faces import Faces
from utils.errors import Interrupted
from utils.inference import Recognizer
from utils.inflation import network_name
from utils.labels import FER2013_CLASSES
from utils.splits import load_splits

pytestmark = pytest.mark.usefixtures("without_pictures")
STAGES = ("stem", "stages.0", "stages.1", "stages.2")
MOBILENET = ROOT.parent / "shared" / "weights" / "mobilenet_v1_vggface2.safetensors"
PLAIN = ("momentum=0", "weight_decay=0", "schedule=constant", "drop_rate=0", "mixup=0", "ema_decay=0", "augment=none")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch on drawn faces, kept as if it had been on another data set."""
    folder = tmp_path_factory.mktemp("origin")
    trainer = trainer_in(folder, "max_epoch_num=1", "sample_faces=70")
    trainer.fit()
    checkpoint = load_checkpoint(trainer.files.best)
    config = dataclasses.replace(checkpoint.config, dataset="folder")
    save_checkpoint(dataclasses.replace(checkpoint, config=config, run="drawn"), folder / "origin.pt")
    return folder / "origin.pt"


def learner_in(folder: Path, *changes: str, soft: bool = False) -> Learner:
    """On noise; with ``soft``, each image has a distribution over the classes."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (40, 24, 24), dtype=np.uint8), np.arange(40) % 7
    shares = random.dirichlet(np.ones(7), 40).astype(np.float32) if soft else None
    ids = [str(i) for i in range(40)]
    return Learner(config_in(folder, *changes), Faces(images, labels, ids, None, FER2013_CLASSES, shares))


@pytest.mark.parametrize("count", [1, 3])
def test_frozen_stages_do_not_move_and_the_rest_does(tmp_path, source, count):
    kept = tuple(f"{stage}." for stage in STAGES[:count])
    changes = (f"init_from={source}", f"freeze_stages={count}", "weight_decay=0.1", "decay_all=true")
    trainer = trainer_in(tmp_path, *changes, "sample_faces=70", "max_epoch_num=2")
    assert not any(p.requires_grad for module in trainer.learner.frozen for p in module.parameters())
    trainer.fit()
    origin, last, best = load_checkpoint(source).ema, load_checkpoint(trainer.files.last), trainer.files.best
    for weights in (last.model, last.ema, load_checkpoint(best).ema):
        for name, value in weights.items():  # statistics and counters of norms among them
            assert torch.equal(value, origin[name]) == name.startswith(kept), name
    assert {name.rpartition(".")[2] for name in last.model if name.startswith(kept)} >= {"running_var", "weight"}
    assert len(last.optimizer["state"]) == sum(
        not name.startswith(kept) for name, _ in trainer.learner.model.named_parameters()
    )


def test_frozen_stages_are_judged_and_trained_in_the_same_mode(tmp_path, source):
    learner = learner_in(tmp_path, f"init_from={source}", "freeze_stages=4")
    learner.model.eval()
    images, _ = next(iter(learner.batches.epoch(0)))
    with torch.no_grad():
        before = learner.model.stages(learner.model.stem(images))
        learner.train_mode()
        assert torch.equal(learner.model.stages(learner.model.stem(images)), before)
    assert learner.model.training and learner.model.fc.training  # dropout before the head goes on


def test_norms_keep_their_statistics_and_learn_scale_and_shift(tmp_path, source):
    learner = learner_in(tmp_path, f"init_from={source}", "freeze_norms=true", "ema_decay=0")
    before = copy.deepcopy(learner.model.state_dict())
    learner.train_mode()
    images, labels = next(iter(learner.batches.epoch(0)))
    learner.train_step(images, labels, 0, 0)
    norms = {path for path, part in learner.model.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    for name, value in learner.model.state_dict().items():
        path, _, tensor = name.rpartition(".")
        kept = path in norms and tensor not in ("weight", "bias")
        assert torch.equal(value, before[name]) == kept, name


def test_norms_over_vectors_keep_their_statistics_too(tmp_path):
    """BAM's attention over channels has some."""
    learner = learner_in(tmp_path, "arch=bam_resnet18", "image_size=32", "freeze_norms=true")
    learner.train_mode()
    norms = [part for part in learner.model.modules() if isinstance(part, _BatchNorm)]
    assert {type(norm) for norm in norms} == {torch.nn.BatchNorm1d, torch.nn.BatchNorm2d}
    assert not any(norm.training for norm in norms) and learner.model.training


def test_refitted_norms_compute_what_they_did_with_statistics_of_the_training_images(tmp_path, source):
    before, after = (learner_in(tmp_path, f"init_from={source}", f"refit_norms={r}") for r in ("false", "true"))
    seen = next(iter(before.batches.epoch(0)))[0]
    for learner in (before, after):
        learner.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(after.model(seen), before.model(seen), rtol=0, atol=1e-4)
        entered = after.model.stem[0](seen).var((0, 2, 3))
    known = after.model.stem[1].running_var
    torch.testing.assert_close(known, entered, rtol=0.2, atol=1e-4)
    assert not torch.allclose(before.model.stem[1].running_var, entered, rtol=0.2)  # noise is not what it had seen
    assert not after.model.stem[1]._forward_pre_hooks
    for weights in (after.averaged.model, after.model):
        assert torch.equal(weights.state_dict()["stem.1.weight"], after.model.state_dict()["stem.1.weight"])


def test_norms_are_refitted_on_images_of_the_size_that_is_asked_for(tmp_path, source):
    begun = ("refit_norms=true", f"init_from={source}", "image_size=32", "start_size=24")
    first, same, larger = (learner_in(tmp_path, *begun, f"refit_size={size}") for size in ("null", 24, 96))
    one, other, third = (learner.model.state_dict() for learner in (first, same, larger))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.allclose(one["stem.1.running_var"], third["stem.1.running_var"], rtol=0.1)
    seen = next(iter(first.batches.epoch(0)))[0]
    with torch.no_grad():  # what they compute stays, whatever they looked at
        torch.testing.assert_close(larger.model.eval()(seen), first.model.eval()(seen), rtol=0, atol=1e-4)


def test_a_size_to_refit_norms_on_is_checked_before_any_data_is_read(tmp_path):
    idle = refusal(lambda: check_network(config_in(tmp_path, "refit_size=224")))
    assert idle == "refit_size is 224, but refit_norms is false; set it to true"
    small = ("arch=alexnet", "in_channels=3", "image_size=64", "refit_norms=true", "refit_size=48")
    with pytest.raises(ModelError, match="at least 63 x 63 pixels; got 48"):
        check_network(config_in(tmp_path, *small))


def test_every_size_that_images_grow_through_is_checked_before_any_data_is_read(tmp_path):
    """Found after nine epochs: 32 and 48 pixels fit ResMaskingNet, and the 40 between them do not."""
    growing = ("arch=resmasking", "stem=conv3_pool", "image_size=48", "start_size=32", "max_epoch_num=24")
    with pytest.raises(
        ModelError,
        match="^images grow from start_size 32 by 8 pixels .* got 40.*; start_size=null keeps one size$",
    ):
        check_network(config_in(tmp_path, *growing))
    with pytest.raises(ModelError, match="^resmasking needs an image size that is a multiple of 16; got 40"):
        check_network(config_in(tmp_path, *growing, "start_size=40"))
    check_network(config_in(tmp_path, *growing, "max_epoch_num=1"))


@pytest.mark.skipif(not MOBILENET.exists(), reason=f"needs {MOBILENET.name} in ../shared/weights")
@pytest.mark.parametrize("size", [32, 48])
def test_a_network_of_large_faces_is_alive_on_small_ones_if_its_norms_have_seen_large_ones(tmp_path, size):
    """VGGFace2's MobileNet, of 224 px: nearly all of its features are zero below 64 px, and learn nothing."""
    colour = ("arch=mobilenet_v1", f"weights={MOBILENET}", "in_channels=3", "normalize=imagenet", "refit_norms=true")
    alive = {}
    for refit_size in ("null", 224):
        config = config_in(tmp_path, *colour, f"image_size={size}", f"refit_size={refit_size}")
        learner, features = Learner(config, load_splits(config)[0].train), []
        learner.model.fc.register_forward_pre_hook(lambda _, inputs, into=features: into.append(inputs[0]))
        with torch.no_grad():
            learner.model.train()(next(iter(learner.batches.epoch(0)))[0])
        alive[refit_size] = (features[0].std(0) > 1e-4).float().mean().item()
    assert alive["null"] < 0.1 and alive[224] > 0.5


# ------------------------------------------------------------------------------------------------ the head's own rate


@pytest.mark.parametrize(
    ("schedule", "optimizer"),
    [
        *((s, "sgd") for s in ("plateau", "step", "cosine", "onecycle", "constant")),
        *(("step", o) for o in ("radam", "adamw")),
    ],
)
def test_the_heads_rate_keeps_its_ratio_to_the_others(tmp_path, schedule, optimizer):
    changes = (f"schedule={schedule}", f"optimizer={optimizer}", "steplr=1", "max_epoch_num=3", "decay_all=false")
    plain, quick = learner_in(tmp_path, *changes), learner_in(tmp_path, *changes, "head_lr=0.2")
    head = {id(p) for p in quick.model.get_submodule("fc").parameters()}
    images, labels = next(iter(quick.batches.epoch(0)))
    rates = []
    for epoch, step in ((0, 0), (0, 1), (1, 0), (2, 1)):
        for learner in (plain, quick):
            learner.plateau.drops = epoch
            learner.train_step(images[:8], labels[:8], epoch, step)
        (rate,) = {group["lr"] for group in plain.optimizer.param_groups}
        rates.append(rate)
        seen = set()
        for group in quick.optimizer.param_groups:
            members = {id(p) for p in group["params"]}
            assert members <= head or not members & head
            assert group["lr"] == pytest.approx(4 * rate if members <= head else rate, rel=1e-12)
            assert len({p.ndim > 1 for p in group["params"]}) == 1  # weights decay, biases and norms do not
            seen |= members
        assert seen == {id(p) for p in quick.model.parameters()}
    assert len(set(rates)) > 1 or schedule == "constant"


def test_the_head_moves_by_its_own_rate(tmp_path):
    moved = []
    for more in ((), ("head_lr=0.5",)):
        learner = learner_in(tmp_path, *PLAIN, *more)
        before = {name: value.clone() for name, value in learner.model.named_parameters()}
        learner.train_step(*next(iter(learner.batches.epoch(0))), 0, 0)
        moved.append({name: value.detach() - before[name] for name, value in learner.model.named_parameters()})
    for name, step in moved[0].items():
        times = 10 if name.startswith("fc.") else 1
        torch.testing.assert_close(moved[1][name], step * times, rtol=1e-3, atol=1e-6)


# ------------------------------------------------------------------------------------------------ votes to learn from


def written_out(logits: torch.Tensor, shares: np.ndarray) -> float:
    """Mean cross-entropy of distributions [B, C], one logarithm at a time."""
    total = 0.0
    for row, wanted in zip(logits.double().numpy(), shares.astype(np.float64), strict=True):
        normaliser = np.log(np.exp(row).sum())
        total -= sum(part * (value - normaliser) for part, value in zip(wanted, row, strict=True))
    return total / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_distributions_is_their_cross_entropy(tmp_path, smoothing):
    learner = learner_in(tmp_path, *PLAIN, f"label_smoothing={smoothing}", soft=True)
    learner.train_mode()
    images, shares = next(iter(learner.batches.epoch(0)))
    assert shares.dtype == torch.float32 and shares.shape == (32, 7)
    with torch.no_grad():
        logits = copy.deepcopy(learner.model)(images)
    result = learner.train_step(images, shares, 0, 0)
    targets = (1 - smoothing) * shares.numpy() + smoothing / 7
    assert result.loss == pytest.approx(written_out(logits, targets), rel=1e-5)
    assert result.hits == sum(int(a.argmax() == b.argmax()) for a, b in zip(logits, shares, strict=True))


def test_certain_distributions_are_labels(tmp_path):
    hard, certain = (learner_in(tmp_path, *PLAIN[:-2], "mixup=0.4") for _ in range(2))
    images, labels = next(iter(hard.batches.epoch(0)))
    results = [hard.train_step(images, labels, 0, 0), certain.train_step(images, F.one_hot(labels, 7).float(), 0, 0)]
    assert torch.equal(results[0].told, results[1].told) and results[0].images == results[1].images
    for one, other in zip(hard.model.parameters(), certain.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_each_image_comes_with_its_own_distribution(tmp_path):
    learner = learner_in(tmp_path, *PLAIN, "normalize=none", soft=True)
    random = np.random.default_rng(0)
    stored = random.integers(0, 256, (40, 24, 24), dtype=np.uint8)
    shares = random.dirichlet(np.ones(7), 40).astype(np.float32)
    met = 0
    for images, wanted in learner.batches.epoch(1):
        for image, share in zip((255 * images).round().byte().numpy(), wanted.numpy(), strict=True):
            (index,) = np.flatnonzero((stored == image[0]).all((1, 2)))
            np.testing.assert_array_equal(share, shares[index])
            met += 1
    assert met == 40


# ------------------------------------------------------------------------------------------------ going on after a stop


def test_resuming_is_the_same_as_never_stopped_and_keeps_the_origin(tmp_path, source):
    path = tmp_path / "origin.pt"
    path.write_bytes(source.read_bytes())
    changes = (f"init_from={path}", "freeze_stages=2", "head_lr=0.2", "decay_all=false")
    changes += ("max_epoch_num=2", "sample_faces=70")
    whole = trainer_in(tmp_path / "whole", *changes)
    whole.fit()
    first = trainer_in(tmp_path / "cut", *changes, stop=StopAfter(whole.learner.batches.steps + 2))
    with pytest.raises(Interrupted):
        first.fit()
    path.unlink()  # a checkpoint holds all weights, so resuming does not ask for the origin
    config = config_in(tmp_path / "cut", *changes)
    (split,) = load_splits(config)
    second = Trainer(Learner(config, split.train, fresh=False), split, first.files, first.log, StopAfter(0))
    second.resume(load_checkpoint(first.files.last))
    second.fit()
    assert_same_run(whole.files, second.files)
    for files in (whole.files, second.files):
        known: Checkpoint = load_checkpoint(source)
        assert load_checkpoint(files.last).origin == {
            "run": "drawn",
            "checkpoint": checkpoint_hash(source),
            "dataset": "folder",
            "epoch": 1,
            "train": known.data["train"],
            "origin": {},
        }
    dump = Recognizer(second.files.best).predict(split, "test")
    assert dump.meta["origin"] == load_checkpoint(files.last).origin
    assert network_name(dump) == "tiny_resnet, from own pictures"


def test_every_fold_begins_with_the_checkpoint_that_the_run_began_with(tmp_path, source):
    """RUN/best.pt may be another one tomorrow."""
    checkpoint, source = dataclasses.replace(load_checkpoint(source), seen=[]), tmp_path / "best.pt"
    save_checkpoint(checkpoint, source)
    settings = (*FOLDED, "max_epoch_num=1", f"init_from={source}")
    assert start_here(tmp_path, "main_fer.py", *settings).returncode == 0
    (run,) = (folder.name for folder in (tmp_path / "saved" / "checkpoints").iterdir())
    shared = json.loads((tmp_path / "saved/checkpoints" / run / "run.json").read_text())
    assert shared["origin"] == checkpoint_hash(source)
    shutil.rmtree(tmp_path / "saved/checkpoints" / run / "fold-02")
    earlier = source.read_bytes()
    save_checkpoint(dataclasses.replace(checkpoint, epoch=2), source)
    refused = start_here(tmp_path, "main_fer.py", "--resume", run)
    expected = f"fold 2: init_from {source} is not the checkpoint that the run began with; run.json has its hash\n"
    assert (refused.returncode, refused.stderr) == (2, expected)
    source.write_bytes(earlier)
    assert start_here(tmp_path, "main_fer.py", "--resume", run).returncode == 0
    del shared["origin"]  # as in a run of the first versions
    (tmp_path / "saved/checkpoints" / run / "run.json").write_text(json.dumps(shared))
    shutil.rmtree(tmp_path / "saved/checkpoints" / run / "fold-02")
    assert start_here(tmp_path, "main_fer.py", "--resume", run).returncode == 0


def test_as_a_user_starts_it(tmp_path, source):
    settings = (*SMALL, "max_epoch_num=1", "sample_faces=70")
    done = start_here(tmp_path, "main_fer.py", *settings, "freeze_stages=1", f"init_from={source}")
    assert done.returncode == 0, done.stderr
    assert "begins with drawn, epoch 1: 7 of 7 classes known to it\n" in done.stdout
    (run,) = (folder.name for folder in (tmp_path / "saved" / "checkpoints").iterdir())
    dumped = (tmp_path / f"saved/results/{run}.test.npz").read_bytes()
    (tmp_path / f"saved/results/{run}.test.npz").unlink()
    assert start_here(tmp_path, "gen_results.py", run).returncode == 0
    assert (tmp_path / f"saved/results/{run}.test.npz").read_bytes() == dumped
    refused = start_here(tmp_path, "main_fer.py", *settings, "sample_seed=1", f"init_from={run}")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert refused.stderr.startswith(f"init_from: {run} was trained on other parts of sample")
    assert [folder.name for folder in (tmp_path / "saved" / "checkpoints").iterdir()] == [run]
    checked = start_here(tmp_path, "main_fer.py", "--check", *settings, "freeze_stages=1", f"init_from={source}")
    assert checked.returncode == 0 and "begins with drawn, epoch 1" in checked.stdout
    (line,) = (line for line in checked.stdout.splitlines() if "of them trained" in line)
    every, trained = (int(word.replace(",", "")) for word in line.split() if word[0].isdigit() and "," in word)
    model = load_checkpoint(source).model
    frozen = sum(v.numel() for k, v in model.items() if k.startswith("stem.") and k.endswith(("weight", "bias")))
    assert every - trained == frozen > 0
