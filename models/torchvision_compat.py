"""Imports torchvision even beside a torch that it was not built for; import it from here before timm."""

import importlib
import sys
from types import ModuleType

import torch

# A torchvision whose compiled part does not fit this torch still has all its networks, which are plain
# Python. Only the registration of these two operators at import stands in the way, so they are declared.
MISSING_OPERATOR = "operator torchvision::nms does not exist"
SCHEMAS = ("nms", "qnms")
_libraries: list[torch.library.Library] = []  # an operator lives as long as its library object


def import_torchvision() -> ModuleType:
    """Imports torchvision, declaring its two box operators only if it fails for want of them.

    Raises:
        ImportError, RuntimeError: whatever else the import fails with.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if MISSING_OPERATOR not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in SCHEMAS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)


torchvision = import_torchvision()
