"""The two programs for maps work without arguments, on photos and on a data set, and refuse in one line."""

import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refusal
from matplotlib.text import Text
from PIL import Image
from test_pictures import HAPPY, SURPRISE, scene

from models import create_model
from utils.calibration import at_temperature
from utils.cli import Parser
from utils.config import Config
from utils.inference import Recognizer
from utils.pictures import FaceReader
from utils.shipped import network_path
from utils.trust import Trust
from Visualization import gen_map_checks, gen_salientmap, gradCAM_resmasking
from Visualization.explanations import maps_figure, overlaid
from Visualization.map_sheets import masks_sheet
from Visualization.subjects import add_options, chosen_subjects

ONE = ["--index", "3"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(scene((SURPRISE, 40, 160), (HAPPY, 360, 240))).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("program", [gradCAM_resmasking, gen_salientmap])
def test_no_arguments_needed(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program.main([])
    file = Path(capsys.readouterr().out.strip())
    assert file.parent == Path("saved/explanations")
    with Image.open(file) as image:
        assert image.format == "PNG" and image.height > image.width > 500


def drawn(program, monkeypatch, arguments: list[str]) -> list[str]:
    figures = []
    monkeypatch.setattr(program, "save_figure", lambda figure, _: figures.append(figure))
    program.main(arguments)
    return [text.get_text() for text in figures[0].findobj(Text)]


def test_sheet_names_network_faces_classes_and_methods(monkeypatch):
    texts = drawn(
        gradCAM_resmasking, monkeypatch, [*ONE, "--method", "gradcam", "layercam", "--class", "Happiness", "sad"]
    )
    run = Recognizer(network_path(None, Config())).checkpoint.run
    assert any(run in text and "1 face" in text for text in texts)
    flat = [text.replace("\n", " ") for text in texts]
    assert {"Grad-CAM happy", "Grad-CAM sad", "Layer-CAM happy", "Layer-CAM sad"} <= set(flat)
    assert any(text.startswith("happy, person 0 says ") for text in flat)


def test_legend_names_the_layer_that_was_asked_for(monkeypatch):
    texts = drawn(gradCAM_resmasking, monkeypatch, [*ONE, "--layer", "features.1"])
    assert any("evidence for the class in features.1;" in text.replace("\n", " ") for text in texts)


def test_checks_are_class_averages_and_the_curves_whose_areas_are_printed(monkeypatch, capsys):
    figures = []
    monkeypatch.setattr(gen_map_checks, "save_figure", lambda figure, _: figures.append(figure))
    gen_map_checks.main([*ONE, "--method", "gradcam"])
    averages, curves = figures
    assert any(text.get_text().endswith("\n1 face") for text in averages.findobj(Text))
    printed = re.findall(r"deletion ([\d.]+) .*insertion ([\d.]+) ", capsys.readouterr().out)
    for panel, areas in zip(curves.axes, zip(*printed, strict=True), strict=True):
        assert [line.get_label() for line in panel.lines] == ["Grad-CAM", "random order"]
        found = [np.trapezoid(line.get_ydata(), line.get_xdata()) / 1e4 for line in panel.lines]
        assert found == pytest.approx([float(one) for one in areas], abs=1e-3)


def test_grid_has_a_column_for_every_class(monkeypatch):
    texts = drawn(gen_salientmap, monkeypatch, [*ONE, "--grid", "--method", "smoothgrad"])
    assert set(Recognizer(network_path(None, Config())).classes) <= set(texts)


def of_photo(path: Path, *more: str):
    return chosen_subjects(_read("--image", str(path), "--detector", "cascade", *more))


def test_of_a_photo_the_largest_face_is_explained_as_predict_sees_it(photo, capsys):
    found = of_photo(photo)
    with FaceReader(detector="cascade") as reader:
        faces = reader.read(photo)
    largest = max(faces, key=lambda face: face.box.side)
    assert largest.label == "happy" and len(faces) == 2
    np.testing.assert_allclose(found.probabilities[0], list(largest.probabilities.values()), atol=1e-6)
    left, top, right, bottom = largest.box.corners()
    assert capsys.readouterr().err == f"{photo}: the largest of 2 faces, at {left},{top} to {right},{bottom}\n"
    assert found.labels.tolist() == [-1] and found.names == ["photo.png"]


def test_place_in_a_photo_can_be_said(photo, tmp_path):
    whole, part = of_photo(photo, "--whole"), of_photo(photo, "--box", "40", "60", "200", "220")
    assert whole.images.shape == part.images.shape and not np.array_equal(whole.images, part.images)
    assert "not within" in refusal(lambda: of_photo(photo, "--box", "0", "0", "641", "60"))
    Image.new("L", (90, 60), 128).save(tmp_path / "wall.png")
    assert "wall.png: no face found; --box" in refusal(lambda: of_photo(tmp_path / "wall.png"))


def test_photos_are_read_as_predict_reads_them(tmp_path):
    """16 bits a channel, transparent, and several pictures in one file, as many cameras write."""
    grey = np.asarray(Image.fromarray(scene((HAPPY, 100, 240))).convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(grey).convert("RGBA").save(tmp_path / "clear.png")
    Image.fromarray(grey).convert("RGB").save(
        tmp_path / "two.tif", save_all=True, append_images=[Image.new("L", (8, 8))]
    )
    deep, *others = (of_photo(tmp_path / name).images for name in ("deep.png", "clear.png", "two.tif"))
    for other in others:
        np.testing.assert_array_equal(deep, other)


def test_probabilities_are_at_the_networks_temperature(monkeypatch):
    plain = chosen_subjects(_read(*ONE)).probabilities
    monkeypatch.setattr("utils.trust.trust_of", lambda _: Trust(2.0, None, known=True))
    np.testing.assert_allclose(chosen_subjects(_read(*ONE)).probabilities, at_temperature(plain, 2.0), atol=1e-6)


def test_faces_of_another_data_set(tmp_path):
    settings = tmp_path / "sample.json"
    settings.write_text('{"dataset": "sample", "sample_faces": 70, "num_classes": 7}')
    subjects = chosen_subjects(_read("--on", str(settings)))
    assert subjects.labels.tolist() == list(range(7)) and subjects.source == "drawn faces"
    assert "there are" in refusal(lambda: chosen_subjects(_read("--on", str(settings), "--index", "99999")))


def test_masks_are_drawn_for_a_network_that_has_them():
    torch.manual_seed(0)
    shipped = chosen_subjects(_read(*ONE))
    recognizer = shipped.recognizer
    assert "has no masks" in refusal(lambda: masks_sheet(shipped))
    recognizer.config = Config(arch="resmasking_dropout1", image_size=64, num_classes=7, in_channels=3, device="cpu")
    recognizer.model = create_model("resmasking_dropout1", num_classes=7).eval()
    texts = [text.get_text() for text in masks_sheet(shipped).findobj(Text)]
    assert all(any(text.startswith(f"mask{number},") for text in texts) for number in range(1, 5))
    assert {"mask", "output"} <= set(texts)


def test_map_is_over_the_face_where_it_is_strong():
    face, values = np.full((32, 32), 100, np.uint8), np.zeros((8, 8), np.float32)
    values[:4], values[4:] = 1, -0.25
    picture = overlaid(face, values, 64)
    red, blue = picture[4, 32, 0], picture[60, 32, 2]
    assert red > 150 and blue > 100 and picture[60, 32, 0] < 100
    assert (overlaid(face, np.zeros((8, 8), np.float32), 64) == 100).all()


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        (gradCAM_resmasking, ["--class", "hapy"], "did you mean happy?"),
        (gradCAM_resmasking, ["--image", "nowhere.png"], "nowhere.png"),
        (gradCAM_resmasking, ["--run", "no_such_run"], "no_such_run"),
        (gradCAM_resmasking, ["--layer", "nolayer"], "no layer 'nolayer'"),
        (gradCAM_resmasking, ["--index", "-1"], "counted from 0"),
        (gradCAM_resmasking, ["--box", "0", "0", "9", "9"], "--image names them"),
        (gradCAM_resmasking, ["--whole"], "--image names them"),
        (gradCAM_resmasking, ["--image", "a.png", "--split", "val"], "leave out one"),
        (gen_salientmap, ["--out", "map.jpg"], ".png or .pdf"),
        (gen_salientmap, ["--grid", "--class", "sad"], "leave out --class"),
        (gen_salientmap, ["--methud", "occlusion"], "did you mean --method?"),
    ],
)
def test_refusals(program, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refusal(lambda: program.main(arguments))
    assert not list(tmp_path.iterdir())


def test_figure_refuses_maps_that_do_not_fit():
    with pytest.raises(ValueError, match="1 faces and 2 columns"):
        maps_figure([np.zeros((8, 8), np.uint8)], np.zeros((1, 1, 8, 8)), ["a"], ["b", "c"], "", "")


def _read(*arguments: str) -> Namespace:
    parser = Parser("")
    add_options(parser)
    return parser.parse_args(list(arguments))
