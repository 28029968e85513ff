"""Average dumped predictions without weights: python gen_ensemble.py [DUMP ...]."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.arrays import read_npy
from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.errors import UserError
from utils.files import write_atomically
from utils.metrics import mcnemar, score
from utils.predictions import Predictions, combine, load_predictions, probability_dump, save_predictions
from utils.report import without_copies


def main() -> None:
    """Print and write the table of the members and their ensemble, and the ensemble's own dump."""
    arguments = _parser().parse_args()
    config = load_config(arguments.config)
    folder = Path(arguments.out or config.results_dir)
    paths = [Path(path) for path in arguments.dumps] or _all_dumps(Path(config.results_dir))
    if not paths:
        raise UserError(f"{config.results_dir}: no dumps *.test.npz; python gen_results.py makes them")
    members = _load(paths, arguments.targets)
    names = [_name(path) for path in paths]
    chosen, how = list(range(len(members))), "all members"
    if arguments.select == "greedy":
        validation = _load([_validation_dump(path) for path in paths], None)
        chosen = greedy(validation, [f"{name} (val)" for name in names])
        how = f"members chosen greedily on val: {', '.join(names[i] for i in chosen)}"
    ensemble = combine([members[i] for i in chosen], [names[i] for i in chosen])
    split = str(ensemble.meta.get("split") or "given")
    rows = table(members, names, ensemble)
    _print(rows, ensemble, how)
    stem = folder / f"{arguments.name}.{split}"
    selection = {"members": how, "split": "val" if arguments.select == "greedy" else "none"}
    ensemble = replace(ensemble, meta={**ensemble.meta, "selection": selection})
    save_predictions(ensemble, stem.with_name(stem.name + ".npz"))
    _write_csv(rows, stem.with_name(stem.name + ".csv"))
    print(f"\nwritten: {stem}.npz, {stem}.csv")


def greedy(validation: Sequence[Predictions], names: Sequence[str]) -> list[int]:
    """Choose members one by one, each the one that raises validation accuracy most, while it rises.

    Args:
        validation: predictions of all candidates for the validation part (any order of images).
        names: what to call them in messages.

    Returns:
        Indices of the chosen members, in the order of choice. (Caruana et al., ICML 2004, without repeats.)
    """
    targets = validation[0].targets
    joined = combine(validation, names)  # refuses what does not belong together
    order = {identity: index for index, identity in enumerate(joined.ids)}
    probabilities = []
    for member in validation:
        place = np.argsort([order[identity] for identity in member.ids])
        probabilities.append(member.part(place).probabilities())
    chosen: list[int] = []
    total, best = np.zeros_like(probabilities[0]), -1.0
    while len(chosen) < len(validation):
        left = [index for index in range(len(validation)) if index not in chosen]
        accuracy = {i: float(np.mean((total + probabilities[i]).argmax(1) == targets)) for i in left}
        winner = max(left, key=lambda i: accuracy[i])
        if accuracy[winner] <= best:
            break
        best = accuracy[winner]
        chosen.append(winner)
        total += probabilities[winner]
    return chosen


def table(members: Sequence[Predictions], names: Sequence[str], ensemble: Predictions) -> list[dict[str, object]]:
    """One row for each member and one for the ensemble: accuracy, interval, F1, ECE, McNemar.

    McNemar's p-value compares each row with the member of the highest accuracy.
    """
    place = {identity: index for index, identity in enumerate(ensemble.ids)}
    everyone = [*zip(names, members, strict=True), ("ensemble", ensemble)]
    hits = {}
    for name, one in everyone:
        hit = one.probabilities().argmax(1) == one.targets
        hits[name] = hit[np.argsort([place[identity] for identity in one.ids])]
    best = max(names, key=lambda name: hits[name].mean())
    rows: list[dict[str, object]] = []
    for name, one in everyone:
        all_images, clean = score(one.probabilities(), one.targets), without_copies(one)
        rows.append(
            {
                "name": name,
                "accuracy": all_images.accuracy,
                "low": all_images.interval[0],
                "high": all_images.interval[1],
                "balanced_accuracy": all_images.balanced_accuracy,
                "macro_f1": all_images.macro_f1,
                "ece": all_images.ece,
                "accuracy_without_copies": score(clean.probabilities(), clean.targets).accuracy,
                "images": all_images.images,
                "mcnemar_p_against_best_member": mcnemar(hits[name], hits[best]),
                "best_member": name == best,
            }
        )
    return rows


def _parser() -> Parser:
    parser = Parser("The unweighted average of the members' mean probabilities, joined by image id.")
    parser.add_argument("dumps", nargs="*", metavar="DUMP", help=".npz dumps, or .npy probabilities [N, C]")
    parser.add_argument("--targets", help="with .npy dumps: the true classes, .npy [N]")
    parser.add_argument("--select", choices=("all", "greedy"), default="all", help="which members (default all)")
    parser.add_argument("--on", choices=("val",), default="val", help="what chooses members: validation dumps only")
    parser.add_argument("--name", default="ensemble", help="name of what is written (default ensemble)")
    parser.add_argument("--out", help="folder that is written to (default: results_dir of the settings)")
    parser.add_argument("--config", help="settings file that says where results lie")
    return parser


def _all_dumps(folder: Path) -> list[Path]:
    """Every run's test dump; an earlier ensemble is no member."""
    return [path for path in sorted(folder.glob("*.test.npz")) if load_predictions(path).meta.get("run") != "ensemble"]


def _name(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".test").removesuffix(".val")


def _validation_dump(path: Path) -> Path:
    other = path.with_name(path.name.replace(".test.npz", ".val.npz"))
    if other == path or not other.is_file():
        raise UserError(f"{path}: no validation dump {other.name} beside it; python gen_results.py --split val")
    return other


def _load(paths: Sequence[Path], targets: str | None) -> list[Predictions]:
    bare = [path for path in paths if path.suffix == ".npy"]
    if not bare:
        return [load_predictions(path) for path in paths]
    if len(bare) < len(paths):
        raise UserError(f"{bare[0]}: has no image ids, so it cannot be joined with .npz dumps")
    if targets is None:
        raise UserError(f"{bare[0]}: bare probabilities need --targets FILE.npy")
    truth = read_npy(Path(targets))
    return [probability_dump(read_npy(path), truth, str(path), targets) for path in bare]


def _print(rows: Sequence[dict[str, object]], ensemble: Predictions, how: str) -> None:
    width = max(len(str(row["name"])) for row in rows) + 1
    print(f"{'':{width}s} accuracy  95 % interval    no copies  balanced     F1    ECE  McNemar p against best member")
    for row in rows:
        p = "-" if row["best_member"] else f"{row['mcnemar_p_against_best_member']:.2g}"
        print(
            f"{row['name']:{width}s} {row['accuracy']:8.2%}  {row['low']:.2%}-{row['high']:.2%}"
            f"  {row['accuracy_without_copies']:8.2%}  {row['balanced_accuracy']:8.2%}  {row['macro_f1']:.3f}"
            f"  {row['ece']:.3f}  {p}"
        )
    print(f"\n{len(ensemble.targets)} images; {how}; unweighted")


def _write_csv(rows: Sequence[dict[str, object]], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    write_atomically(path, text.getvalue().encode())


if __name__ == "__main__":
    run_cli(main)
