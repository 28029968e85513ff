"""Several processes: the steps of one process, one writer, restarts, signals, and launches that went wrong."""

import contextlib
import csv
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FOLDED, ROOT, SMALL, environment, start_here

from models import ModelError
from trainers import experiment
from trainers.learner import Learner
from utils.checkpoint import load_checkpoint
from utils.config import Config, load_config
from utils.distributed import ALONE, Team, open_team
from utils.errors import MachineError, SaidElsewhere, UserError
from utils.predictions import load_predictions
from utils.runtime import as_member, processors
from utils.splits import load_splits
from utils.sync_norm import over_team

PROCESSES = 3
# 101 images in batches of 32 and a last one of 5, which leaves nothing for the third process.
BATCHES = {"sample_faces": "101", "batch_size": "32", "drop_rate": "0", "max_epoch_num": "2"}
RECIPES = {
    "plain": {"mixup": "0"},
    "mixup": {"mixup": "0.4"},
    "cutmix": {"mixup": "0.4", "cutmix": "1"},
    "weighted": {"mixup": "0", "weighted_loss": "true", "label_smoothing": "0.1", "grad_clip": "0.5"},
    "passes": {"mixup": "0.4", "micro_batch": "6"},
    "sharpness": {"mixup": "0.4", "sam_rho": "0.1", "loss": "gce"},
    "shared norm": {"mixup": "0.4", "sync_batchnorm": "true", "lr": "0.001"},
}
TRAINS = f"""
import json, sys
import torch
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_distributed import RECIPES, steps, talk, threads
from utils.distributed import open_team

torch.set_num_threads(1)
with open_team() as team:
    told = {{"talk": talk(team)}} | {{name: steps(name, team) for name in RECIPES}}
told["threads"] = threads()
open(f"told.{{team.rank}}", "w").write(json.dumps(told))
"""
# main_fer.py, to which something happens: ACCIDENTS names attempt, rank, epoch and step, signal, and whom it hits.
MEETS_ACCIDENTS = """
import json, os, signal
from trainers.learner import Learner
from trainers.experiment import default_path, main

plain = Learner.train_step
accidents = json.loads(os.environ["ACCIDENTS"])

def train_step(self, images, labels, epoch, step):
    for attempt, rank, *when, name, whom in accidents:
        if (os.environ["TORCHELASTIC_RESTART_COUNT"], self.team.rank) == (str(attempt), rank) and when == [epoch, step]:
            os.kill(os.getpid() if whom == "itself" else os.getppid(), getattr(signal, name))
    return plain(self, images, labels, epoch, step)

Learner.train_step = train_step
main(default_path("fer2013_config.json"))
"""


def changed(settings: tuple[str, ...], changes: Mapping[str, str]) -> list[str]:
    kept = [text for text in settings if text.partition("=")[0] not in changes]
    return kept + [f"{key}={value}" for key, value in changes.items()]


def torchrun(folder: Path, script: str, processes: int, *arguments: str, **options: str) -> tuple[int, str]:
    """Start ``processes`` of a program under torchrun, on a port that nobody else uses: exit code, and all it said."""
    path = folder / "program.py"
    path.write_text(script)
    restarts = options.pop("restarts", "0")
    launcher = ("torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", f"--max-restarts={restarts}")
    done = subprocess.run(
        [sys.executable, "-m", *launcher, str(path), *arguments],
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(ROOT)} | options,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    return done.returncode, done.stdout


# ------------------------------------------------------------------------------------------------ steps and talk


def steps(recipe: str, team: Team) -> dict[str, object]:
    """Two epochs; without a norm that all processes share, with the statistics that it began with."""
    config = load_config(None, changed(SMALL, BATCHES | RECIPES[recipe]))
    (split,) = load_splits(config)
    learner = Learner(config, split.train, team=team)
    if not config.sync_batchnorm:
        learner.frozen = [m for m in learner.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    learner.train_mode()
    found = [
        (result.loss, result.hits, result.images, len(labels))
        for epoch in range(2)
        for step, (images, labels) in enumerate(learner.batches.epoch(epoch))
        for result in [learner.train_step(images, labels, epoch, step)]
    ]
    weights = torch.cat([w.double().flatten() for w in learner.judged.state_dict().values()])
    losses, hits, images, mine = map(list, zip(*found, strict=True))
    return {"losses": losses, "hits": hits, "images": images, "mine": mine, "weights": weights.tolist()}


def threads() -> list[str]:
    """Names of this process's threads as the system knows them, those included that Python does not; Linux only."""
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]


