"""Dump the predictions of trained runs: python gen_results.py [RUN or checkpoint file ...]."""

from pathlib import Path

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
    with StopRequest().listening() as stop:
        splits: dict[tuple[str, ...], Split] = {}
        for name in names:
            recognizer = Recognizer(_checkpoint(name, config), device=arguments.device)
            _dump(recognizer, arguments.split, arguments.views, Path(config.results_dir), splits, stop)


def _checkpoint(name: str, config: Config) -> Path:
    return Path(name) if name.endswith(".pt") else find_run(name, config).best


def _dump(
    recognizer: Recognizer,
    part: str,
    views: int | None,
    folder: Path,
    splits: dict[tuple[str, ...], Split],
    stop: StopRequest,
) -> None:
    run, config = recognizer.checkpoint.run, recognizer.checkpoint.config
    path = folder / f"{run}.{part}.npz"
    views = views or config.views
    if _up_to_date(path, recognizer, views):
        print(f"{path}: up to date")
        return
    key = (config.dataset, config.data_path, str(config.sample_faces), str(config.sample_seed))
    if key not in splits:
        splits[key] = load_split(config)
    predictions = recognizer.predict(splits[key], part, views=views, between_batches=stop.check)
    save_predictions(predictions, path)
    print(f"{path}\n{scores_table(judge(predictions), predictions.classes, views)}\n")


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
