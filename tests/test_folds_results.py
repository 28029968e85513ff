"""What is made of runs of folds afterwards: dumps anew, averages, comparisons of protocols, other data sets."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import FOLDED, SMALL, start_here
from PIL import Image
from test_fer2013 import all_rows, write_csv
from test_folds import dump, fold

from trainers import experiment, outcome
from trainers.folds import settings_of
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.config import load_config
from utils.datasets.drawn_faces import draw_faces
from utils.inference import Recognizer
from utils.labels import FER2013_CLASSES
from utils.pooling import spread
from utils.predictions import Predictions, load_predictions
from utils.runs import find_run, run_files
from utils.splits import load_faces, load_splits

pytestmark = pytest.mark.usefixtures("without_pictures")


def runs_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "saved" / "checkpoints").iterdir())


# ------------------------------------------------------------------------------------------------ gen_results.py


def test_dumps_are_made_anew_only_where_that_changes_something(copied_folds):
    folder, run = copied_folds
    file = folder / "saved" / "results" / f"{run}.test.npz"
    written = file.read_bytes()
    done = start_here(folder, "gen_results.py")
    assert (done.returncode, done.stdout) == (0, f"saved/results/{run}.test.npz: up to date\n")
    clean = start_here(folder, "gen_results.py", run, "--views", "1")
    assert clean.returncode == 0 and "kfold: 3 folds of persons" in clean.stdout and "over 5 persons" in clean.stdout
    one, both = dump(folder, run), dump_of(written, folder)
    assert one.logits.shape[0] == 1 and one.meta["views"] == 1
    np.testing.assert_allclose(one.logits[0], both.logits[0], rtol=1e-5, atol=1e-5)
    file.write_bytes(written[:-30])  # damaged
    assert start_here(folder, "gen_results.py", run).returncode == 0
    assert file.read_bytes() == written


def dump_of(content: bytes, folder: Path) -> Predictions:
    (folder / "kept.npz").write_bytes(content)
    return load_predictions(folder / "kept.npz")


def test_validation_of_all_folds_is_dumped_anew(copied_folds):
    folder, run = copied_folds
    file = folder / "saved" / "results" / f"{run}.val.npz"
    written = file.read_bytes()
    file.unlink()
    assert start_here(folder, "gen_results.py", run, "--split", "val").returncode == 0
    assert file.read_bytes() == written


def test_the_file_of_one_fold_does_not_take_the_place_of_all(copied_folds):
    folder, run = copied_folds
    file = folder / "saved" / "results" / f"{run}.test.npz"
    written = file.read_bytes()
    done = start_here(folder, "gen_results.py", str(fold(folder, run, 2) / "best.pt"))
    assert done.returncode in (0, 2) and done.stderr.count("\n") == (1 if done.returncode else 0)
    assert file.read_bytes() == written


# ------------------------------------------------------------------------------------------------ averages


def test_the_average_of_two_runs_of_folds(copied_folds):
    folder, run = copied_folds
    done = start_here(folder, "main_fer.py", *FOLDED, "seed=1", "max_epoch_num=1")
    assert done.returncode == 0, done.stderr
    (other,) = set(runs_in(folder)) - {run}
    done = start_here(folder, "gen_ensemble.py")
    assert (done.returncode, done.stderr) == (0, "")
    one, two = dump(folder, run), dump(folder, other)
    average = load_predictions(folder / "saved" / "results" / "ensemble.test.npz")
    assert sorted(average.meta["members"]) == sorted([run, other]) and average.ids == one.ids == two.ids
    np.testing.assert_allclose(average.probabilities(), (one.probabilities() + two.probabilities()) / 2, atol=1e-6)
    assert average.meta["fold_of"] == one.meta["fold_of"] and average.meta["subjects"] == one.meta["subjects"]
    right = (average.probabilities().argmax(1) == average.targets).mean()
    assert f"ensemble{' ' * (len(run) - 8)}" in done.stdout and f"{right:.2%}" in done.stdout
    chosen = start_here(folder, "gen_ensemble.py", "--select", "greedy")
    assert (chosen.returncode, chosen.stderr.count("\n")) == (2, 1)  # a fold validates on what another tests on
    assert "other folds' test images" in chosen.stderr


# ------------------------------------------------------------------------------------------------ protocols compared


def test_protocols_compared_as_a_user_starts_it(tmp_path):
    settings = (*FOLDED, "max_epoch_num=1", "model_name=pair")
    done = start_here(tmp_path, "main_fer.py", "--compare-protocols", *settings)
    assert done.returncode == 0, done.stderr
    dumps = {name: dump(tmp_path, name) for name in runs_in(tmp_path)}
    assert len(dumps) == 2
    by_word = {one.meta["protocol"].partition(":")[0]: (name, one) for name, one in dumps.items()}
    (first, apart), (_, mixed) = by_word["kfold"], by_word["random"]
    assert "same people in train and test" in mixed.meta["protocol"] and sorted(mixed.ids) == sorted(apart.ids)
    assert done.stdout.count("same people in train and test\n") >= 2  # each part of the run says so
    lines = [line for line in done.stdout.splitlines() if line.startswith("fold ")]
    assert len(lines) == 6 and not any("same people" in line for line in lines[:3])
    assert all(line.endswith("%); same people in train and test") for line in lines[3:])
    assert (tmp_path / f"saved/confusion_matrices/{first}.inflation.png").read_bytes().startswith(b"\x89PNG")
    shares = [(one.probabilities().argmax(1) == one.targets).mean() for one in (apart, mixed)]
    assert f"  other people in train and test  {shares[0]:.2%}  [" in done.stdout
    assert f"  same people in train and test   {shares[1]:.2%}  [" in done.stdout
    assert f"inflation                       {100 * (shares[1] - shares[0]):+.2f} points" in done.stdout
    persons = [{one.meta["subjects"][i] for i in one.ids if one.meta["fold_of"][i] == 0} for one in (apart, mixed)]
    assert len(persons[0]) < 5 == len(persons[1])

    again = start_here(tmp_path, "main_fer.py", "--compare-protocols", "--resume", first)
    assert again.returncode == 0, again.stderr
    assert "epoch " not in again.stdout.replace("epochs", "") and runs_in(tmp_path) == sorted(dumps)
    assert done.stdout.splitlines()[-5:] == again.stdout.splitlines()[-5:]
    refused = start_here(tmp_path, "main_fer.py", "--compare-protocols", "--resume", by_word["random"][0])
    assert refused.returncode == 2 and "protocol is random; expected loso or kfold" in refused.stderr


class EnoughError(Exception):
    """Both runs have been asked for."""


def test_the_splits_that_a_run_is_forced_onto_are_not_asked_of_the_other_protocol(copied_folds, monkeypatch):
    folder, run = copied_folds
    monkeypatch.chdir(folder)
    asked = []

    def only_read(config, jobs):
        asked.append(load_splits(config)[0].protocol.partition(":")[0])
        return run_files(run, config)

    def compare(apart, mixed):
        raise EnoughError

    monkeypatch.setattr(experiment, "run", only_read)
    monkeypatch.setattr(experiment, "inflation", compare)
    splits = f"split_file=saved/checkpoints/{run}/splits.json"
    with pytest.raises(EnoughError):
        experiment.compare_protocols(load_config(None, [*FOLDED, splits]))
    assert asked == ["kfold", "random"]


def test_a_damaged_run_beside_it_does_not_keep_a_comparison_from_going_on(copied_folds, monkeypatch):
    folder, run = copied_folds
    monkeypatch.chdir(folder)
    (folder / "saved/checkpoints/broken").mkdir()
    (folder / "saved/checkpoints/broken/run.json").write_text("{")
    config = load_config(None, FOLDED)
    wanted = settings_of(find_run(run, config))
    assert experiment._run_like(wanted) == run
    assert experiment._run_like(dataclasses.replace(wanted, seed=7)) is None


@pytest.mark.parametrize("protocol", ["official", "holdout", "random"])
def test_only_protocols_that_keep_people_apart_are_compared(tmp_path, protocol):
    done = start_here(tmp_path, "main_fer.py", "--compare-protocols", *FOLDED, f"protocol={protocol}")
    assert (done.returncode, done.stderr) == (
        2,
        f"--compare-protocols: protocol is {protocol}; expected loso or kfold\n",
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--check",), "leave out --resume and --compare-protocols"),
        (("--resume", "RUN", "--fold", "1"), "--compare-protocols needs every fold; leave out --fold"),
        (("--resume", "RUN", "lr=1"), "a comparison that is gone on with keeps its settings"),
    ],
    ids=["check", "fold", "settings"],
)
def test_what_a_comparison_does_not_go_with(finished_folds, arguments, message):
    folder, run, _ = finished_folds
    arguments = [run if argument == "RUN" else argument for argument in arguments]
    done = start_here(folder, "main_fer.py", "--compare-protocols", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and message in done.stderr


@pytest.mark.parametrize("words", ["", "same people in train and test"])
def test_pictures_and_tables_of_a_dump_say_who_stands_in_train(copied_folds, monkeypatch, capsys, words):
    folder, run = copied_folds
    monkeypatch.chdir(folder)
    told, test = dump(folder, run), []
    told = dataclasses.replace(told, meta={**told.meta, "protocol": f"kfold: folds; {words}"})
    for name in ("person_accuracy_figure", "confusion_matrix_figure"):
        monkeypatch.setattr(outcome, name, lambda *given: test.append(given[-1]))
    outcome.publish(run_files(run, load_config(None, FOLDED)), load_config(None, FOLDED), {"test": told}, "here")
    assert len(test) == 2 and all((text.endswith(f"; {words}")) is bool(words) for text in test)
    low, high = spread(told).interval
    said = capsys.readouterr().out
    assert "95 % over persons" in said and "95 % interval " not in said.partition("recall")[0]
    assert f"2 views                      94{spread_share(told):10.2%}  {low:6.2%}-{high:6.2%}" in said


def spread_share(told: Predictions) -> float:
    return float((told.probabilities().argmax(1) == told.targets).mean())


# ------------------------------------------------------------------------------------------------ elsewhere


@pytest.fixture
def elsewhere(copied_folds) -> tuple[Path, str, list[str]]:
    """A run of folds beside a folder of other drawn faces, in FER2013's classes by name, with persons."""
    folder, run = copied_folds
    drawn = draw_faces(28, seed=99, subjects=4, first_subject=500)
    rows = []
    for index, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        name = f"{FER2013_CLASSES[label]}/{index:02d}.png"
        (folder / "other" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(image)).save(folder / "other" / name)
        rows.append(f"{name},person {index % 4}")
    (folder / "other" / "groups.csv").write_text("\n".join(["file,group", *rows]))
    settings = {"dataset": "folder", "data_path": "other", "cache_dir": "cache", "taxonomy": "fer2013"}
    (folder / "other.json").write_text(json.dumps(settings))
    return folder, str(fold(folder, run, 1) / "best.pt"), rows


