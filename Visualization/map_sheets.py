"""From a network and faces to maps over them: what the programs for explanations and the run report share."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from utils.cli import Parser
from utils.errors import UserError
from utils.explaining.masks import mask_effects
from utils.explaining.methods import METHODS, explain
from Visualization.explanations import SCALE, maps_figure, masks_figure
from Visualization.subjects import Subjects, add_options


def add_map_options(parser: Parser, methods: Iterable[str], default: str) -> None:
    """The options that say whose maps are drawn, by which of ``methods`` and of which classes, and where to."""
    add_options(parser)
    parser.add_argument("--method", nargs="+", choices=methods, default=[default], help=f"default: {default}")
    parser.add_argument("--class", dest="classes", nargs="+", metavar="NAME", help="default: what the network says")
    parser.add_argument("--out", type=Path, metavar="FILE", help="PNG or PDF (default: under saved/explanations)")


def maps_sheet(
    subjects: Subjects, methods: Sequence[str], classes: Sequence[str] | None, layer: str | None = None
) -> Figure:
    """One row a face; a column for each method and class.

    Args:
        subjects: the network and the faces.
        methods: names of `METHODS`.
        classes: names of classes; None: what the network says of each face.
        layer: of which layer class activation maps are made; the one that the network's facts name by default.

    Raises:
        UserError: no such method, class or layer, or the network has no feature map.
    """
    recognizer, targets = subjects.recognizer, subjects.targets(classes)
    maps, headings = [], []
    for method in methods:
        for name, asked in targets:
            maps.append(explain(recognizer.model, subjects.images, asked, recognizer.config, method, layer=layer))
            headings.append(_heading(method, name, len(methods), len(targets)))
    titles = ", ".join(METHODS[name].title for name in methods)
    about = "of what the network says" if not classes else f"of {', '.join(name for name, _ in targets)}"
    note = f"{_legend(methods, layer)}; {SCALE}"
    shown = f"{subjects.title}; {subjects.source}; {counted(len(subjects.images))}"
    return maps_figure(
        list(subjects.images), np.stack(maps, axis=1), subjects.row_names(), headings, f"{titles} {about}", shown, note
    )


def masks_sheet(subjects: Subjects) -> Figure:
    """What each mask of the network does to each face's feature maps.

    Raises:
        UserError: the network has no masks.
    """
    recognizer = subjects.recognizer
    effects = mask_effects(recognizer.model, subjects.images, recognizer.config)
    stages = []
    for effect in effects:
        name = f"{effect.name}, {effect.channels} channels, {effect.gain.mean():+.1%}"
        stages.append((name, np.stack([effect.input, effect.mask, effect.output], axis=1)))
    shown = f"{subjects.title}; {subjects.source}; energy over channels; the per cent: what a mask adds to it"
    return masks_figure(list(subjects.images), stages, subjects.names, "What the masks do", shown)


def sheet_file(out: Path | None, kind: str, subjects: Subjects) -> Path:
    """Where a sheet is written: ``out``, or a name of its own under ``saved/explanations``.

    Raises:
        UserError: ``out`` is neither PNG nor PDF, said before anything is computed.
    """
    if out is not None and out.suffix.lower() not in (".png", ".pdf"):
        raise UserError(f"--out {out}: figures are saved as .png or .pdf")
    return out or Path("saved/explanations") / f"{subjects.recognizer.checkpoint.run}.{kind}.png"


def _heading(method: str, name: str, methods: int, classes: int) -> str:
    if classes == 1:
        return METHODS[method].title
    return name if methods == 1 else f"{METHODS[method].title} {name}"


def _legend(methods: Sequence[str], layer: str | None) -> str:
    """What the colours mean, by method where they do not mean the same."""
    meanings = dict.fromkeys(METHODS[name].meaning(layer) for name in methods)
    if len(meanings) == 1:
        return next(iter(meanings))
    return " | ".join(f"{METHODS[name].title}: {METHODS[name].meaning(layer)}" for name in methods)


def counted(faces: int) -> str:
    """``1 face``, ``2 faces``."""
    return "1 face" if faces == 1 else f"{faces} faces"
