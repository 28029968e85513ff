"""Maps say what the network computes: against captum, by hand, over the registry, and with the weights lost."""

import copy

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from conftest import refusal
from scipy.stats import spearmanr
from torch import nn

from models import create_model, list_models, model_info
from utils.augment import view_batch
from utils.config import Config
from utils.datasets.drawn_faces import draw_face
from utils.explaining.cams import by_gradient, gradcam, gradcam_plus_plus, layercam, scorecam
from utils.explaining.masks import mask_effects
from utils.explaining.methods import CAMS, METHODS, explain
from utils.explaining.pixels import flat, integrated_gradients
from utils.explaining.regions import CROPPED, REGIONS, drawn, energy_shares, region_masks
from utils.explaining.trust import STEPS, area, deletion_insertion, randomised_similarity, rank_correlation
from utils.explaining.watching import watching
from utils.inference import Recognizer
from utils.shipped import network_path

CAM_NETWORKS = [name for name in list_models() if model_info(name).cam_layer]
FACES = np.stack([draw_face(expression, subject=0, seed=0) for expression in range(7)])


@pytest.fixture(scope="module")
def shipped() -> Recognizer:
    return Recognizer(network_path(None, Config()), precision="fp32")


@pytest.fixture(scope="module")
def said(shipped) -> np.ndarray:
    return shipped.probabilities(FACES, views=1).argmax(1)


