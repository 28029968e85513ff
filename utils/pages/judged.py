"""What the predictions of a run are worth: the parts of a report with figures."""

import numpy as np

from utils.calibration import calibrated
from utils.metrics import Scores, class_f1, precision, score, wilson
from utils.pages.markup import Html, chart, folded, missing, paragraph, section, table
from utils.pages.material import Material
from utils.pages.told import dataset_name, part_name
from utils.pooling import spread, spread_text
from utils.predictions import Predictions
from utils.report import confusion, judge, over_persons, share, without_copies
from Visualization.ensembles import reliability_figure
from Visualization.figures import confusion_matrix_figure, training_curves_figure
from Visualization.people import person_accuracy_figure

MOST_FOLDS_DRAWN = 3  # the curves of ten folds say less than their table


def all_views(judged: dict[str, Scores], suffix: str = "") -> Scores | None:
    """Of `judge`'s figures those over all views that were dumped; with ", no copies" of the images without copies."""
    return judged.get(f"views{suffix}", judged.get(f"clean{suffix}"))


def accuracy_section(material: Material, level: int) -> Html:
    """Accuracy and its kin, on validation and on what judges, of the clean images and of all views."""
    head = ("part", "views", "images", "accuracy", "95 % interval", "balanced", "macro F1", "ECE", "log loss")
    rows = []
    for dump in filter(None, (material.validation, material.judged)):
        persons = over_persons(dump)
        for key, scores in judge(dump).items():
            name = part_name(str(dump.meta.get("split", "given")))
            name += ", without copies of training images" if key.endswith("no copies") else ""
            views = len(dump.logits) if key.startswith("views") else 1
            rows.append((name, str(views), *_figures(scores, persons.get(key))))
    whose = "drawing whole persons" if material.persons_known else "Wilson's"
    words = f"Accuracy of {material.name}; the interval is {whose}, ECE the expected calibration error"
    return section("How often it is right", table(words, head, rows), level=level)


def copies_section(material: Material, level: int) -> Html:
    """What is left of the accuracy on images that the network cannot know from training."""
    dump, title = material.judged, "Without copies of training images"
    if "copies_in_train" not in dump.meta:
        text = missing("The dump does not say which of its images have a copy in the training part.")
        return section(title, text, level=level)
    fresh, total = without_copies(dump), len(dump.ids)
    copies = total - len(fresh.ids)
    where = part_name(material.part)
    if not copies:
        told = paragraph(f"None of the {total:,} images of {where} has an exact copy in its training part.")
        return section(title, told, level=level)
    lead = f"{copies:,} of the {total:,} images of {where} ({copies / total:.1%}) have an exact copy in training. "
    if not fresh.ids:
        return section(title, paragraph(lead + "None is left without them."), level=level)
    whole, rest = (score(one.probabilities(), one.targets) for one in (dump, fresh))
    low, high = rest.interval
    told = paragraph(
        f"{lead}Of the others it gets {rest.accuracy:.2%} right (95 % interval {low:.2%} to {high:.2%}), "
        f"{100 * (whole.accuracy - rest.accuracy):.2f} points less than of all."
        if whole.accuracy > rest.accuracy
        else f"{lead}Of the others it gets {rest.accuracy:.2%} right, no less than of all ({whole.accuracy:.2%})."
    )
    return section(title, told, level=level)


def curves_section(material: Material, level: int) -> Html:
    """How the training went; of several folds the first ones, which stand for the others."""
    title = "How the training went"
    if not material.histories:
        text = missing("The log of the training (metrics.csv) is not here, so its curves are not shown.")
        return section(title, text, level=level)
    select_by = material.config.select_by if material.config else "accuracy"
    parts = []
    for fold, history in list(material.histories.items())[:MOST_FOLDS_DRAWN]:
        name = f"{material.name}{fold and ', ' + fold}"
        last = history[-1]
        words = (
            f"{len(history)} epochs; at the end training accuracy {last['train_accuracy']:.1%}, "
            f"validation accuracy {last['val_accuracy']:.1%}."
        )
        figure = training_curves_figure(history, name, select_by=select_by)
        parts.append(chart(figure, f"Training curves of {name}", words))
    if (count := len(material.histories)) > MOST_FOLDS_DRAWN:
        parts.append(paragraph(f"The first {MOST_FOLDS_DRAWN} of {count} folds; each has its curves.png in the logs."))
    return section(title, *parts, level=level)


def classes_section(material: Material, level: int) -> Html:
    """The confusion matrix, and what it says of each class."""
    dump = material.judged
    matrix, subtitle = confusion(dump)
    title = f"{material.name}, {part_name(material.part)}"
    figure = confusion_matrix_figure(matrix, dump.classes, title, subtitle)
    drawn = chart(figure, f"Confusion matrix of {title}", f"{subtitle}. The table below has its numbers.")
    head = ("class", "images", "recall", "95 % interval", "precision", "F1", "most often taken for")
    rows = []
    for index, (name, right) in enumerate(zip(dump.classes, np.diag(matrix).tolist(), strict=True)):
        images = int(matrix[index].sum())
        low, high = wilson(right, images) if images else (np.nan, np.nan)
        interval = f"{low:.1%} – {high:.1%}" if images else "–"
        figures = (precision(matrix)[index], class_f1(matrix)[index])
        recall = right / images if images else np.nan
        told = (f"{images:,}", share(recall), interval, share(figures[0]), _decimal(figures[1]))
        rows.append((name, *told, _taken_for(matrix[index], index, dump.classes)))
    counts = [(name, *(f"{n:,}" for n in row)) for name, row in zip(dump.classes, matrix.tolist(), strict=True)]
    numbers = table("Images of each true class (row) by predicted class", ("true class", *dump.classes), counts)
    return section(
        "Class by class",
        table(f"Classes of {title}", head, rows),
        drawn,
        folded("The matrix as table", numbers),
        level=level,
    )


