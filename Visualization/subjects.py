"""Which network and which faces a picture is about: the options that the programs for explanations share."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from utils.cli import Parser
from utils.config import load_config
from utils.datasets.drawn_faces import draw_face
from utils.datasets.faces import Faces
from utils.datasets.images import read_photo, resized
from utils.datasets.sources import read_for, stored_side
from utils.errors import UserError, closest
from utils.inference import Recognizer
from utils.labels import FER2013_CLASSES, TITLES, canonical
from utils.pictures.boxes import cut_out
from utils.pictures.detectors import FaceFinder, open_detector
from utils.pictures.reader import as_stored
from utils.shipped import network_path
from utils.splits import load_every, load_splits
from utils.trust import calibrated_probabilities

DRAWN_SIDE, DRAWN_SEED, MOST_DRAWN = 192, 0, 100
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Subjects:
    """A network, and the faces that it is asked about.

    Attributes:
        recognizer: the network, in fp32.
        title: what to call it.
        source: where the faces are from, in a few words.
        images: R faces, uint8 [H, W] or [H, W, 3], of one size.
        names: R names of one line.
        labels: int64 [R], the true class of each, or -1 where nobody knows.
        probabilities: float64 [R, C], what the network says, calibrated as `predict.py` says it.
        people: numbers of the drawn people; None for other faces.
    """

    recognizer: Recognizer
    title: str
    source: str
    images: np.ndarray
    names: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    people: list[int] | None = None

    def row_names(self) -> list[str]:
        """Beside each face: its name, what it shows, and what the network says."""
        classes = self.recognizer.classes
        lines = []
        for name, label, own in zip(self.names, self.labels, self.probabilities, strict=True):
            says = f"says {classes[own.argmax()]}, {own.max():.0%}"
            shows = [f"shows {classes[label]}"] if label >= 0 and classes[label] not in name else []
            lines.append("\n".join([name, *shows, says]))
        return lines

    def targets(self, names: Sequence[str] | None) -> list[tuple[str, np.ndarray]]:
        """(heading, int64 [R]) for each class to be explained; without names, what the network says of each face.

        Raises:
            UserError: a class that the network does not know.
        """
        if not names:
            return [("what it says", self.probabilities.argmax(1))]
        known = self.recognizer.classes
        for name in names:
            if canonical(name) not in known:
                near = closest(name[:80], known, 1)
                hint = f"did you mean {near[0]}?" if near else f"it knows {', '.join(known)}"
                raise UserError(f"--class {name[:80]}: not a class of this network; {hint}")
        return [(canonical(name), np.full(len(self.images), known.index(canonical(name)))) for name in names]


def add_options(parser: Parser) -> None:
    """The options that `chosen_subjects` reads."""
    parser.add_argument("--run", metavar="RUN", help="run, or file of its weights (default: what comes with this)")
    parser.add_argument("--image", nargs="+", type=Path, metavar="FILE", help="photos; of each, its largest face")
    place = parser.add_mutually_exclusive_group()
    box = "where the face is in the photos, in pixels (default: it is looked for)"
    place.add_argument("--box", nargs=4, type=int, metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"), help=box)
    place.add_argument("--whole", action="store_true", help="no face is looked for: the square in the photos' middle")
    parser.add_argument("--detector", metavar="FILE", help="model file of YuNet, or 'cascade' (default: what is there)")
    parser.add_argument("--split", choices=PARTS, help="part of the run's own data (default with --run: test)")
    parser.add_argument(
        "--on", nargs="+", metavar=("FILE", "key=value"), help="all images of the data set of this settings file"
    )
    parser.add_argument("--index", nargs="+", type=int, metavar="N", help="which of the faces (default: one a class)")
    parser.add_argument("--device", help="where to compute (default: the processor)")
    parser.add_argument("--config", help="settings file that says where runs lie")


def chosen_subjects(options: Namespace, each: int = 1) -> Subjects:
    """The network and the faces that the command line asks for.

    Without options, the network that comes with the package and drawn faces: they are there on any machine.

    Args:
        options: what a parser with `add_options` has read.
        each: where no --index is given, how many faces of each class, the first ones; all photos in any case, and at
            most `MOST_DRAWN` drawn people.

    Raises:
        UserError: no such run, image, part or index, options that exclude each other, or data of other classes.
    """
    sources = [name for name in ("image", "split", "on") if getattr(options, name) is not None]
    if len(sources) > 1:
        raise UserError(f"command line: --{sources[0]} and --{sources[1]} name two places of faces; leave out one")
    for name in ("box", "whole", "detector"):
        if getattr(options, name) and not options.image:
            raise UserError(f"command line: --{name} is about photos; --image names them")
    config = load_config(options.config)
    recognizer = Recognizer(network_path(options.run, config), device=options.device, precision="fp32")
    if options.image:
        names, source = [path.name for path in options.image], "photos"
        images, labels = _photos(options, recognizer), np.full(len(names), -1)
        taken = _indices(options.index, len(names)) if options.index else list(range(len(names)))
    elif not sources and options.run is None:
        return _drawn(recognizer, options.index, each)
    else:
        faces, source = _of_data(recognizer, options)
        taken = _indices(options.index, len(faces)) if options.index else _first_of_each(faces.labels, each)
        images, labels = np.stack([faces.images[i] for i in taken]), faces.labels[taken]
        return _asked(recognizer, source, images, [faces.ids[i] for i in taken], labels)
    return _asked(recognizer, source, images[taken], [names[i] for i in taken], labels[taken])


def require_labels(subjects: Subjects) -> None:
    """Raises:
    UserError: the true class of a face is not known, so nothing can be said of mistakes.
    """
    if (subjects.labels < 0).any():
        where = f"{subjects.source}: nobody knows their classes"
        raise UserError(f"{where}; name a part with --split, a data set with --on, or leave out --image")


def _drawn(recognizer: Recognizer, wanted: Sequence[int] | None, each: int) -> Subjects:
    """Drawn faces by number: expression N % 7 of person N // 7."""
    count = len(FER2013_CLASSES)
    numbers = list(wanted) if wanted else list(range(count * min(each, MOST_DRAWN)))
    if min(numbers) < 0:
        raise UserError(f"--index {min(numbers)}: faces are counted from 0")
    pairs = [(number // count, number % count) for number in numbers]
    images = [draw_face(face, subject=person, seed=DRAWN_SEED, size=DRAWN_SIDE) for person, face in pairs]
    known = recognizer.classes
    shown = [FER2013_CLASSES[face] for _, face in pairs]
    labels = np.array([known.index(name) if name in known else -1 for name in shown])
    names = [f"{name}, person {person}" for name, (person, _) in zip(shown, pairs, strict=True)]
    asked = _asked(recognizer, "drawn faces", np.stack(images), names, labels)
    return replace(asked, people=[person for person, _ in pairs])


def _of_data(recognizer: Recognizer, options: Namespace) -> tuple[Faces, str]:
    """The faces of a part of the run's own data, or all of another data set; and what to call them."""
    config = recognizer.config
    if options.on:
        other = load_config(options.on[0], options.on[1:])
        faces = load_every(read_for(config, other))
        source = TITLES[other.dataset]
    else:
        part = options.split or "test"
        splits = load_splits(config)
        if len(splits) > 1:
            raise UserError("command line: the run has folds; name images with --image or a data set with --on")
        found = splits[0].parts().get(part)
        if found is None:
            raise UserError(f"{recognizer.path}: the data have no part '{part}'")
        faces, source = found, f"{TITLES[config.dataset]}, {part}"
    if faces.classes != recognizer.classes:
        sides = f"{', '.join(recognizer.classes)}; {source} has {', '.join(faces.classes)}"
        raise UserError(f"{recognizer.path}: knows {sides}")
    return faces, source


def _photos(options: Namespace, recognizer: Recognizer) -> np.ndarray:
    """uint8 [N, S, S] or [N, S, S, 3]: what the network sees of each photo, at the size of its data set's images."""
    side = stored_side(recognizer.config)
    finder = None if options.box or options.whole else FaceFinder(open_detector(options.detector))
    images = []
    for file in options.image:
        photo = read_photo(file)
        if finder is not None:
            crop = _largest_face(file, photo, finder, side)
        else:
            crop = resized(photo, side, _within(photo, file, options.box) if options.box else None)
        images.append(as_stored(crop, recognizer.config))
    return np.stack(images)


def _largest_face(file: Path, photo: np.ndarray, finder: FaceFinder, side: int) -> np.ndarray:
    found = finder.find(photo)
    if not found:
        raise UserError(f"{file}: no face found; --box says where it is, --whole takes the square in the middle")
    box = max(found, key=lambda one: one.side)
    which = "the face" if len(found) == 1 else f"the largest of {len(found)} faces"
    left, top, right, bottom = box.corners()
    print(f"{file}: {which}, at {left},{top} to {right},{bottom}", file=sys.stderr)
    return cut_out(photo, box, side)


def _within(photo: np.ndarray, file: Path, box: Sequence[int]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    height, width = photo.shape[:2]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise UserError(f"--box {left} {top} {right} {bottom}: not within {file}, {width}×{height} pixels")
    return left, top, right, bottom


def _indices(wanted: Sequence[int], count: int) -> list[int]:
    for index in wanted:
        if not 0 <= index < count:
            raise UserError(f"--index {index}: there are {count} faces, 0 to {count - 1}")
    return list(wanted)


def _first_of_each(labels: np.ndarray, each: int) -> list[int]:
    """The first ``each`` places of every class, class by class."""
    return [int(place) for label in np.unique(labels) for place in np.flatnonzero(labels == label)[:each]]


def _asked(recognizer: Recognizer, source: str, images: np.ndarray, names: list[str], labels: np.ndarray) -> Subjects:
    title = f"{recognizer.checkpoint.run} ({recognizer.config.arch})"
    probabilities = calibrated_probabilities(recognizer, images)
    return Subjects(recognizer, title, source, images, names, labels, probabilities)
