"""README.md and docs/ hold what the committed dumps give, and make_results.py computes it."""

import dataclasses
import json
import re
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import make_results
from utils.commands import command_of, settings_today
from utils.config import load_config
from utils.ensemble import load_runs, table
from utils.errors import UserError
from utils.files import csv_bytes, sha256_of
from utils.headline import headline_text
from utils.markdown import MIXED_ENSEMBLE, all_views, best_average, mixed_average
from utils.predictions import Predictions, combine, load_predictions
from utils.report import judge
from utils.splits import load_splits
from utils.splits.split_file import split_file_hash, split_table

DUMPS = sorted(path for path in ROOT.glob("results/*/*.test.npz") if path.parent.name != "peers")
RESULTS = ROOT / "docs" / "results.md"
FOLDED_DUMPS = sorted(path for name in ("ckplus", "jaffe") for path in ROOT.glob(f"results/{name}/*.npz"))


def test_what_is_generated_is_what_the_dumps_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["make_results.py", "--check"])
    make_results.main()


def test_every_member_has_a_name_of_its_own_in_every_table() -> None:
    lines = make_results.texts()[RESULTS]["fer2013"].splitlines()
    for heading in ("| network |", "| recall on test |"):
        first = next(index for index, line in enumerate(lines) if line.startswith(heading))
        names = [re.match(r"\| (`\w+`)", line) for line in lines[first + 2 : lines.index("", first) - 1]]
        found = [name.group(1) for name in names if name]
        assert len(set(found)) == len(found) == len(names) == len(load_runs(ROOT / "results" / "fer2013"))


def test_the_first_table_names_what_validation_chose() -> None:
    runs = load_runs(ROOT / "results" / "fer2013")
    first, second = (name for name in runs if name.startswith(("googlenet", "compact_densenet")))
    for swapped in (False, True):
        validation = {first: runs[second if swapped else first][0], second: runs[first if swapped else second][0]}
        pairs = {name: (validation[name], runs[name][1]) for name in (first, second)}
        chosen = max(pairs, key=lambda name: all_views(judge(pairs[name][0])).accuracy)
        lines = headline_text([pairs], [], {"jaffe": pairs}, lambda _: ("faces", "a laptop")).splitlines()[2:]
        accuracy = f"**{all_views(judge(pairs[chosen][1])).accuracy:.1%}**"
        assert f"{chosen.partition('_2')[0]}`, the best of 2 | faces | a laptop | {accuracy}" in lines[0]
        assert "of these 2 | faces | a laptop | " in lines[1]
        arch = pairs[chosen][1].meta["arch"]
        assert f"| JAFFE, other people | `{arch}`, the best of 2 | faces | a laptop | {accuracy}" in lines[2]


def test_a_shipped_network_whose_run_has_no_dumps_is_named() -> None:
    with pytest.raises(UserError, match=r"vgg\.safetensors: made of the run .*, which has no dumps in results/"):
        make_results.headline({"fer2013": {}, "ckplus": {}, "jaffe": {}})


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_a_changed_number_is_noticed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("results", "configs", "docs", "models/pretrained"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "README.md", tmp_path)
    text = (ROOT / page).read_text()
    number = re.search(r"\*\*(\d\d\.\d+)%\*\*", text)
    assert number is not None
    (tmp_path / page).write_text(text.replace(number.group(1), "99.99", 1))
    monkeypatch.setattr(make_results, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["make_results.py", "--check"])
    with pytest.raises(UserError, match=f"{page}: differs from the committed dumps"):
        make_results.main()


@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.name)
def test_committed_dumps_say_what_chose_and_what_judged(path: Path) -> None:
    dump = load_predictions(path)
    assert dump.meta["split"] == "test"
    if dump.meta["run"] == "ensemble":
        assert dump.meta["selection"]["split"] in ("val", "none")
        return
    assert dump.meta["selection"]["split"] == "val"
    assert dump.logits.shape[0] == dump.meta["views"]
    validation = load_predictions(path.with_name(path.name.replace(".test.", ".val.")))
    assert validation.meta["checkpoint"] == dump.meta["checkpoint"]
    if "fold_of" not in dump.meta:
        assert validation.meta["data"] != dump.meta["data"]
        return
    # folds: every image is judged once, and validates in another fold than the one that it is judged in
    assert set(dump.meta["fold_of"]) == set(dump.ids) and len(set(dump.ids)) == len(dump.ids)
    names = [fold["fold"] for fold in dump.meta["folds"]]
    for identity in validation.ids:
        fold, _, image = identity.partition("/")
        assert names[dump.meta["fold_of"][image]] != fold
    assert names == [fold["name"] for fold in splits_of(path, dump)["folds"]]
    assert_on_splits(path, validation)


