"""Draw which pixels matter to a network, over the face: ``python Visualization/gen_salientmap.py``."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

from utils.cli import Parser, run_cli
from utils.errors import UserError
from utils.explaining.methods import SALIENCY
from Visualization.map_sheets import add_map_options, maps_sheet, sheet_file
from Visualization.saving import save_figure
from Visualization.subjects import chosen_subjects


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, then draw one sheet.

    Raises:
        UserError: a wrong option, or a network, face or class that is not there.
        MachineError: the figure cannot be written.
    """
    parser = Parser("Which pixels of a face matter to a network: drawn faces, photos or a data set.")
    add_map_options(parser, SALIENCY, "occlusion")
    parser.add_argument("--grid", action="store_true", help="a column for every class of the network")
    options = parser.parse_args(arguments)
    if options.grid and options.classes:
        raise UserError("command line: --grid draws every class; leave out --class")
    subjects = chosen_subjects(options)
    file = sheet_file(options.out, "saliency", subjects)
    classes = subjects.recognizer.classes if options.grid else options.classes
    save_figure(maps_sheet(subjects, options.method, classes), file)
    print(file)


if __name__ == "__main__":
    run_cli(main)
