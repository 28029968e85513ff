"""What every peer is given to do: the same pictures, network, initial weights, batch size and optimiser."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from utils.config import Config, load_config
from utils.datasets.faces import Faces, Split
from utils.randomness import INIT, shuffled, stream_seed
from utils.runtime import memory_format
from utils.splits import load_splits

ROOT = Path(__file__).resolve().parent.parent
FER2013 = ROOT / "saved" / "data" / "fer2013"
ROTATION = 30  # degrees; the published recipe mirrors and rotates
FAST = "configs/fer2013_fast_config.json"


@dataclass(frozen=True)
class Job:
    """One piece of work, as plain values so that it can be handed to another process.

    Attributes:
        kind: which function of a peer does it: train, feed, validate or views.
        arch, image_size, batch_size: the network and what it sees; three channels, as ImageNet's networks want.
        augment: ``"published"`` mirrors and rotates; ``"fast"`` is what the shipped fast settings do; ``"shift"``
            mirrors and shifts; ``"none"``.
        images: of a step that is a pass over many (validate, views).
        precision, channels_last, device, threads: as in a config, nothing left open.
        synthetic: one batch again and again, no input pipeline (timm only).
        dataset: ``"fer2013"`` or ``"sample"``; ``faces`` of the latter are drawn.
    """

    kind: str
    arch: str = "resnet18"
    image_size: int = 48
    batch_size: int = 64
    augment: str = "published"
    images: int = 512
    precision: str = "fp32"
    channels_last: str = "off"
    device: str = "cpu"
    threads: int = 1
    synthetic: bool = False
    dataset: str = "sample"
    faces: int = 2100

    def config(self) -> Config:
        """The settings with which our own programs would do this job."""
        if self.augment in ("fast", "shift"):
            base = load_config(ROOT / FAST)
            if self.augment == "shift":
                base = dataclasses.replace(base, rotation=0.0, scale=0.0, erase=0.0)
        else:
            augment = "none" if self.augment == "none" else "classic"
            base = Config(augment=augment, rotation=ROTATION, arch=self.arch, image_size=self.image_size)
        return dataclasses.replace(
            base,
            dataset=self.dataset,
            data_path=str(FER2013),
            cache_dir=str(ROOT / "saved" / "data" / "cache"),
            sample_faces=self.faces,
            batch_size=self.batch_size,
            optimizer="sgd",
            lr=0.01,
            momentum=0.9,
            weight_decay=5e-4,
            decay_all=True,
            schedule="constant",
            device=self.device,
            threads=self.threads,
            precision=self.precision,
            channels_last=self.channels_last,
        )

    def split(self) -> Split:
        """The pictures, from the cache where they have been read before."""
        return load_splits(self.config())[0]

    def network(self) -> nn.Module:
        """The network with the initial weights that our own training would give it; as a peer has it, so not
        `utils.runtime.placed`, which makes it faster."""
        from models import create_model

        torch.manual_seed(stream_seed(0, INIT))
        model = create_model(self.arch, num_classes=7, in_channels=3, image_size=self.image_size)
        return model.to(self.device).to(memory_format=memory_format(self.config()))  # type: ignore[call-overload]

    def order(self, faces: Faces, epoch: int = 0) -> list[int]:
        """The order in which an epoch goes through ``faces``."""
        return shuffled(0, epoch, len(faces)).tolist()


def results_folder(whole: bool) -> Path:
    """Where results go; those of a part, or of tiny numbers, do not replace those of the whole measurement."""
    return ROOT / ("results/bench" if whole else "saved/results/bench")


def data_there() -> str:
    """``"fer2013"`` where its pictures lie in saved/data, else ``"sample"``: faces drawn by this project."""
    return "fer2013" if FER2013.exists() else "sample"
