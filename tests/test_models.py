"""The registry: names, facts, counts, options, sizes and the refusals that come before any training."""

import copy
import math
import pickle

import pytest
import torch

import models
from models import ModelError, count_flops, count_parameters, create_model, list_models, model_info
from models.registry import register_model

# With a 7-way head and 3 channels. Exact where the contract gives digits, else in millions.
PARAMETERS = {"alexnet": 57_032_519, "resmasking": 137_796_423}
MILLIONS = {
    "vgg19": 139.60,
    "vgg19_bn": 139.61,
    "resnet18": 11.18,
    "resnet34": 21.29,
    "resnet50": 23.52,
    "resnet101": 42.51,
    "resnet152": 58.16,
    "googlenet": 5.61,
    "densenet121": 6.96,
    "efficientnet_b2b": 7.71,
    "cbam_resnet50": 26.05,
    "bam_resnet50": 23.88,
    "resnet50_pretrained_vgg": 23.52,
}
GFLOPS_AT_224 = {
    "alexnet": 1.42,
    "vgg19": 39.3,
    "resnet18": 3.63,
    "resnet34": 7.33,
    "resnet50": 8.17,
    "resnet101": 15.6,
    "resnet152": 23.0,
    "googlenet": 3.0,
    "inception_v3": 5.7,
    "densenet121": 5.7,
    "efficientnet_b2b": 1.3,
    "cbam_resnet50": 8.2,
    "bam_resnet50": 8.3,
    "resmasking": 43.8,
}


def on_meta(name: str, **settings):
    """A network without memory or arithmetic: shapes and counts only."""
    with torch.device("meta"):
        return create_model(name, **{"num_classes": 7, **settings})


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameter_count_to_the_digit(name, count):
    assert count_parameters(on_meta(name)) == count


@pytest.mark.parametrize(("name", "millions"), MILLIONS.items())
def test_parameter_count_to_the_stated_precision(name, millions):
    assert count_parameters(on_meta(name)) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize(("name", "count"), [("cbam_resnet50", 28_089_624), ("bam_resnet50", 25_915_099)])
def test_parameter_count_with_1000_classes(name, count):
    assert count_parameters(on_meta(name, num_classes=1000)) == count


def test_inception_counts_without_its_auxiliary_head():
    model = on_meta("inception_v3")
    without_aux = count_parameters(model) - count_parameters(model.AuxLogits)
    assert without_aux / 1e6 == pytest.approx(21.80, abs=0.006)


@pytest.mark.parametrize(("name", "gflops"), GFLOPS_AT_224.items())
def test_flops_at_224_pixels(name, gflops):
    assert count_flops(on_meta(name), 224) / 1e9 == pytest.approx(gflops, rel=0.03)


def test_counting_flops_leaves_the_model_as_it_was():
    model = create_model("tiny_resnet", num_classes=7)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    # By hand, the head alone: 192 x 7 multiply-adds; the whole is far more.
    assert count_flops(model, 48) > 2 * 192 * 7
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("name", list_models())
def test_every_network_takes_or_refuses_each_size(name, in_channels):
    model = on_meta(name, in_channels=in_channels).eval()
    info = model_info(name)
    taken = 0
    for size in (48, 64, 80, 224):
        images = torch.empty(2, in_channels, size, size, device="meta")
        if size >= info.min_size and size % info.size_multiple == 0:
            assert model(images).shape == (2, 7)
            models.check_input_size(name, size)
            taken += 1
        else:
            with pytest.raises(ModelError, match=f"{name} needs .*; got {size}"):
                model(images)
            with pytest.raises(ModelError, match=f"{name} needs .*; got {size}"):
                models.check_input_size(name, size)
    assert taken >= 2


@pytest.mark.parametrize("name", list_models())
def test_smallest_input_is_really_taken_and_one_step_below_is_refused(name):
    info = model_info(name)
    model = on_meta(name).eval()
    size = info.min_size
    assert model(torch.empty(2, 3, size, size, device="meta")).shape == (2, 7)
    below = size - info.size_multiple
    with pytest.raises(ModelError, match=f"at least {size} x {size} pixels; got {below}"):
        model(torch.empty(2, 3, below, below, device="meta"))


@pytest.mark.parametrize("name", list_models())
def test_the_paths_among_the_facts_exist(name):
    num_classes = 5
    info = model_info(name)
    assert info.name == name == info.builder.__name__
    model = on_meta(name, num_classes=num_classes).eval()
    classifier = model.get_submodule(info.classifier)
    assert isinstance(classifier, torch.nn.Linear)
    assert classifier.out_features == num_classes
    maps = []
    model.get_submodule(info.cam_layer).register_forward_hook(lambda module, args, out: maps.append(out))
    size = max(64, math.ceil(info.min_size / 32) * 32)
    assert model(torch.empty(2, 3, size, size, device="meta")).shape == (2, num_classes)
    assert maps[0].dim() == 4 and maps[0].shape[0] == 2


def test_rectangular_images_are_taken():
    assert on_meta("resmasking").eval()(torch.empty(1, 3, 64, 96, device="meta")).shape == (1, 7)


@pytest.mark.parametrize(
    ("options", "size"), [({"stem": "imagenet"}, 64), ({"stem": "conv3_pool"}, 48), ({"stem": "conv3"}, 40)]
)
@pytest.mark.parametrize("name", ["resnet18", "cbam_resnet18", "bam_resnet18", "resmasking"])
def test_smaller_stems_keep_more_of_a_small_image(name, options, size):
    models.check_input_size(name, size, options)
    model = on_meta(name, image_size=size, **options).eval()
    maps = []
    model.layer4.register_forward_hook(lambda module, args, out: maps.append(out))
    assert model(torch.empty(1, 3, size, size, device="meta")).shape == (1, 7)
    reduction = {"imagenet": 32, "conv3_pool": 16, "conv3": 8}[options["stem"]]
    assert maps[0].shape[-1] == size // reduction


