"""The command line: measure every case beside its peers, write table, picture and the machine's facts."""

import dataclasses
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.cases import (
    FLOORS,
    NETWORKS,
    OURS,
    TITLES,
    USERS,
    Entry,
    Ways,
    cpu_cases,
    cuda_cases,
    equal_loss_jobs,
    import_commands,
)
from benchmarks.job import ROOT, data_there, results_folder
from benchmarks.measure import Found, largest_difference, losses_of, machine_state, rows_of, run_case
from benchmarks.pacer import WARM_UP
from benchmarks.programs import ensemble_command, first_step, seconds_of
from benchmarks.table import EQUAL, Row, State, figure, of_another_job, write_rows
from models import count_flops, create_model
from utils.cli import Parser, run_cli
from utils.config import Config
from utils.errors import TrainingError, UserError
from utils.runtime import environment, find_device, processors, resolve
from Visualization.saving import save_figure
from Visualization.speed import ratio_figure

PEERS = ("torch", "torchvision", "lightning", "timm", "numpy", "pillow")
LOSS_STEPS, LOSS_MAY_DIFFER = 5, 1e-3  # as a share; fp32 sums in another order
TRAINING_OPERATIONS = 3  # of a forward pass: once forward, twice backward
PROGRAMS = ("start_cold", "start_warm", "import", "ensemble", "memory")


class Bench:
    """One run: what is measured goes to the file at once."""

    def __init__(self, ways: Ways, rounds: int, path: Path) -> None:
        self.ways, self.rounds, self.path = ways, rounds, path
        self.rows: list[Row] = []
        self.unlike: list[str] = []  # peers that turned out to do another job
        threads = str(ways.threads)
        self.environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}

    def state(self) -> State:
        """The machine now."""
        return machine_state(self.ways.device, self.ways.threads)

    def add(self, rows: Sequence[Row]) -> None:
        """Keep, print and write."""
        rows = [of_another_job(row) if row.peer in self.unlike and row.ratio != "" else row for row in rows]
        for row in rows:
            times = f"ours is {row.ratio:.2f} times as good" if isinstance(row.ratio, float) else ""
            target = f"[{row.target}: {row.reached or 'not measured'}]" if row.target else ""
            figures = f"{row.peer:11s} {row.settings:22s} {figure(row.median, row.unit):>18s}"
            print(f"  {figures}  {times} {target} {row.void} {row.note}".rstrip(), flush=True)
        self.rows += rows
        write_rows(self.rows, self.path)

    def one_by_one(self, case: str, commands: dict[str, Callable[[], float]], unit: str = "s") -> None:
        """Programs as a whole: each called once a round, in turns."""
        plain = self.ways.job("none")
        found = {peer: Found(Entry(peer, USERS, plain)) for peer in commands}
        before = self.state()
        for _ in range(self.rounds):
            for peer, call in commands.items():
                if not found[peer].note:
                    try:
                        found[peer].values.append(call())
                    except (subprocess.SubprocessError, OSError) as error:
                        found[peer].note = str(error)
        self.add(rows_of(case, unit, list(found.values()), before, self.state()))