def people_section(material: Material, level: int) -> Html:
    """Each person, and each fold; nothing where neither is known."""
    found, dump = spread(material.judged), material.judged
    parts = [paragraph(text[0].upper() + text[1:] + ".")] if (text := spread_text(found)) else []
    if len(found.persons) > 1:
        title = f"{material.name}, accuracy of each person"
        worst = sorted(found.persons, key=lambda person: person[1] / person[2])[:5]
        words = "Recognised worst: " + ", ".join(f"{name} {right} of {n}" for name, right, n in worst) + "."
        parts.append(chart(person_accuracy_figure(found.persons, title), title, words))
        rows = [(name, str(images), str(right), f"{right / images:.1%}") for name, right, images in found.persons]
        listed = table(f"Persons in {material.name}", ("person", "images", "right", "accuracy"), rows)
        parts.append(folded(f"All {len(rows)} persons", listed))
    if found.folds:
        parts.append(_folds_table(material, dump, found.folds))
    if not parts:
        parts = [missing("Who is on the images is not known, and there is one split: nothing to say here.")]
    return section("Person by person, fold by fold", *parts, level=level)


def calibration_section(material: Material, level: int) -> Html:
    """Whether its probabilities can be believed, before and after a temperature fitted on validation."""
    title, dump = "Whether it means what it says", material.judged
    if material.validation is None:
        ece = score(dump.probabilities(), dump.targets).ece
        text = f"Expected calibration error {ece:.3f}; nothing else is here to fit a temperature on."
        return section(title, missing(text), level=level)
    after, temperatures = calibrated(material.validation, dump)
    before = dump.probabilities()
    scores = [score(probabilities, dump.targets) for probabilities in (before, after)]
    fitted = _temperatures(temperatures)
    name = f"{material.name}, {part_name(material.part)}"
    figure = reliability_figure(
        before,
        after,
        dump.targets,
        (f"as it is: ECE {scores[0].ece:.3f}", f"{fitted}: ECE {scores[1].ece:.3f}"),
        name,
        f"{len(dump.ids):,} images in 15 bins of confidence; the temperature was fitted on validation",
    )
    words = f"ECE {scores[0].ece:.3f} before and {scores[1].ece:.3f} after the temperature."
    caption = "On the dashed line a confidence of 80 % is right four times in five; below it the network is too sure."
    rows = [
        (what, f"{s.ece:.3f}", f"{s.loss:.3f}", f"{s.accuracy:.2%}")
        for what, s in zip(("as it is", f"after {fitted}"), scores, strict=True)
    ]
    numbers = table(
        f"Calibration on {part_name(material.part)}", ("probabilities", "ECE", "log loss", "accuracy"), rows
    )
    return section(title, numbers, chart(figure, f"Reliability of {name}", words, caption), level=level)


def summary(material: Material) -> str:
    """The result in a sentence."""
    dump = material.judged
    judged, persons = judge(dump), over_persons(dump)
    shown = judged.get("views", judged["clean"])
    low, high = persons.get("views" if "views" in judged else "clean", shown.interval)
    whose = f" over {len(set(material.told('subjects').values()))} persons" if persons else ""
    part = part_name(material.part)
    text = (
        f"{shown.accuracy:.2%} of {shown.images:,} images of {dataset_name(dump.meta)} ({part}) are classified rightly"
    )
    return f"{text}; 95 % interval{whose} {low:.2%} to {high:.2%}."


def _figures(scores: Scores, interval: tuple[float, float] | None) -> tuple[str, ...]:
    low, high = interval or scores.interval
    return (
        f"{scores.images:,}",
        f"{scores.accuracy:.2%}",
        f"{low:.2%} – {high:.2%}",
        f"{scores.balanced_accuracy:.2%}",
        f"{scores.macro_f1:.3f}",
        f"{scores.ece:.3f}",
        f"{scores.loss:.3f}",
    )


def _decimal(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _taken_for(row: np.ndarray, index: int, classes: tuple[str, ...]) -> str:
    others = np.where(np.arange(len(row)) == index, 0, row)
    most = int(others.argmax())
    return f"{classes[most]} ({others[most] / row.sum():.1%})" if others[most] else "–"


def _temperatures(fitted: list[float]) -> str:
    if len(fitted) == 1:
        return f"temperature {fitted[0]:.2f}"
    return f"{len(fitted)} temperatures, {min(fitted):.2f} to {max(fitted):.2f}"


def _folds_table(material: Material, dump: Predictions, accuracies: tuple[float, ...]) -> Html:
    told = dump.meta.get("folds") or [{}] * len(accuracies)
    rows = [
        (
            str(fold.get("fold", number)),
            str(fold.get("epoch", "–")),
            f"{fold['training_seconds']:.0f} s" if "training_seconds" in fold else "–",
            f"{accuracy:.1%}",
        )
        for number, (fold, accuracy) in enumerate(zip(told, accuracies, strict=True), 1)
    ]
    head = ("fold", "chosen epoch", "training", f"accuracy on {part_name(material.part)}")
    return table(f"Folds of {material.name}", head, rows)
