"""Make what the page is built from but what is not kept in git: python web/prepare.py [RUN].

Writes web/made/: the network (``export.py`` does that), the face detector, and drawn faces to try.
"""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import numpy as np
from PIL import Image

from utils.cli import Parser, run_cli
from utils.datasets.drawn_faces import draw_face
from utils.errors import SaidElsewhere
from utils.files import write_atomically
from utils.labels import FER2013_CLASSES
from web.make_detector import detector
from web.tflite import read_tflite

HERE = Path(__file__).resolve().parent
DETECTOR = HERE / "node_modules/@mediapipe/face_detection/face_detection_short_range.tflite"
# The pictures to try: rows and columns of faces, and how large each is.
PICTURES = {"several": (2, 3, 360), "one": (1, 1, 480), "many": (3, 7, 160)}


def main() -> None:
    """Write ``web/made/``.

    Raises:
        SaidElsewhere: ``export.py`` has refused, and said why.
    """
    parser = Parser("Make the files that the page is built from.")
    parser.add_argument("run", nargs="?", metavar="RUN", help="run or network file (default: the network shipped)")
    parser.add_argument("--out", type=Path, default=HERE / "made", help="folder (default web/made)")
    arguments = parser.parse_args()
    export_network(arguments.run, arguments.out / "model.onnx")
    write_atomically(arguments.out / "detector.onnx", detector(read_tflite(DETECTOR)).SerializeToString())
    (arguments.out / "drawn").mkdir(exist_ok=True)
    for name, (rows, columns, size) in PICTURES.items():
        Image.fromarray(people(rows, columns, size)).save(arguments.out / "drawn" / f"{name}.png")
    print(f"{arguments.out}: network, detector and drawn faces are there")


def export_network(run: str | None, target: Path) -> None:
    """The network of a run, or the one that is shipped, as the ONNX file that the page opens.

    Raises:
        SaidElsewhere: it could not be exported.
    """
    names = [run] if run else []
    command = [sys.executable, str(HERE.parent / "export.py"), *names, "--out", str(target)]
    if code := subprocess.run(command).returncode:
        raise SaidElsewhere(code)


def people(rows: int, columns: int, size: int) -> np.ndarray:
    """A picture of drawn people side by side, each with another expression: uint8 [rows * size, columns * size]."""
    faces = [
        draw_face(number % len(FER2013_CLASSES), subject=number, seed=1, size=size) for number in range(rows * columns)
    ]
    return np.block([faces[row * columns : (row + 1) * columns] for row in range(rows)])


if __name__ == "__main__":
    run_cli(main)
