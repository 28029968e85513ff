"""Corrupted pictures: each kind does what its name says, more so with strength, and the same each time."""

import csv

import numpy as np
import pytest
from conftest import SMALL, start_here

from utils.corruptions import CORRUPTIONS, STRENGTHS, corrupted
from utils.datasets.drawn_faces import draw_faces
from Visualization.robustness import robustness_figure

GREY = draw_faces(8, seed=0).images
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_worse_with_strength_and_the_same_each_time(name, images):
    kept = images.copy()
    far = []
    for strength in range(1, STRENGTHS + 1):
        changed = corrupted(images, name, strength)
        assert changed.shape == images.shape and changed.dtype == np.uint8
        assert np.array_equal(changed, corrupted(images, name, strength))
        far.append(np.abs(changed.astype(float) - images).mean())
    assert far[0] > 0 and far[-1] > 1.5 * far[0]
    assert all(later > earlier - 0.5 for earlier, later in zip(far, far[1:], strict=False))
    assert np.array_equal(images, kept)


def test_what_is_drawn_depends_on_seed_and_place_alone():
    assert np.array_equal(corrupted(GREY[:3], "noise", 3), corrupted(GREY, "noise", 3)[:3])
    assert not np.array_equal(corrupted(GREY, "noise", 3, seed=1), corrupted(GREY, "noise", 3))


def test_each_kind_by_what_can_be_counted():
    flat = np.full((1, 40, 40), 100, np.uint8)
    assert (corrupted(flat, "brighter", 2) == 151).all() and (corrupted(flat, "darker", 5) == 0).all()
    assert (corrupted(flat, "occlusion", 3) == 128).mean() == pytest.approx(0.2, abs=0.01)
    assert (corrupted(flat, "rotation", 5) == 100).all()  # the corners take the mean
    assert corrupted(np.tile(flat, (50, 1, 1)), "noise", 2).std() == pytest.approx(0.06 * 255, rel=0.05)
    stripes = np.zeros((1, 48, 48), np.uint8)
    stripes[:, :, ::2] = 255
    inside = np.s_[:, 12:-12, 12:-12]  # away from the borders, which a blur continues outwards
    assert corrupted(stripes, "low resolution", 2)[inside].std() == 0
    assert corrupted(stripes, "blur", 5)[inside].std() < 1


@pytest.mark.parametrize("strength", [0, 6])
def test_no_such_strength(strength):
    with pytest.raises(ValueError, match="1 to 5"):
        corrupted(GREY, "blur", strength)


def test_the_program_judges_every_kind_where_the_test_part_is_open(tmp_path):
    assert start_here(tmp_path, "main_fer.py", *SMALL, "max_epoch_num=1", "judge_test=false").returncode == 0
    (run,) = (tmp_path / "saved" / "checkpoints").iterdir()
    told = start_here(tmp_path, "Visualization/gen_robustness.py", run.name)
    assert told.returncode == 2 and told.stderr.endswith("its test part stays closed; --split test opens it\n")
    told = start_here(tmp_path, "Visualization/gen_robustness.py", run.name, "--split", "test")
    assert told.returncode == 0, told.stderr
    with open(tmp_path / "saved" / "results" / f"{run.name}.test.robustness.csv", newline="") as file:
        clean, *others = csv.DictReader(file)
    assert clean["corruption"] == "none" and len(others) == STRENGTHS * len(CORRUPTIONS)
    assert all(float(row["low"]) <= float(row["accuracy"]) <= float(row["high"]) for row in others)
    assert (tmp_path / "saved" / "results" / f"{run.name}.test.robustness.png").stat().st_size > 10_000


def test_the_figure_has_a_panel_for_each_kind():
    figure = robustness_figure(["a", "b", "c"], ["x", "y", "z"], np.array([[0.5, 0.4]] * 3), 0.6, "title", "subtitle")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["a", "b", "c"]
    assert [axes.texts[0].get_text() for axes in shown] == ["2: x", "2: y", "2: z"]
    assert shown[0].lines[1].get_ydata().tolist() == [60, 50, 40]
    with pytest.raises(ValueError, match="for 2 corruptions"):
        robustness_figure(["a", "b"], ["x", "y"], np.zeros((3, 5)), 0.6, "", "")