def main() -> None:
    """Measure.

    Raises:
        TrainingError: a peer does another job than ours; everything has been measured and written.
    """
    arguments = _parser().parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        raise UserError(f"--rounds must be a whole number from 1; got {arguments.rounds}")
    ways = _ways(arguments.device, arguments.threads, arguments.smoke)
    cases = {case.name: case for case in (*cpu_cases(ways), *cuda_cases(ways))} if ways.smoke else {}
    cases = cases or {case.name: case for case in (cpu_cases if ways.device == "cpu" else cuda_cases)(ways)}
    every = [*cases, *(PROGRAMS if ways.device == "cpu" else ())]
    wanted = arguments.only or every
    if wrong := [name for name in wanted if name not in every]:
        raise UserError(f"--only: no case '{wrong[0]}'; there are {', '.join(every)}")
    folder = Path(arguments.out or results_folder(whole=not (arguments.only or arguments.smoke)))
    rounds = arguments.rounds or (1 if ways.smoke else 5)
    bench = Bench(ways, rounds, folder / f"{ways.device}.csv")
    facts = _facts(ways, rounds)
    print(facts["summary"])
    facts["equal_losses"] = _check_losses(bench)
    _write_facts(facts, bench)
    for name, case in cases.items():
        if name in wanted:
            print(TITLES[name], flush=True)
            found, *states = run_case(case, rounds, 1 if ways.smoke else WARM_UP, bench.environment, bench.state)
            _add_rooflines(found, states[0], case.name)
            bench.add(rows_of(name, case.unit, found, *states))
            if name == "train_48" and found[0].shares:
                share = dataclasses.replace(found[0], values=found[0].shares)
                bench.add(rows_of("share_48", "%", [share], *states))
    _programs(bench, wanted)
    if any(isinstance(row.ratio, float) for row in bench.rows):
        save_figure(ratio_figure(_bars(bench.rows), facts["machine"]), bench.path.with_suffix(".png"))
    failed = [row for row in bench.rows if row.note and row.median == ""]
    missed = [row for row in bench.rows if row.reached == "no"]
    print(f"\n{bench.path}: {len(bench.rows)} rows; {len(failed)} failed, {len(missed)} below what was to be reached")
    if bench.unlike:
        raise TrainingError(f"{bench.path}: void beside {', '.join(bench.unlike)}, whose losses are not ours")


def _parser() -> Parser:
    parser = Parser("Our speed beside other programs that do the same job, in one run on this machine.")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of every peer (1: no noise from busy cores)")
    parser.add_argument("--rounds", type=int, help="rounds of each case (default 5)")
    parser.add_argument("--only", action="append", metavar="CASE", help="only this case; may be given again")
    parser.add_argument("--smoke", action="store_true", help="every case of both sets with tiny numbers: does it run?")
    parser.add_argument(
        "--out", help="folder that is written to (default results/bench; saved/results/bench for parts)"
    )
    return parser


def _ways(device: str, threads: int, smoke: bool) -> Ways:
    if threads < 1:
        raise UserError(f"--threads must be a whole number from 1; got {threads}")
    kind = find_device(device).type
    dataset = "sample" if smoke else data_there()
    chosen = resolve(Config(device=kind, threads=threads, cache_dir=str(ROOT / "saved" / "data" / "cache")))
    return Ways(kind, threads, dataset, chosen.precision, chosen.channels_last, smoke)


def _check_losses(bench: Bench) -> str:
    """Proof that all peers do the same job: without augmentation their losses agree, step by step.

    Those that do not go to ``bench.unlike``.
    """
    found = losses_of(equal_loss_jobs(bench.ways), 2 if bench.ways.smoke else LOSS_STEPS, bench.environment)
    ours, said = found[OURS], []
    if isinstance(ours, str):
        raise UserError(f"ours: {ours}")
    for peer, losses in found.items():
        if isinstance(losses, str):
            said.append(f"{peer}: {losses}")
        elif peer != OURS:
            difference = largest_difference(ours, losses)
            alike = difference < LOSS_MAY_DIFFER
            said.append(f"{peer}: {difference:.1e}" + ("" if alike else " NOT THE SAME JOB"))
            bench.unlike += [] if alike else [peer]
    text = f"losses of the first {len(ours)} steps, largest difference to ours: {'; '.join(said)}"
    print(text, flush=True)
    return text