def run_of(folder: Path) -> str:
    (run,) = runs_in(folder)
    return run


def test_a_network_is_judged_on_all_images_of_another_set(elsewhere, monkeypatch):
    folder, checkpoint, rows = elsewhere
    done = start_here(folder, "gen_results.py", checkpoint, "--on", "other.json")
    assert done.returncode == 0, done.stderr
    (file,) = folder.glob("saved/results/*.on_folder*.npz")
    found = load_predictions(file)
    persons = dict(row.split(",") for row in rows)
    assert sorted(found.ids) == sorted(persons) and found.meta["subjects"] == persons
    assert found.classes == FER2013_CLASSES and found.meta["dataset"] == "folder"
    assert [FER2013_CLASSES[target] for target in found.targets] == [i.partition("/")[0] for i in found.ids]
    protocol = "elsewhere: trained on sample, judged on all of folder"
    assert (found.meta["protocol"], found.meta["split"]) == (protocol, "on_folder-other-fer2013")
    assert file.name == f"{run_of(folder)}.fold-01.on_folder-other-fer2013.npz"
    assert protocol in done.stdout and "over 4 persons" in done.stdout
    monkeypatch.chdir(folder)
    faces = load_faces(load_config("other.json", ["image_size=48", "in_channels=1"]))  # as those it was trained on
    probabilities = Recognizer(checkpoint).probabilities(faces.images)
    np.testing.assert_allclose(found.probabilities(), probabilities, atol=1e-5)