def talk(team: Team) -> dict[str, object]:
    """What the processes tell each other, and what they refuse together."""

    def refused(call: Callable[[], object]) -> tuple[str, int, str]:
        try:
            call()
        except (UserError, SaidElsewhere, ModelError) as error:
            return type(error).__name__, error.exit_code, str(error)
        return "", 0, ""

    def one_of_them(rank: int, error: Exception) -> None:
        with team.agreed():
            if team.rank == rank:
                raise error

    numbers, counts = torch.full((2, 2), float(team.rank)), torch.full((3,), 2**40 + team.rank)
    team.add_up([numbers.t()])
    team.as_leader([counts, torch.ones(2)])
    rows = np.arange(7)[None, team.share(7)]
    folded = load_config(None, FOLDED)
    return {
        "sum": numbers.tolist(),
        "leaders": counts.tolist(),
        "joined": team.joined(rows, 1).tolist(),
        "led": team.led(lambda: team.rank),
        "any": [team.any(team.rank == 1), team.any(False)],
        "second": refused(lambda: one_of_them(1, MachineError("no such device"))),
        "leader": refused(lambda: team.led(lambda: one_of_the_data_is_missing())),
        "folds": refused(lambda: experiment.run(folded, team=team)),
    }


def one_of_the_data_is_missing() -> None:
    raise UserError("no such file")


@pytest.fixture(scope="module")
def team_told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict]]:
    """What each process of a team of three has to tell."""
    folder = tmp_path_factory.mktemp("team")
    code, said = torchrun(folder, TRAINS, PROCESSES)
    assert code == 0, said[-3000:]
    return [json.loads((folder / f"told.{rank}").read_text()) for rank in range(PROCESSES)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_team_takes_the_steps_of_one_process(team_told: list[dict[str, dict]], recipe: str) -> None:
    alone, team = steps(recipe, ALONE), [told[recipe] for told in team_told]
    for member in team:
        np.testing.assert_allclose(member["losses"], alone["losses"], atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(member["weights"], alone["weights"], atol=1e-5)
        assert (member["hits"], member["images"]) == (alone["hits"], alone["images"])
        assert member["losses"] == team[0]["losses"]
    assert alone["mine"] == alone["images"] == 2 * [32, 32, 32, 5]
    partners = float(RECIPES[recipe]["mixup"]) > 0  # the partner of a share's first image comes along
    shares = [[10 + partners] * 3 + [2 + partners], [11 + partners] * 3 + [3 + partners], [11 + partners] * 3 + [0]]
    assert [member["mine"] for member in team] == [2 * share for share in shares]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list its threads")
def test_no_thread_of_the_team_outlives_it(team_told: list[dict[str, dict]]) -> None:
    """One that lets go of a tensor while the interpreter ends would abort a process that has done its work."""
    for told in team_told:
        assert told["threads"] and not [name for name in told["threads"] if "gloo" in name]


def test_what_processes_tell_each_other(team_told: list[dict[str, dict]]) -> None:
    for rank, told in enumerate(team_told):
        talk = told["talk"]
        assert talk["sum"] == [[3, 3], [3, 3]] and talk["leaders"] == [2**40] * 3
        assert talk["joined"] == [list(range(7))] and talk["led"] == 0 and talk["any"] == [True, False]
        kinds = {"second": (1, "MachineError", 4, "no such device"), "leader": (0, "UserError", 2, "no such file")}
        kinds["folds"] = (0, "UserError", 2, "folds are not trained by torchrun")
        for case, (speaker, kind, code, text) in kinds.items():
            got = talk[case]
            assert got[:2] == [kind if rank == speaker else "SaidElsewhere", code]
            assert got[2].startswith(text if rank == speaker else "it was said before why")


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 13, 64, 101])
def test_shares_are_all_there_is_each_once_and_never_a_single_one(size: int, count: int) -> None:
    parts = [range(count)[Team(rank, size).share(count)] for rank in range(size)]
    assert [thing for part in parts for thing in part] == list(range(count))
    filled = [len(part) for part in parts if part]
    assert not filled or max(filled) - min(filled) <= 1
    assert count < 2 or min(filled) >= 2 or size == 1
    assert count < 2 * size or len(filled) == size


