"""Figures say what the numbers say, and survive odd input."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from utils.errors import MachineError, UserError
from utils.labels import FER2013_CLASSES
from Visualization.ensembles import pairs_figure, reliability_figure, risk_coverage_figure
from Visualization.explanations import (
    captioned_faces_figure,
    deletion_insertion_figure,
    maps_figure,
    masks_figure,
    overlaid,
)
from Visualization.figures import confusion_matrix_figure, faces_sheet_figure, training_curves_figure
from Visualization.robustness import robustness_figure
from Visualization.saving import save_figure
from Visualization.style import MUTED, ink_on

TITLE, QUIET = "what it is of", "what is said of it"


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def texts(figure: Figure) -> list[str]:
    """Every text that can be seen, once the figure is drawn."""
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


def width_of(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


def matrix_of(classes: int, seed: int = 0) -> np.ndarray:
    matrix = np.random.default_rng(seed).integers(0, 40, (classes, classes))
    return matrix + np.diag(np.full(classes, 1200))


def row(epoch: int, accuracy: float, loss: float = 1.0, lr: float = 0.01) -> dict[str, float]:
    return {
        "epoch": float(epoch),
        "lr": lr,
        "train_loss": 0.9 * loss,
        "train_accuracy": accuracy,
        "val_loss": loss,
        "val_accuracy": accuracy,
        "val_balanced_accuracy": 1 - accuracy,
        "val_macro_f1": accuracy,
    }


def figures_of_several_panels() -> list[Figure]:
    square = np.full((2, 2), 0.25)
    faces = [np.zeros((8, 8), np.uint8)] * 2
    reliable = np.array([[0.9, 0.1], [0.4, 0.6]]).repeat(20, axis=0)
    return [
        pairs_figure(["a", "b"], square, square, TITLE, QUIET),
        reliability_figure(reliable, reliable, np.array([0, 1]).repeat(20), ("as it is", "after"), TITLE, QUIET),
        robustness_figure(["blur"], ["100%_"], np.full((1, 5), 0.5), 0.6, TITLE, QUIET),
        maps_figure(faces, np.ones((2, 1, 4, 4)), ["a", "b"], ["map"], TITLE, QUIET),
        captioned_faces_figure(faces, ["a", "b"], TITLE, QUIET),
    ]


def test_title_is_bold_over_a_quiet_subtitle_and_nothing_is_drawn_into_them():
    for figure in figures_of_several_panels():
        figure.draw_without_rendering()
        *_, bold, quiet = figure.texts
        assert (bold.get_text(), quiet.get_text()) == (TITLE, QUIET)
        assert (bold.get_fontweight(), quiet.get_fontweight(), quiet.get_color()) == ("bold", "normal", MUTED)
        lowest = quiet.get_window_extent().y0
        assert bold.get_window_extent().y0 > lowest
        assert all(axes.get_tightbbox().y1 <= lowest for axes in figure.axes)


def test_accuracy_at_a_confidence_that_few_images_have_is_hollow_and_not_joined():
    reliable = np.array([[0.9, 0.1], [0.55, 0.45]])[[0] * 30 + [1] * 3]
    figure = reliability_figure(reliable, reliable, np.zeros(33, int), ("before", "after"), TITLE, QUIET)
    _, sure, unsure = figure.axes[0].lines
    assert (sure.get_xdata().round().tolist(), sure.get_fillstyle()) == ([90], "full")
    assert (unsure.get_xdata().round().tolist(), unsure.get_fillstyle(), unsure.get_linestyle()) == (
        [55],
        "none",
        "None",
    )
    assert figure.texts[-1].get_text() == f"{QUIET}; hollow: fewer than 20 images"


def test_a_mask_is_shown_from_its_least_to_its_largest_value():
    """All masks of a softmax over many channels lie close to one value."""
    maps = np.ones((1, 3, 2, 2))
    maps[0, 1] = [[0.0301, 0.0302], [0.0303, 0.0305]]
    figure = masks_figure([np.zeros((8, 8), np.uint8)], [("mask1", maps)], ["a"], TITLE, QUIET)
    assert "0.0301 to 0.0305" in texts(figure)
    (sheet,) = (image.get_array() for image in figure.axes[0].images)
    tile = sheet[-2 * 192 - 12 : -192 - 12, -192:]  # of the mask: the middle row, under its stage
    assert tile[0, 0].sum() < 150 and tile[-1, -1].sum() > 500


def test_one_strong_pixel_makes_no_map_pale():
    values = np.full((48, 48), 1.0)
    values[3, 3] = 100
    face = np.zeros((48, 48), np.uint8)
    assert overlaid(face, values)[100, 100, 0] > 150


def test_matrix_shows_share_count_class_and_size_of_class():
    matrix = np.array([[75, 25], [1, 1999]])
    shown = texts(confusion_matrix_figure(matrix, ("happy", "sad"), "run 7, test", "accuracy 98.76%"))
    for expected in (
        "75.0%",
        "25.0%",
        "0.1%",
        "75",
        "25",
        "1,999",
        "happy",
        "sad",
        "happy\nn=100",
        "sad\nn=2,000",
    ):
        assert expected in shown
    for expected in ("run 7, test", "accuracy 98.76%", "predicted class", "true class"):
        assert expected in shown


def test_rows_are_the_true_classes():
    matrix = np.array([[0, 5], [0, 0]])
    figure = confusion_matrix_figure(matrix, ("a", "b"), "")
    figure.draw_without_rendering()
    (cell,) = [text for text in figure.axes[0].texts if text.get_text() == "100.0%"]
    assert cell.xy == (1, 0)
    assert figure.axes[0].yaxis_inverted()


def test_a_class_without_an_image_is_neither_zero_percent_nor_nan():
    figure = confusion_matrix_figure(np.array([[3, 0], [0, 0]]), ("a", "b"), "t")
    shown = texts(figure)
    assert shown.count("–") == 2 and "b\nn=0" in shown and shown.count("0.0%") == 1
    assert not any("nan" in text for text in shown)


@pytest.mark.parametrize("classes", [1, 2, 7, 41])
@pytest.mark.parametrize("name", ["an expression with a name of many words", "Überraschung_$x$ 100% {\\a}\n"])
def test_matrix_of_any_size_with_any_names_stays_within_the_picture(classes, name):
    figure = confusion_matrix_figure(matrix_of(classes), [f"{name}{i}" for i in range(classes)], "x" * 150, "y " * 90)
    figure.draw_without_rendering()
    assert figure.get_figwidth() >= 6
    box = figure.get_tightbbox()
    assert box.x0 >= -0.05 and box.x1 <= figure.get_figwidth() + 0.05
    assert box.y0 >= -0.05 and box.y1 <= figure.get_figheight() + 0.05
    axes = figure.axes[0].get_position()
    assert axes.width * axes.height > 0.15


def test_thirty_classes_are_all_written_and_sixty_left_to_colour():
    figure = confusion_matrix_figure(matrix_of(30), [f"c{i}" for i in range(30)], "t")
    assert len(figure.axes[0].texts) == 2 * 30 * 30 + 1
    assert len(confusion_matrix_figure(matrix_of(60), ["c"] * 60, "t").axes[0].texts) == 1


@pytest.mark.parametrize("classes", [2, 7, 8, 9, 12, 20])
def test_figures_of_a_cell_fit_into_it(classes):
    figure = confusion_matrix_figure(matrix_of(classes), [f"class{i}" for i in range(classes)], "t")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / classes, axes.get_window_extent().height / classes
    for text in axes.texts[: 2 * classes]:
        assert text.get_window_extent().width < cell[0] and text.get_window_extent().height < cell[1] / 2


def test_ink_has_contrast_on_every_cell():
    assert ink_on(matplotlib.colormaps["Blues"](0.0)) != "white"
    assert ink_on(matplotlib.colormaps["Blues"](1.0)) == "white"


@pytest.mark.parametrize("matrix", [np.zeros((2, 3), int), np.zeros((3, 3), int), np.zeros((0, 0), int)])
def test_matrix_of_a_wrong_shape_is_refused(matrix):
    with pytest.raises(ValueError, match="for 2 classes"):
        confusion_matrix_figure(matrix, ("a", "b"), "t")


def test_seven_classes_at_600_pixels_are_large_enough_to_read(tmp_path):
    figure = confusion_matrix_figure(matrix_of(7), FER2013_CLASSES, "t")
    save_figure(figure, tmp_path / "m.png")
    assert width_of(tmp_path / "m.png") == 1200
    pixels_per_point = 600 / (72 * figure.get_figwidth())
    assert min(text.get_fontsize() for text in figure.axes[0].texts) * pixels_per_point > 10


def test_curves_name_the_best_epoch():
    history = [row(1, 0.4, 2.0), row(2, 0.7, 1.5), row(3, 0.7, 1.2, lr=0.0001), row(4, 0.6, 1.6)]
    shown = texts(training_curves_figure(history, "run 7"))
    assert "best epoch 2: validation accuracy 70.0%" in shown
    for expected in ("run 7", "accuracy", "loss", "learning\nrate", "epoch", "training", "validation"):
        assert expected in shown


@pytest.mark.parametrize(("metric", "best"), [("loss", 3), ("balanced_accuracy", 1), ("macro_f1", 2)])
def test_curves_mark_the_epoch_that_the_run_selected(metric, best):
    history = [row(1, 0.4, 2.0), row(2, 0.7, 1.5), row(3, 0.6, 1.2)]
    shown = " ".join(texts(training_curves_figure(history, "t", select_by=metric)))
    assert f"best epoch {best}:" in shown


@pytest.mark.parametrize("rates", [[0.1], [0.0], [0.1, 0.1, 0.0], [1e-9] * 3, [0.1, 0.01, 1e-5]])
def test_curves_of_few_epochs_and_odd_rates(rates):
    shown = texts(training_curves_figure([row(i + 1, 0.5, lr=rate) for i, rate in enumerate(rates)], "t"))
    assert not any("nan" in text for text in shown)


def test_curves_without_an_epoch_are_refused():
    with pytest.raises(ValueError, match="without an epoch"):
        training_curves_figure([], "t")


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 48, 48), (7, 12, 48, 48), (2, 3, 8, 8, 3)])
def test_faces_sheet_keeps_the_pictures(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    figure = faces_sheet_figure(images, [f"row {i}" for i in range(shape[0])], "faces")
    shown = texts(figure)
    assert "faces" in shown and f"row {shape[0] - 1}" in shown
    sheet = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_array_equal(sheet[: shape[2], : shape[3]], images[0, 0])
    np.testing.assert_array_equal(sheet[-shape[2] :, -shape[3] :], images[-1, -1])


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 0, 8, 8), (2, 8, 8)])
def test_faces_sheet_of_a_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match="for 2 rows"):
        faces_sheet_figure(np.zeros(shape, np.uint8), ("a", "b"), "t")


def test_saving_gives_equal_bytes_and_refuses_other_kinds(tmp_path):
    for name in ("a.png", "b.png", "a.pdf", "b.pdf"):
        save_figure(confusion_matrix_figure(matrix_of(3), "abc", "t"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    with pytest.raises(UserError, match=r"saved as \.png or \.pdf"):
        save_figure(Figure(), tmp_path / "a.gif")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MachineError, match="cannot be written"):
        save_figure(Figure(), tmp_path / "file" / "a.png")


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    training_curves_figure([row(1, 0.5)], "t")
    assert dict(matplotlib.rcParams) == before


def test_curves_beyond_the_colours_are_drawn_too():
    share = np.linspace(1, 0, 5)
    names = [f"method {number}" for number in range(7)]
    figure = deletion_insertion_figure([(name, share, 1 - share) for name in names], (share, share), "a", "b")
    assert {*names, "random order"} <= {line.get_label() for line in figure.axes[0].lines}
    figure = risk_coverage_figure([(name, share) for name in names], "a", "b")
    assert len(figure.axes[0].lines) == len(names)