def test_the_same_classes_in_another_order_are_matched_by_name(elsewhere):
    folder, checkpoint, _ = elsewhere
    for taxonomy in ("own", "fer2013"):  # by the alphabet; as FER2013 has them
        done = start_here(folder, "gen_results.py", checkpoint, "--on", "other.json", f"taxonomy={taxonomy}")
        assert done.returncode == 0, done.stderr
    one, other = (load_predictions(file) for file in sorted(folder.glob("saved/results/*.on_folder*.npz")))
    assert one.classes == other.classes == FER2013_CLASSES and one.ids == other.ids
    assert one.targets.tolist() == other.targets.tolist() and np.array_equal(one.logits, other.logits)


def test_of_each_fold_there_is_a_dump_of_its_own_elsewhere(elsewhere):
    folder, checkpoint, _ = elsewhere
    for file in (checkpoint, checkpoint.replace("fold-01", "fold-02")):
        assert start_here(folder, "gen_results.py", file, "--on", "other.json").returncode == 0
    assert len(list(folder.glob("saved/results/*.on_folder*.npz"))) == 2


def test_elsewhere_is_not_where_it_was_trained(elsewhere):
    folder, checkpoint, _ = elsewhere
    (folder / "sample.json").write_text(json.dumps({"dataset": "sample", "sample_faces": 70}))
    done = start_here(folder, "gen_results.py", checkpoint, "--on", "sample.json")
    trained_on = len(load_splits(load_config(None, FOLDED))[0].train)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr == f"{checkpoint}: was trained on {trained_on} of these 94 images, so they are no test\n"
    done = start_here(folder, "gen_results.py", checkpoint, "--on", "sample.json", "sample_seed=5")
    assert done.returncode == 0, done.stderr  # of the same name, and other images
    kept = load_checkpoint(Path(folder / checkpoint))
    save_checkpoint(dataclasses.replace(kept, seen=[]), folder / "old.pt")  # by name where images are not known
    done = start_here(folder, "gen_results.py", "old.pt", "--on", "sample.json", "sample_seed=5")
    assert done.stderr == "old.pt: was trained on sample itself, so all its images are no test of it\n"
    begun = (*SMALL, "sample_faces=70", "max_epoch_num=1")
    shutil.rmtree(folder / "saved")
    other = ("dataset=folder", "data_path=other", "cache_dir=cache", "taxonomy=fer2013", "protocol=holdout", "folds=3")
    assert start_here(folder, "main_fer.py", *begun).returncode == 0
    (first,) = runs_in(folder)
    done = start_here(folder, "main_fer.py", *begun, *other, f"init_from={first}")
    assert done.returncode == 0, done.stderr
    (second,) = set(runs_in(folder)) - {first}
    for settings, count in (("sample.json", "70 of these 94"), ("other.json", "7 of these 28")):
        done = start_here(folder, "gen_results.py", second, "--on", settings)  # what it began with counts too
        assert done.returncode == 2 and f"was trained on {count} images" in done.stderr


