"""Reports of runs: one file that asks for nothing else, says what the dumps say, and escapes what it is told."""

import html
import re
import shlex
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SMALL, refusal, start_here
from scipy.stats import binomtest

from trainers import outcome
from utils.config import Config, load_config
from utils.pages import page
from utils.pages.compared import compare
from utils.pages.markup import element, table
from utils.pages.material import Material, find_material
from utils.pages.page import report
from utils.predictions import Predictions, load_predictions, save_predictions

CLASSES = ("angry", "happy", "sad")


class Outline(HTMLParser):
    """Tags, what they refer to, and the rows of tables as text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = {key: value or "" for key, value in attributes}
        self.ids += [values["id"]] if "id" in values else []
        self.addresses += [values[key] for key in ("src", "href", "xlink:href", "action") if key in values]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "link", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def dump(folder: Path, name: str, part: str, *, seed: int = 0, count: int = 300, **told: object) -> Path:
    """Predictions that are right more often than not."""
    random = np.random.default_rng(seed)
    targets = np.arange(count) % len(CLASSES)
    logits = random.normal(size=(2, count, len(CLASSES))).astype(np.float32)
    logits[:, np.arange(count), targets] += 1
    meta = {"run": name, "split": part, "dataset": "fer2013", "checkpoint": "c" * 64, "data": "d", "views": 2} | told
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.{part}.npz"
    save_predictions(Predictions(logits, targets, [f"{part}{n}" for n in range(count)], CLASSES, meta), path)
    return path


def found(path: Path) -> Material:
    return find_material(str(path), Config())


def text_of(*runs: Material) -> str:
    return report(runs).decode()


def test_a_page_asks_for_nothing_else_and_runs_nothing(tmp_path):
    dump(tmp_path, "a", "val")
    text = text_of(found(dump(tmp_path, "a", "test", copies_in_train=["test0", "test5"])))
    outline = Outline(text)
    assert not {"script", "iframe", "object", "embed", "form", "base"} & outline.tags
    assert all(address.startswith(("#", "data:")) for address in outline.addresses)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "default-src &#x27;none&#x27;" in text
    assert len(set(outline.ids)) == len(outline.ids)
    assert {address[1:] for address in outline.addresses if address.startswith("#")} <= set(outline.ids)


def test_figures_are_those_of_the_dump(tmp_path):
    dump(tmp_path, "a", "val", seed=1)
    copies = [f"test{n}" for n in range(30)]
    path = dump(tmp_path, "a", "test", copies_in_train=copies)
    text, judged = text_of(found(path)), load_predictions(path)
    right = judged.probabilities().argmax(1) == judged.targets
    rows = Outline(text).rows
    (whole,) = (row for row in rows if row[:3] == ["test", "2", "300"])
    (fresh,) = (row for row in rows if row[:3] == ["test, without copies of training images", "2", "270"])
    assert (whole[3], fresh[3]) == (f"{right.mean():.2%}", f"{right[30:].mean():.2%}")
    (happy,) = (row for row in rows if row[:2] == ["happy", "100"] and "%" in row[2])
    assert happy[2] == f"{right[judged.targets == 1].mean():.1%}"
    assert "30 of the 300 images of test (10.0%) have an exact copy in training" in text
    assert "the temperature was fitted on validation" in text


def test_names_are_text_wherever_they_come_from(tmp_path):
    hostile = "<script>alert(1)</script>&\"'"
    path = dump(tmp_path, "a", "test", protocol=hostile, environment={hostile: hostile}, dataset=hostile)
    text = text_of(found(path))
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
    Outline(text)


def test_markup_escapes_text_and_attributes():
    assert element("p", "a < b & c", title='"x"') == '<p title="&quot;x&quot;">a &lt; b &amp; c</p>'
    assert "<td" not in table("t", ("a", "b"), [("<td>", "1")]).replace('<td class="number">', "")
    assert "a_<wbr>&lt;_<wbr>" in table("t", ("a", "b"), [("a_<_", "1")])


def test_pairs_agree_with_the_exact_test(tmp_path):
    one, other = (found(dump(tmp_path, name, "test", seed=seed)) for name, seed in (("a", 0), ("b", 1)))
    pair = compare(one, other)
    right = [run.judged.probabilities().argmax(1) == run.judged.targets for run in (one, other)]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert (pair.only_first, pair.only_second) == (only_first, only_second) and only_first and only_second
    assert pair.difference == pytest.approx(right[1].mean() - right[0].mean())
    assert pair.p == pytest.approx(binomtest(only_first, only_first + only_second).pvalue, rel=0.05)


def test_runs_side_by_side_are_linked_compared_and_told_apart_by_name(tmp_path):
    runs = [found(dump(tmp_path, name, "test", seed=seed)) for seed, name in enumerate("abc")]
    outline = Outline(text_of(*runs))
    assert {"run-1", "run-2", "run-3"} <= set(outline.ids) and {"#run-1", "#run-2", "#run-3"} <= set(outline.addresses)
    assert len(set(outline.ids)) == len(outline.ids)
    pairs = [row[:2] for row in outline.rows]
    assert all(pair in pairs for pair in (["a", "b"], ["a", "c"], ["b", "c"]))


def test_runs_on_other_images_stand_side_by_side_but_are_not_held_against_each_other(tmp_path):
    text = text_of(found(dump(tmp_path, "a", "test")), found(dump(tmp_path, "b", "test", count=240)))
    assert "a and b are not held against each other" in text


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"environment": ["x"]}, "'environment' in the dump is not a table"),
        ({"subjects": {"test0": "p"}}, "'subjects' in the dump leaves out images"),
    ],
)
def test_odd_dumps_are_refused_in_one_line(tmp_path, told: Mapping[str, object], message):
    path = dump(tmp_path, "a", "test", **told)
    assert message in refusal(lambda: found(path.with_suffix("").with_suffix("")))


def test_validation_of_another_network_is_refused(tmp_path):
    dump(tmp_path, "a", "val", checkpoint="e" * 64)
    dump(tmp_path, "a", "test")
    assert refusal(lambda: found(tmp_path / "a")) == "a: validation and test were dumped from different networks"


def test_the_command_writes_one_file_or_says_why_not(tmp_path):
    dump(tmp_path, "a", "test")
    done = start_here(tmp_path, "report.py", "a.test.npz", "--out", "page.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "page.html\n", "")
    assert (tmp_path / "page.html").read_bytes().startswith(b"<!doctype html>")
    twice = start_here(tmp_path, "report.py", "a", "a.test.npz")
    assert (twice.returncode, twice.stderr) == (2, "command line: a stands twice; each run counts once\n")
    unknown = start_here(tmp_path, "report.py", "b")
    assert (unknown.returncode, unknown.stderr) == (2, "saved/checkpoints: no run 'b'; it has no such folder\n")
    for name, words in (
        (".", "a folder of dumps; name one, such as a"),
        ("page.html", "page.html: not a dump; expected"),
    ):
        wrong = start_here(tmp_path, "report.py", name)
        assert wrong.returncode == 2 and words in wrong.stderr and wrong.stderr.count("\n") == 1
    blocked = start_here(tmp_path, "report.py", "a", "--out", "a.test.npz/page.html")
    assert blocked.returncode == 4 and blocked.stderr.count("\n") == 1


def test_the_shipped_network_shows_maps_on_drawn_faces_and_how_to_repeat_it():
    text = text_of(find_material(str(ROOT / "results/pretrained/quick_vgg"), load_config(None)))
    outline = Outline(text)
    assert text.count('<img src="data:image/png') == 2 and "has never seen such faces" in text
    assert ["drawn", "person 1", "person 2"] in outline.rows
    assert "python main_fer.py --config configs/zoo/quick_vgg_taught.json precision=bf16" in text
    assert "sgd; bf16, seed 15" in text and "on test, over 10 views of each image, in fp32" in text


def test_a_run_is_repeated_with_what_it_began_with_not_with_what_comes_with_the_package_now():
    text = text_of(find_material(str(ROOT / "results/fer2013/compact_vgg_robust_20261129_112551"), load_config(None)))
    assert "python main_fer.py --config configs/zoo/compact_vgg_robust.json precision=bf16" in text
    assert "init_from=" not in text


def test_the_command_that_repeats_an_average_can_be_typed(tmp_path):
    for seed, name in enumerate(("a", "b c")):
        dump(tmp_path / "runs", name, "test", seed=seed)
    command = ("a.test.npz", "b c.test.npz", "--out", ".", "--name", "mean")
    assert start_here(tmp_path / "runs", "gen_ensemble.py", *command).returncode == 0
    page = html.unescape(text_of(found(tmp_path / "runs" / "mean.test.npz")))
    assert "<dt>Chosen</dt><dd>all members</dd>" in page
    program, *words = shlex.split(re.search(r"<code>python (gen_ensemble.py .*?)</code>", page)[1])
    before = load_predictions(tmp_path / "runs" / "mean.test.npz")
    (tmp_path / "runs" / "mean.test.npz").unlink()
    assert start_here(tmp_path, program, *words).returncode == 0
    again = load_predictions(tmp_path / "runs" / "mean.test.npz")
    assert np.array_equal(again.logits, before.logits) and again.meta == before.meta
    (tmp_path / "runs" / "a.test.npz").unlink()
    assert "a.test.npz do not lie beside its own" in text_of(found(tmp_path / "runs" / "mean.test.npz"))


@pytest.fixture
def small_run(tmp_path) -> subprocess.CompletedProcess[str]:
    settings = [text for text in SMALL if not text.startswith("report_page")]
    return start_here(tmp_path, "main_fer.py", *settings, "sample_faces=70", "max_epoch_num=1")


def test_a_training_ends_with_its_report(small_run, tmp_path):
    assert (small_run.returncode, small_run.stderr) == (0, "")
    (written,) = (tmp_path / "saved" / "results").glob("*.report.html")
    assert f"saved/results/{written.name}" in small_run.stdout
    text = written.read_text()
    for heading in ("How the training went", "Class by class", "Whether it means what it says", "Where it looks"):
        assert heading in text
    assert "Maps on drawn faces" in text and "has never seen such faces" not in text  # it was trained on them
    assert (
        'class="missing"' not in text.replace("Who is on the images is not known", "", 1) or "Person by person" in text
    )


def test_a_setting_switches_the_report_off(tmp_path):
    done = start_here(tmp_path, "main_fer.py", *SMALL, "sample_faces=70", "max_epoch_num=1")
    assert done.returncode == 0 and not list((tmp_path / "saved" / "results").glob("*.html"))


def test_the_report_of_folds_tells_each_fold_and_person(finished_folds):
    folder, run, said = finished_folds
    text = (folder / f"saved/results/{run}.report.html").read_text()
    assert f"{run}.report.html" in said
    rows = Outline(text).rows
    folds = rows.index(["fold", "chosen epoch", "training", "accuracy on test"]) + 1
    assert [row[0] for row in rows[folds : folds + 3]] == ["fold-01", "fold-02", "fold-03"]
    assert "Recognised worst" in text and "3 temperatures" in text


@pytest.mark.parametrize("error", [OSError("no space"), ZeroDivisionError("a bug")])
def test_no_failure_of_the_report_fails_a_training(error, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(page, "write_report", fail)
    done = start_here(tmp_path, "main_fer.py", *SMALL, "sample_faces=70", "max_epoch_num=1", "report_page=true")
    assert done.returncode == 0 and "predictions " in done.stdout
    assert str(error) in done.stderr and "no report; python report.py tiny_resnet" in done.stderr
    assert outcome.__name__ in done.stderr or "outcome.py" in done.stderr  # a bug keeps its traceback
