"""The benchmarks' arithmetic, their table, and that all peers do the same job; nothing here depends on how fast."""

import importlib.util
import itertools
import math
import re

import numpy as np
import pytest

from benchmarks import __main__ as whole
from benchmarks import larger_than_memory, time_to_accuracy
from benchmarks import page as page_costs
from benchmarks.cases import NETWORKS, TARGETS, TITLES, Entry, Ways, cpu_cases, cuda_cases, equal_loss_jobs
from benchmarks.job import ROOT, Job, results_folder
from benchmarks.measure import Found, largest_difference, losses_of, rows_of
from benchmarks.pacer import EndedError, Pacer
from benchmarks.pictures import pictures_text
from benchmarks.points import Point, read_points, record_text, write_points
from benchmarks.preparing import COPIES, HASH, JPEG, NAMES, ORDER, ORDER_MEMORY, READ, large_sets_text
from benchmarks.programs import last_line
from benchmarks.table import EQUAL, USERS, Row, State, Target, best, moved, ratio, read_rows, speed_text, write_rows
from benchmarks.worker import losses
from models import list_models
from utils.errors import TrainingError, UserError
from utils.predictions import Predictions
from Visualization.speed import ratio_figure

WAYS = Ways("cpu", 1, "sample", "bf16", "on")
QUIET = State(0.5, 100.0)
JAFFE = ROOT / "configs" / "jaffe_config.json"
SAME_JOB = Job("train", batch_size=8, augment="none", dataset="sample", faces=70)


def lightning_there() -> bool:
    return importlib.util.find_spec("lightning") is not None


def test_ratio_compares_neighbours_in_time_and_is_above_one_where_ours_is_better():
    assert ratio([200, 100, 50], [100, 50, 25], "images/s") == 2  # the machine slowed down for both
    assert ratio([1.0, 1.0], [3.0, 5.0], "s") == 4
    assert ratio([0.5], [1.0], "GB") == 2
    assert best([1, 3, 2], "images/s") == 3 and best([1, 3, 2], "s") == 1


@pytest.mark.parametrize(("after", "void"), [(100, False), (109, False), (91, False), (111, True), (89, True)])
def test_a_machine_that_changed_by_a_tenth_makes_void(after, void):
    assert moved(QUIET, State(0.5, after)) is void
    (row,) = rows_of("ensemble", "s", [Found(Entry("ours", USERS, WAYS.job("none")), [1.0])], QUIET, State(0.5, after))
    assert row.void == ("void" if void else "") and row.reached == ("no" if void else "yes")


def test_targets():
    assert Target(1.8).reached(1.8) and not Target(1.8).reached(1.79)
    assert Target(3, at_least=False).reached(3) and not Target(3, at_least=False).reached(3.1)
    assert str(Target(40000)) == "at least 40,000" and str(Target(2.5, at_least=False)) == "at most 2.5"


def test_every_target_belongs_to_something_that_is_measured():
    cases = {case.name: case for case in (*cpu_cases(WAYS), *cuda_cases(WAYS))}
    for name, peer, settings in TARGETS:
        assert name in TITLES
        if name in cases:
            assert (peer, settings) in {(entry.peer, entry.settings) for entry in cases[name].entries}
    assert set(cases) <= set(TITLES)
    assert len(NETWORKS) == 14 and set(NETWORKS) <= set(list_models())


def test_equal_settings_are_equal():
    for case in cpu_cases(WAYS):
        jobs = {entry.settings: entry.job for entry in case.entries if entry.peer == "ours"}
        for entry in case.entries:
            mine, its = jobs[entry.against], entry.job
            assert (mine.arch, mine.batch_size, mine.threads) == (its.arch, its.batch_size, its.threads)
            if entry.settings == EQUAL:
                assert (mine.precision, mine.channels_last) == (its.precision, its.channels_last)


def found() -> list[Found]:
    job = WAYS.job("train")
    return [
        Found(Entry("ours", USERS, job), [200.0, 220.0], warm_up=20, memory=5e8),
        Found(Entry("lightning", USERS, job), [100.0, 100.0]),
        Found(Entry("timm", USERS, job), note="ImportError: no timm"),
        Found(Entry("timm", EQUAL, job), [200.0, 200.0]),
    ]


