"""Every network for real, at its smallest size: first loss, gradients, batch invariance, learning."""

import math
import re

import pytest
import torch
from torch.nn import functional as F

from models import count_parameters, create_model, list_models, model_info
from models.torchvision_compat import torchvision

NUM_CLASSES = 7
# What has no gradient on the first step, by design: what lies before a batch norm whose weight starts at 0.
SILENT_AT_FIRST = re.compile(r"attention\.spatial\.0\.weight|mask\d\.conv\d+\.(conv1|bn1|conv2)\.")


@pytest.fixture(scope="module", params=list_models())
def case(request):
    """A fresh network and 16 images: (name, model, images, labels); tests of one network share it."""
    name = request.param
    torch.manual_seed(0)
    model = create_model(name, num_classes=NUM_CLASSES)
    size = model_info(name).min_size if model_info(name).min_size >= 32 else 24
    return name, model, soft_images(16, size), torch.arange(16) % NUM_CLASSES


def soft_images(count, size):
    """Images [count, 3, size, size] of a few soft blots, in which faces are nearer than in white noise."""
    return F.interpolate(torch.randn(count, 3, 4, 4), size=size, mode="bicubic")


def loss_of(model, images, labels):
    """Cross-entropy; an auxiliary head counts 0.4, as its authors have it."""
    out = model(images)
    logits, aux = out if isinstance(out, tuple) else (out, None)
    loss = F.cross_entropy(logits, labels)
    return loss if aux is None else loss + 0.4 * F.cross_entropy(aux, labels)


def test_first_loss_is_that_of_guessing(case):
    name, model, images, labels = case
    model.train()
    expected = math.log(NUM_CLASSES) * (1.4 if name == "inception_v3" else 1)
    with torch.no_grad():
        assert loss_of(model, images, labels).item() == pytest.approx(expected, abs=0.15)


def test_every_parameter_gets_a_gradient(case):
    name, model, images, labels = case
    model.train()
    model.zero_grad()
    loss_of(model, images[:4], labels[:4]).backward()
    silent = []
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        if not parameter.grad.any():
            silent.append(key)
    model.zero_grad(set_to_none=True)
    assert [key for key in silent if not SILENT_AT_FIRST.search(key)] == []


def test_one_image_alone_gives_what_it_gives_in_a_batch(case):
    name, model, images, labels = case
    model.eval()
    with torch.inference_mode():
        together = model(images[:3])
        alone = torch.cat([model(image[None]) for image in images[:3]])
    assert together.shape == (3, NUM_CLASSES)
    scale = together.abs().max().item()
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4 * max(1.0, scale))


def test_backward_hooks_reach_the_cam_layer(case):
    name, model, images, labels = case
    model.eval()
    gradients = []
    layer = model.get_submodule(model_info(name).cam_layer)
    images = images[:2].clone().requires_grad_()
    handle = layer.register_full_backward_hook(lambda module, before, after: gradients.append(after[0]))
    try:
        model(images)[:, 0].sum().backward()
    finally:
        handle.remove()
        model.zero_grad(set_to_none=True)
    assert gradients[0].dim() == 4 and gradients[0].any()


def test_it_learns(case):
    name, model, images, labels = case
    torch.manual_seed(1)
    model.train()
    large = count_parameters(model) > 30_000_000
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # the images are to be learnt by heart
    if large:
        # Eight steps are too few for VGG without batch norm to tell images apart: two classes of seven occur.
        images, labels = images[:8], labels[:8] % 2
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4 if large else 1e-3, weight_decay=0.0)
    losses, goal = [], 0.2
    for _ in range(8 if large else 200):
        optimiser.zero_grad()
        loss = loss_of(model, images, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        losses.append(loss.item())
        goal = 0.8 * losses[0] if large else 0.2
        if losses[-1] < goal:
            break
    assert losses[-1] < goal


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_compute_what_torchvisions_do(name):
    torch.manual_seed(0)
    reference = torchvision.models.get_model(name, num_classes=NUM_CLASSES).eval()
    ours = create_model(name, num_classes=NUM_CLASSES).eval()
    assert ours.load_state_dict(reference.state_dict()) is not None
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), reference(images))


@pytest.mark.parametrize("layers", [34, 101, 152])
def test_resnets_have_torchvisions_parameters(layers):
    with torch.device("meta"):
        reference = torchvision.models.get_model(f"resnet{layers}", num_classes=NUM_CLASSES)
        ours = create_model(f"resnet{layers}", num_classes=NUM_CLASSES)
    assert shapes(ours) == shapes(reference)


@pytest.mark.parametrize("name", ["cbam_resnet50", "bam_resnet50", "resmasking"])
def test_attention_resnets_hold_the_plain_trunk(name):
    with torch.device("meta"):
        trunk = create_model("resnet34" if name == "resmasking" else "resnet50", num_classes=NUM_CLASSES)
        model = create_model(name, num_classes=NUM_CLASSES)
    assert shapes(trunk).items() <= shapes(model).items()


def test_vggface_strides_on_the_first_1x1_and_pools_without_padding():
    model = create_model("resnet50_pretrained_vgg", num_classes=NUM_CLASSES).eval()
    for layer in (model.layer2, model.layer3, model.layer4):
        assert (layer[0].conv1.stride, layer[0].conv2.stride) == ((2, 2), (1, 1))
    # 3x3 windows at stride 2 on 16 pixels: without padding 7, and the ceiling adds the cut one.
    assert model.maxpool(torch.zeros(1, 64, 16, 16)).shape[-1] == 8


@pytest.mark.parametrize("size", [75, 299])
def test_inception_returns_both_heads_while_training(size):
    model = create_model("inception_v3", num_classes=NUM_CLASSES)
    images = torch.rand(2, 3, size, size)
    logits, aux_logits = model.train()(images)
    assert logits.shape == aux_logits.shape == (2, NUM_CLASSES)
    assert model.eval()(images).shape == (2, NUM_CLASSES)


def test_inceptions_auxiliary_head_is_torchvisions_at_299_pixels():
    reference = torchvision.models.inception.InceptionAux(768, NUM_CLASSES).eval()
    ours = create_model("inception_v3", num_classes=NUM_CLASSES).AuxLogits.eval()
    ours.load_state_dict(reference.state_dict())
    features = torch.randn(2, 768, 17, 17)
    with torch.inference_mode():
        torch.testing.assert_close(ours(features), reference(features))


def test_a_seed_fixes_the_first_weights():
    torch.manual_seed(3)
    first = create_model("compact_vgg", num_classes=NUM_CLASSES).state_dict()
    torch.manual_seed(3)
    second = create_model("compact_vgg", num_classes=NUM_CLASSES).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_grey_networks_learn_too():
    torch.manual_seed(0)
    for name in ("tiny_resnet", "mobilenet_v2"):
        model = create_model(name, num_classes=NUM_CLASSES, in_channels=1)
        loss = loss_of(model, torch.rand(4, 1, 48, 48), torch.arange(4))
        loss.backward()
        assert next(iter(model.parameters())).grad.any()


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}
