"""What the masking blocks of a network do to its feature maps: what comes in, the mask, what goes on."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models import model_info
from utils.config import Config
from utils.datasets.faces import Images
from utils.errors import UserError
from utils.explaining.watching import watching
from utils.inference import predict


@dataclass(frozen=True)
class MaskEffect:
    """One masking block over N images; each map holds the root of the mean square over channels.

    A mask whose channels sum to 1 at every pixel lies between 1/C, where all C channels are alike, and 1/√C, where it
    has chosen one.

    Attributes:
        name: path of the block.
        channels: C.
        input, mask, output: float32 [N, h, w].
    """

    name: str
    channels: int
    input: np.ndarray
    mask: np.ndarray
    output: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """float64 [N]: how much more there is after the mask, as a share of what came in."""
        before, after = (np.square(maps, dtype=np.float64).mean((1, 2)) for maps in (self.input, self.output))
        return np.sqrt(after / np.maximum(before, 1e-30)) - 1


def mask_effects(model: nn.Module, images: Images, config: Config) -> list[MaskEffect]:
    """Watch every masking block, and the layer that takes in its result, during `predict`.

    Args:
        model: a network whose facts name masks.
        images: uint8 [N, H, W] or [N, H, W, 3]; N > 0.
        config: the network's name and how images are made for it.

    Raises:
        UserError: the network has no masks.
    """
    masks = model_info(config.arch).masks
    if not masks:
        raise UserError(f"{config.arch}: has no masks to look at; resmasking and its variants have four")
    with watching(model, *masks, *masks.values()) as seen:
        predict(model, images, config)
    effects = []
    for mask, taker in masks.items():
        channels = seen[mask][0].output.shape[1]
        before, itself = (_energy([getattr(one, side) for one in seen[mask]]) for side in ("input", "output"))
        effects.append(MaskEffect(mask, channels, before, itself, _energy([one.input for one in seen[taker]])))
    return effects


def _energy(batches: list[Tensor]) -> np.ndarray:
    return torch.cat([batch.float().square().mean(1).sqrt().cpu() for batch in batches]).numpy()
