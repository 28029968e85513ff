"""Class activation maps without gradients, where a network ends in an average over positions and one linear layer."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.registry import ModelInfo


@dataclass(frozen=True)
class Place:
    """Where in a network a feature map can be had: what goes into the module at ``path``, or what comes out of it."""

    path: str
    goes_in: bool


class Mapped(nn.Module):
    """A network that also says where it saw a class (Zhou et al., CVPR 2016).

    Attributes:
        place: where the averaged feature map can be had, or None where the network does not end so.
    """

    def __init__(self, model: nn.Module, info: ModelInfo, sample: Tensor) -> None:
        """Args:
        model: in evaluation mode, as it stays.
        info: its facts, for the path of the classifier.
        sample: float32 [B, C, H, W], anything but a constant, of the size of the images to come.
        """
        super().__init__()
        self.model, self.classifier = model, info.classifier
        self.place = averaged_map(model, info.classifier, sample)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Maps images [B, C, H, W] to logits [B, K] and maps [B, K, h, w], which average to logits less their bias."""
        if self.place is None:
            return self.model(x), None
        with kept(self.model, [self.place]) as maps:
            logits = self.model(x)
        weight = self.model.get_submodule(self.classifier).weight
        assert isinstance(weight, Tensor)
        return logits, F.conv2d(maps[self.place], weight[:, :, None, None])


def averaged_map(model: nn.Module, classifier: str, sample: Tensor) -> Place | None:
    """Where the feature map can be had whose average over positions is all that the final linear layer sees.

    The network shows it by itself: on ``sample`` the averages of that map are what goes into the classifier, and what
    comes out of it are the logits.

    Returns:
        The place, or None where there is no such map.
    """
    head = model.get_submodule(classifier)
    if not isinstance(head, nn.Linear):
        return None
    into_head = Place(classifier, goes_in=True)
    places = [
        Place(path, side) for path, module in model.named_modules() if module is not model for side in (True, False)
    ]
    with torch.no_grad(), kept(model, places) as maps:
        logits = model(sample)
    features = maps[into_head]
    if features.ndim != 2 or not features.any() or not _same(head(features).detach(), logits):
        return None
    found = [
        place
        for place, value in maps.items()
        if value.ndim == 4 and value.shape[1] == features.shape[1] and _same(value.mean((2, 3)), features)
    ]
    # of several the last, which nothing can change any more
    return max(reversed(found), key=lambda place: maps[place].shape[2:].numel(), default=None)


@contextlib.contextmanager
def kept(model: nn.Module, places: list[Place]) -> Iterator[dict[Place, Tensor]]:
    """Within the block, what was last seen at each of ``places`` is kept; afterwards the network is as it was.

    An activation that works in place changes what was kept, which is then what the rest of the network saw.
    """
    maps: dict[Place, Tensor] = {}

    def keep(place: Place, value: object) -> None:
        if isinstance(value, Tensor):
            maps[place] = value

    with contextlib.ExitStack() as hooks:
        for place in places:
            module = model.get_submodule(place.path)
            if place.goes_in:
                hook = module.register_forward_pre_hook(
                    lambda _, inputs, place=place: keep(place, inputs[0] if inputs else None)
                )
            else:
                hook = module.register_forward_hook(lambda _, __, output, place=place: keep(place, output))
            hooks.callback(hook.remove)
        yield maps


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-4 * other.abs().max())