def test_rows_say_what_was_measured_and_what_failed(tmp_path):
    rows = rows_of("train_48", "images/s", found(), QUIET, State(0.7, 120.0))
    write_rows(rows, tmp_path / "cpu.csv")
    read = read_rows(tmp_path / "cpu.csv")
    assert [(row["peer"], row["ratio"], row["target"], row["reached"]) for row in read] == [
        ("ours", "", "", ""),
        ("lightning", "2.1", "at least 1.8", "no"),  # void
        ("timm", "", "at least 1.05", ""),
        ("timm", "1.05", "", ""),
    ]
    assert read[2]["note"] == "ImportError: no timm" and read[2]["median"] == ""
    assert {row["void"] for row in read} == {"void"}
    text = speed_text(read, {"summary": "Measured here.", "rounds": "2"}, TITLES)
    assert "| training ResNet-18 at 48 px | 210 images/s | 2.10 (void) | equal 1.05 (void) |" in text
    assert "beside lightning (as its users run it) | at least 1.8 times | 2.10 times | void |" in text
    assert "beside timm (as its users run it) | at least 1.05 times | – |  |" in text
    alone = rows_of("start_cold", "s", [Found(Entry("ours", USERS, WAYS.job("none")), [7.0])], QUIET, QUIET)
    write_rows([*rows, *alone], tmp_path / "cpu.csv")
    text = speed_text(read_rows(tmp_path / "cpu.csv"), {"summary": "Measured here.", "rounds": "2"}, TITLES)
    assert "| `python main_fer.py` to the first step, data not yet parsed | 7.00 s | – | – |" in text


def test_what_a_peer_of_another_job_is_compared_by_is_void(tmp_path, monkeypatch):
    losses = {"ours": [2.0, 1.0], "plain": [2.0, 1.0], "lightning": [2.0, 1.5], "timm": "ImportError: no timm"}
    monkeypatch.setattr(whole, "losses_of", lambda *_: losses)
    bench = whole.Bench(WAYS, 2, tmp_path / "cpu.csv")
    assert "plain: 0.0e+00; lightning: 5.0e-01 NOT THE SAME JOB; timm: ImportError" in whole._check_losses(bench)
    bench.add(rows_of("train_48", "images/s", found(), QUIET, QUIET))
    read = read_rows(tmp_path / "cpu.csv")
    assert [(row["peer"], row["void"], row["reached"], row["note"]) for row in read] == [
        ("ours", "", "", ""),
        ("lightning", "void", "no", "not the same job"),
        ("timm", "", "", "ImportError: no timm"),
        ("timm", "", "", ""),
    ]


def test_a_peer_of_another_job_ends_the_program_with_3(tmp_path, monkeypatch):
    losses = {"ours": [2.0, 1.0], "lightning": [2.0, math.nan]}
    monkeypatch.setattr(whole, "losses_of", lambda *_: losses)
    monkeypatch.setattr(whole, "run_case", lambda *_: (found(), QUIET, QUIET))
    options = ["--smoke", "--only", "train_48", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["benchmarks", *options])
    with pytest.raises(TrainingError, match=r"cpu.csv: void beside lightning, whose losses are not ours$") as caught:
        whole.main()
    assert caught.value.exit_code == 3 and (tmp_path / "cpu.csv").exists()


@pytest.mark.parametrize("rounds", ["0", "-1"])
def test_no_rounds_are_refused(rounds, monkeypatch):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--rounds", rounds])
    with pytest.raises(UserError, match=f"^--rounds must be a whole number from 1; got {rounds}$"):
        whole.main()


def test_another_table_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a table"):
        read_rows(tmp_path / "other.csv")


def test_the_picture_has_a_point_for_each_ratio():
    figure = ratio_figure([("training", "lightning", False, 2.0), ("training", "lightning", True, 0.5)], "a machine")
    figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"2", "0.5"} <= set(texts)
    with pytest.raises(ValueError, match="nobody"):
        ratio_figure([])


