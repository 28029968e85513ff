"""Dump the predictions of trained runs: python gen_results.py [RUN or weight file ...]."""

import sys
from pathlib import Path

from trainers.folds import identity_of, lost_fold, not_finished, reopen
from utils.checkpoint import ClosedTestError, refuse_closed_test, refuse_unfinished
from utils.cli import Parser, run_cli
from utils.config import Config, load_config
from utils.datasets.sources import read_for
from utils.errors import UserError
from utils.inference import Recognizer
from utils.pooling import pool, pooled_hash, spread, spread_text
from utils.predictions import Predictions, load_predictions, save_predictions
from utils.report import judge, over_persons, scores_table
from utils.runs import RunFiles, find_run, list_runs
from utils.runtime import StopRequest
from utils.splits import Split, load_every, load_splits

# The settings that decide which images stand in which part: runs that share them share the data.
OF_THE_DATA = (
    *("dataset", "data_path", "crop", "taxonomy"),
    *("label_source", "ferplus_path", "ferplus_policy", "ferplus_parts", "ferplus_weight"),
    *("protocol", "folds", "val_subjects", "split_seed", "split_file", "sample_faces", "sample_seed"),
    *("image_size", "in_channels", "num_classes", "cache_dir", "drop_copies", "corrections"),
)

WEIGHT_FILES = (".pt", ".safetensors")


def main() -> None:
    """Write ``saved/results/<run>.<split>.npz`` for every run asked for; skip those that are up to date."""
    parser = Parser("Dump predictions of trained runs: logits of every view, targets, ids, classes.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run, checkpoint or .safetensors file; all runs if none")
    parser.add_argument("--split", choices=("train", "val", "test"), help="which part (default test)")
    parser.add_argument("--views", type=int, help="deterministic views (default: the run's own setting)")
    parser.add_argument("--half", action="store_true", help="round to float16: dumps of half the size")
    parser.add_argument("--device", help="where to compute (default: the run's own, or the processor)")
    parser.add_argument("--config", help="settings file that says where runs and results lie")
    parser.add_argument(
        "--on",
        nargs="+",
        metavar=("FILE", "key=value"),
        help="judge the runs on all images of another data set, the one that this settings file names",
    )
    arguments = parser.parse_args()
    if arguments.on and arguments.split:
        raise UserError("command line: --on judges all images of the other set; leave out --split")
    config = load_config(arguments.config, [f"views={arguments.views}"] if arguments.views is not None else [])
    names = arguments.runs or list_runs(config)
    if not names:
        raise UserError(f"{config.checkpoint_dir}: no runs; train one first: python main_fer.py, or make train")
    failed = []
    with StopRequest().listening() as stop:
        dumper = Dumper(arguments.split, arguments.views, arguments.device, config, stop, arguments.half)
        other = load_config(arguments.on[0], arguments.on[1:]) if arguments.on else None
        for name in names:
            try:
                dumper.dump(name) if other is None else dumper.dump_on(name, other)
            except UserError as error:
                if isinstance(error, ClosedTestError) and not arguments.runs:
                    print(error)
                    continue
                if len(names) == 1:
                    raise
                print(error, file=sys.stderr)
                failed.append(name)
    if failed:
        raise UserError(f"no dump of {len(failed)} of {len(names)} runs: {', '.join(failed)}")


