"""What each change to a recipe is worth on the validation part: python gen_ablation.py [FILE ...] [--seeds N ...]."""

from pathlib import Path

from train_all import run_like, standing, train
from utils.ablation import Row, ablation_text, in_order, read_ablation, row_of, runs_of, write_ablation
from utils.cli import Parser, run_cli
from utils.config import MAY_CHANGE, Config, load_config
from utils.errors import SaidElsewhere, UserError
from utils.labels import TITLES
from utils.predictions import Predictions, load_predictions
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
    parser.add_argument("--out", type=Path, default=Path("results/ablation"), help="folder of table and picture")
    arguments = parser.parse_intermixed_args()
    files = [text for text in arguments.files if "=" not in text]
    overrides = [text for text in arguments.files if "=" in text]
    base = arguments.folder / arguments.base
    paths = [base, *sorted(path for path in arguments.folder.glob("*.json") if path != base)]
    if unknown := [name for name in files if Path(name) not in paths]:
        raise UserError(f"{unknown[0]}: not one of the settings files in {arguments.folder}")
    study = Study(paths, overrides, arguments.out)
    failed = None
    for seed in arguments.seeds:
        for path in [path for path in paths if not files or path == base or str(path) in files]:
            config = load_config(path, [*overrides, f"seed={seed}"])
            if seed in runs_of(config, study.dumps()):
                continue
            found = run_like(config)
            print(f"{path}, seed {seed}: {standing(found)}", flush=True)
            if not arguments.list:
                failed = train(str(path), config, found) or failed
                study.write()
    print(ablation_text(study.write()))
    if failed is not None:
        raise SaidElsewhere(failed.exit_code)


class Study:
    """Settings files, the first of which the others are held against, and the runs that there are of them."""

    def __init__(self, paths: list[Path], overrides: list[str], out: Path) -> None:
        self.configs = {path: load_config(path, overrides) for path in paths}
        # what the command has to repeat: settings that change numbers
        self.typed = [text for text in overrides if text.partition("=")[0] not in MAY_CHANGE]
        self.out = out
        self._read: dict[Path, Predictions] = {}

    @property
    def base(self) -> Config:
        """The settings that others are held against."""
        return next(iter(self.configs.values()))

    def dumps(self) -> list[Predictions]:
        """All validation dumps that there are, each read once; no other part is looked at."""
        for path in sorted(Path(self.base.results_dir).glob("*.val.npz")):
            if path not in self._read:
                self._read[path] = load_predictions(path)
        return list(self._read.values())

    def write(self) -> list[Row]:
        """Table and picture, once the base has been trained; returns all rows of the table."""
        dumps = self.dumps()
        base_runs = runs_of(self.base, dumps)
        rows = []
        for path, config in self.configs.items():
            command = " ".join(["python gen_ablation.py", str(path), *self.typed])
            row = row_of(config, self.base, runs_of(config, dumps), base_runs, command)
            rows += [] if row is None else [row]
        table = self.out / f"{self.base.dataset}.csv"
        if rows:
            write_ablation(rows, table)
        written = in_order(read_ablation(table)) if table.is_file() else []
        if changes := [(row.name, row.gain, row.low, row.high) for row in written if row.change]:
            title = f"{TITLES.get(self.base.dataset, self.base.dataset)}: what each change to the recipe is worth"
            save_figure(ablation_figure(changes, title), table.with_suffix(".png"))
        return written


if __name__ == "__main__":
    run_cli(main)