def _programs(bench: Bench, wanted: Sequence[str]) -> None:
    """The cases in which whole programs are started."""
    ways, names = bench.ways, [name for name in PROGRAMS if name in wanted]
    if not names or ways.device != "cpu":
        return
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        numbers = iter(range(1000))

        def start_anew() -> float:
            return first_step(ways, folder / f"cold{next(numbers)}", bench.environment)[0]

        def start_again() -> float:
            return first_step(ways, folder / "warm", bench.environment)[0]

        def memory() -> float:
            settings = ("arch=resnet18", "in_channels=3", "batch_size=64", "ema_decay=0")
            return first_step(
                ways, folder / "warm", bench.environment, steps=2 if ways.smoke else 10, settings=settings
            )[1]

        def of(command: list[str]) -> Callable[[], float]:
            return lambda: seconds_of(command, bench.environment)

        if {"start_warm", "memory"} & set(names):
            start_again()  # fills the cache
        for name in names:
            print(TITLES[name], flush=True)
            if name == "start_cold":
                bench.one_by_one(name, {OURS: start_anew})
            elif name == "start_warm":
                bench.one_by_one(name, {OURS: start_again})
            elif name == "import":
                bench.one_by_one(name, {peer: of(command) for peer, command in import_commands().items()})
            elif name == "ensemble":
                bench.one_by_one(name, {OURS: of(ensemble_command(folder))})
            else:
                _add_memory(bench, memory)


def _add_memory(bench: Bench, ours: Callable[[], float]) -> None:
    """Ours as a whole program; the peers as they were while `train_48` was measured."""
    before, plain = bench.state(), bench.ways.job("none")
    found = [Found(Entry(OURS, USERS, plain))]
    try:
        found[0].values.append(ours() / 1e9)
    except (subprocess.SubprocessError, OSError) as error:
        found[0].note = str(error)
    for row in bench.rows:
        if row.case == "train_48" and row.peer != OURS and isinstance(row.peak_memory_gb, float):
            found.append(Found(Entry(row.peer, row.settings, plain), [row.peak_memory_gb]))
    bench.add(rows_of("memory", "GB", found, before, bench.state()))


def _add_rooflines(found: Sequence[Found], state: State, case: str) -> None:
    """On an accelerator, what share of its arithmetic and of the op-level roofline a network reaches."""
    name = case.removeprefix("network_")
    if name not in NETWORKS:
        return
    for one in found:
        if one.values:
            job = one.entry.job
            flops = count_flops(create_model(job.arch, num_classes=7), job.image_size)
            rate = max(one.values)
            one.note = f"{TRAINING_OPERATIONS * flops * rate / state.peak / 1e9:.0%} of the matmul peak"
            if name in FLOORS and job.device != "cpu":
                one.note += f", {rate / FLOORS[name]:.0%} of the roofline of an H200"


def _bars(rows: Sequence[Row]) -> list[tuple[str, str, bool, float]]:
    """(case, peer, whether at equal settings, ratio) of what is drawn."""
    return [
        (
            TITLES[row.case].replace("`", ""),
            row.peer if row.settings in (USERS, EQUAL) else f"{row.peer}, {row.settings.partition(',')[0]}",
            row.settings != USERS,  # what has a name of its own is compared with ours in the same arithmetic
            row.ratio,
        )
        for row in rows
        if isinstance(row.ratio, float) and row.case not in ("import", "memory")
    ]


def _facts(ways: Ways, rounds: int) -> dict[str, str]:
    """What the figures may depend on."""
    found = environment()
    processor = found["processor"] if ways.device == "cpu" else found["accelerator"]
    machine = f"{processor}, {ways.threads} of {processors()} cores"
    chosen = f"{ways.precision}, channels_last {ways.channels_last}"
    why = "tiny numbers only" if ways.smoke else "saved/data/fer2013 is not there"
    data = "FER2013" if ways.dataset == "fer2013" else f"drawn faces ({why})"
    versions = {}
    for package in PEERS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "summary": f"Measured on {machine}, with {data}; ours chose {chosen}.",
        "machine": f"{machine}; ours chose {chosen}",
        "rounds": str(rounds),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "system": str(found["system"]),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def _write_facts(facts: dict[str, str], bench: Bench) -> None:
    from utils.files import write_atomically

    write_atomically(bench.path.with_suffix(".json"), json.dumps(facts, indent=2).encode() + b"\n")


if __name__ == "__main__":
    run_cli(main)