def splits_of(path: Path, dump: Predictions) -> dict[str, Any]:
    """The committed split file of a dump's set and protocol."""
    file = path.with_name(f"splits.{dump.meta['protocol'].partition(':')[0]}.json")
    assert split_file_hash(file) == dump.meta["splits"]
    return json.loads(file.read_text())


def assert_on_splits(path: Path, dump: Predictions) -> None:
    """Each image of a dump stands in that fold of the committed split file of which the dump says so."""
    table, part = splits_of(path, dump), dump.meta["split"]
    assert (table["dataset"], table["protocol"]) == (dump.meta["dataset"], dump.meta["protocol"])
    expected = {
        image if part == "test" else f"{fold['name']}/{image}": number
        for number, fold in enumerate(table["folds"])
        for image in fold[part]
    }
    assert expected == dump.meta["fold_of"]


@pytest.mark.parametrize("path", FOLDED_DUMPS, ids=lambda path: path.name)
def test_committed_dumps_of_folds_are_on_the_committed_splits(path: Path) -> None:
    assert_on_splits(path, load_predictions(path))


@pytest.mark.parametrize("path", [path for path in DUMPS if path.name.startswith("ensemble")], ids=str)
def test_committed_averages_are_those_of_their_members(path: Path) -> None:
    kept = load_predictions(path)
    members = [load_predictions(path.with_name(f"{name}.test.npz")) for name in kept.meta["members"]]
    average = combine(members, kept.meta["members"])
    np.testing.assert_array_equal(kept.logits, average.logits)
    assert dict(kept.meta) == json.loads(json.dumps({**average.meta, "selection": kept.meta["selection"]}))
    runs = load_runs(path.parent)
    wanted = mixed_average(runs) if path.name.startswith(MIXED_ENSEMBLE) else best_average(runs)[1]
    assert wanted is not None and kept.meta["members"] == wanted.meta["members"]  # those that docs/results.md names
    rows = table(members, kept.meta["members"], average)
    assert path.with_suffix(".csv").read_bytes() == csv_bytes(rows)
    known = {member.meta.get("splits") for member in members}
    assert {kept.meta.get("splits")} == known and len(known) == 1


@pytest.mark.parametrize(("config", "name", "dataset"), [("ck", "ckplus", "CK+48"), ("jaffe", "jaffe", "jaffe")])
@pytest.mark.parametrize("protocol", ["as shipped", "random"])
def test_the_shipped_settings_deal_the_committed_splits(real_data, config, name, dataset, protocol) -> None:
    change = [] if protocol == "as shipped" else ["protocol=random"]
    settings = load_config(ROOT / "configs" / f"{config}_config.json", [f"data_path={real_data(dataset)}", *change])
    file = ROOT / "results" / name / f"splits.{settings.protocol}.json"
    splits = load_splits(settings)
    assert split_table(splits, settings.dataset)["sha256"] == split_file_hash(file)
    forced = load_splits(dataclasses.replace(settings, split_file=str(file), split_seed=5))
    assert [split.test.ids for split in forced] == [split.test.ids for split in splits]


def test_fer2013_dumps_are_of_the_official_parts() -> None:
    counts = {
        "train": [3995, 436, 4097, 7215, 4830, 3171, 4965],  # teachers
        "val": [467, 56, 496, 895, 653, 415, 607],
        "test": [491, 55, 528, 879, 594, 416, 626],
    }
    dumps = [path for part in counts for path in ROOT.glob(f"results/fer2013/*.{part}.npz")]
    assert dumps
    for path in dumps:
        dump = load_predictions(path)
        assert np.bincount(dump.targets).tolist() == counts[dump.meta["split"]]
        assert len(set(dump.ids)) == sum(counts[dump.meta["split"]])


def test_a_command_names_a_folder_of_pictures_and_is_typed_as_it_reads() -> None:
    settings = asdict(load_config(None, ["dataset=folder", "data_path=my/faces", "model_name=Zoë", "num_classes=3"]))
    words = shlex.split(command_of(settings, ROOT / "configs"))
    assert {"data_path=my/faces", "model_name=Zoë", "dataset=folder", "num_classes=3"} <= set(words)
    assert not [word for word in words if word.startswith("data_path")][1:]
    assert "data_path" not in command_of(settings | {"dataset": "fer2013"}, ROOT / "configs")


def test_what_a_run_began_with_is_kept_when_another_network_comes_with_the_package() -> None:
    alone = (dump for dump in map(load_predictions, DUMPS) if "config" in dump.meta)
    began = [dump for dump in alone if dump.meta["config"].get("init_from") == "pretrained"]
    assert began
    for dump in began:
        kept = ROOT / settings_today(dump.meta, ROOT)["init_from"]
        assert sha256_of(kept) == dump.meta["origin"]["checkpoint"]
        assert settings_today(dump.meta, ROOT / "elsewhere") == dump.meta["config"]