class Dumper:
    """Dumps one part of the data for one run after another; data that runs share are read once."""

    def __init__(
        self, part: str | None, views: int | None, device: str | None, config: Config, stop: StopRequest, half: bool
    ) -> None:
        self.part, self.asked, self.half = part or "test", part, half
        self.views, self.device, self.config, self.stop = views, device, config, stop
        self._read: dict[str, list[Split]] = {}

    def dump(self, name: str) -> None:
        """Write ``saved/results/<run>.<part>.npz`` for the run or weight file ``name``, unless it is up to date.

        Raises:
            UserError: no such run, a damaged file, other data, or a training that has not ended; or ``judge_test``
                keeps its test part closed, and it was not named.
        """
        if not name.endswith(WEIGHT_FILES) and (files := find_run(name, self.config)).settings.is_file():
            self._dump_folds(files)
            return
        path = self._checkpoint(name)
        if self.part == "test":
            refuse_unfinished(path)
        recognizer = Recognizer(path, device=self.device)
        refuse_closed_test(name, recognizer.config, self.asked)
        target = self._target(recognizer.name)
        if self._up_to_date(target, recognizer.hash, recognizer.config):
            print(f"{target}: up to date")
            return
        splits = self._splits(recognizer.config)
        if len(splits) > 1:
            raise UserError(f"{path}: one fold of a run; name the run, whose folds are dumped together")
        (split,) = splits
        self._write(self._predict(recognizer, split), target)

    def dump_on(self, name: str, other: Config) -> None:
        """Judge a run on all images of the data set that ``other`` names: ``saved/results/<run>.on_<data set>.npz``.

        What differs from the set as it comes (classes, crop, labels, whose folder) stands in the name too.

        Raises:
            UserError: a run of folds, other classes, or a data set that the network has been trained on.
        """
        path = self._checkpoint(name)
        refuse_unfinished(path)
        recognizer = Recognizer(path, device=self.device)
        other = read_for(recognizer.config, other)
        faces = load_every(other)
        predictions = recognizer.predict_elsewhere(faces, other, views=self.views, between_batches=self.stop.check)
        self._write(predictions, self._target(recognizer.name, str(predictions.meta["split"])))

    def _dump_folds(self, files: RunFiles) -> None:
        folded = reopen(files, {})
        if missing := folded.unfinished():
            then = "so the test part stays closed" if self.part == "test" else f"--resume {files.name} goes on"
            raise UserError(f"{files.checkpoints}: {not_finished(missing)}, {then}")
        recognizers = [self._of_fold(files, number) for number in range(1, len(folded.splits) + 1)]
        target = self._target(files.name)
        if self._up_to_date(target, pooled_hash([r.hash for r in recognizers]), folded.config):
            print(f"{target}: up to date")
            return
        folds = [self._predict(r, split) for r, split in zip(recognizers, folded.splits, strict=True)]
        self._write(pool(folds, identity_of(files), folded.images()), target)

    def _of_fold(self, files: RunFiles, number: int) -> Recognizer:
        fold = files.fold(number)
        try:
            return Recognizer(fold.best, device=self.device)
        except UserError as error:
            if not str(error).startswith(str(fold.best)):
                raise
            raise UserError(f"{error}; {lost_fold(fold, number)}") from None

    def _predict(self, recognizer: Recognizer, split: Split) -> Predictions:
        views = self.views or recognizer.config.views
        print(
            f"{recognizer.name}: judging the {self.part} part, {views} view{'s' * (views > 1)} of each image",
            flush=True,
        )
        return recognizer.predict(split, self.part, views=self.views, between_batches=self.stop.check)

    def _write(self, predictions: Predictions, target: Path) -> None:
        save_predictions(predictions, target, half=self.half)
        views, persons = len(predictions.logits), over_persons(predictions)
        table = scores_table(judge(predictions), predictions.classes, views, persons)
        print(f"{target}: {predictions.meta['protocol']}\n{table}")
        print(f"{spread_text(spread(predictions))}\n")

    def _checkpoint(self, name: str) -> Path:
        """The weight file ``name``, or the best checkpoint of the only split of a run."""
        if name.endswith(WEIGHT_FILES):
            return Path(name)
        files = find_run(name, self.config)
        if files.settings.is_file():
            raise UserError(f"{files.checkpoints}: has a network for each fold; name the checkpoint file of one")
        return files.best

    def _target(self, run: str, part: str | None = None) -> Path:
        return Path(self.config.results_dir) / f"{run}.{part or self.part}.npz"

    def _splits(self, config: Config) -> list[Split]:
        key = repr([getattr(config, name) for name in OF_THE_DATA])
        if key not in self._read:
            self._read[key] = load_splits(config)
        return self._read[key]

    def _up_to_date(self, path: Path, checkpoint: str, config: Config) -> bool:
        """Whether ``path`` was made from these weights, with as many views and as finely; if damaged, it is not."""
        if not path.is_file():
            return False
        try:
            meta = load_predictions(path).meta
        except UserError:
            return False
        same_views, same_size = meta.get("views") == (self.views or config.views), self.half == ("kept_as" in meta)
        return meta.get("checkpoint") == checkpoint and same_views and same_size


if __name__ == "__main__":
    run_cli(main)
