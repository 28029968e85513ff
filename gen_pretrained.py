"""Make the small network that comes with the package from a run of one's own: python gen_pretrained.py RUN."""

from pathlib import Path

from utils.calibration import at_its_bound, fit_temperature
from utils.checkpoint import load_checkpoint
from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.errors import UserError
from utils.files import write_atomically
from utils.inference import Recognizer
from utils.predictions import save_predictions
from utils.report import judge, scores_table
from utils.runs import find_run
from utils.shipped import SUFFIX, shipped_bytes
from utils.splits import load_splits


def main() -> None:
    """Calibrate the run on validation, write its small file, and judge that file, not the run, on every part.

    Raises:
        UserError: no such run, one of folds, or one that has not ended.
    """
    parser = Parser("Write a run as a small calibrated file that create_model(..., weights='pretrained') loads.")
    parser.add_argument("run", metavar="RUN", help="a run that has ended, or the path of its checkpoint folder")
    parser.add_argument("--out", type=Path, default=Path("models/pretrained"), help="folder of the file")
    parser.add_argument("--results", type=Path, default=Path("results/pretrained"), help="folder of its dumps")
    arguments = parser.parse_args()
    files = find_run(arguments.run, load_config(None))
    if files.settings.is_file():
        raise UserError(f"{files.name}: has a network for each fold; one network comes with the package")
    if not load_checkpoint(files.last).progress.get("finished"):
        raise UserError(f"{files.name}: training has not ended; --resume it")
    trained = Recognizer(files.best)
    (split,) = load_splits(trained.config)
    validation = trained.predict(split, "val", views=1)
    temperature = fit_temperature(validation.logits[0], validation.targets)
    if line := at_its_bound(temperature):
        print(line)
    path = arguments.out / f"{trained.config.arch}{SUFFIX}"
    write_atomically(path, shipped_bytes(trained.checkpoint, temperature))
    print(f"{path}: {files.name}, temperature {temperature:.3f}, {path.stat().st_size / 1e6:.2f} MB\n")
    small = Recognizer(path)
    for part in split.parts():
        if part != "train":
            dump = small.predict(split, part)
            save_predictions(dump, arguments.results / f"{path.stem}.{part}.npz")
            print(f"{part}\n{scores_table(judge(dump), dump.classes, len(dump.logits))}\n")


if __name__ == "__main__":
    run_cli(main)