def test_a_hint_is_given_only_where_it_helps(elsewhere):
    folder, checkpoint, rows = elsewhere
    (folder / "other" / "sad").rename(folder / "other" / "bored")
    (folder / "other" / "groups.csv").write_text("\n".join(["file,group", *rows]).replace("sad/", "bored/"))
    done = start_here(folder, "gen_results.py", checkpoint, "--on", "other.json", "taxonomy=own")
    names = ", ".join(sorted({"bored", *FER2013_CLASSES} - {"sad"}))
    assert (done.returncode, done.stderr) == (
        2, f"{checkpoint}: knows {', '.join(FER2013_CLASSES)}; folder has {names}\n"
    )  # fmt: skip


def test_fer2013_is_judged_with_all_its_parts_and_each_variant_has_a_name_of_its_own(elsewhere):
    folder, checkpoint, _ = elsewhere
    write_csv(folder / "fer" / "fer2013.csv", ["emotion", "pixels", "Usage"], all_rows())
    on = ("--on", "other.json", "dataset=fer2013", "data_path=fer")
    assert start_here(folder, "gen_results.py", checkpoint, *on, "taxonomy=own").returncode == 0
    kept = load_predictions(folder / f"saved/results/{run_of(folder)}.fold-01.on_fer2013.npz")
    assert len(kept.ids) == len(set(kept.ids)) == len(all_rows())
    assert {identity.partition("/")[0] for identity in kept.ids} == {"train", "val", "test"}
    assert start_here(folder, "gen_results.py", checkpoint, *on, "taxonomy=no_contempt").returncode == 0
    assert start_here(folder, "gen_results.py", checkpoint, "--on", "other.json").returncode == 0
    names = sorted(path.name.partition(".on_")[2] for path in folder.glob("saved/results/*.on_*"))
    assert names == ["fer2013-no_contempt.npz", "fer2013.npz", "folder-other-fer2013.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("RUN", "--on", "other.json"), "has a network for each fold; name the checkpoint file of one"),
        (("FILE", "--on", "other.json", "crop=box"), "crop box: a box for jaffe; this run reads folder"),
        (("FILE", "--on", "other.json", "label_source=ferplus"), "label_source ferplus: FER+ has votes on fer2013"),
        (("FILE", "--on", "nowhere.json"), "nowhere.json: no such file"),
        (("FILE", "--on", "other.json", "data_path=nowhere"), "nowhere: no images here"),
    ],
    ids=["a run of folds", "a crop", "labels", "no file", "no data"],
)
def test_what_cannot_be_judged_elsewhere(elsewhere, arguments, message):
    folder, checkpoint, _ = elsewhere
    (run,) = runs_in(folder)
    done = start_here(folder, "gen_results.py", *({"RUN": run, "FILE": checkpoint}.get(a, a) for a in arguments))
    assert done.returncode == 2 and message in done.stderr
    assert not list(folder.glob("saved/results/*.on_*"))
