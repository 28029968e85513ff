"""Average dumped predictions without weights: python gen_ensemble.py [DUMP ...]."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.arrays import read_npy
from utils.cli import Parser, run_cli
from utils.config import load_config
from utils.ensemble import ENSEMBLE, greedy, load_validation, refuse_averages, refuse_folds, write_ensemble
from utils.errors import UserError
from utils.pooling import spread, spread_text
from utils.predictions import Predictions, combine, load_predictions, probability_dump
from utils.splits.protocols import caution


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
    refuse_averages(members, names)
    combine(members, names)  # refuses what does not belong together, chosen or not
    chosen, how = list(range(len(members))), "all members"
    if arguments.select == "greedy":
        refuse_folds(members, names)
        validation = [load_validation(path, member) for path, member in zip(paths, members, strict=True)]
        chosen = greedy(validation, [f"{name} (val)" for name in names])
        how = f"members chosen greedily on val: {', '.join(names[i] for i in chosen)}"
    ensemble = combine([members[i] for i in chosen], [names[i] for i in chosen])
    stem = folder / _stem(arguments.name, ensemble)
    selection = {"members": how, "split": "val" if arguments.select == "greedy" else "none"}
    rows = write_ensemble(members, names, ensemble, selection, stem, half=arguments.half)
    _print(rows, ensemble, how)
    print(f"\nwritten: {stem}.npz, {stem}.csv")


def _parser() -> Parser:
    parser = Parser("The unweighted average of the members' mean probabilities, joined by image id.")
    parser.add_argument("dumps", nargs="*", metavar="DUMP", help=".npz dumps, or .npy probabilities [N, C]")
    parser.add_argument("--targets", help="with .npy dumps: the true classes, .npy [N]")
    parser.add_argument("--select", choices=("all", "greedy"), default="all", help="which members (default all)")
    parser.add_argument("--on", choices=("val",), default="val", help="what chooses members: validation dumps only")
    parser.add_argument("--name", default=ENSEMBLE, help="name of what is written (default ensemble)")
    parser.add_argument("--half", action="store_true", help="round to float16: a dump of half the size")
    parser.add_argument("--out", help="folder that is written to (default: results_dir of the settings)")
    parser.add_argument("--config", help="settings file that says where results lie")
    return parser


def _all_dumps(folder: Path) -> list[Path]:
    """The test dumps of all runs on the data of the newest one, under its protocol; what is left out is said.

    An earlier ensemble is no member, and a run that was repeated with the same outcome counts once.
    """
    paths = sorted(folder.glob("*.test.npz"), key=lambda path: (path.stat().st_mtime, path.name))
    dumps = {path: dump for path in paths if (dump := load_predictions(path)).meta.get("run") != ENSEMBLE}
    if not dumps:
        return []
    newest, kept, seen = list(dumps.values())[-1].meta, [], set()
    for path, dump in dumps.items():
        content = dump.logits.tobytes()
        if dump.meta.get("data") != newest.get("data"):
            print(f"left out, of other data: {path}")
        elif dump.meta.get("protocol") != newest.get("protocol"):
            print(f"left out, of another protocol: {path}")
        elif content in seen:
            print(f"left out, equal to an earlier one: {path}")
        else:
            kept.append(path)
            seen.add(content)
    return sorted(kept)


def _name(path: Path) -> str:
    stem = path.name.removesuffix(path.suffix)
    return stem.removesuffix(".test").removesuffix(".val").removesuffix(".train")


def _stem(name: str, ensemble: Predictions) -> str:
    """How what is written is called; a name, or a split in a stranger's dump, must not lead out of the folder."""
    stem = f"{name}.{ensemble.meta.get('split') or 'given'}"
    if Path(stem).name != stem or not stem.isprintable() or len(stem.encode()) > 200:
        raise UserError(f"{stem[:80]!r}: not the name of a file; --name takes letters, digits and . _ -")
    return stem


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


def _print(rows: Sequence[dict[str, Any]], ensemble: Predictions, how: str) -> None:
    width = max(len(str(row["name"])) for row in rows) + 1
    named = "95 % over persons" if rows[-1]["interval"] == "over persons" else "95 % interval"
    wide = max(len(named), 14)
    print(f"{'':{width}s} accuracy  {named:{wide}s} no copies  balanced     F1    ECE  McNemar p against best member")
    for row in rows:
        low, high = row["low"], row["high"]
        p = "-" if row["best_member"] else f"{row['mcnemar_p_against_best_member']:.2g}"
        print(
            f"{row['name']:{width}s} {row['accuracy']:8.2%}  {f'{low:.2%}-{high:.2%}':{wide}s}"
            f"  {row['accuracy_without_copies']:8.2%}  {row['balanced_accuracy']:8.2%}  {row['macro_f1']:.3f}"
            f"  {row['ece']:.3f}  {p}{'' if row['averaged'] or row['name'] == ENSEMBLE else '  (not chosen)'}"
        )
    words = caution(ensemble.meta.get("protocol"))
    print(f"\n{len(ensemble.targets)} images; {how}; unweighted{words and '; ' + words}")
    if text := spread_text(spread(ensemble)):
        print(f"{ENSEMBLE}: {text}")


if __name__ == "__main__":
    run_cli(main)
