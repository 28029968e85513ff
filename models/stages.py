"""The stages of a network, from the image to the head, so that the first of them can be kept as they are."""

import re

from torch import nn

from models.errors import ModelError
from models.registry import ModelInfo

# A module of one of these names holds the stages of a network instead of being one.
CONTAINERS = ("features", "stages", "blocks")
# Attention that a ResNet applies to what a stage gives stands beside the stage and belongs to it.
ATTENTION = re.compile(r"(?:bam|mask)(\d)")


def stages(model: nn.Module, info: ModelInfo) -> list[tuple[str, list[nn.Module]]]:
    """The stages of a network below its classifier, in the order in which they are defined.

    A stage is a module of the top level that has parameters, or one within a container of stages; a module of nothing
    but norms belongs to the stage before it, an attention module to the stage of its number.

    Args:
        model: the network.
        info: its facts, for the path of the classifier.

    Returns:
        (name, modules) of each stage.
    """
    found: list[tuple[str, list[nn.Module]]] = []
    heads = {path.partition(".")[0] for path in (info.classifier, info.auxiliary) if path}
    for name, child in model.named_children():
        inner = list(child.named_children()) if name in CONTAINERS else []
        members = [(f"{name}.{key}", module) for key, module in inner] or [(name, child)]
        for path, module in members:
            if name in heads or not any(True for _ in module.parameters()):
                continue
            if attention := ATTENTION.fullmatch(path):
                dict(found)[f"layer{attention[1]}"].append(module)
            elif found and _only_norms(module):
                found[-1][1].append(module)
            else:
                found.append((path, [module]))
    return found


def freeze(model: nn.Module, info: ModelInfo, count: int) -> list[nn.Module]:
    """Keep the first ``count`` stages as they are.

    Args:
        model: changed in place: the parameters of these stages ask for no gradient.
        info: its facts.
        count: 0 for none.

    Returns:
        The modules of these stages. Whoever trains keeps them in evaluation mode, or their norms would move.

    Raises:
        ModelError: the network has fewer stages.
    """
    every = stages(model, info)
    if count > len(every):
        names = ", ".join(name for name, _ in every)
        raise ModelError(f"{info.name} has {len(every)} stages to freeze; got {count}: {names}")
    frozen = [module for _, modules in every[:count] for module in modules]
    for module in frozen:
        module.requires_grad_(False)
    if frozen:
        for parameter in model.parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def _only_norms(module: nn.Module) -> bool:
    kinds = {type(m) for m in module.modules() if next(m.parameters(recurse=False), None) is not None}
    return all("Norm" in kind.__name__ for kind in kinds)
