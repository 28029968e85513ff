"""Recall bars, the most frequent mistakes and the curves of several runs say what the numbers say."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import refusal
from test_checkpoint import saved  # noqa: F401
from test_figures import no_warnings, row, texts  # noqa: F401
from test_gen_confusion_matrix import dump
from test_people_figures import assert_within, ticks

from utils.checkpoint import Checkpoint, save_checkpoint
from utils.metrics import wilson
from utils.predictions import Predictions
from Visualization import gen_classes, gen_curves
from Visualization.bars import confused_pairs_figure, recall_figure
from Visualization.curves import MOST_RUNS, Training, several_curves_figure

CLASSES = ("angry", "happy", "sad")
MATRIX = np.array([[6, 1, 3], [0, 40, 0], [10, 0, 10]])


def predictions_of(matrix: np.ndarray, subjects: int = 0) -> Predictions:
    true, called = np.nonzero(matrix)
    pairs = np.repeat(np.stack([true, called], 1), matrix[true, called], axis=0)
    logits = 5 * np.eye(len(matrix), dtype=np.float32)[pairs[:, 1]][None]
    ids = [f"i{number}" for number in range(len(pairs))]
    meta = {"subjects": {identity: f"S{number % subjects}" for number, identity in enumerate(ids)}} if subjects else {}
    return Predictions(logits, pairs[:, 0], ids, CLASSES, {"run": "run 7", "split": "test", **meta})


def test_recall_is_best_class_first_with_counts_and_wilsons_interval():
    figure = gen_classes.class_figures(predictions_of(MATRIX), "run 7, test")["recall"]
    assert ticks(figure) == ["happy", "angry", "sad"]
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([100, 60, 50])
    shown = texts(figure)
    assert {"run 7, test: recall of each class", "60.0%  (6 of 10)", "50.0%  (10 of 20)"} <= set(shown)
    assert any("80.00%" in text and "70 images" in text for text in shown)
    *whiskers, mean = figure.axes[0].lines
    assert mean.get_xdata()[0] == pytest.approx(70)  # of the classes, not of the images
    assert list(whiskers[2].get_xdata()) == pytest.approx([100 * end for end in wilson(10, 20)])
    assert_within(figure)


def test_recall_interval_is_over_persons_where_they_are_known():
    def whiskers(predictions: Predictions) -> list[list[float]]:
        figure = gen_classes.class_figures(predictions, "t")["recall"]
        return [list(line.get_xdata()) for line in figure.axes[0].lines[:-1]]

    over_images, over_persons = whiskers(predictions_of(MATRIX)), whiskers(predictions_of(MATRIX, subjects=5))
    assert over_images[0][0] < 100 and over_persons[0] == [100, 100]  # whoever is drawn, happy was always right


def test_class_without_images_has_no_recall():
    figure = recall_figure(np.array([[3, 1], [0, 0]]), ("happy", "sad"), [(0.3, 0.95), (0, 1)], "t", "")
    (interval, mean) = figure.axes[0].lines
    assert interval.get_color() != mean.get_color() and mean.is_dashed()
    assert ticks(figure) == ["happy", "sad"] and "no images" in texts(figure)
    assert figure.axes[0].lines[-1].get_xdata()[0] == pytest.approx(75)


def test_mistakes_are_ranked_by_images_and_say_their_share_of_the_class():
    figure = confused_pairs_figure(MATRIX, CLASSES, "run 7", "")
    assert ticks(figure) == ["sad → angry", "angry → sad", "angry → happy"]
    shown = texts(figure)
    assert {"10  (50.0% of sad)", "3  (30.0% of angry)", "1  (10.0% of angry)"} <= set(shown)
    assert any("14 of all 14 mistakes" in text for text in shown)
    two = confused_pairs_figure(MATRIX, CLASSES, "run 7", "", most=2)
    assert len(ticks(two)) == 2 and any("13 of all 14 mistakes" in text for text in texts(two))
    assert_within(figure)


def test_bars_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="without a mistake"):
        confused_pairs_figure(np.diag([3, 4]), ("a", "b"), "", "")
    with pytest.raises(ValueError, match="for 3 classes"):
        recall_figure(np.ones((2, 2), int), CLASSES, [(0, 1)] * 3, "", "")


def test_program_draws_two_pictures_a_dump_and_one_where_all_is_right(tmp_path, capsys):
    two, one = dump(tmp_path / "a.test.npz"), dump(tmp_path / "b.test.npz", views=1)
    gen_classes.main([str(two), str(one), "--out", str(tmp_path / "out")])
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["a.test.recall.png", "a.test.mistakes.png", "b.test.recall.png"]
    assert sorted(names) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert "no such file" in refusal(lambda: gen_classes.main([str(tmp_path / "absent.npz")]))


# -------------------------------------------------------------------------------------------- several trainings


def test_each_run_has_its_colour_its_best_epoch_and_a_line_in_the_legend():
    first = Training("resnet_a", [row(1, 0.3, 1.5), row(2, 0.6, 0.9), row(3, 0.5, 0.8)])
    second = Training("vgg_b", [row(1, 0.2, 1.5), row(2, 0.3, 1.2)], "loss")
    figure = several_curves_figure([first, second], "Training on FER2013", "2 runs")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "resnet_a: 60.0% on validation at epoch 2 of 3",
        "vgg_b: 30.0% on validation at epoch 2 of 2",
    ]
    accuracy = figure.axes[0].lines
    assert list(accuracy[1].get_ydata()) == pytest.approx([30, 60, 50])
    assert len({line.get_color() for line in accuracy}) == 2
    assert accuracy[2].get_marker() != accuracy[5].get_marker()  # so that they stay apart in grey
    assert "Training on FER2013" in texts(figure)
    assert_within(figure)


def test_curves_refuse_no_runs_too_many_and_one_without_an_epoch():
    some = Training("a", [row(1, 0.3)])
    for runs in ([], [some] * (MOST_RUNS + 1), [some, Training("b", [])]):
        with pytest.raises(ValueError, match="runs with"):
            several_curves_figure(runs, "t", "")
    assert several_curves_figure([some] * MOST_RUNS, "t", "").axes


def run_in(folder: Path, like: Checkpoint, name: str, epochs: int) -> None:
    """A run's newest checkpoint, with as many rows of history."""
    path = folder / "saved" / "checkpoints" / name / "last.pt"
    path.parent.mkdir(parents=True)
    history = [row(epoch, 0.1 * epoch) for epoch in range(1, epochs + 1)]
    save_checkpoint(dataclasses.replace(like, run=name, progress={"history": history}), path)


