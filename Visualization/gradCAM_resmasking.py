"""Draw class activation maps over faces, and what masks do: ``python Visualization/gradCAM_resmasking.py``."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

from models import model_info
from utils.cli import Parser, run_cli
from utils.explaining.methods import CAMS
from Visualization.map_sheets import add_map_options, maps_sheet, masks_sheet, sheet_file
from Visualization.saving import save_figure
from Visualization.subjects import chosen_subjects


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, then draw the maps; and for a network with masks, such as ResMaskingNet, these too.

    Raises:
        UserError: a wrong option, or a network, face, class or layer that is not there.
        MachineError: the figures cannot be written.
    """
    parser = Parser("Where in its last feature map a network finds a class, over drawn faces, photos or a data set.")
    add_map_options(parser, CAMS, "gradcam")
    parser.add_argument("--layer", metavar="PATH", help="of which layer (default: the network's last feature map)")
    options = parser.parse_args(arguments)
    subjects = chosen_subjects(options)
    file = sheet_file(options.out, "cam", subjects)
    save_figure(maps_sheet(subjects, options.method, options.classes, options.layer), file)
    print(file)
    if model_info(subjects.recognizer.config.arch).masks:
        masks = file.with_name(f"{file.stem}.masks{file.suffix}")
        save_figure(masks_sheet(subjects), masks)
        print(masks)


if __name__ == "__main__":
    run_cli(main)