def test_the_pacer_warms_up_measures_and_ends():
    said, heard = [], iter(["go 3", "go 1", ""])
    pacer = Pacer(said.append, lambda: next(heard), warm_up=2)
    with pytest.raises(EndedError):
        for _ in itertools.count():
            pacer.fed(0.25)
            pacer.step(8)
    assert [answer.get("warm_up") for answer in said] == [2, None, None]
    assert [answer.get("images") for answer in said] == [None, 24, 8]
    assert [answer.get("fed") for answer in said] == [None, 0.75, 0.25]


@pytest.mark.parametrize("peer", ["plain", "timm", "lightning"])
def test_all_peers_do_the_same_job(peer):
    if peer == "lightning" and not lightning_there():
        pytest.skip("lightning is not installed; make bench installs it")
    ours, its = losses("ours", SAME_JOB, 3), losses(peer, SAME_JOB, 3)
    assert len(ours) == len(its) == 3 and all(map(math.isfinite, ours))
    assert largest_difference(ours, its) < 1e-4
    assert ours[0] != ours[1]


def test_a_peer_that_fails_says_why_and_spoils_nothing():
    jobs = {"nobody": SAME_JOB}
    said = losses_of(jobs, 1, {})["nobody"]
    assert isinstance(said, str) and "KeyError" in said
    assert last_line("Traceback\n  in main\nValueError: x\n\n") == "ValueError: x" and last_line("")


def test_losses_are_compared_on_a_network_without_dropout():
    jobs = equal_loss_jobs(Ways("cpu", 1, "sample", "bf16", "on", smoke=True))
    assert {(job.arch, job.precision, job.augment) for job in jobs.values()} == {("resnet18", "fp32", "none")}
    assert set(jobs) == {"ours", "plain", "lightning", "timm"}


def test_a_row_without_anything_is_written_too(tmp_path):
    write_rows([Row("import", "ours", USERS, "s", "", "", note="broken")], tmp_path / "cpu.csv")
    assert read_rows(tmp_path / "cpu.csv")[0]["note"] == "broken"


def trained(program, run, seconds, *accuracies):
    return [Point(program, run, 1, 2, epoch, seconds * epoch, value) for epoch, value in enumerate(accuracies, 1)]


def dumps(share):
    """(validation, test) of 100 images, of which ``share`` are right; of the test part 10 more."""
    found = []
    meta = {"environment": {"processor": "Z80"}}
    for right in (share, share + 10):
        logits = np.zeros((1, 100, 2), np.float32)
        logits[:, np.arange(100), (np.arange(100) >= right).astype(int)] = 5
        ids = [f"{i:06d}" for i in range(100)]
        found.append(Predictions(logits, np.zeros(100, np.int64), ids, ("a", "b"), meta))
    return tuple(found)


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        (larger_than_memory, ["--threads", "0"], "--threads must be a number from 1; got 0"),
        (larger_than_memory, ["--gigabytes", "-1"], "--gigabytes must be a number from 0.01; got -1.0"),
        (larger_than_memory, ["--warm", "nan"], "--warm must be a number from 0.01; got nan"),
        (larger_than_memory, ["--folder", "nowhere"], "--folder: nowhere: no such folder"),
        (larger_than_memory, ["--image", "9"], "unknown option --image; did you mean --images?"),
        (page_costs, ["--minutes", "0"], "--minutes must be at least 1; got 0"),
        (time_to_accuracy, [], "nothing to add: name runs, or give --plain MINUTES"),
        (time_to_accuracy, ["--plain", "0"], "--plain must be a number of minutes above 0; got 0"),
        (time_to_accuracy, ["--plain", "1", "--threads", "0"], "--threads must be a whole number from 1; got 0"),
        (time_to_accuracy, ["--plain", "1", "--config", str(JAFFE)], f"{JAFFE}: dataset is jaffe; the table is of fer"),
    ],
)
def test_what_cannot_be_measured_is_one_line(program, arguments, message, monkeypatch):
    monkeypatch.setattr("sys.argv", ["program", *arguments])
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        program.main()


