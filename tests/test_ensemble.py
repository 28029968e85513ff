"""gen_ensemble.py as a user starts it: on drawn dumps, with what belongs together and with what does not."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gen_ensemble
from utils.cli import run_cli
from utils.ensemble import greedy, table
from utils.metrics import score
from utils.pooling import spread
from utils.predictions import Predictions, combine, load_predictions, save_predictions, softmax

ROOT = Path(__file__).resolve().parent.parent
COUNT = 120


def drawn(seed: int, split: str = "test", skill: float = 2.0, **meta) -> Predictions:
    """Noise, raised by ``skill`` at the true class."""
    targets = np.random.default_rng(99).integers(0, 3, COUNT)
    logits = np.random.default_rng([seed, split == "val"]).normal(size=(2, COUNT, 3)).astype(np.float32)
    logits[:, np.arange(COUNT), targets] += skill
    known = {"scores": "logits", "run": f"r{seed}", "split": split, "protocol": "official", "data": split}
    ids = [f"{split}/{index:04d}" for index in range(COUNT)]
    return Predictions(logits, targets, ids, ("a", "b", "c"), known | {"copies_in_train": ids[:10]} | meta)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three runs: 'good' and 'fair' on both parts, and one that shines on test and fails on val."""
    results = tmp_path / "saved" / "results"
    for seed, name, test, val in ((0, "good", 2.0, 2.0), (1, "fair", 1.5, 1.5), (2, "lucky", 6.0, -2.0)):
        save_predictions(drawn(seed, "test", test), results / f"{name}.test.npz")
        save_predictions(drawn(seed, "val", val), results / f"{name}.val.npz")
    return tmp_path


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, as a user starts it."""
    command = [sys.executable, str(ROOT / "gen_ensemble.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def called(capfd, monkeypatch):
    """The same in this process, which saves the seconds that importing torch takes."""

    def call(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["gen_ensemble.py", *map(str, arguments)])
        earlier = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as ended:
                run_cli(gen_ensemble.main)
        finally:
            signal.signal(signal.SIGTERM, earlier)
        return subprocess.CompletedProcess(sys.argv, ended.value.code, *capfd.readouterr())

    return call


@pytest.fixture
def refused(called):
    """The one line that the program ends with; nothing is written."""

    def call(folder: Path, *arguments: object) -> str:
        before = sorted(folder.rglob("*"))
        ended = called(folder, *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert len(ended.stderr.splitlines()) == 1
        assert sorted(folder.rglob("*")) == before
        return ended.stderr.strip()

    return call


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_table_and_dump_of_all_members(folder):
    ended = run(folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "120 images; all members; unweighted" in ended.stdout
    results = folder / "saved" / "results"
    rows = rows_of(results / "ensemble.test.csv")
    assert list(rows) == ["fair", "good", "lucky", "ensemble"]
    average = sum(softmax(drawn(s, skill=k).logits).mean(0) for s, k in ((0, 2.0), (1, 1.5), (2, 6.0))) / 3
    targets = drawn(0).targets
    assert float(rows["ensemble"]["accuracy"]) == pytest.approx((average.argmax(1) == targets).mean(), abs=1e-6)
    rest = (average.argmax(1) == targets)[10:]
    assert float(rows["ensemble"]["accuracy_without_copies"]) == pytest.approx(rest.mean(), abs=1e-6)
    assert [row["best_member"] for row in rows.values()] == ["False", "False", "True", "False"]
    assert float(rows["lucky"]["mcnemar_p_against_best_member"]) == 1
    assert {row["images"] for row in rows.values()} == {"120"}
    assert {(row["interval"], row["protocol"]) for row in rows.values()} == {("Wilson", "official")}
    assert "95 % interval" in ended.stdout and "same people" not in ended.stdout
    dump = load_predictions(results / "ensemble.test.npz")
    np.testing.assert_allclose(dump.probabilities(), average, rtol=1e-5)
    assert dump.meta["members"] == ["fair", "good", "lucky"] and dump.meta["selection"]["split"] == "none"


def test_second_start_writes_the_same_bytes_and_takes_no_ensemble_for_a_member(folder, called):
    assert called(folder).returncode == 0
    written = [folder / "saved" / "results" / f"ensemble.test.{kind}" for kind in ("npz", "csv")]
    before = [path.read_bytes() for path in written]
    assert called(folder).returncode == 0
    assert [path.read_bytes() for path in written] == before


def test_persons_and_same_people_are_said_in_the_table_and_in_the_file(folder, called):
    people = {f"test/{index:04d}": f"person {index % 7}" for index in range(COUNT)}
    words = "random: 3 folds of images, the next one validates; same people in train and test"
    for seed, name in enumerate(("good", "fair", "lucky")):
        made = drawn(seed, skill=1.0, subjects=people, protocol=words)
        save_predictions(made, folder / "saved" / "results" / f"{name}.test.npz")
    ended = called(folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "120 images; all members; unweighted; same people in train and test\n" in ended.stdout
    assert "95 % over persons" in ended.stdout.splitlines()[0]
    rows = rows_of(folder / "saved" / "results" / "ensemble.test.csv")
    for number, name in enumerate(("good", "fair", "lucky")):
        low, high = spread(drawn(number, skill=1.0, subjects=people)).interval
        assert (float(rows[name]["low"]), float(rows[name]["high"])) == pytest.approx((low, high), abs=1e-6)
        assert f"{low:.2%}-{high:.2%}" in ended.stdout
    assert {(row["interval"], row["protocol"]) for row in rows.values()} == {("over persons", words)}


def test_greedy_looks_at_validation_alone(folder, called):
    ended = called(folder, "--select", "greedy", "--name", "chosen")
    assert (ended.returncode, ended.stderr) == (0, "")
    dump = load_predictions(folder / "saved" / "results" / "chosen.test.npz")
    assert "lucky" not in dump.meta["members"] and "good" in dump.meta["members"]
    assert dump.meta["selection"]["split"] == "val"
    rows = rows_of(folder / "saved" / "results" / "chosen.test.csv")
    assert float(rows["lucky"]["accuracy"]) > float(rows["good"]["accuracy"])  # on test it would have been chosen
    assert list(rows) == ["fair", "good", "lucky", "ensemble"]


def test_greedy_without_validation_dumps(folder, refused):
    (folder / "saved" / "results" / "good.val.npz").unlink()
    message = refused(folder, "--select", "greedy")
    assert message.startswith("saved/results/good.test.npz: no validation dump good.val.npz beside it")


def test_greedy_wants_test_dumps(folder, called):
    ended = called(folder, "saved/results/good.val.npz", "saved/results/fair.val.npz", "--select", "greedy")
    told = "saved/results/good.val.npz: expected a test dump, NAME.test.npz, with NAME.val.npz beside it\n"
    assert (ended.returncode, ended.stderr) == (2, told)


def test_greedy_refuses_test_predictions_under_the_name_of_validation(folder, refused):
    results = folder / "saved" / "results"
    for name in ("good", "fair", "lucky"):
        (results / f"{name}.val.npz").write_bytes((results / f"{name}.test.npz").read_bytes())
    message = refused(folder, "--select", "greedy")
    assert message == "saved/results/fair.val.npz: holds predictions for 'test'; expected 'val'"


def test_no_network_counts_twice(folder, refused):
    results = folder / "saved" / "results"
    save_predictions(combine([drawn(0), drawn(1)], ["a", "b"]), results / "both.test.npz")
    told = refused(folder, results / "good.test.npz", results / "both.test.npz")
    assert told == "both: is an average itself; name its members"
    for name, seed in (("one", 5), ("other", 6)):  # one checkpoint, dumped twice, with other views
        save_predictions(drawn(seed, run="r", checkpoint=name), results / f"{name}.test.npz")
    told = refused(folder, results / "one.test.npz", results / "other.test.npz")
    assert told == "other: the same network as one (run r); each member counts once"


def test_greedy_needs_no_particular_order_of_images():
    members = [drawn(seed, "val", skill) for seed, skill in ((0, 1.0), (1, 1.5), (2, -2.0), (3, 1.0))]
    chosen = greedy(members, list("abcd"))
    order = np.random.default_rng(0).permutation(COUNT)
    assert greedy([members[0], *(m.part(order) for m in members[1:])], list("abcd")) == chosen
    alone = [float((m.probabilities().argmax(1) == m.targets).mean()) for m in members]
    together = combine([members[i] for i in chosen], [str(i) for i in chosen])
    assert chosen[0] == int(np.argmax(alone)) and 2 not in chosen
    assert score(together.probabilities(), together.targets).accuracy >= max(alone)
    assert greedy(members[:1], ["a"]) == [0]


def test_dumps_of_another_protocol_are_left_out_and_named(folder, called):
    """As after --compare-protocols."""
    mixed = folder / "saved" / "results" / "mixed.test.npz"
    save_predictions(drawn(5, protocol="random"), mixed)
    earlier = min(path.stat().st_mtime for path in mixed.parent.iterdir()) - 1
    os.utime(mixed, (earlier, earlier))
    ended = called(folder)
    assert ended.returncode == 0 and "left out, of another protocol: saved/results/mixed.test.npz\n" in ended.stdout
    assert "mixed" not in rows_of(folder / "saved" / "results" / "ensemble.test.csv")


def test_members_of_one_name_have_rows_of_their_own(folder, called):
    (folder / "other").mkdir()
    save_predictions(drawn(7, skill=-1.0), folder / "other" / "good.test.npz")
    ended = called(folder, "saved/results/good.test.npz", "other/good.test.npz", "--out", folder / "out")
    assert ended.returncode == 0
    with open(folder / "out" / "ensemble.test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["good", "good", "ensemble"]
    assert [row["best_member"] for row in rows] == ["True", "False", "False"]
    assert float(rows[1]["mcnemar_p_against_best_member"]) < 0.001


def test_table_where_every_image_is_a_copy():
    member = drawn(0, copies_in_train=drawn(0).ids)
    rows = table([member], ["a"], combine([member], ["a"]))
    assert [np.isnan(row["accuracy_without_copies"]) for row in rows] == [True, True]
    assert rows[0]["accuracy"] == rows[1]["accuracy"] > 0.5


def test_bare_probabilities(tmp_path, refused, called):
    members = [softmax(drawn(seed).logits).mean(0) for seed in (0, 1)]
    for name, array in (("a", members[0]), ("b", members[1]), ("t", drawn(0).targets)):
        np.save(tmp_path / f"{name}.npy", array)
    ended = called(tmp_path, "a.npy", "b.npy", "--targets", "t.npy", "--out", "out")
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = rows_of(tmp_path / "out" / "ensemble.given.csv")
    assert list(rows) == ["a", "b", "ensemble"]
    hit = (sum(members).argmax(1) == drawn(0).targets).mean()
    assert float(rows["ensemble"]["accuracy"]) == pytest.approx(hit, abs=1e-6)
    assert "bare probabilities need --targets FILE.npy" in refused(tmp_path, "a.npy", "b.npy")
    assert "a.npy: shape" in refused(tmp_path, "b.npy", "--targets", "a.npy")
    assert refused(tmp_path, "a.npy", "--targets", "none.npy") == "none.npy: no such file"
    np.save(tmp_path / "logits.npy", drawn(0).logits[0])
    assert "logits.npy: holds values that are negative" in refused(tmp_path, "logits.npy", "--targets", "t.npy")


def test_bare_and_named_predictions_do_not_mix(folder, refused):
    np.save(folder / "a.npy", softmax(drawn(0).logits).mean(0))
    message = refused(folder, "a.npy", "saved/results/good.test.npz", "--targets", "a.npy")
    assert message == "a.npy: has no image ids, so it cannot be joined with .npz dumps"


def test_validation_among_test_dumps(folder, refused):
    message = refused(folder, "saved/results/good.test.npz", "saved/results/fair.val.npz")
    assert message == 'fair: split "val" differs from "test" of good'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slect", "greedy"], "unknown option --slect; did you mean --select?"),
        (["--weights=1,2"], "unknown option --weights"),
        (["--on", "test"], "argument --on: invalid choice: 'test'"),
        (["--name", "../../evil"], "'../../evil.test': not the name of a file"),
        (["--name", "a\nb"], "'a\\nb.test': not the name of a file"),
        (["--name", "x" * 300], "not the name of a file"),
        (["none.npz"], "none.npz: no such file"),
        (["saved"], "saved: is a folder, not a file"),
        (["--config", "none.json"], "none.json: no such file"),
        (["saved/results/good.test.npz"] * 2, "good: the same predictions as good; each member counts once"),
    ],
)
def test_wrong_command_lines(folder, arguments, message, refused):
    assert message in refused(folder, *arguments)


def test_misspelt_option_in_a_process_of_its_own(folder):
    ended = run(folder, "--slect", "greedy")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "unknown option --slect; did you mean --select?\n"


def test_no_dumps(tmp_path, refused):
    assert refused(tmp_path) == "saved/results: no dumps *.test.npz; python gen_results.py makes them"


def test_split_of_a_stranger_does_not_lead_out_of_the_folder(tmp_path, refused):
    save_predictions(drawn(0, split="../../evil"), tmp_path / "a" / "b" / "x.npz")
    assert "not the name of a file" in refused(tmp_path, "a/b/x.npz", "--out", "a/b")


def test_damaged_dump_is_named(folder, refused):
    path = folder / "saved" / "results" / "good.test.npz"
    path.write_bytes(path.read_bytes()[:-100])
    assert refused(folder).startswith("saved/results/good.test.npz: damaged")


def test_settings_say_where_results_lie(folder, called):
    (folder / "my.json").write_text(json.dumps({"results_dir": str(folder / "saved" / "results")}))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    assert called(elsewhere, "--config", folder / "my.json").returncode == 0
    assert (folder / "saved" / "results" / "ensemble.test.csv").is_file()


def test_folder_that_cannot_be_written(folder, called):
    ended = called(folder, "--out", "/proc/nowhere")
    assert ended.returncode == 4
    assert ended.stderr.startswith("/proc/nowhere/ensemble.test.npz: cannot be written")
    assert len(ended.stderr.splitlines()) == 1


def test_reader_that_leaves_early_costs_no_result(folder):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, str(ROOT / "gen_ensemble.py")]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # so that the very first line meets the closed pipe
        ended = subprocess.run(command, cwd=folder, stdout=writer, stderr=subprocess.PIPE, timeout=120, env=environment)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert load_predictions(folder / "saved" / "results" / "ensemble.test.npz").meta["run"] == "ensemble"
    assert (folder / "saved" / "results" / "ensemble.test.csv").is_file()


def test_without_names_only_runs_on_the_newest_data_are_averaged_each_once(folder, called):
    results = folder / "saved" / "results"
    other = results / "elsewhere.test.npz"
    save_predictions(drawn(7, data="other"), other)
    os.utime(other, (1, 1))
    (results / "again.test.npz").write_bytes((results / "good.test.npz").read_bytes())
    done = called(folder)
    assert done.returncode == 0, done.stderr
    assert f"left out, of other data: {other.relative_to(folder)}" in done.stdout
    assert "left out, equal to an earlier one:" in done.stdout
    members = load_predictions(results / "ensemble.test.npz").meta["members"]
    assert len(members) == 3
    assert "elsewhere" not in members


def test_the_table_says_who_was_chosen(folder, called):
    assert called(folder, "--select", "greedy", "--on", "val").returncode == 0
    with open(folder / "saved" / "results" / "ensemble.test.csv") as file:
        averaged = {row["name"]: row["averaged"] for row in csv.DictReader(file)}
    members = load_predictions(folder / "saved" / "results" / "ensemble.test.npz").meta["members"]
    assert {name for name, value in averaged.items() if value == "True"} == set(members)
    assert averaged["lucky"] == "False"
