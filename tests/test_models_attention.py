"""CBAM, BAM and the masking block against their formulas, written out independently."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models import ModelError, create_model
from models.attention import BAM, CBAM
from models.resmasking import Masking


def randomised(module):
    """Gives every parameter and running statistic a value of its own, so that no term can hide."""
    torch.manual_seed(5)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + 0.1 if tensor.dim() == 1 else torch.randn(tensor.shape) * 0.2)
    return module.eval()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm(x, state, prefix, axis=1):
    """Batch norm in eval mode over `axis`, from its definition."""
    shape = [1] * x.ndim
    shape[axis] = -1
    mean, var, weight, bias = (
        state[f"{prefix}.{key}"].reshape(shape) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def convolve(x, kernel, bias=None, padding=0, dilation=1):
    """A convolution as plain sums over shifted images."""
    batch, _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out = np.zeros((batch, kernel.shape[0], height, width))
    for i in range(kernel.shape[2]):
        for j in range(kernel.shape[3]):
            window = padded[:, :, i * dilation : i * dilation + height, j * dilation : j * dilation + width]
            out += np.einsum("bchw,oc->bohw", window, kernel[:, :, i, j])
    return out if bias is None else out + bias[None, :, None, None]


def numpy_state(module):
    return {key: value.double().numpy() for key, value in module.state_dict().items()}


def test_cbam_is_its_formula():
    module, x = randomised(CBAM(32)), torch.randn(3, 32, 9, 7)
    state, f = numpy_state(module), x.double().numpy()

    def mlp(v):
        hidden = np.maximum(v @ state["channel.0.weight"].T + state["channel.0.bias"], 0)
        return hidden @ state["channel.2.weight"].T + state["channel.2.bias"]

    mc = sigmoid(mlp(f.mean(axis=(2, 3))) + mlp(f.max(axis=(2, 3))))
    f1 = f * mc[:, :, None, None]
    both = np.stack([f1.max(axis=1), f1.mean(axis=1)], axis=1)
    ms = sigmoid(norm(convolve(both, state["spatial.0.weight"], padding=3), state, "spatial.1"))
    np.testing.assert_allclose(module(x).detach().numpy(), f1 * ms, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("combine", ["product", "sum"])
def test_bam_is_its_formula(combine):
    module, x = randomised(BAM(32, combine=combine)), torch.randn(3, 32, 9, 7)
    state, f = numpy_state(module), x.double().numpy()
    hidden = f.mean(axis=(2, 3)) @ state["channel.0.weight"].T + state["channel.0.bias"]
    hidden = np.maximum(norm(hidden, state, "channel.1"), 0)
    channel = (hidden @ state["channel.3.weight"].T + state["channel.3.bias"])[:, :, None, None]
    s = f
    for index, padding in ((0, 0), (3, 4), (6, 4)):
        kernel, bias = state[f"spatial.{index}.weight"], state[f"spatial.{index}.bias"]
        s = convolve(s, kernel, bias, padding=padding, dilation=4)
        s = np.maximum(norm(s, state, f"spatial.{index + 1}"), 0)
    spatial = convolve(s, state["spatial.9.weight"], state["spatial.9.bias"])
    gate = sigmoid(channel * spatial if combine == "product" else channel + spatial)
    np.testing.assert_allclose(module(x).detach().numpy(), f * (1 + gate), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [64, 256])
def test_cbam_parameters(channels):
    expected = 2 * channels * channels // 16 + channels // 16 + channels + 100
    assert sum(p.numel() for p in CBAM(channels).parameters()) == expected


@pytest.mark.parametrize(("channels", "expected"), [(256, 17_361), (512, 68_513), (1024, 272_193)])
def test_bam_parameters(channels, expected):
    assert sum(p.numel() for p in BAM(channels).parameters()) == expected


def test_cbams_spatial_gate_starts_at_one_half():
    module = CBAM(16).train()
    assert torch.equal(module.spatial_gate(torch.randn(2, 16, 5, 5)), torch.full((2, 1, 5, 5), 0.5))
    assert module.spatial[1].momentum == 0.01
    assert module.spatial[1].eps == 1e-5


def test_cbams_spatial_convolution_learns_from_the_second_step_on():
    torch.manual_seed(0)
    module, x = CBAM(16).train(), torch.randn(4, 16, 6, 6)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    silent = []
    for _ in range(2):
        optimiser.zero_grad()
        (module(x) * x).sum().backward()
        silent.append(not module.spatial[0].weight.grad.any())
        optimiser.step()
    assert silent == [True, False]


def test_attention_sits_before_the_addition():
    block = create_model("cbam_resnet18", num_classes=7).layer1[0]
    randomised(block)
    x = torch.rand(2, 64, 6, 6)
    branch = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), F.relu(block.attention(branch) + x))


def test_every_unit_of_a_cbam_resnet_has_its_own():
    with torch.device("meta"):
        model = create_model("cbam_resnet50", num_classes=7)
    assert sum(isinstance(module, CBAM) for module in model.modules()) == 3 + 4 + 6 + 3


def test_bam_stands_after_stages_one_to_three():
    with torch.device("meta"):
        model = create_model("bam_resnet50", num_classes=7, combine="sum").eval()
    order = []
    for name in ("layer1", "bam1", "layer2", "bam2", "layer3", "bam3", "layer4"):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: order.append(name))
    model(torch.empty(1, 3, 64, 64, device="meta"))
    assert order == ["layer1", "bam1", "layer2", "bam2", "layer3", "bam3", "layer4"]
    assert {module.combine for module in model.modules() if isinstance(module, BAM)} == {"sum"}


def test_bam_refuses_a_training_batch_of_one():
    module = BAM(32)
    with pytest.raises(ModelError, match="bam needs at least 2 images in a training batch; got 1"):
        module.train()(torch.randn(1, 32, 4, 4))
    assert module.eval()(torch.randn(1, 32, 4, 4)).shape == (1, 32, 4, 4)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: BAM(32, combine="add"), "unknown combine 'add'; closest: "),
        (lambda: CBAM(8), "reduction must be at most the 8 channels; got 16"),
        (lambda: Masking(8, 2, "soft"), "unknown mask_activation 'soft'; closest: softmax"),
        (lambda: Masking(8, 0), "depth of a masking block must be at least 1; got 0"),
    ],
)
def test_bad_settings_are_refused(build, said):
    with pytest.raises(ModelError, match=said):
        build()


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_softmax_masks_sum_to_one_at_every_position(depth):
    module = Masking(8, depth).train()
    x = torch.randn(2, 8, 16, 8) * 3
    mask = module(x)
    assert mask.shape == x.shape
    torch.testing.assert_close(mask.sum(dim=1), torch.ones(2, 16, 8))
    assert mask.std() > 0


def test_sigmoid_masks_are_free_of_each_other():
    mask = Masking(8, 2, "sigmoid").train()(torch.randn(2, 8, 8, 8))
    assert mask.min() > 0 and mask.max() < 1
    assert not torch.allclose(mask.sum(dim=1), torch.ones(2, 8, 8))


def test_masking_of_depth_two_is_its_formula():
    module, x = randomised(Masking(4, 2)), torch.randn(2, 4, 6, 6)

    def bb(name, x):
        state = {key.removeprefix(f"{name}."): value for key, value in module.state_dict().items()}

        def bn(x, prefix):
            stats = [state[f"{prefix}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
            return F.batch_norm(x, *stats, eps=1e-5)

        out = F.relu(bn(F.conv2d(x, state["conv1.weight"], padding=1), "bn1"))
        out = bn(F.conv2d(out, state["conv2.weight"], padding=1), "bn2")
        return F.relu(out + bn(F.conv2d(x, state["downsample.0.weight"]), "downsample.1"))

    def up(name, x):
        state = {key.removeprefix(f"{name}."): value for key, value in module.state_dict().items()}
        out = F.conv_transpose2d(x, state["0.weight"], state["0.bias"], stride=2)
        stats = [state[f"1.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(out, *stats, eps=1e-5))

    x1 = bb("conv1", x)
    x2 = bb("conv2", F.max_pool2d(x1, 2))
    y = bb("conv3", torch.cat([up("up_pool3", x2), x1], dim=1))
    torch.testing.assert_close(module(x), bb("conv4", y).softmax(dim=1))


def test_masks_start_as_their_shortcuts():
    module = Masking(4, 3)
    units = [part for name, part in module.named_children() if name.startswith("conv")]
    assert len(units) == 6
    assert all(not unit.bn2.weight.any() and unit.bn1.weight.all() for unit in units)
    deviation = module.conv2.conv1.weight.std().item()
    assert deviation == pytest.approx((2 / (16 * 9)) ** 0.5, rel=0.1)  # Kaiming, fan out


def test_masking_block_refuses_what_it_cannot_halve():
    with pytest.raises(ModelError, match="masking block of depth 4 needs multiples of 8; got 12 x 12"):
        Masking(4, 4)(torch.zeros(1, 4, 12, 12))


def test_resmasking_weighs_every_stage_by_one_plus_its_mask():
    torch.manual_seed(0)
    model = create_model("resmasking", num_classes=7, mask_activation="sigmoid").eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        x = model.maxpool(F.relu(model.bn1(model.conv1(images))))
        for layer, mask in (
            (model.layer1, model.mask1),
            (model.layer2, model.mask2),
            (model.layer3, model.mask3),
            (model.layer4, model.mask4),
        ):
            x = layer(x)
            x = x + x * mask(x)
        torch.testing.assert_close(model(images), model.fc(x.mean(dim=(2, 3))))
        assert [mask.depth for mask in (model.mask1, model.mask2, model.mask3, model.mask4)] == [4, 3, 2, 1]


def test_resmasking_heads():
    with torch.device("meta"):
        dropout1 = create_model("resmasking_dropout1", num_classes=7).fc
        dropout2 = create_model("resmasking_dropout2", num_classes=7).fc
    assert dropout1[0].p == 0.4 and dropout1[1].in_features == 512
    assert [part.in_features for part in dropout2 if isinstance(part, torch.nn.Linear)] == [512, 128]
    assert dropout2[2].p == 0.5
