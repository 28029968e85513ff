"""All that stands between the pixels of a cropped face and an answer, as one module that can be exported."""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from models import model_info
from models.class_maps import Mapped
from utils.augment import network_input
from utils.config import Config


class Judge(nn.Module):
    """Pixels to probabilities, logits and class activation maps.

    Attributes:
        outputs: the names of what `forward` gives.
        maps_at: height and width of the maps, or None where the network has none.
    """

    def __init__(self, model: nn.Module, config: Config, temperature: float) -> None:
        """Args:
        model: in evaluation mode, on the CPU; copied.
        config: how it is to be shown pixels.
        temperature: what its logits are divided by; its last layer takes it up, as in `utils.shipped.shipped_bytes`.
        """
        super().__init__()
        info, self.config = model_info(config.arch), config
        model = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.data = parameter.contiguous()  # whatever order was fast where it was trained
            for parameter in model.get_submodule(info.classifier).parameters(recurse=False):
                parameter.div_(temperature)
        # noise, so that no two maps are alike; computed here also because what is computed during an export is a symbol
        sample = network_input(torch.from_numpy(noise(2, config)), config)
        self.mapped = Mapped(model, info, sample)
        maps = self.mapped(sample)[1]
        self.maps_at = None if maps is None else (int(maps.shape[2]), int(maps.shape[3]))
        self.outputs = ["probabilities", "logits"] + ["cam"] * (maps is not None)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Judges faces.

        Args:
            pixels: float32 [N, C, S, S], values 0 to 255, of the config's channels and size.

        Returns:
            Probabilities [N, K]; logits [N, K] after the temperature; and, where the network has them, maps
            [N, K, h, w] in the units of the logits: a class's average over its map is its logit, but for a constant.
        """
        logits, maps = self.mapped(network_input(pixels.clone(memory_format=torch.contiguous_format), self.config))
        return (logits.softmax(1), logits) if maps is None else (logits.softmax(1), logits, maps)


def noise(count: int, config: Config) -> np.ndarray:
    """float32 [count, C, S, S], values 0 to 255: pixels as ``config`` has them, always the same."""
    shape = (count, config.in_channels, config.image_size, config.image_size)
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
