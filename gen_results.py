"""Dump the predictions of trained runs: python gen_results.py [RUN or checkpoint file ...]."""

import sys
from pathlib import Path

from utils.checkpoint import load_checkpoint
from utils.cli import Parser, run_cli
from utils.config import Config, load_config
from utils.datasets import Split, load_split
from utils.errors import UserError
from utils.inference import Recognizer
from utils.predictions import load_predictions, save_predictions
from utils.report import judge, scores_table
from utils.runs import find_run, list_runs
from utils.runtime import StopRequest


def main() -> None:
    """Write ``saved/results/<run>.<split>.npz`` for every run asked for; skip those that are up to date."""
    parser = Parser("Dump predictions of trained runs: logits of every view, targets, ids, classes.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run name or checkpoint file; all runs if none")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="which part (default test)")
    parser.add_argument("--views", type=int, help="deterministic views (default: the run's own setting)")
    parser.add_argument("--device", help="where to compute (default: the run's own, or the processor)")
    parser.add_argument("--config", help="settings file that says where runs and results lie")
    arguments = parser.parse_args()
    config = load_config(arguments.config, [f"views={arguments.views}"] if arguments.views is not None else [])
    names = arguments.runs or list_runs(config)
    if not names:
        raise UserError(f"{config.checkpoint_dir}: no runs; train one first: python main_fer.py, or make train")
    failed = []
    with StopRequest().listening() as stop:
        dumper = Dumper(arguments.split, arguments.views, arguments.device, config, stop)
        for name in names:
            try:
                dumper.dump(name)
            except UserError as error:
                if len(names) == 1:
                    raise
                print(error, file=sys.stderr)
                failed.append(name)
    if failed:
        raise UserError(f"no dump of {len(failed)} of {len(names)} runs: {', '.join(failed)}")


class Dumper:
    """Dumps one part of the data for one run after another; data that runs share are read once."""

    def __init__(self, part: str, views: int | None, device: str | None, config: Config, stop: StopRequest) -> None:
        self.part, self.views, self.device, self.config, self.stop = part, views, device, config, stop
        self._read: dict[tuple[object, ...], Split] = {}

    def dump(self, name: str) -> None:
        """Write ``saved/results/<run>.<part>.npz`` for the run or checkpoint file ``name``, unless it is up to date.

        Raises:
            UserError: no such run, a damaged file, other data, or a training that has not ended.
        """
        path = Path(name) if name.endswith(".pt") else find_run(name, self.config).best
        if self.part == "test":
            _refuse_unfinished(path)
        recognizer = Recognizer(path, device=self.device)
        views = self.views or recognizer.config.views
        target = Path(self.config.results_dir) / f"{recognizer.checkpoint.run}.{self.part}.npz"
        if _up_to_date(target, recognizer, views):
            print(f"{target}: up to date")
            return
        split = self._split(recognizer.config)
        predictions = recognizer.predict(split, self.part, views=views, between_batches=self.stop.check)
        save_predictions(predictions, target)
        print(f"{target}\n{scores_table(judge(predictions), predictions.classes, views)}\n")

    def _split(self, config: Config) -> Split:
        key = (config.dataset, config.data_path, config.sample_faces, config.sample_seed)
        if key not in self._read:
            self._read[key] = load_split(config)
        return self._read[key]


def _refuse_unfinished(path: Path) -> None:
    """The test part is opened after training, not during it.

    Raises:
        UserError: the run that ``path`` belongs to has not ended.
    """
    last = path.with_name("last.pt")
    if last.is_file() and not load_checkpoint(last).progress.get("finished"):
        raise UserError(
            f"{path.parent}: training has not ended, so the test part stays closed; --resume it, or --split val"
        )


def _up_to_date(path: Path, recognizer: Recognizer, views: int) -> bool:
    """Whether ``path`` was made from this checkpoint with as many views; a damaged dump is made anew."""
    if not path.is_file():
        return False
    try:
        meta = load_predictions(path).meta
    except UserError:
        return False
    return meta.get("checkpoint") == recognizer.hash and meta.get("views") == views


if __name__ == "__main__":
    run_cli(main)
