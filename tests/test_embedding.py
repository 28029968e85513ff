"""Maps of faces: the features are the classifier's input, and alike ones lie close together; and the worst mistakes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refusal
from PIL import Image
from test_figures import no_warnings, texts  # noqa: F401

from models import model_info
from utils.config import Config
from utils.datasets.drawn_faces import draw_faces
from utils.errors import MachineError
from utils.explaining.features import PROJECTIONS, features, projected, require
from utils.inference import Recognizer, predict
from utils.shipped import network_path
from Visualization import gen_embedding, gen_mistakes
from Visualization.embedding import embedding_figure
from Visualization.explanations import captioned_faces_figure


@pytest.fixture(scope="module")
def shipped() -> Recognizer:
    return Recognizer(network_path(None, Config()), precision="fp32")


def two_heaps(each: int = 20) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.concatenate([random.normal(0, 1, (each, 60)), random.normal(8, 1, (each, 60))])


def test_features_are_what_the_classifier_makes_its_logits_of(shipped):
    images = draw_faces(9, seed=0).images
    found = features(shipped.model, images, shipped.config)
    head = shipped.model.get_submodule(model_info(shipped.config.arch).classifier)
    with torch.inference_mode():
        logits = head(torch.from_numpy(found)).numpy()
    np.testing.assert_allclose(logits, predict(shipped.model, images, shipped.config)[0], rtol=1e-4, atol=1e-4)
    assert not head._forward_hooks


@pytest.mark.parametrize("method", PROJECTIONS)
def test_alike_points_lie_close_together_and_in_the_same_places_again(method):
    if method != "pca":
        pytest.importorskip({"tsne": "sklearn", "umap": "umap"}[method])
    points = two_heaps()
    found = projected(points, method)
    assert found.shape == (40, 2) and np.isfinite(found).all()
    one, other = found[:20], found[20:]
    within = max(np.linalg.norm(heap - heap.mean(0), axis=1).mean() for heap in (one, other))
    assert np.linalg.norm(one.mean(0) - other.mean(0)) > 2 * within
    np.testing.assert_array_equal(found, projected(points, method))


def test_principal_components_are_the_covariances_own():
    points = two_heaps()
    found = projected(points, "pca")
    largest = np.linalg.eigvalsh(np.cov(points.T))[-2:][::-1]
    np.testing.assert_allclose(np.cov(found.T), np.diag(largest), atol=1e-8)


def test_a_missing_package_is_said_in_one_line_with_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for method, module, package in (("tsne", "sklearn.manifold", "scikit-learn"), ("umap", "umap", "umap-learn")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MachineError) as caught:
            gen_embedding.main(["--method", method])
        message = str(caught.value)
        assert f"pip install {package}==" in message and len(message.splitlines()) == 1
        assert caught.value.exit_code == 4
    require("pca")
    assert not list(tmp_path.iterdir())


def test_packages_are_pinned_where_the_extra_is(repository=Path(__file__).parents[1]):
    extra = (repository / "requirements-maps.txt").read_text().splitlines()
    assert {package for package in PROJECTIONS.values() if package} <= set(extra)


def test_map_has_a_colour_and_mark_for_each_class_and_says_how_many_are_right():
    labels = np.array([0, 0, 1, 1, 1])
    right = np.array([True, False, True, True, True])
    points = np.random.default_rng(0).random((5, 2))
    figure = embedding_figure(points, labels, right, ("happy", "sad"), "t-SNE: run 7", "FER2013, test")
    shown = texts(figure)
    assert {"t-SNE: run 7", "FER2013, test", "happy: 1 of 2 right", "sad: 3 of 3 right"} <= set(shown)
    filled, hollow = figure.axes[0].collections[:2]
    np.testing.assert_array_equal(filled.get_offsets(), points[:1])
    np.testing.assert_array_equal(hollow.get_offsets(), points[1:2])
    assert len(filled.get_facecolors()) == 1 and len(hollow.get_facecolors()) == 0
    with pytest.raises(ValueError, match="for 4 labels"):
        embedding_figure(points, labels[:4], right[:4], ("happy", "sad"), "", "")


def test_program_draws_a_map_without_arguments_but_its_method(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gen_embedding.main(["--method", "pca", "--each", "2"])
    file = Path(capsys.readouterr().out.strip())
    assert file.parent == Path("saved/explanations") and file.name.endswith(".pca.png")
    with Image.open(file) as image:
        assert image.format == "PNG"
    assert "takes 4 or more" in refusal(lambda: gen_embedding.main(["--method", "pca", "--index", "1"]))


# --------------------------------------------------------------------------------------------- the worst mistakes


def test_worst_mistakes_are_those_whose_true_class_is_least_likely():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.01, 0.99]])
    assert gen_mistakes.worst_mistakes(probabilities, np.array([1, 0, 1, 0])).tolist() == [3, 0, 1]
    assert gen_mistakes.worst_mistakes(probabilities, probabilities.argmax(1)).size == 0


def test_mistakes_are_drawn_below_saved_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    figures = []
    monkeypatch.setattr(gen_mistakes, "save_figure", lambda figure, file: figures.append((figure, file)))
    gen_mistakes.main(["--each", "2", "--most", "3"])
    figure, file = figures[0]
    assert str(file) == capsys.readouterr().out.strip() and file.parent == Path("saved/explanations")
    shown = texts(figure)
    heading, note = (text.get_text().replace("\n", " ") for text in figure.texts)
    assert len(figure.axes) == 3 and "the 3 worst of " in heading and "14 faces" in note
    assert sum("\nsays " in text for text in shown) == 3
    assert "unknown option --out" in refusal(lambda: gen_mistakes.main(["--out", "elsewhere.png"]))


def test_photos_have_no_classes_to_be_wrong_about(tmp_path):
    Image.new("L", (60, 60), 99).save(tmp_path / "photo.png")
    for program in (gen_mistakes, gen_embedding):
        message = refusal(lambda program=program: program.main(["--image", str(tmp_path / "photo.png"), "--whole"]))
        assert "nobody knows their classes" in message


def test_grid_refuses_captions_that_do_not_fit():
    with pytest.raises(ValueError, match="2 captions for 1 faces"):
        captioned_faces_figure([np.zeros((8, 8), np.uint8)], ["a", "b"], "", "")