def test_other_sizes_do_not_replace_the_committed_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.job.ROOT", tmp_path)
    monkeypatch.setattr(larger_than_memory, "ROUNDS", 1)
    sizes = ["--warm", "0.02", "--gigabytes", "0.02", "--images", "64", "--folder", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["program", *sizes])
    larger_than_memory.main()
    (path,) = tmp_path.rglob("*.csv")
    assert path == tmp_path / "saved/results/bench/larger_than_memory.csv"
    assert len(path.read_text().splitlines()) == 4 and str(path) in capsys.readouterr().out
    assert results_folder(whole=True) == tmp_path / "results/bench"


def test_points_come_back_as_they_were_written(tmp_path):
    points = trained("ours, 8min", "a", 60.5, 0.25, 0.5)
    write_points(points, tmp_path / "t.csv")
    assert read_points(tmp_path / "t.csv") == points
    assert read_points(tmp_path / "none.csv") == []
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a table"):
        read_points(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("seconds", "right", "verdict"),
    [(240, (65, 66), "yes"), (240, (63, 66), "no"), (241, (70, 70), "no")],  # 65 % on the mean, within 8 minutes
)
def test_the_record_is_that_of_the_mean_and_of_the_slowest_seed(seconds, right, verdict):
    points = trained("ours, 8min", "a", 200, 0.7, 0.6) + trained("ours, 8min", "b", seconds, 0.5, 0.6)
    points += trained("plain loop, 8min", "c", 240, 0.4, 0.5)
    text = record_text(points, {name: dumps(share) for name, share in zip("ab", right, strict=True)})
    ours, plain_loop = text.splitlines()[2:]
    mean = sum(right) / 2
    spread = abs(right[0] - right[1]) / 2**0.5
    shares = f"{mean:.2f}% ± {spread:.2f} | {mean + 10:.2f}%"
    assert f"| ours, 8min | Z80 | 2 | {seconds * 2 / 60:.1f} | 65.00% ± 7.07 | {shares}" in ours
    assert ours.endswith(f"| 65.0% in 8 minutes | {verdict} |")
    assert plain_loop == "| plain loop, 8min | – | 1 | 8.0 | 50.00% | – | – |  |  |"


def test_costs_of_a_large_set_are_those_of_an_image_times_as_many():
    costs = {JPEG: 20.0, READ: 1000.0, HASH: 2.0, COPIES: 1.0, ORDER: 0.05, ORDER_MEMORY: 8.0, NAMES: 100.0}
    rates = [
        {"augment": "none", "disk_img_s": "2000", "ratio": "0.95"},
        {"augment": "none", "disk_img_s": "1500", "ratio": ""},
    ]
    told = large_sets_text(costs, rates)
    assert "| 1000 images/s | 5 minutes |" in told  # 300,000 / 1,000 s
    assert "| 2.0 GB/s | 23 s |" in told and "| 1.0 GB/s | 45 s |" in told  # of 45 GB
    assert "2,000 images/s, 0.95 times memory's | an epoch in 2 minutes" in told
    assert "| 1,500 images/s | an epoch in 3 minutes |" in told
    assert "230 GB: 115 s to hash, 5 s and 0.8 GB for an epoch's order, but 10 GB of names" in told


def test_pictures_text_has_a_row_for_each_cost_and_the_frames_of_a_second():
    rows = [
        {"what": "face", "threads": "1", "best": "6.89", "median": "7.29"},
        {"what": "frame", "threads": "2", "best": "16.97", "median": "20.00"},
    ]
    told = pictures_text(rows)
    assert "| face | 1 | 6.9 ms | 7.3 ms |" in told and "50 frames a second" in told


def test_page_text_tells_of_the_first_and_the_last_minute():
    costs = {page_costs.LOAD: 8.27, page_costs.COLD: 1.24, page_costs.WARM: 0.9, page_costs.PACE: 28.6}
    costs |= {page_costs.WORK: 17.6}
    for minute in range(1, 11):
        costs |= {page_costs.MEMORY.format(minute): 200.0 + minute, page_costs.HEAP.format(minute): 5.0}
    told = page_costs.page_text(costs)
    assert "takes 8.3 MB" in told and "after 1.2 s, on later visits after 0.9 s" in told
    assert "29 pictures a second on one thread, 18 ms each" in told
    assert "After 1 and 10 minutes of that its process holds 201 MB and 210 MB, JavaScript's heap 5 MB and 5 MB" in told
