"""Every number and table of README.md, docs/ and the model cards, from the committed dumps: python make_results.py."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from benchmarks.cases import TITLES as CASES
from benchmarks.frozen_features import frozen_text
from benchmarks.page import page_text
from benchmarks.pictures import pictures_text
from benchmarks.points import read_points, record_text
from benchmarks.preparing import large_sets_text
from benchmarks.small_networks import Speed, peer_name
from benchmarks.table import read_rows, speed_text
from utils.ablation import ablation_text, rows_of
from utils.agreement import load_votes
from utils.card import before_and_after, card_text, read_table, speed_table
from utils.cli import Parser, run_cli
from utils.descent import on_processors, other_sets
from utils.ensemble import ENSEMBLE, load_runs, write_ensemble
from utils.errors import UserError
from utils.files import read_small_text, write_atomically
from utils.headline import headline_text
from utils.labels import TITLES
from utils.markdown import MIXED_ENSEMBLE, Runs, best_average, inflations, mixed_average, results_text
from utils.metrics import score
from utils.pooling import spread, spread_text
from utils.predictions import Predictions, load_predictions
from utils.report import confusion
from utils.shipped import SUFFIX, taken_up
from utils.splits.protocols import caution
from utils.study import Study, reached_text, study, study_text
from Visualization.curves import MOST_RUNS
from Visualization.ensembles import reliability_figure
from Visualization.figures import confusion_matrix_figure
from Visualization.gen_curves import draw as draw_curves
from Visualization.gen_curves import training_of
from Visualization.gen_robustness import draw as draw_robustness
from Visualization.gen_study import write as write_study
from Visualization.people import inflation_figure, person_accuracy_figure
from Visualization.saving import save_figure

ROOT = Path(__file__).resolve().parent
SHIPPED, PEERS = "models/pretrained", "results/peers"
FER2013, VOTES = "fer2013", "results/ferplus/votes.npz"
DATASETS = (FER2013, "ckplus", "jaffe")
BEGIN, END = "<!-- begin generated: {} -->", "<!-- end generated: {} -->"


def main() -> None:
    """Rewrite the generated parts of README.md, docs/ and the cards, and what is drawn; ``--check`` only compares."""
    parser = Parser("Every number and table of README.md, docs/ and the model cards, from the committed dumps.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 2 where a text differs")
    arguments = parser.parse_args()
    for path, blocks in texts().items():
        text = new = path.read_text(encoding="utf-8")
        for name, block in blocks.items():
            new = replaced(new, name, block, path.name)
        if arguments.check and new != text:
            raise UserError(f"{path.relative_to(ROOT)}: differs from the committed dumps; run 'make results'")
        if not arguments.check:
            write_atomically(path, new.encode())
            print(f"{path.relative_to(ROOT)}: written")
    if not arguments.check:
        for name in DATASETS:
            runs, folder = load_runs(ROOT / "results" / name), ROOT / "results" / name
            write_averages(runs, folder)
            draw(runs, folder)
        for weights in shipped():
            draw_calibration(weights)
            draw_robustness(ROOT / "results" / "pretrained" / f"{weights.stem}.test.robustness.csv")
        write_study(study_of(load_runs(ROOT / "results" / FER2013)), TITLES[FER2013], ROOT / "results" / FER2013)
        trainings = [training_of(path) for path in sorted((ROOT / "results" / FER2013).glob("*.metrics.csv"))]
        for first in range(0, len(trainings), MOST_RUNS):
            file = "curves.png" if first == 0 else f"curves_{first // MOST_RUNS + 1}.png"
            draw_curves(trainings[first : first + MOST_RUNS], TITLES[FER2013], ROOT / "results" / FER2013 / file)


def texts() -> dict[Path, dict[str, str]]:
    """What is generated: file → name of the block → its Markdown."""
    bench = ROOT / "results" / "bench"
    runs = {name: load_runs(ROOT / "results" / name) for name in DATASETS}
    readme = {
        "headline": headline(runs),
        "page": measured_page(bench / "page.csv"),
    }
    speed = {
        "bench": measured_speed(bench / "cpu.csv"),
        "bench without AMX": measured_speed(bench / "without_amx" / "cpu.csv"),
        "record": record_text(read_points(bench / "time_to_accuracy.csv"), load_runs(ROOT / "results" / "record")),
        "pictures": pictures_text(read_table(bench / "pictures.csv", ("what", "threads", "best", "median"))),
        "large sets": large_sets(),
    }
    small = read_table(bench / "small_networks.csv", [field.name for field in fields(Speed)])
    cards = {weights.stem: card_of(weights.stem) for weights in shipped()} | {"speed": speed_table(small)}
    return {
        ROOT / "README.md": readme,
        ROOT / "docs" / "results.md": results(runs),
        ROOT / "docs" / "speed.md": speed,
        ROOT / SHIPPED / "README.md": cards,
    }


def headline(runs: Mapping[str, Runs]) -> str:
    """The block of the README that says what was reached: from FER2013 alone and not, on a CPU and at all.

    Raises:
        UserError: a network that comes with the package, of whose run there are no dumps to say what is behind it.
    """
    alone = {name: pair for name, pair in runs[FER2013].items() if not other_sets(pair[1], ROOT)}
    tests = []
    for weights in shipped():
        test = load_predictions(ROOT / "results" / "pretrained" / f"{weights.stem}.test.npz")
        if test.meta["run"] not in runs[FER2013]:
            raise UserError(f"{weights}: made of the run {test.meta['run']}, which has no dumps in results/{FER2013}")
        tests.append((weights.stem, test))
    folded = {name: runs[name] for name in DATASETS if name != FER2013}
    return headline_text([on_cpu(alone), alone, on_cpu(runs[FER2013]), runs[FER2013]], tests, folded, facts)


def facts(test: Predictions) -> tuple[str, str]:
    """The sets that the networks of a dump, or what taught them, began with; whether any of them was on a GPU."""
    return ", ".join(other_sets(test, ROOT)) or "none", "CPU" if on_processors(test, ROOT) else "GPU"


def results(runs: Mapping[str, Runs]) -> dict[str, str]:
    """The blocks of docs/results.md."""
    folder, configs = ROOT / "results", ROOT / "configs"
    votes = load_votes(ROOT / VOTES)
    blocks = {
        name: results_text(runs[name], f"results/{name}", configs, votes if name == FER2013 else None)
        for name in DATASETS
    }
    found = study_of(runs[FER2013])
    aims = {
        "CPU": (study_of(on_cpu(runs[FER2013])), (71.0, 73.0), (73.5, 75.5)),
        "CPU or GPU": (found, (74.2, 74.2), (76.9, 76.9)),
    }
    blocks["reached"] = reached_text(aims)
    blocks["study"] = study_text(found, votes)
    if rows := rows_of(sorted((configs / "ablation").glob("*.json")), [], folder / "ablation", votes):
        blocks["ablation"] = ablation_text(rows)
    if readouts := sorted((folder / "frozen").glob("*.npz")):
        blocks["frozen"] = frozen_text([load_predictions(path) for path in readouts])
    return blocks


def shipped() -> list[Path]:
    """The files of the networks that come with the package."""
    return sorted((ROOT / SHIPPED).glob(f"*{SUFFIX}"))


def card_of(name: str) -> str:
    """The figures of a network that comes with the package."""
    results = ROOT / "results"
    validation, test = (load_predictions(results / "pretrained" / f"{name}.{part}.npz") for part in ("val", "test"))
    robustness = read_table(
        results / "pretrained" / f"{name}.test.robustness.csv", ("corruption", "strength", "meaning", "accuracy")
    )
    tests = sorted((ROOT / PEERS).glob("*.test.npz"))
    peers = [(peer_name(dump.meta["source"]), dump) for dump in map(load_predictions, tests)]
    return card_text(validation, test, name, robustness, peers, taken_up(ROOT / SHIPPED / f"{name}{SUFFIX}"))


def measured_speed(table: Path) -> str:
    """A block of docs/speed.md that `make bench` fills."""
    if not table.exists():
        return "Not measured yet."
    facts = json.loads(read_small_text(table.with_suffix(".json"), most=2**16))
    return speed_text(read_rows(table), facts, CASES)


def measured_page(table: Path) -> str:
    """The block of the README that `python -m benchmarks.page` fills."""
    if not table.exists():
        return "Not measured yet."
    return page_text({row["what"]: float(row["value"]) for row in read_table(table, ("what", "value"))})


def large_sets() -> str:
    """The block of docs/speed.md on sets larger than memory."""
    bench = ROOT / "results" / "bench"
    costs = {row["what"]: float(row["value"]) for row in read_table(bench / "preparing.csv", ("what", "value"))}
    return large_sets_text(costs, read_table(bench / "larger_than_memory.csv", ("augment", "disk_img_s", "ratio")))


def study_of(runs: Runs) -> Study:
    """The study of some runs of one data set."""
    validation, test = zip(*runs.values(), strict=True)
    return study(validation, test, list(runs))


def on_cpu(runs: Runs) -> Runs:
    """Those that never were on a GPU, nor what taught them."""
    return {name: pair for name, pair in runs.items() if on_processors(pair[1], ROOT)}


def replaced(text: str, name: str, block: str, file: str) -> str:
    """``text`` with what stands between the marks of ``name`` replaced by ``block``.

    Raises:
        UserError: the marks are not there.
    """
    begin, end = BEGIN.format(name), END.format(name)
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UserError(f"{file}: expected '{begin}' and '{end}', each once")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{block}\n{end}{tail}"


def write_averages(runs: Runs, folder: Path) -> None:
    """The averages that docs/results.md names, as `gen_ensemble.py` writes them."""
    for average, name in ((best_average(runs)[1], ENSEMBLE), (mixed_average(runs), MIXED_ENSEMBLE)):
        if average is not None and (members := average.meta.get("members")):
            selection = {"members": "all members", "split": "none"}
            write_ensemble([runs[one][1] for one in members], members, average, selection, folder / f"{name}.test")


def draw(runs: Runs, folder: Path) -> None:
    """Of the average (or the only run) the confusion matrix on the test part; and, where people are known, each person
    and what knowing them beforehand is worth."""
    what, test = best_average(runs)
    title = f"{TITLES[test.meta['dataset']]}, {test.meta['split']}: {what}"
    matrix, subtitle = confusion(test)
    save_figure(confusion_matrix_figure(matrix, test.classes, title, subtitle), folder / "confusion_matrix.png")
    found = spread(test)
    if found.persons:
        words = "; ".join(filter(None, (spread_text(found), caution(test.meta["protocol"]))))
        save_figure(person_accuracy_figure(found.persons, title, words), folder / "persons.png")
    if rows := inflations(runs):
        save_figure(inflation_figure(rows, TITLES[test.meta["dataset"]]), folder / "inflation.png")


def draw_calibration(weights: Path) -> None:
    """Whether a network that comes with the package means what it says, before its temperature and after."""
    path = ROOT / "results" / "pretrained" / f"{weights.stem}.test.npz"
    test, temperature = load_predictions(path), taken_up(weights)
    before, after = before_and_after(test, temperature)
    names = (
        f"as trained: ECE {score(before, test.targets).ece:.3f}",
        f"temperature {temperature:.2f}: ECE {score(after, test.targets).ece:.3f}",
    )
    title = f"{weights.stem}: does it mean what it says?"
    words = f"FER2013, {len(test.targets):,} test images, one view; the temperature was fitted on validation"
    figure = reliability_figure(before, after, test.targets, names, title, words)
    save_figure(figure, path.with_name(f"{weights.stem}.reliability.png"))


if __name__ == "__main__":
    run_cli(main)
