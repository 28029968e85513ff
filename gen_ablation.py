"""What each change to a recipe is worth on the validation part: python gen_ablation.py [FILE ...] [--seeds N ...]."""

from functools import partial
from pathlib import Path

from train_all import has_ended, run_like, standing, train
from utils.ablation import Row, ablation_text, learned_from_same, rows_of, runs_of, write_ablation
from utils.agreement import load_votes
from utils.cli import Parser, run_cli
from utils.config import Config, load_config
from utils.datasets.ferplus import Votes
from utils.errors import SaidElsewhere, UserError
from utils.labels import TITLES
from utils.predictions import Predictions, load_predictions, save_predictions
from utils.runs import RunFiles
from Visualization.ablation import ablation_figure
from Visualization.saving import save_figure


def main() -> None:
    """Train what is missing, seed by seed, and write the table and the picture anew after each training.

    The base is always trained first, since every other row is held against its runs with the same seeds.
    """
    parser = Parser("Train a recipe and single changes to it, and say what each is worth on the validation part.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE|key=value", help="which changes (default: all); settings on top of each"
    )
    parser.add_argument("--folder", type=Path, default=Path("configs/ablation"), help="of settings files")
    parser.add_argument("--base", default="00_base.json", help="the file in it that the others are held against")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="train each with these seeds (default: 0)")
    parser.add_argument("--list", action="store_true", help="train nothing: say what is missing, write the table")
    parser.add_argument("--votes", type=Path, help="judge by FER+'s votes too: results/ferplus/votes.npz")
    parser.add_argument("--out", type=Path, default=Path("results/ablation"), help="folder of dumps, table and picture")
    arguments = parser.parse_intermixed_args()
    files = [text for text in arguments.files if "=" not in text]
    overrides = [text for text in arguments.files if "=" in text]
    base = arguments.folder / arguments.base
    paths = [base, *sorted(path for path in arguments.folder.glob("*.json") if path != base)]
    wanted = {Path(name).resolve() for name in files}
    if unknown := [name for name in files if Path(name).resolve() not in {path.resolve() for path in paths}]:
        raise UserError(f"{unknown[0]}: not one of the settings files in {arguments.folder}")
    votes = load_votes(arguments.votes) if arguments.votes else None
    study = Study(paths, overrides, arguments.out, votes)
    failed = None
    for seed in arguments.seeds:
        for path in [path for path in paths if not wanted or path == base or path.resolve() in wanted]:
            config = load_config(path, [*overrides, f"seed={seed}"])
            if study.has(config):
                continue
            found = run_like(config, fits=partial(_is_of_today, config))
            print(f"{path}, seed {seed}: {standing(found)}", flush=True)
            if not arguments.list:
                failed = train(str(path), config, found) or failed
                study.write()
    rows = study.write()
    print(ablation_text(rows) if rows else f"{arguments.out}: no run of {base}, so there is nothing to compare")
    if failed is not None:
        raise SaidElsewhere(failed.exit_code)


def _is_of_today(config: Config, files: RunFiles) -> bool:
    """Unless a run has ended that learned from another teacher or other corrections than lie there now."""
    dump = files.dump("val")
    return not (has_ended(files) and dump.is_file()) or learned_from_same(load_predictions(dump), config)


class Study:
    """Settings files, the first of which the others are held against, and the folder of the validation dumps.

    A table is made from that folder alone, which is what is committed: so it can grow on several machines, none of
    which has all runs.
    """

    def __init__(self, paths: list[Path], overrides: list[str], out: Path, votes: Votes | None) -> None:
        self.paths, self.overrides, self.out, self.votes = paths, overrides, out, votes
        self.configs = [load_config(path, overrides) for path in paths]
        self._collect()

    def has(self, config: Config) -> bool:
        """Whether ``config`` has been trained with its seed."""
        return any(runs_of(config, [dump]).get(config.seed) for dump in self._dumps(self.out))

    def write(self) -> list[Row]:
        """Table and picture, once the base has been trained; returns the rows of the table."""
        self._collect()
        rows = rows_of(self.paths, self.overrides, self.out, self.votes)
        table = self.out / f"{self.configs[0].dataset}.csv"
        if rows:
            write_ablation(rows, table)
        if changes := [row for row in rows if row.change]:
            title = f"{TITLES.get(table.stem, table.stem)}: what each change to the recipe is worth"
            save_figure(ablation_figure(changes, title), table.with_suffix(".png"))
        return rows

    def _collect(self) -> None:
        """Copy to the folder what has been trained of these settings, at half the size."""
        for dump in self._dumps(Path(self.configs[0].results_dir)):
            target = self.out / f"{dump.meta['run']}.val.npz"
            if not target.exists() and any(runs_of(config, [dump]) for config in self.configs):
                save_predictions(dump, target, half=True)

    def _dumps(self, folder: Path) -> list[Predictions]:
        """All validation dumps in ``folder``; no other part is looked at."""
        return [load_predictions(path) for path in sorted(folder.glob("*.val.npz"))]


if __name__ == "__main__":
    run_cli(main)