def test_a_team_of_one_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def team_of_one() -> Team:
        with open_team() as team:
            assert not torch.distributed.is_initialized()
            return team

    assert team_of_one() is ALONE
    for name, value in {
        "WORLD_SIZE": "1",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "x",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert team_of_one() == ALONE
    tensor, rows = torch.ones(3), np.ones((2, 4, 3))
    ALONE.add_up([tensor])
    ALONE.as_leader([tensor])
    ALONE.remember("a run")
    assert tensor.tolist() == [1, 1, 1] and ALONE.joined(rows, 1) is rows and ALONE.led(lambda: "x") == "x"
    assert ALONE.remembered() is None and not ALONE.any(False) and ALONE.share(1) == slice(0, 1)
    with pytest.raises(UserError, match="as it is"), ALONE.agreed():
        raise UserError("as it is")


def test_a_norm_that_cannot_be_shared_is_refused() -> None:
    class Own(torch.nn.BatchNorm2d):
        pass

    model = torch.nn.Sequential(torch.nn.BatchNorm2d(2), Own(2))
    with pytest.raises(UserError, match="sync_batchnorm: '1' is a Own"):
        over_team(model, Team(0, 2))


# ------------------------------------------------------------------------------------------------ a run from end to end

LONG = {"max_epoch_num": "5", "drop_rate": "0", "sync_batchnorm": "true", "lr": "0.001"}


def history(folder: Path) -> tuple[str, list[dict[str, float]]]:
    """The only run below ``folder``, and its metrics.csv."""
    (run,) = (folder / "saved/checkpoints").iterdir()
    with open(folder / "saved/logs" / run.name / "metrics.csv") as file:
        return run.name, [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def own_traceback(said: str) -> list[str]:
    """Lines of a traceback that name a file of this project; torch may be installed below it."""
    return re.findall(rf'File "{re.escape(str(ROOT))}/(?!\.venv/).*', said)


def test_a_run_survives_kills_and_signals_and_ends_as_if_one_process_had_made_it(tmp_path: Path) -> None:
    alone, team = tmp_path / "alone", tmp_path / "team"
    alone.mkdir()
    team.mkdir()
    settings = changed(SMALL, LONG)
    with contextlib.chdir(alone):
        experiment.run(load_config(None, settings))

    # a process is killed before the first checkpoint; torchrun starts all anew, and Ctrl-C reaches it
    accidents = json.dumps([(0, 1, 0, 2, "SIGKILL", "itself"), (1, 0, 1, 3, "SIGINT", "torchrun")])
    code, said = torchrun(team, MEETS_ACCIDENTS, 2, *settings, "distributed=true", restarts="1", ACCIDENTS=accidents)
    assert "saved at" in said, said
    run, _ = history(team)
    last = team / "saved/checkpoints" / run / "last.pt"
    assert (
        code != 0 and said.count(f"interrupted by signal 2; saved at epoch 2, step 4; go on with --resume {run}") == 1
    )
    assert not own_traceback(said), said  # whatever torchrun says itself
    assert (load_checkpoint(last).epoch, load_checkpoint(last).step) == (1, 4)

    # three processes go on where two were; SIGTERM
    accidents = json.dumps([(0, 0, 2, 1, "SIGTERM", "torchrun")])
    code, said = torchrun(team, MEETS_ACCIDENTS, 3, "--resume", run, ACCIDENTS=accidents)
    assert code != 0 and said.count("interrupted by signal 15; saved at epoch 3, step 2") == 1, said
    assert not own_traceback(said), said
    assert (load_checkpoint(last).epoch, load_checkpoint(last).step) == (2, 2)

    # the process that writes is killed, and the run ends
    accidents = json.dumps([(0, 0, 3, 2, "SIGKILL", "itself")])
    code, said = torchrun(team, MEETS_ACCIDENTS, 2, "--resume", run, restarts="1", ACCIDENTS=accidents)
    assert code == 0 and said.count("opened once") == 1, said
    assert load_checkpoint(last).progress["finished"]
    (_, expected), (_, got) = history(alone), history(team)
    assert len(got) == 5
    for mine, theirs in zip(got, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-6)
    (dump,) = (load_predictions(path) for path in team.glob("saved/results/*.test.npz"))
    (reference,) = (load_predictions(path) for path in alone.glob("saved/results/*.test.npz"))
    assert dump.ids == reference.ids and len(set(dump.ids)) == len(dump.ids)
    np.testing.assert_allclose(dump.logits, reference.logits, atol=1e-2)
    events = list(team.glob("saved/logs/*/events.out.tfevents*"))
    assert len(events) == 5  # one for each time that the leading process began, none of the others
    assert not list(team.rglob("*.tmp"))


# ------------------------------------------------------------------------------------------------ launches gone wrong

ONE_OF_TWO = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("variables", "settings", "code", "message"),
    [
        ({"WORLD_SIZE": "2"}, (), 2, "WORLD_SIZE is set but RANK is not; start several processes with: torchrun"),
        (ONE_OF_TWO | {"MASTER_PORT": ""}, (), 2, "WORLD_SIZE is set but MASTER_PORT is not"),
        (ONE_OF_TWO | {"RANK": "two"}, (), 2, "RANK is 'two'; expected a whole number"),
        (
            ONE_OF_TWO | {"RANK": "2"},
            (),
            2,
            "RANK 2, WORLD_SIZE 2, LOCAL_RANK 0, LOCAL_WORLD_SIZE 2: ranks count from 0",
        ),
        (ONE_OF_TWO | {"MASTER_PORT": "99999"}, (), 4, "processes do not find each other"),
        ({}, ("distributed=1",), 2, "start the processes with torchrun --nproc_per_node N main_fer.py"),
    ],
)
def test_a_launch_that_went_wrong_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    settings: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = start_here(tmp_path, "main_fer.py", *SMALL, *settings)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert message in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--jobs", "2"), "with --jobs N"),
        (("--resume", "x", "--fold", "1"), "with --jobs N"),
        (("--compare-protocols",), "with --jobs N"),
        (("--check",), "--check is for one process"),
    ],
)
def test_what_a_team_does_not_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["main_fer.py", *arguments])
    default = experiment.default_path("sample_config.json")
    experiment._read_command_line(default, Team(0, 1))
    with pytest.raises(UserError, match=message):
        experiment._read_command_line(default, Team(0, 2))


