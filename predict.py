"""What the faces in photos, videos and before the camera express: python predict.py PHOTO | FOLDER | VIDEO | 0."""

import io
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from utils.calibration import at_its_bound
from utils.cli import Parser, run_cli
from utils.datasets.images import FORMATS, image_files, read_photo
from utils.errors import MachineError, UserError
from utils.files import machine_errors, write_atomically
from utils.pictures import FaceReader
from utils.pictures.records import WRITERS, Record, Writer
from utils.pictures.tracking import FaceTracker
from utils.pictures.video import SUFFIXES, VideoWriter, open_video
from utils.pictures.yunet_file import YUNET, fetch_yunet
from Visualization.labelled_faces import draw_faces

OUT = Path("saved/predictions")
_DRAWN = re.compile(r"\.\w+\.faces(-\d+)?\.(jpg|mp4)$")  # a copy that this program drew


def main() -> None:
    """Read the command line, look at everything that it names, say what was seen."""
    options = _parser().parse_intermixed_args()
    if options.fetch_detector:
        fetch_yunet()
        print(f"{YUNET}: fetched; it is used from now on", file=sys.stderr)
    elif not options.inputs:
        raise UserError("name a photo, a folder, a video or the number of a camera: python predict.py photo.jpg")
    sources = list(_sources(options.inputs))
    if not sources:
        return
    with FaceReader(
        options.network, detector=options.detector, device=options.device, unsure_below=options.unsure_below
    ) as reader:
        if not reader.trust.known:
            hint = f"python gen_results.py {reader.run} --split val"
            print(f"{reader.path}: not calibrated, for want of a dump of validation; {hint}", file=sys.stderr)
        if line := at_its_bound(reader.trust.temperature):
            print(f"{reader.path}: {line}", file=sys.stderr)
        _Looker(reader, options).look_at(sources)


class _Looker:
    """Looks at one source after the other, and keeps drawn copies."""

    def __init__(self, reader: FaceReader, options: Namespace) -> None:
        self._reader, self._options = reader, options
        self._records: Writer = WRITERS[options.form](sys.stdout, reader.classes)
        self._taken: set[Path] = set()

    def look_at(self, sources: Sequence[Path | int]) -> None:
        """All of them; what cannot be read is named, and does not keep the others from being looked at.

        Raises:
            UserError: some could not be read.
            MachineError: of these at least one through no fault of its own: a camera that is not there.
        """
        failed: list[UserError] = []
        for source in sources:
            try:
                if isinstance(source, Path) and source.suffix.lower() not in SUFFIXES:
                    self._photo(source)
                else:
                    self._video(source)
            except UserError as error:
                if len(sources) == 1:
                    raise
                print(error, file=sys.stderr)
                failed.append(error)
        if failed:
            kind = MachineError if any(isinstance(error, MachineError) for error in failed) else UserError
            raise kind(f"{len(failed)} of {len(sources)} photos and videos could not be read in full")

    def _photo(self, path: Path) -> None:
        image = read_photo(path)
        faces = self._reader.read(image)
        self._records.write(Record(str(path), faces))
        if target := self._target(path, ".jpg"):
            write_atomically(target, _jpeg(draw_faces(image, faces)))
            self._say(target)

    def _video(self, source: Path | int) -> None:
        tracker, target, copied = FaceTracker(self._reader), None, False
        try:
            with open_video(source) as video:
                target = self._target(source, ".mp4")
                with closing(VideoWriter(target, video.rate)) if target else nullcontext() as drawn:
                    for number, (seconds, frame) in enumerate(video.frames()):
                        faces = tracker.step(frame, seconds)
                        self._records.write(Record(video.name, faces, number, seconds))
                        if drawn:
                            drawn.write(draw_faces(frame, faces))
                            copied = True
                self._records.end_video(video.name)
        finally:  # of a video that is cut, what there was of it
            if target and copied:
                self._say(target)

    def _target(self, source: Path | int, suffix: str) -> Path | None:
        """Where the drawn copy goes, if there is to be one; a camera is recorded only where --out is given."""
        folder = self._options.out or (OUT if isinstance(source, Path) else None)
        if self._options.no_pictures or folder is None:
            return None
        with machine_errors(folder, 0):
            folder.mkdir(parents=True, exist_ok=True)
        name = source.name if isinstance(source, Path) else f"camera{source}"
        names = (f"{name}.faces{'' if n == 1 else f'-{n}'}{suffix}" for n in count(1))
        target = next(path for path in (folder / name for name in names) if path not in self._taken)
        self._taken.add(target)
        return target

    def _say(self, target: Path) -> None:
        print(f"drawn: {target}", file=sys.stderr)


def _parser() -> Parser:
    parser = Parser("Find faces and say what they express: of photos, folders, videos, or before a camera.")
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="photo, folder, video, or number of a camera")
    parser.add_argument("--network", metavar="RUN", help="run or file (default: the network of this package)")
    parser.add_argument("--detector", metavar="FILE", help="model file of YuNet, or 'cascade' (default: what is there)")
    parser.add_argument("--fetch-detector", action="store_true", help="fetch YuNet first: it finds turned heads too")
    parser.add_argument("--unsure-below", type=float, metavar="P", help="0 to 1 (default: chosen on validation)")
    parser.add_argument("--device", help="where to compute (default: the processor)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"of the drawn copies, over earlier ones (default {OUT})"
    )
    parser.add_argument("--no-pictures", action="store_true", help="draw nothing")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="a JSON object a line, on stdout")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="a row for each face, on stdout")
    parser.set_defaults(form="text")
    return parser


def _sources(names: Sequence[str]) -> Iterator[Path | int]:
    """Files and cameras; a folder stands for the photos and videos in it, without copies that were drawn before.

    Raises:
        UserError: there is none in a folder.
    """
    for name in names:
        if not name:
            raise UserError(
                "command line: an empty name; expected a photo, a folder, a video or the number of a camera"
            )
        path = Path(name)
        if name.isascii() and name.isdigit() and len(name) < 4 and not path.exists():
            yield int(name)
        elif _is_folder(path):
            suffixes = (*FORMATS, *SUFFIXES)
            found = [file for file in image_files(path, suffixes) if not _DRAWN.search(file.name)]
            if not found:
                raise UserError(f"{path}: no photo or video in this folder; expected {', '.join(suffixes)}")
            yield from found
        else:
            yield path


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name of 300 characters, a NUL in it
        return False


def _jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


if __name__ == "__main__":
    run_cli(main)
