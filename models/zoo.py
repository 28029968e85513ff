"""The networks taken from torchvision and timm, with one head adaptation and one input adaptation."""

from typing import Any

import torch
from torch import nn

from models.layers import Classifier, init_head
from models.registry import HALF, register_model

EFFICIENTNET_B2 = "tf_efficientnet_b2.aa_in1k"


def _library(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A network of torchvision with fresh weights; imported here, because most runs need none and it takes a second."""
    from models.torchvision_compat import torchvision

    return getattr(torchvision.models, name)(num_classes=num_classes, **options)


def adapted(model: nn.Module, classifier: str, in_channels: int, drop_rate: float | None) -> nn.Module:
    """Gives a network of the library a fresh head near zero, its dropout rate and its input channels."""
    _adapt_head(model, classifier, drop_rate)
    if in_channels == 1:
        _adapt_input(model)
    return model


def _adapt_head(model: nn.Module, classifier: str, drop_rate: float | None) -> None:
    head = model.get_submodule(classifier)
    assert isinstance(head, nn.Linear)
    init_head(head)
    if drop_rate is None:
        return
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    for dropout in dropouts:
        dropout.p = drop_rate
    if not dropouts:
        model.set_submodule(classifier, Classifier(head.in_features, head.out_features, drop_rate))


def _adapt_input(model: nn.Module) -> None:
    """Replaces the first convolution by a grey one that does to x what the old one did to (x, x, x)."""
    path, conv = next((path, part) for path, part in model.named_modules() if isinstance(part, nn.Conv2d))
    fresh = nn.Conv2d(
        1,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    with torch.no_grad():
        fresh.weight.copy_(conv.weight.sum(dim=1, keepdim=True))
        if fresh.bias is not None and conv.bias is not None:
            fresh.bias.copy_(conv.bias)
    model.set_submodule(path, fresh)


def _open_cam_layer(model: nn.Module, path: str) -> nn.Module:
    """Lets hooks see the last ReLU's output: an in-place one overwrites what a backward hook guards."""
    relu = model.get_submodule(path)
    assert isinstance(relu, nn.ReLU)
    relu.inplace = False
    return model


@register_model(classifier="classifier.6", cam_layer="features.11", min_size=63, imagenet="torchvision:alexnet")
def alexnet(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """AlexNet in torchvision's one-column form (Krizhevsky, arXiv 1404.5997)."""
    model = _library("alexnet", num_classes)
    return _open_cam_layer(adapted(model, "classifier.6", in_channels, drop_rate), "features.11")


@register_model(classifier="classifier.6", cam_layer="features.35", min_size=32, imagenet="torchvision:vgg19")
def vgg19(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """VGG-19, configuration E (Simonyan and Zisserman, ICLR 2015)."""
    model = _library("vgg19", num_classes)
    return _open_cam_layer(adapted(model, "classifier.6", in_channels, drop_rate), "features.35")


@register_model(classifier="classifier.6", cam_layer="features.51", min_size=32, imagenet="torchvision:vgg19_bn")
def vgg19_bn(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """VGG-19 with batch norm (Simonyan and Zisserman, ICLR 2015)."""
    model = _library("vgg19_bn", num_classes)
    return _open_cam_layer(adapted(model, "classifier.6", in_channels, drop_rate), "features.51")


# torchvision's GoogLeNet and Inception weights were trained on [-1, 1], hence mean and std of one half.
_INCEPTION_FACTS: dict[str, Any] = {"classifier": "fc", "mean": HALF, "std": HALF}


@register_model(**_INCEPTION_FACTS, cam_layer="inception5b", min_size=32, imagenet="torchvision:googlenet")
def googlenet(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """GoogLeNet with batch norm and without auxiliary heads (Szegedy et al., CVPR 2015)."""
    model = _library("googlenet", num_classes, aux_logits=False, init_weights=True)
    return adapted(model, "fc", in_channels, drop_rate)


@register_model(
    **_INCEPTION_FACTS,
    auxiliary="AuxLogits.fc",
    cam_layer="Mixed_7c",
    min_size=75,
    imagenet="torchvision:inception_v3",
)
def inception_v3(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """Inception v3 (Szegedy et al., CVPR 2016); returns (logits, aux_logits) while training."""
    from models.inception_aux import InceptionAux

    model = _library("inception_v3", num_classes, aux_logits=True, init_weights=True)
    model.AuxLogits = InceptionAux(768, num_classes)
    init_head(model.AuxLogits.fc)
    return adapted(model, "fc", in_channels, drop_rate)


# The dense block and not the norm after it: torchvision applies an in-place ReLU to the norm's output.
@register_model(
    classifier="classifier", cam_layer="features.denseblock4", min_size=32, imagenet="torchvision:densenet121"
)
def densenet121(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """DenseNet-121 (Huang et al., CVPR 2017)."""
    return adapted(_library("densenet121", num_classes), "classifier", in_channels, drop_rate)


@register_model(classifier="classifier.1", cam_layer="features.18", min_size=32, imagenet="torchvision:mobilenet_v2")
def mobilenet_v2(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """MobileNet v2 (Sandler et al., CVPR 2018)."""
    model = _library("mobilenet_v2", num_classes)
    return adapted(model, "classifier.1", in_channels, drop_rate)


@register_model(classifier="classifier", cam_layer="bn2", min_size=32, imagenet=f"timm:{EFFICIENTNET_B2}")
def efficientnet_b2b(num_classes: int, in_channels: int, drop_rate: float | None) -> nn.Module:
    """EfficientNet-B2 as converted from TensorFlow (Tan and Le, ICML 2019); dropout 0.3 by default."""
    from models.timm_door import build_timm  # timm takes a second to import; most runs need none of it

    rate = 0.3 if drop_rate is None else drop_rate
    model = build_timm(EFFICIENTNET_B2, num_classes, in_channels, rate)
    return adapted(model, "classifier", in_channels, drop_rate=None)