class Trap(nn.Module):
    """A convolution whose result an in-place ReLU overwrites: the published trap of maps by hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.features(x)).mean((2, 3)))


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


def test_gradcam_is_captums(shipped, said):
    layer = model_info(shipped.config.arch).cam_layer
    x = view_batch(torch.from_numpy(FACES), 0, shipped.config)
    targets = torch.from_numpy(said)
    with watching(shipped.model, layer):  # captum lets an in-place ReLU behind the layer overwrite what it saw
        theirs = LayerGradCam(shipped.model, shipped.model.get_submodule(layer)).attribute(x, targets)
    theirs = nn.functional.interpolate(theirs.relu(), x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    ours = explain(shipped.model, FACES, said, shipped.config, "gradcam")
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_weights_by_hand():
    activation = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    gradient = torch.tensor([[[[1.0, 3.0]], [[-1.0, 1.0]]]])
    assert gradcam(activation, gradient).tolist() == [[[2.0, 4.0]]]
    assert layercam(activation, gradient).tolist() == [[[1.0, 6.0]]]
    # channel 0: sum 3; alpha 1/(2+3), 9/(18+81); channel 1: sum 3; alpha 1/(2-3) for a negative gradient, 1/(2+3)
    first, second = 1 / 5 + 3 * 9 / 99, 1 / 5
    np.testing.assert_allclose(gradcam_plus_plus(activation, gradient), [[[first + 3 * second, 2 * first]]], rtol=1e-6)


def test_scorecam_follows_the_channel_that_the_class_needs():
    model = Trap().eval()
    with torch.no_grad():
        model.features.weight.zero_()
        model.features.bias.zero_()
        model.features.weight[0, 0, 1, 1], model.features.weight[1, 0, 1, 1] = 1, -1  # bright, and dark, pixels
        model.head.weight.zero_()
        model.head.weight[0, 0] = 500
    x = torch.full((1, 1, 8, 8), -1.0)
    x[:, :, :4] = 1.0
    found = scorecam(model, x, torch.tensor([0]), "features", 2)[0]
    assert found[:4].min() > 0 and found[4:].max() == 0


def test_in_place_relu_overwrites_nothing():
    torch.manual_seed(0)
    trap = Trap().eval()
    honest = copy.deepcopy(trap)
    honest.relu = nn.ReLU()
    x, targets = torch.randn(2, 1, 8, 8), torch.tensor([0, 2])
    for weigh in (gradcam, gradcam_plus_plus, layercam):
        assert torch.equal(
            by_gradient(weigh, trap, x, targets, "features"), by_gradient(weigh, honest, x, targets, "features")
        )
    with watching(trap, "features") as seen:
        trap(x)
    assert seen["features"][0].output.min() < 0


@pytest.mark.parametrize("name", CAM_NETWORKS)
def test_every_network_gives_its_layers_true_output(name):
    """What is noted of the layer is what it gave, whatever comes behind it, and no hook stays."""
    info = model_info(name)
    side = max(info.min_size, info.size_multiple)
    model = create_model(name, num_classes=7).eval()
    own, given = hooks_of(model), {}
    layer = model.get_submodule(info.cam_layer)
    handle = layer.register_forward_hook(lambda _, __, output: given.update(output=output.detach().clone()))
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    with watching(model, info.cam_layer) as seen:
        logits = model(x)
        (gradient,) = torch.autograd.grad(logits[0, 0], seen[info.cam_layer][-1].output)
    handle.remove()
    output = seen[info.cam_layer][-1].output
    assert torch.equal(output, given["output"]) and output.ndim == 4 and gradient.shape == output.shape
    assert hooks_of(model) == own


@pytest.mark.parametrize("method", METHODS)
def test_model_is_left_as_it_was(shipped, said, method):
    before, own = {key: value.clone() for key, value in shipped.model.state_dict().items()}, hooks_of(shipped.model)
    shipped.model.train()
    maps = explain(shipped.model, FACES[:2], said[:2], shipped.config, method)
    assert shipped.model.training
    shipped.model.eval()
    side = shipped.config.image_size
    assert maps.shape == (2, side, side) and maps.dtype == np.float32 and np.isfinite(maps).all()
    assert np.ptp(maps, axis=(1, 2)).min() > 0
    assert hooks_of(shipped.model) == own and all(p.grad is None for p in shipped.model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in shipped.model.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_network_loaded_twice_gives_equal_maps(shipped, said, method):
    again = Recognizer(network_path(None, Config()), precision="fp32")
    first, second = (explain(r.model, FACES[:2], said[:2], r.config, method) for r in (shipped, again))
    np.testing.assert_array_equal(first, second)


def test_integrated_gradients_add_up_to_the_logit(shipped, said, monkeypatch):
    x, targets = view_batch(torch.from_numpy(FACES), 0, shipped.config), torch.from_numpy(said)
    with torch.no_grad():
        rise = (shipped.model(x) - shipped.model(flat(x))).gather(1, targets[:, None])[:, 0]
    found = integrated_gradients(shipped.model, x, targets, 64).sum((1, 2))
    np.testing.assert_allclose(found, rise, atol=0.2)  # of a rise by up to 4
    monkeypatch.setattr("utils.explaining.pixels.STEPS", 512)  # what is left is the sum's distance from the integral
    found = integrated_gradients(shipped.model, x[:3], targets[:3], 64).sum((1, 2))
    np.testing.assert_allclose(found, rise[:3], atol=0.02)


def test_maps_change_when_the_weights_are_lost(shipped, said):
    for method, faces in (("gradcam", 7), ("smoothgrad", 2)):  # the second is slow
        alike = randomised_similarity(shipped.model, FACES[:faces], said[:faces], shipped.config, method)
        assert alike[0] == ("trained", 1.0) and alike[-1][1] < 0.5, (method, alike)


def test_rank_correlation_is_spearmans():
    one, other = np.random.default_rng(0).integers(0, 5, (2, 6, 6)).astype(float)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert rank_correlation(one, np.ones_like(one)) == 0


def test_occlusion_map_beats_random_order(shipped, said):
    maps = explain(shipped.model, FACES, said, shipped.config, "occlusion")
    chance = np.random.default_rng(0).random(maps.shape)
    ours, theirs = (deletion_insertion(shipped.model, FACES, said, shipped.config, m) for m in (maps, chance))
    assert ours[0].shape == (7, STEPS + 1)
    np.testing.assert_allclose(ours[0][:, 0], shipped.probabilities(FACES, views=1).max(1), rtol=1e-5)
    np.testing.assert_allclose(ours[1][:, -1], ours[0][:, 0], rtol=1e-5)
    assert area(ours[1]).mean() > area(theirs[1]).mean()


def test_regions_part_the_picture_and_hold_what_they_name():
    for boxes in (CROPPED, drawn(3, 0)):
        masks = region_masks(boxes, 48)
        assert tuple(masks) == REGIONS and (sum(mask.astype(int) for mask in masks.values()) == 1).all()
    masks = region_masks(drawn(0, 0), FACES.shape[1])
    moved = np.abs(FACES[5].astype(float) - FACES[6])  # surprise less neutral: mouth, eyes and brows move
    shares = dict(zip(REGIONS, energy_shares(moved[None], masks)[0], strict=True))
    assert shares["mouth"] + shares["eyes"] + shares["brows"] > 0.5 and shares["border"] < 0.05
    assert np.isnan(energy_shares(np.zeros((1, 4, 4)), region_masks(CROPPED, 4))).all()


def test_masks_show_what_flows_through_them():
    torch.manual_seed(0)
    config = Config(arch="resmasking_dropout1", image_size=64, num_classes=7, in_channels=3, device="cpu")
    model = create_model(config.arch, num_classes=7).eval()
    own = hooks_of(model)
    effects = mask_effects(model, FACES[:2], config)
    assert [effect.name for effect in effects] == ["mask1", "mask2", "mask3", "mask4"] and hooks_of(model) == own
    for effect in effects:
        low, high = 1 / effect.channels, effect.channels**-0.5
        assert low * 0.999 <= effect.mask.min() and effect.mask.max() <= high * 1.001
        assert (effect.gain >= 0).all() and effect.input.shape == effect.output.shape


def test_refusals(shipped, said):
    def ask(method="gradcam", targets=said, **options):
        return refusal(lambda: explain(shipped.model, FACES, targets, shipped.config, method, **options))

    assert "did you mean 'gradcam'?" in ask("gradcm")
    assert "the network has 7" in ask(targets=np.full(7, 7))
    assert "no layer 'stage9'" in ask(layer="stage9")
    head = model_info(shipped.config.arch).classifier
    assert "no feature map" in ask(layer=head)
    assert set(CAMS) < set(METHODS)
