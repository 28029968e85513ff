"""A run as one HTML page, or several side by side: python report.py RUN [RUN ...]."""

from pathlib import Path

from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.errors import UserError
from utils.pages.material import find_material
from utils.pages.page import write_report


def main() -> None:
    """Write ``saved/results/<run>.report.html``, which needs nothing but a browser.

    Raises:
        UserError: no such run or dump, or one named twice.
    """
    parser = Parser("Write what is known of runs as one HTML page; with several, side by side.")
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run, or its checkpoint folder; or a dump, or what dumps begin with: results/fer2013/NAME",
    )
    parser.add_argument("--out", type=Path, help="file to write (default: NAME.report.html in results_dir)")
    parser.add_argument("--config", help="settings file that says where runs and results lie")
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    runs = [find_material(name, config) for name in arguments.runs]
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            raise UserError(f"command line: {run.name} stands twice; each run counts once")
    stem = names[0] if len(names) == 1 else f"{names[0]}.and_{len(names) - 1}_more"
    path = arguments.out or Path(config.results_dir) / f"{stem}.report.html"
    write_report(runs, path)
    print(path)


if __name__ == "__main__":
    run_cli(main)