def test_a_run_of_several_processes_may_go_on_in_one() -> None:
    experiment._refuse_changes(["distributed=false"])


def test_a_batch_is_shared_by_all_and_threads_too() -> None:
    config = Config(batch_size=7, device="cpu", threads=1)
    assert as_member(config, Team(1, 3)) == config == as_member(config, ALONE)
    with pytest.raises(UserError, match="batch_size is 7 for 4 processes; .* so at least 8"):
        as_member(config, Team(1, 4))
    for several in ({"micro_batch": 4}, {"compile": "default"}):
        shared_norm = dataclasses.replace(config, sync_batchnorm=True, **several)
        assert as_member(shared_norm, ALONE) == shared_norm
        with pytest.raises(UserError, match="sync_batchnorm takes a batch in one pass"):
            as_member(shared_norm, Team(1, 3))
    many = dataclasses.replace(config, threads=2 * processors())
    for started in (Config(), many):  # what a run has settled on may be too much when others run beside it
        assert experiment._shared(started, 2, asked=False).threads == max(1, processors() // 2)
    assert experiment._shared(many, 2, asked=True) == experiment._shared(many, 1, asked=False) == many
    assert experiment._shared(config, 2, asked=False).threads == 1
    if not torch.cuda.is_available():
        with pytest.raises(MachineError, match="cuda:1"):
            as_member(dataclasses.replace(config, device="cuda:0"), Team(1, 2, 1, 2))
