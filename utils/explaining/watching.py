"""What flows through a layer of a network, seen by hooks that are gone when their ``with`` block ends."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from utils.errors import UserError, closest


@dataclass(frozen=True)
class Seen:
    """One forward pass through a layer.

    Attributes:
        input: the first argument of the layer.
        output: its result as the layer left it, part of the graph where gradients are on.
    """

    input: torch.Tensor
    output: torch.Tensor


@contextlib.contextmanager
def watching(model: nn.Module, *paths: str) -> Iterator[dict[str, list[Seen]]]:
    """Within the block every forward pass is noted, one `Seen` a pass, for each of the layers.

    The rest of the network is handed a copy of what a layer gives: an in-place ReLU behind it would overwrite what is
    noted, and with it every map made from it.

    Args:
        model: any network.
        paths: dotted paths of layers.

    Raises:
        UserError: the network has no such layer.
    """
    layers = {path: _layer(model, path) for path in paths}
    seen: dict[str, list[Seen]] = {path: [] for path in paths}
    handles = []
    try:
        for path, layer in layers.items():

            def note(_: nn.Module, args: tuple, output: torch.Tensor, path: str = path) -> torch.Tensor:
                seen[path].append(Seen(args[0], output))
                return output.clone()

            handles.append(layer.register_forward_hook(note))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the block ``model`` is in evaluation mode; afterwards in the mode that it had."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _layer(model: nn.Module, path: str) -> nn.Module:
    layers = dict(model.named_modules())
    if not path or path not in layers:
        near = closest(path, [name for name in layers if name], 3)
        hint = f"closest: {', '.join(near)}" if near else f"its outermost: {', '.join(dict(model.named_children()))}"
        raise UserError(f"the network has no layer '{path[:80]}'; {hint}")
    return layers[path]