def test_a_table_of_metrics_is_drawn_under_the_name_of_its_run(tmp_path):
    rows = "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy\n1,0.1,2,0.25,1.5,0.5\n2,0.1,1,0.75,1.25,0.625\n"
    names = {"vgg_1.metrics.csv": "vgg_1", "logs/vgg_2/metrics.csv": "vgg_2", "val_metrics.csv": "val_metrics"}
    for name, called in names.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows)
        training = gen_curves.training_of(path)
        assert training.name == called and [row["val_accuracy"] for row in training.history] == [0.5, 0.625]
        gen_curves.main([str(path), "--out", str(tmp_path / "curves.png")])
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epoch,accuracy\n1,2\n", "expected a table with the columns epoch"),
        ("epoch,train_loss,train_accuracy,val_loss,val_accuracy\n", "has no epochs"),
        ("epoch,train_loss,train_accuracy,val_loss,val_accuracy\n1,a,b,c,d\n", "expected numbers"),
        ("epoch,train_loss,train_accuracy,val_loss,val_accuracy\n1,2\n", "expected numbers"),
    ],
)
def test_another_table_is_refused(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text)
    assert says in refusal(lambda: gen_curves.main([str(tmp_path / "a.csv")]))


def test_program_draws_the_newest_runs_or_those_named(saved, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    drawn: list[list[str]] = []
    monkeypatch.setattr(gen_curves, "several_curves_figure", lambda runs, *_: drawn.append([run.name for run in runs]))
    monkeypatch.setattr(gen_curves, "save_figure", lambda *_: None)
    assert "no runs; train one first" in refusal(lambda: gen_curves.main([]))
    for number in range(MOST_RUNS + 1):
        run_in(tmp_path, saved, f"run{number}", number + 1)
        os.utime(tmp_path / "saved" / "checkpoints" / f"run{number}", (number, number))
    folds = tmp_path / "saved" / "checkpoints" / "folded"
    folds.mkdir()
    (folds / "run.json").write_text("{}")
    gen_curves.main([])
    gen_curves.main(["run3", "run0"])
    assert drawn == [[f"run{number}" for number in range(1, MOST_RUNS + 1)], ["run3", "run0"]]
    assert capsys.readouterr().out.splitlines() == ["saved/logs/curves.png"] * 2
    every = [f"run{number}" for number in range(MOST_RUNS + 1)]
    run_in(tmp_path, saved, "new", 0)
    for names, words in ((["folded"], "fold-01"), (every, "up to 6"), (["runn3"], "closest: run"), (["new"], "epoch")):
        assert words in refusal(lambda names=names: gen_curves.main(names))
