"""What a finished run leaves behind: dumps, report, figures, and a table at the terminal."""

import dataclasses
import json
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from utils.config import Config
from utils.errors import MachineError, UserError
from utils.files import write_atomically
from utils.pooling import spread, spread_text
from utils.predictions import Predictions, save_predictions
from utils.report import as_json, confusion, judge, over_persons, scores_table
from utils.runs import RunFiles
from utils.splits.protocols import caution
from Visualization.figures import confusion_matrix_figure
from Visualization.people import person_accuracy_figure
from Visualization.saving import save_figure


def publish(files: RunFiles, config: Config, parts: Mapping[str, Predictions], checkpoints: str) -> None:
    """After training: dumps, report and figures, and what a person at the terminal wants to know.

    Args:
        files: where they go.
        config: of the run.
        parts: its predictions for validation and, where there is one, the test part.
        checkpoints: which checkpoints made them, in words.
    """
    report: dict[str, Any] = {"run": files.name}
    for part, predictions in parts.items():
        save_predictions(predictions, files.dump(part))
        judged, found = judge(predictions), spread(predictions)
        report |= {"protocol": predictions.meta["protocol"], "selection": predictions.meta["selection"]}
        report |= {"training_part": predictions.meta.get("training_part", {})}
        report |= {"best_epoch": predictions.meta["epoch"]} if "epoch" in predictions.meta else {}
        report[part] = as_json(judged)
        if text := spread_text(found):
            plain = dataclasses.asdict(found) | ({} if found.folds else {"mean": None, "sd": None})  # JSON has no NaN
            report[part] |= {"spread": plain}
        matrix, subtitle = confusion(predictions)
        figure = confusion_matrix_figure(matrix, predictions.classes, f"{files.name}, {part}", subtitle)
        save_figure(figure, files.figures / f"{files.name}.{part}.png")
        if part == "test" and len(found.persons) > 1:
            overall = f"{judged.get('views', judged['clean']).accuracy:.2%} of {len(predictions.ids)} images; {text}"
            words = caution(predictions.meta["protocol"])
            overall += f"; {words}" if words else ""
            figure = person_accuracy_figure(found.persons, f"{files.name}, accuracy of each person", overall)
            save_figure(figure, files.persons)
        role = "chose the epochs" if part == "val" else "opened once, after training"
        print(f"\n{part} ({role}): {predictions.meta['protocol']}")
        table = scores_table(judged, predictions.classes, len(predictions.logits), over_persons(predictions))
        print(table, *([text] if text else []), sep="\n")
    try:
        write_atomically(files.report, json.dumps(report, indent=2).encode())
    except MachineError as error:
        print(error, file=sys.stderr)
    if config.report_page:
        _write_page(files, parts)
    print(_what_next(files, config, checkpoints, list(parts)[-1]))


def _write_page(files: RunFiles, parts: Mapping[str, Predictions]) -> None:
    """The report as a page for the browser. Whatever goes wrong is said, and fails no training that has gone well."""
    try:
        # captum, which draws its maps, takes seconds to import: not at the start of every training
        from utils.pages.material import material_of
        from utils.pages.page import write_report

        write_report([material_of(files, parts)], files.page)
    except UserError as error:
        print(f"no report: {error}", file=sys.stderr)
    except Exception:  # noqa: BLE001 - the one place where even a bug must not decide how a run ends
        traceback.print_exc()
        print(f"no report; python report.py {files.name} tries again", file=sys.stderr)


def _what_next(files: RunFiles, config: Config, checkpoints: str, last: str) -> str:
    pictures = [("curves", files.curves), ("each person", files.persons), ("report", files.page)]
    also = "".join(f"{name:18s}{path}\n" for name, path in pictures if path.is_file())
    return f"""
checkpoint        {checkpoints}
logs              {files.logs}  (tensorboard --logdir {config.log_dir})
{also}predictions       {files.dump(last)}
confusion matrix  {files.figures / f"{files.name}.{last}.png"}

next, after '. .venv/bin/activate':
  python -m models                          the networks that there are
  python main_fer.py arch=NAME key=value    train one of them on FER2013; says how to get the data
  python gen_ensemble.py                    average the runs that you have"""
