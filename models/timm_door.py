"""The door to every network of timm: facts and builder for `timm:<name>`."""

from functools import partial
from typing import Any

import torch
from torch import nn

from models import torchvision_compat  # noqa: F401  (timm imports torchvision, which may need help)
from models.errors import ModelError, closest
from models.registry import ModelInfo

# isort: split
import timm


def build_timm(
    name: str, num_classes: int, in_channels: int, drop_rate: float | None, image_size: int | None = None
) -> nn.Module:
    """Builds a network of timm with fresh weights.

    Args:
        name: timm's name for it, with or without a pretrained tag.
        num_classes: outputs of the head.
        in_channels: channels of the images.
        drop_rate: dropout before the head; None keeps timm's default.
        image_size: for networks of one fixed input size (most transformers): the size to build for.
    """
    settings: dict[str, Any] = {} if drop_rate is None else {"drop_rate": drop_rate}
    config = timm.get_pretrained_cfg(name)
    if image_size is not None and config is not None and config.fixed_input_size:
        settings["img_size"] = image_size
    return timm.create_model(name, num_classes=num_classes, in_chans=in_channels, **settings)


def timm_info(name: str) -> ModelInfo:
    """Returns the facts about a network of timm; the CAM layer is the last of its feature maps, if it says.

    Raises:
        ModelError: timm knows no such network.
    """
    if not timm.is_model(name):
        raise ModelError(f"unknown model 'timm:{name}'; closest: {closest(name, timm.list_models())}")
    with torch.device("meta"):
        model: Any = timm.create_model(name)
    config = model.pretrained_cfg
    classifier = config["classifier"]
    features = model.feature_info[-1]["module"] if hasattr(model, "feature_info") else ""
    known = dict(model.named_modules())
    return ModelInfo(
        name=f"timm:{name}",
        builder=partial(build_timm, name),
        classifier=classifier if isinstance(classifier, str) else classifier[0],
        cam_layer=features if features in known else "",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        imagenet=f"timm:{name}",
    )


def pretrained_file(name: str) -> tuple[str, str]:
    """Returns the address of timm's pretrained weights for `name` and the name they have on disk.

    Raises:
        ModelError: timm has none.
    """
    config: Any = timm.get_pretrained_cfg(name)
    if config is not None and config.hf_hub_id:
        url = f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
        return url, f"{config.hf_hub_id.rpartition('/')[2]}.safetensors"
    if config is not None and config.url:
        return config.url, config.url.rpartition("/")[2]
    raise ModelError(f"timm has no pretrained weights for {name!r}; give a file's path as weights, or 'none'")
