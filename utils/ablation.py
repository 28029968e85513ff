"""What each change to a recipe is worth: a row a settings file, from validation dumps, paired image by image."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.agreement import voted
from utils.config import MAY_CHANGE, Config, differing, load_config, typed
from utils.datasets.ferplus import DROPPED, Votes
from utils.distillation import NONE
from utils.errors import UserError
from utils.files import sha256_of, write_atomically
from utils.metrics import interval_of_mean
from utils.predictions import Predictions, load_predictions
from utils.splits.corrections import version_of

# What may differ between a settings file and a run of it: the seed, and what the run settled for itself.
FREE = ("seed", "precision", "channels_last", "threads", "num_workers", "distributed", "micro_batch")
ONE_SEED_SHOWS = 0.015  # share of the images; by convention: a smaller gain wants a second seed
COLUMNS = (
    *("file", "name", "change", "seeds", "mean", "each", "gain", "low", "high"),
    *("plurality_gain", "plurality_low", "plurality_high", "seconds", "command"),
)


class Gain(NamedTuple):
    """A difference in accuracy, and the interval that holds it with 95 %, over the images; shares of them."""

    mean: float
    low: float
    high: float

    @property
    def leaves_zero_out(self) -> bool:
        """Whether the interval says which of the two is better."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """In points: ``+1.17 [+0.37, +1.97]``."""
        return f"{100 * self.mean:+.2f} [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"


@dataclass(frozen=True)
class Row:
    """One settings file.

    Attributes:
        file: its name without folder and ending, which begins with the number of the change.
        name: its ``model_name``.
        change: its settings that differ from the base's, as they are typed; empty for the base.
        seeds: of its runs, ascending; those that the base was trained with too.
        accuracies: share of the validation images that each of them classifies rightly, over all dumped views.
        gain: mean accuracy less that of the base's runs with the same seeds; None for the base.
        plurality_gain: the same where FER+'s plurality is right; None for the base and without votes.
        seconds: of training up to the epoch that was kept, mean of the runs.
        command: what trains it.
    """

    file: str
    name: str
    change: str
    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]
    gain: Gain | None
    plurality_gain: Gain | None
    seconds: float
    command: str

    @property
    def proven(self) -> bool:
        """Whether `shows` says so of `gain`."""
        return self.shows(self.gain)

    def shows(self, gain: Gain | None) -> bool:
        """Whether the interval, which is over images, leaves zero out, and there are several seeds or the gain is above
        `ONE_SEED_SHOWS`."""
        return gain is not None and gain.leaves_zero_out and (len(self.seeds) > 1 or abs(gain.mean) > ONE_SEED_SHOWS)

    @property
    def accuracy(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.accuracies))


def runs_of(config: Config, dumps: Sequence[Predictions]) -> dict[int, Predictions]:
    """Of validation ``dumps`` those of runs with the settings ``config``, by seed; of several with one the first.

    A run that learned from another teacher or other corrections than now lie where ``config`` says is not one of them.
    """
    found: dict[int, Predictions] = {}
    free = FREE if config.batch_size else (*FREE, "batch_size")  # 'auto': which a run settled for itself too
    for dump in dumps:
        settings = dump.meta.get("config")
        if (
            isinstance(settings, dict)
            and not differing(settings, asdict(config), free)
            and learned_from_same(dump, config)
        ):
            found.setdefault(int(settings["seed"]), dump)
    return dict(sorted(found.items()))


def learned_from_same(dump: Predictions, config: Config) -> bool:
    """Whether a run learned from the teacher and the corrections that lie today where ``config`` says."""
    teacher, corrections = Path(config.distil_from), Path(config.corrections)
    trimmed = " ".join(dump.meta.get("training_part") or ())
    return (config.distil_from == NONE or (teacher.is_file() and dump.meta.get("teacher") == sha256_of(teacher))) and (
        config.corrections == NONE or (corrections.is_file() and f"({version_of(corrections)})" in trimmed)
    )


def rows_of(paths: Sequence[Path], overrides: Sequence[str], folder: Path, votes: Votes | None = None) -> list[Row]:
    """The table: of each settings file that was trained with a seed of the base's, what its change is worth.

    Args:
        paths: settings files, the base first.
        overrides: settings on top of each, as they are typed; commands repeat those that make another run.
        folder: where the validation dumps are.
        votes: FER+'s on these images, to judge by them too.

    Raises:
        UserError: settings or dumps that cannot be read; dumps of different images or labels; an image without votes.
    """
    configs = {path: load_config(path, list(overrides)) for path in paths}
    base = configs[paths[0]]
    dumps = [load_predictions(path) for path in sorted(folder.glob("*.val.npz"))]
    base_runs = runs_of(base, dumps)
    shared = [text for text in overrides if text.partition("=")[0] not in (*MAY_CHANGE, *FREE)]
    rows = []
    for path, config in configs.items():
        command = " ".join(["python gen_ablation.py", str(path), *shared])
        row = row_of(path.stem, config, base, runs_of(config, dumps), base_runs, command, votes)
        rows += [] if row is None else [row]
    return in_order(rows)


def row_of(
    file: str,
    config: Config,
    base: Config,
    runs: Mapping[int, Predictions],
    base_runs: Mapping[int, Predictions],
    command: str,
    votes: Votes | None = None,
) -> Row | None:
    """What the change from ``base`` to ``config`` is worth; None where no seed was trained with both.

    Args:
        file: of the settings, without folder and ending.
        config, base: settings; equal ones for the row of the base itself.
        runs, base_runs: their validation dumps, by seed, not empty for the base.
        command: what trains ``config``, without its seeds.
        votes: FER+'s on these images, to judge by them too.

    Raises:
        UserError: dumps of different images or labels; an image without votes.
    """
    seeds = sorted(runs.keys() & base_runs.keys())
    if not seeds:
        return None
    used = [runs[seed] for seed in seeds]
    others = [base_runs[seed] for seed in seeds]
    if len({(dump.meta["split"], dump.meta["data"]) for dump in (*used, *others)}) > 1:
        raise UserError(f"{config.model_name}: judged on other images or labels than {base.model_name}")
    labels = _in_order_of_ids(used[0], used[0].targets)
    gain = plurality_gain = None
    if config != base:
        gain = _gain(used, others, labels)
        if votes is not None:
            plurality_gain = _gain(used, others, voted(votes, sorted(used[0].ids), "plurality"))
    return Row(
        file=file,
        name=config.model_name,
        change=change_of(config, base),
        seeds=tuple(seeds),
        accuracies=tuple(float((_answers(dump) == labels).mean()) for dump in used),
        gain=gain,
        plurality_gain=plurality_gain,
        seconds=float(np.mean([dump.meta["training_seconds"] for dump in used])),
        command=f"{command} --seeds {' '.join(map(str, seeds))}",
    )


def change_of(config: Config, base: Config) -> str:
    """The settings of ``config`` that ``base`` has not, as they are typed: ``mixup=0.2 lr=0.1``."""
    values = asdict(config)
    changed = differing(values, asdict(base), ("model_name", "seed"))
    return " ".join(f"{key}={typed(values[key])}" for key in changed)


def write_ablation(rows: Sequence[Row], path: Path) -> None:
    """The table as CSV, shares and seconds rounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        numbers = [
            text
            for gain in (row.gain, row.plurality_gain)
            for text in ([f"{value:.6f}" for value in gain] if gain else [""] * 3)
        ]
        seeds, each = " ".join(map(str, row.seeds)), " ".join(f"{accuracy:.6f}" for accuracy in row.accuracies)
        mean, seconds = f"{row.accuracy:.6f}", f"{row.seconds:.1f}"
        writer.writerow([row.file, row.name, row.change, seeds, mean, each, *numbers, seconds, row.command])
    write_atomically(path, text.getvalue().encode())


