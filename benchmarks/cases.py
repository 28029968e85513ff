"""Which cases are measured, with which peers, and what is to be reached."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.job import FAST, Job
from benchmarks.table import EQUAL, USERS, Target

OURS = "ours"
BF16, FP32 = "bf16, channels_last", "fp32"

# The published networks, which the accelerator's set times one by one at 224 px ...
NETWORKS = (
    *("alexnet", "vgg19", "googlenet", "inception_v3", "densenet121", "efficientnet_b2b", "resnet18"),
    *("resnet34", "resnet50", "resnet101", "resnet152", "cbam_resnet50", "bam_resnet50", "resmasking_dropout1"),
)
# ... and what an H200 could do at best with some of them by an op-level roofline, images/s in bf16.
FLOORS = {"resmasking_dropout1": 4465.0, "vgg19": 6015.0, "resnet50": 11777.0}

TITLES = {
    "input_48": "input pipeline alone, 48 px",
    "augment_fast": f"augmentation of `{FAST}`, one core",
    "augment_shift": "mirror and shift alone, one core",
    "train_48": "training ResNet-18 at 48 px",
    "share_48": "our input's share of a step of ResNet-18 at 48 px",
    "train_224": "training ResNet-18 at 224 px",
    "resmasking_64": "training ResMaskingNet at 64 px",
    "validate_48": "validation, ResNet-18 at 48 px",
    "views_48": "ten test views, ResNet-18 at 48 px",
    "start_cold": "`python main_fer.py` to the first step, data not yet parsed",
    "start_warm": "`python main_fer.py` to the first step, data parsed before",
    "import": "import",
    "ensemble": "`gen_ensemble.py` on 12 dumps",
    "memory": "memory of training ResNet-18 at 48 px",
    **{f"network_{name}": f"training `{name}` at 224 px" for name in NETWORKS},
}

TARGETS = {
    ("train_48", "lightning", USERS): Target(1.8),
    ("train_48", "timm", USERS): Target(1.05),
    ("train_224", "lightning", USERS): Target(2.2),
    ("share_48", OURS, USERS): Target(3.0, at_least=False),
    ("augment_fast", OURS, USERS): Target(40_000),
    ("views_48", "plain", FP32): Target(4.0),
    ("views_48", "plain", BF16): Target(7.0),
    ("start_warm", OURS, USERS): Target(6.0, at_least=False),
    ("import", OURS, USERS): Target(2.5, at_least=False),
    ("ensemble", OURS, USERS): Target(2.0, at_least=False),
    ("memory", OURS, USERS): Target(1.2, at_least=False),
}


@dataclass(frozen=True)
class Entry:
    """One peer in one case; ``against`` names the settings of ours that it is compared with."""

    peer: str
    settings: str
    job: Job
    against: str = USERS


@dataclass(frozen=True)
class Case:
    """Peers that do the same, round by round in turn; ``steps`` make a round."""

    name: str
    unit: str
    entries: tuple[Entry, ...]
    steps: int = 1


@dataclass(frozen=True)
class Ways:
    """What all jobs of a run share: where, on how many threads, on which data, and what ours chose to compute in."""

    device: str
    threads: int
    dataset: str
    precision: str
    channels_last: str
    smoke: bool = False

    def job(self, kind: str, **settings: Any) -> Job:
        """A job as ours does it."""
        shared: dict[str, Any] = {"device": self.device, "threads": self.threads, "dataset": self.dataset}
        chosen = {"precision": self.precision, "channels_last": self.channels_last}
        job = Job(kind, **(shared | chosen | settings))
        return replace(job, **_TINY, image_size=min(job.image_size, 64)) if self.smoke else job


_TINY: dict[str, Any] = {"arch": "tiny_resnet", "batch_size": 8, "images": 4, "faces": 140}


def equal_loss_jobs(ways: Ways) -> dict[str, Job]:
    """For each peer the job whose losses must agree: no augmentation, plain arithmetic."""
    job = ways.job("train", augment="none", batch_size=16, precision="fp32", channels_last="off")
    job = replace(job, arch="resnet18")  # no dropout, for which every program draws its own numbers
    return dict.fromkeys((OURS, "plain", "lightning", "timm"), job)


def cpu_cases(ways: Ways) -> list[Case]:
    """The cases of a processor that workers do; programs as a whole are timed by `benchmarks.programs`."""
    return [
        _feeding("input_48", ways, ("plain", "timm"), steps=4),
        _feeding("augment_fast", ways, ("plain",), steps=8, augment="fast", batch_size=128),
        _feeding("augment_shift", ways, ("plain",), steps=8, augment="shift", batch_size=128),
        training("train_48", ways, ("plain", "lightning", "timm"), steps=4),
        training("train_224", ways, ("plain", "lightning", "timm"), image_size=224, batch_size=16),
        training("resmasking_64", ways, ("plain", "lightning"), arch="resmasking", image_size=64, batch_size=16),
        _judging(ways),
        _viewing(ways),
    ]


def cuda_cases(ways: Ways) -> list[Case]:
    """The cases of an accelerator: large batches at 48 px beside the peers, then each network at 224 px."""
    batches = {"steps": 10, "batch_size": 512}
    cases = [training("train_48", ways, ("plain", "lightning", "timm"), **batches)]
    for name in NETWORKS[:2] if ways.smoke else NETWORKS:
        cases.append(training(f"network_{name}", ways, (), steps=10, arch=name, image_size=224, batch_size=128))
    return cases


def training(name: str, ways: Ways, peers: Sequence[str], *, steps: int = 1, **settings: Any) -> Case:
    """Ours and each peer twice: with the arithmetic that the peer has by default, and with ours."""
    equal = ways.job("train", **settings)
    plain = replace(equal, precision="fp32", channels_last="off")
    amp = replace(equal, precision="bf16", channels_last="on")
    entries = [Entry(OURS, USERS, equal)]
    for peer in peers:
        entries.append(Entry(peer, USERS, amp if peer == "timm" else plain))
        entries.append(Entry(peer, EQUAL, replace(equal, synthetic=peer == "timm")))
    return Case(name, "images/s", tuple(entries), steps)


def _feeding(name: str, ways: Ways, peers: Sequence[str], *, steps: int, **settings: Any) -> Case:
    # one thread: the figure is for one core
    job = replace(ways.job("feed", **settings), precision="fp32", channels_last="off", threads=1)
    return Case(name, "images/s", tuple(Entry(peer, USERS, job) for peer in (OURS, *peers)), steps)


def _judging(ways: Ways) -> Case:
    equal = ways.job("validate")
    plain = replace(equal, precision="fp32", channels_last="off")
    peers = [Entry(p, s, j) for p in ("plain", "lightning") for s, j in ((USERS, plain), (EQUAL, equal))]
    return Case("validate_48", "images/s", (Entry(OURS, USERS, equal), *peers))


def _viewing(ways: Ways) -> Case:
    """Both arithmetics beside the same arithmetic one image and one view at a time."""
    fp32 = ways.job("views", images=ways.job("views").images // 4, precision="fp32", channels_last="off")
    bf16 = replace(fp32, precision="bf16", channels_last="on")
    entries = [Entry(peer, s, job, s) for s, job in ((FP32, fp32), (BF16, bf16)) for peer in (OURS, "plain")]
    return Case("views_48", "images/s", tuple(entries))


def import_commands() -> dict[str, list[str]]:
    """What is imported, by peer; torch alone is what all of them pay."""
    modules = {
        OURS: "trainers.experiment",
        "torch alone": "torch",
        "lightning": "models.torchvision_compat, lightning",
        "timm": "models.torchvision_compat, timm",
    }
    return {peer: [sys.executable, "-c", f"import {module}"] for peer, module in modules.items()}
