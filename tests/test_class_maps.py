"""Class activation maps without gradients: found where a network has them, true to its logits, and never in the way."""

import pytest
import torch
from torch import nn

from models import ModelError, create_model, model_info
from models.class_maps import Mapped, averaged_map, kept

# Those that end in an average over positions and one linear layer, and those that do not.
FAMILIES = {"quick_vgg": True, "cbam_resnet18": True, "compact_densenet": True, "alexnet": False}


def network(arch):
    torch.manual_seed(0)
    return create_model(arch, num_classes=7, in_channels=1).eval(), torch.rand(2, 1, 64, 64)


@pytest.mark.parametrize("arch", FAMILIES)
def test_maps_average_to_the_logits_less_their_bias(arch):
    model, images = network(arch)
    with torch.no_grad():
        expected = model(images)
        mapped = Mapped(model, model_info(arch), images)
        logits, maps = mapped(images)
    assert torch.equal(logits, expected)
    assert (maps is not None) == FAMILIES[arch] == (mapped.place is not None)
    if maps is not None:
        bias = model.get_submodule(model_info(arch).classifier).bias
        torch.testing.assert_close(maps.mean((2, 3)) + bias, logits, atol=1e-4, rtol=1e-4)


def test_maps_are_the_same_with_which_torch_would_weigh_the_features():
    model, images = network("quick_vgg")
    info = model_info("quick_vgg")
    with torch.no_grad():
        _, maps = Mapped(model, info, images)(images)
        seen = {}
        hook = model.get_submodule(info.cam_layer).register_forward_hook(lambda _, __, y: seen.update(y=y))
        model(images)
        hook.remove()
        weight = model.get_submodule(info.classifier).weight
        torch.testing.assert_close(maps, torch.einsum("kc,bchw->bkhw", weight, seen["y"]), atol=1e-4, rtol=1e-4)


def test_no_map_where_the_last_linear_layer_is_not_the_last_word():
    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 7)

        def forward(self, x):
            return self.fc(self.conv(x).mean((2, 3))) ** 2

    model, images = Squared().eval(), torch.rand(2, 1, 8, 8)
    assert averaged_map(model, "fc", images) is None
    assert averaged_map(model, "conv", images) is None


def test_no_hook_stays_behind_even_after_an_error():
    model, images = network("tiny_resnet")
    before = hooks(model)  # the registry's own, which checks what comes in
    Mapped(model, model_info("tiny_resnet"), images)(images)
    place = averaged_map(model, model_info("tiny_resnet").classifier, images)
    with pytest.raises(ModelError), kept(model, [place]):
        model(torch.rand(2, 5, 64, 64))
    assert hooks(model) == before


def hooks(model):
    return [(*module._forward_hooks, *module._forward_pre_hooks) for module in model.modules()]