def ablation_text(rows: Sequence[Row]) -> str:
    """The table, as Markdown; with a column of FER+ where there were votes."""
    judged = any(row.plurality_gain for row in rows)
    lines = [
        "| change | seeds | validation, mean (each) | gain in points, 95 % interval "
        + ("| gain by FER+'s plurality " if judged else "")
        + "| seconds to the kept epoch |",
        "|---|---|---|---|---|" + "---|" * judged,
    ]
    for row in rows:
        each = f" ({', '.join(f'{accuracy:.2%}' for accuracy in row.accuracies)})" if len(row.seeds) > 1 else ""
        what = f"{row.file}: `{row.change}`" if row.change else f"none ({row.file})"
        seeds = ", ".join(map(str, row.seeds))
        gains = [_shown(row, row.gain), *([_shown(row, row.plurality_gain)] if judged else [])]
        cells = [what, seeds, f"{row.accuracy:.2%}{each}", *gains, f"{row.seconds:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The base, then the changes by what they are worth."""
    return sorted(rows, key=lambda row: -row.gain.mean if row.gain else -np.inf)


def _shown(row: Row, gain: Gain | None) -> str:
    if gain is None:
        return ""
    return f"**{gain}**" if row.shows(gain) else str(gain)


def _gain(runs: Sequence[Predictions], others: Sequence[Predictions], labels: np.ndarray) -> Gain:
    """What ``runs`` are right on more often than ``others``, image by image, where ``labels`` [N] are not `DROPPED`."""
    hits, theirs = (np.mean([_answers(dump) == labels for dump in side], axis=0) for side in (runs, others))
    difference = (hits - theirs)[labels != DROPPED]
    return Gain(float(difference.mean()), *interval_of_mean(difference))


def _answers(dump: Predictions) -> np.ndarray:
    """int64 [N]: the class that a dump gives each image, in the order of the ids."""
    return _in_order_of_ids(dump, dump.probabilities().argmax(1))


def _in_order_of_ids(dump: Predictions, values: np.ndarray) -> np.ndarray:
    return values[np.argsort(dump.ids)]
