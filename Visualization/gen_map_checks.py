"""Whether maps can be believed: numbers, curves and class averages by ``python Visualization/gen_map_checks.py``."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a start as a file, from any folder

import numpy as np

from utils.cli import Parser, run_cli
from utils.explaining.methods import METHODS, explain
from utils.explaining.regions import CROPPED, REGIONS, drawn, energy_shares, region_masks
from utils.explaining.trust import area, deletion_insertion, randomised_similarity
from Visualization.explanations import deletion_insertion_figure, maps_figure
from Visualization.map_sheets import counted, sheet_file
from Visualization.saving import save_figure
from Visualization.subjects import DRAWN_SEED, Subjects, add_options, chosen_subjects

Curves = tuple[np.ndarray, np.ndarray]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, print the checks of each method, draw their curves and the average map of each class.

    Raises:
        UserError: a wrong option, or a network or face that is not there.
        MachineError: a figure cannot be written.
    """
    parser = Parser("Checks of maps: lost weights, deletion and insertion, and where on the face the average map lies.")
    add_options(parser)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=["gradcam", "occlusion"])
    parser.add_argument("--each", type=int, default=5, help="faces of each class (default 5)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="PNG or PDF (default: under saved/explanations)")
    options = parser.parse_args(arguments)
    subjects = chosen_subjects(options, max(1, options.each))
    file = sheet_file(options.out, "checks", subjects)
    says = subjects.probabilities.argmax(1)
    averages, curves = [], []
    chance = _curves(
        subjects, says, np.random.default_rng(0).random((len(says), *[subjects.recognizer.config.image_size] * 2))
    )
    for method in options.method:
        maps = _maps(subjects, says, method)
        own = _curves(subjects, says, maps)
        curves.append((METHODS[method].title, *own))
        _print_checks(subjects, says, maps, method, {"map": own, "random": chance})
        averages.append(_class_averages(maps, says, len(subjects.recognizer.classes)))
    present = np.unique(says)
    classes = [f"{subjects.recognizer.classes[label]}\n{counted((says == label).sum())}" for label in present]
    faces = [subjects.images[says == label].mean(0).round().astype(np.uint8) for label in present]
    titles = [METHODS[method].title for method in options.method]
    shown = f"{subjects.title}; {subjects.source}; mean over the faces of which the network says the class"
    sheet = np.stack(averages, axis=1)[present]
    save_figure(maps_figure(faces, sheet, classes, titles, "Average map of each class", shown), file)
    print(file)
    title = "Probability as the pixels that a map marks are taken away, or come back"
    shown = f"{subjects.title}; {subjects.source}; mean over {counted(len(says))}"
    drawn_curves = file.with_name(f"{file.stem}.curves{file.suffix}")
    save_figure(deletion_insertion_figure(curves, chance, title, shown), drawn_curves)
    print(drawn_curves)


def _maps(subjects: Subjects, says: np.ndarray, method: str) -> np.ndarray:
    recognizer = subjects.recognizer
    return explain(recognizer.model, subjects.images, says, recognizer.config, method)


def _curves(subjects: Subjects, says: np.ndarray, order: np.ndarray) -> Curves:
    """Deletion and insertion, float64 [STEPS + 1] each: the mean over the faces."""
    recognizer = subjects.recognizer
    deletion, insertion = deletion_insertion(recognizer.model, subjects.images, says, recognizer.config, order)
    return deletion.mean(0), insertion.mean(0)


def _print_checks(
    subjects: Subjects, says: np.ndarray, maps: np.ndarray, method: str, curves: Mapping[str, Curves]
) -> None:
    model, config, images = subjects.recognizer.model, subjects.recognizer.config, subjects.images
    print(f"{METHODS[method].title}, {len(images)} faces")
    lost = randomised_similarity(model, images, says, config, method)
    print("  rank correlation as weights are lost: " + ", ".join(f"{name} {value:.2f}" for name, value in lost))
    for name, (deletion, insertion) in ((name, map(area, both)) for name, both in curves.items()):
        print(f"  {name}: area under deletion {deletion:.3f} (low is good), insertion {insertion:.3f} (high is good)")
    shares = np.nanmean(energy_shares(maps, _regions(subjects, maps.shape[1])), axis=0)
    print(
        "  share of the energy: "
        + ", ".join(f"{name} {value:.0%}" for name, value in zip(REGIONS, shares, strict=True))
    )


def _regions(subjects: Subjects, side: int) -> dict[str, np.ndarray]:
    """The parts of each face: known of drawn ones, those of the mean face for others."""
    if subjects.people is None:
        return region_masks(CROPPED, side)
    own = [region_masks(drawn(person, DRAWN_SEED), side) for person in subjects.people]
    return {name: np.stack([masks[name] for masks in own]) for name in REGIONS}


def _class_averages(maps: np.ndarray, says: np.ndarray, classes: int) -> np.ndarray:
    """float [classes, S, S]: the mean map of each class, every map scaled to its largest value; 0 without any."""
    scaled = maps / np.maximum(np.abs(maps).max((1, 2), keepdims=True), 1e-30)
    return np.stack(
        [scaled[says == label].mean(0) if (says == label).any() else 0 * maps[0] for label in range(classes)]
    )


if __name__ == "__main__":
    run_cli(main)