def test_resmasking_says_why_48_pixels_do_not_fit():
    with pytest.raises(ModelError, match="resmasking needs an image size that is a multiple of 32; got 48"):
        create_model("resmasking", num_classes=7, image_size=48)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            torch.zeros(2, 1, 48, 48),
            r"takes floating-point images \[B, 3, H, W\]; got float32 \[2, 1, 48, 48\]",
        ),
        (torch.zeros(2, 3, 48, 48, dtype=torch.uint8), "got uint8"),
        (torch.zeros(3, 48, 48), r"got float32 \[3, 48, 48\]"),
    ],
)
def test_unsuitable_images_are_refused_in_one_line(images, said):
    model = create_model("tiny_resnet", num_classes=7)
    with pytest.raises(ModelError, match=said) as refusal:
        model(images)
    assert "\n" not in str(refusal.value)


def test_unknown_name_answers_with_the_closest():
    with pytest.raises(ModelError, match="^unknown model 'resnet81'; closest: resnet18, "):
        create_model("resnet81", num_classes=7)


def test_a_python_attribute_is_not_a_model():
    with pytest.raises(ModelError, match="unknown model '__doc__'"):
        model_info("__doc__")


def test_a_duplicate_name_raises():
    def resnet18(num_classes, in_channels, drop_rate):
        raise AssertionError("never built")

    before = model_info("resnet18")
    with pytest.raises(ValueError, match="model 'resnet18' is registered twice"):
        register_model(classifier="fc", cam_layer="layer4")(resnet18)
    assert model_info("resnet18") is before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stme": "conv3"}, "resnet18 has no option 'stme'; it accepts: stem"),
        ({"stem": "conv4"}, "unknown stem 'conv4'; closest: conv3"),
        ({"stem": None}, "unknown stem None"),
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1; got 0"),
        ({"num_classes": True}, "num_classes must be .* got True"),
        ({"in_channels": 2}, "in_channels must be 1 or 3; got 2"),
        ({"drop_rate": 1.0}, "drop_rate must be at least 0 and below 1; got 1.0"),
        ({"drop_rate": "half"}, "drop_rate must be .* got 'half'"),
        ({"image_size": 31}, "resnet18 needs images of at least 32 x 32 pixels; got 31"),
        ({"weights": "Imagenet"}, "Imagenet: no such weights file"),
    ],
)
def test_bad_settings_are_refused(settings, said):
    with pytest.raises(ModelError, match=said):
        create_model("resnet18", **{"num_classes": 7, **settings})


@pytest.mark.parametrize(
    "options",
    [{"widths": (64, 0)}, {"widths": ()}, {"widths": 64}, {"blocks": (1, 1)}, {"stem_width": 1.5}],
)
def test_bad_compact_shapes_are_refused(options):
    with pytest.raises(ModelError, match=next(iter(options))):
        create_model("compact_resnet", num_classes=7, **options)


def test_compact_networks_take_other_shapes():
    model = on_meta("compact_resnet", widths=[24, 48], blocks=[1, 3], stem_width=8).eval()
    assert [len(stage) for stage in model.stages] == [1, 3]
    assert model(torch.empty(2, 3, 48, 48, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("name", list_models())
def test_drop_rate_reaches_the_head(name):
    model = on_meta(name, drop_rate=0.125)
    classifier = model.get_submodule(model_info(name).classifier)
    rates = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    own = getattr(classifier, "drop_rate", 0.0) or getattr(model, "drop_rate", 0.0)
    assert 0.125 in rates or own == 0.125


def test_drop_rate_does_not_change_the_names_of_parameters():
    assert on_meta("resnet18", drop_rate=0.5).state_dict().keys() == on_meta("resnet18").state_dict().keys()


def test_the_door_to_timm():
    model = create_model("timm:resnet10t", num_classes=7, in_channels=1, drop_rate=0.1, image_size=48)
    info = model_info("timm:resnet10t")
    assert info.name == "timm:resnet10t"
    assert model.get_submodule(info.classifier).out_features == 7
    assert isinstance(model.get_submodule(info.cam_layer), torch.nn.Module) and info.cam_layer == "layer4"
    assert model.eval()(torch.randn(2, 1, 48, 48)).shape == (2, 7)


def test_timm_builds_a_transformer_for_the_size_asked():
    model = create_model("timm:vit_tiny_patch16_224", num_classes=7, image_size=48).eval()
    assert model(torch.randn(1, 3, 48, 48)).shape == (1, 7)


def test_timm_names_are_checked():
    with pytest.raises(ModelError, match="unknown model 'timm:resnet1O1'; closest: resnet101"):
        create_model("timm:resnet1O1", num_classes=7)


def test_a_network_can_be_copied_and_pickled():
    model = create_model("tiny_resnet", num_classes=7).eval()
    images = torch.rand(2, 3, 48, 48)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(images), model(images))
        with pytest.raises(ModelError, match="tiny_resnet takes"):
            twin(images[0])


def test_the_table_gives_the_counts(capsys, monkeypatch):
    from models import __main__ as table

    assert table.list_models is list_models
    monkeypatch.setattr(table, "list_models", lambda: ["alexnet", "resmasking"])
    table.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "alexnet", "resmasking"]
    assert "137,796,423" in next(line for line in lines if line.startswith("resmasking "))
