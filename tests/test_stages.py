"""Stages of every network: each weight belongs to one, and the first of them can be kept as they are."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import SMALL, start_here
from torch import nn

from models import ModelError, ModelInfo, create_model, freeze, list_models, model_info, stages

MASKED = ["resmasking", "resmasking_dropout1", "resmasking_dropout2", "bam_resnet18", "bam_resnet50"]


def build(name: str) -> tuple[nn.Module, ModelInfo]:
    """A network without memory: shapes and names alone."""
    with torch.device("meta"):
        return create_model(name, num_classes=7), model_info(name)


@pytest.fixture(scope="module", params=list_models())
def case(request):
    """(name, network, its facts); tests of one network share it."""
    return request.param, *build(request.param)


def names_of(model: nn.Module, modules: list[nn.Module]) -> list[str]:
    """The names of all parameters within ``modules``, as often as they stand there."""
    found = Counter(id(parameter) for module in modules for parameter in module.parameters())
    return [name for name, parameter in model.named_parameters() for _ in range(found[id(parameter)])]


def of_a_head(name: str, info: ModelInfo) -> bool:
    heads = [info.classifier.partition(".")[0]] + ([info.auxiliary.partition(".")[0]] if info.auxiliary else [])
    return name.partition(".")[0] in heads


def test_every_weight_stands_in_one_stage_or_in_a_head(case):
    _, model, info = case
    found = stages(model, info)
    assert len(found) >= 4 and len({stage for stage, _ in found}) == len(found)
    assert all(names_of(model, modules) for _, modules in found)
    staged = [key for _, modules in found for key in names_of(model, modules)]
    assert sorted(staged) == sorted(key for key, _ in model.named_parameters() if not of_a_head(key, info))


def test_the_first_stages_are_kept_and_nothing_else(case):
    _, model, info = case
    every = stages(model, info)
    for count in range(len(every) + 1):
        model.requires_grad_(True)
        frozen = freeze(model, info, count)
        assert frozen == [module for _, modules in every[:count] for module in modules]
        kept = [key for key, parameter in model.named_parameters() if not parameter.requires_grad]
        assert kept == names_of(model, frozen) and (kept or count == 0)
        assert model.get_submodule(info.classifier).weight.requires_grad


def test_an_image_goes_through_the_stages_in_their_order(case):
    _, model, info = case
    met: list[str] = []
    hooks = [
        modules[0].register_forward_hook(lambda module, inputs, output, stage=stage: met.append(stage))
        for stage, modules in stages(model, info)
    ]
    size = max(32, info.min_size)
    model.eval()(torch.empty(1, 3, size, size, device="meta"))
    for hook in hooks:
        hook.remove()
    assert met == [stage for stage, _ in stages(model, info) if not of_a_head(stage, info)]


def test_a_stage_too_many_is_refused_and_all_are_named(case):
    name, model, info = case
    model.requires_grad_(True)
    every = [stage for stage, _ in stages(model, info)]
    with pytest.raises(ModelError) as caught:
        freeze(model, info, len(every) + 1)
    expected = f"{name} has {len(every)} stages to freeze; got {len(every) + 1}: {', '.join(every)}"
    assert str(caught.value) == expected
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", MASKED)
def test_attention_beside_a_layer_belongs_to_it(name):
    model, info = build(name)
    found = dict(stages(model, info))
    kind = "mask" if name.startswith("resmasking") else "bam"
    numbers = [number for number in range(1, 5) if hasattr(model, f"{kind}{number}")]
    assert numbers
    for number in numbers:
        layer, attention = getattr(model, f"layer{number}"), getattr(model, f"{kind}{number}")
        assert found[f"layer{number}"][0] is layer and any(one is attention for one in found[f"layer{number}"])


def test_norms_belong_to_what_they_follow():
    model, info = build("resnet18")
    assert dict(stages(model, info))["conv1"] == [model.conv1, model.bn1]
    model, info = build("densenet121")
    found = dict(stages(model, info))
    assert found["features.conv0"][1] is model.features.norm0
    assert found["features.denseblock4"][1] is model.features.norm5


def test_of_a_transformer_nothing_but_the_head_is_left_when_all_stages_are_kept():
    model, info = build("timm:vit_tiny_patch16_224")
    freeze(model, info, len(stages(model, info)))
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


def test_too_many_stages_are_one_line_and_no_run(tmp_path: Path):
    done = start_here(tmp_path, "main_fer.py", *SMALL, "freeze_stages=5")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr == "tiny_resnet has 4 stages to freeze; got 5: stem, stages.0, stages.1, stages.2\n"
    assert not list(tmp_path.rglob("checkpoints/*"))
