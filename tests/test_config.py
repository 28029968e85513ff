"""Settings: every wrong value of every setting is refused in one line; what users' files hold is accepted."""

import dataclasses
import json
import os
from pathlib import Path

import jsonschema
import pytest

from utils.config import FIELDS, Config, config_from_dict, differing, json_schema, load_config, with_defaults
from utils.errors import UserError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SHIPPED = sorted([*CONFIGS.glob("*_config.json"), *CONFIGS.glob("zoo/*.json")])
HUGE = 10**400
BASE = {name: str(f.type).split(" ")[0].removeprefix("<class '").removesuffix("'>") for name, f in FIELDS.items()}
NUMBERS = [name for name, kind in BASE.items() if kind in ("int", "float")]
TEXTS = [name for name, kind in BASE.items() if kind == "str"]
OPTIONAL = [name for name, f in FIELDS.items() if f.default is None]

# Every setting in the file of somebody who used the project that this one follows.
OLD_FILE = """{
    "data_path": "saved/data/fer2013", "image_size": 224, "in_channels": 3, "num_classes": 7, "arch": "resnet18",
    "lr": 0.0001, "weighted_loss": 0, "momentum": 0.9, "weight_decay": 0.001, "distributed": 1, "batch_size": 48,
    "num_workers": 8, "device": "cpu", "max_epoch_num": 50, "max_plateau_count": 8, "plateau_patience": 2,
    "steplr": 50, "log_dir": "saved/logs", "checkpoint_dir": "saved/checkpoints", "model_name": "test"
}"""


def refusal(path, overrides=()) -> str:
    """The message that a settings file is refused with, which has to be one line."""
    with pytest.raises(UserError) as refused:
        load_config(path, overrides)
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    assert refused.value.exit_code == 2
    return message


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "my.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def wrong_values():
    for name, f in FIELDS.items():
        limits, kind = f.metadata, BASE[name]
        wrong = {"list": [1], "object": {"a": 1}, "nan": float("nan"), "infinity": float("inf"), "huge": HUGE}
        if name not in OPTIONAL:
            wrong["null"] = None
        if kind == "str":
            wrong |= {"number": 3, "bool": True, "nul": "a\0b", "newline": "a\nb", "empty": "", "long": "a" * 1001}
            wrong |= {"escape": "\x1b[2J", "half a character": "\ud800"}
        if limits["name"]:
            wrong |= {
                f"path {bad}": bad for bad in ("../x", "/x", "a/b", "a\\b", "a b", "x" * 300, "表" * 50, "~", "*")
            }
        if limits["choices"]:
            wrong |= {
                "case": str(f.default).upper(),
                "choice": "no_such",
                "misspelt": f"{f.default}x",
                "300": "y" * 300,
            }
        if kind == "bool":
            wrong |= {"text": "true", "two": 2, "minus one": -1, "fraction": 0.5, "one as a fraction": 1.0}
        if kind in ("int", "float"):
            wrong |= {"text": str(limits["most"]), "bool": True, "minus infinity": float("-inf"), "minus": -HUGE}
            wrong |= {"above": limits["most"] * 1.001 + 1, "next above": limits["most"] + 1, "digits": "1_0"}
            if limits["least"] is not None:
                wrong |= {"below": limits["least"] - 1, "just below": limits["least"] - 1e-6}
            if limits["above"] is not None:
                wrong["at the limit"] = limits["above"]
        if kind == "int":
            wrong["fraction"] = limits["least"] + 0.5
        for how, value in wrong.items():
            yield pytest.param(name, value, id=f"{name}-{how}")


@pytest.mark.parametrize(("name", "value"), list(wrong_values()))
def test_wrong_value_is_refused_with_file_key_value_and_what_is_right(tmp_path, name, value):
    path = write(tmp_path, json.dumps({name: value}))
    message = refusal(path)
    assert message.startswith(f"{path}: {name} must be ")
    assert "; got " in message
    assert len(message) < len(str(path)) + 400
    right, got = message.split(" must be ")[1].split("; got ")
    limits = FIELDS[name].metadata
    if limits["choices"]:
        assert all(choice in right for choice in limits["choices"])
    elif BASE[name] in ("int", "float"):
        assert "number" in right and f"{limits['most']:g}" in right
    if isinstance(value, str):
        assert (
            "(text)" in got
            and ("?" if value == "\ud800" else json.dumps(value, ensure_ascii=False)[1:5].rstrip('"')) in got
        )
    elif isinstance(value, (list, dict)) or value is None:
        assert got in ("a list", "an object", "null")
    elif isinstance(value, bool):
        assert got == "true"
    elif isinstance(value, float):
        assert got == json.dumps(value)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_documented_and_its_default_is_allowed(name):
    doc = FIELDS[name].metadata["doc"]
    assert len(doc) > 5 and "\n" not in doc
    default = FIELDS[name].default
    assert getattr(config_from_dict({name: default}, "here"), name) == default


@pytest.mark.parametrize("name", NUMBERS)
def test_limits_themselves_are_allowed(tmp_path, name):
    limits, kind = FIELDS[name].metadata, {"int": int, "float": float}[BASE[name]]
    for bound in (limits["least"], limits["most"]):
        if bound is not None:
            value = getattr(load_config(write(tmp_path, json.dumps({name: bound}))), name)
            assert value == bound and type(value) is kind


def test_whole_number_may_be_spelt_as_a_float(tmp_path):
    config = load_config(write(tmp_path, '{"batch_size": 64.0, "rotation": 15, "drop_rate": null}'))
    assert (config.batch_size, config.rotation, config.drop_rate) == (64, 15.0, None)
    assert (type(config.batch_size), type(config.rotation)) == (int, float)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("imagesize", "image_size"),
        ("Lr", "lr"),
        ("batchsize", "batch_size"),
        ("max_epochs_num", "max_epoch_num"),
        ("optimiser", "optimizer"),
        ("__init__", None),
        ("zzzzzzzz", None),
        ("x" * 10**5, None),
    ],
)
def test_unknown_key_gets_the_closest_name(tmp_path, key, near):
    path = write(tmp_path, json.dumps({key: 1}))
    message = refusal(path)
    assert message.startswith(f"{path}: unknown setting '{key[:57]}")
    assert len(message) < len(str(path)) + 200
    assert ("did you mean" in message) == (near is not None)
    assert near is None or message.endswith(f"did you mean '{near}'?")


def test_misspelt_choice_gets_the_closest_one(tmp_path):
    assert refusal(write(tmp_path, '{"optimizer": "SGD"}')).endswith("got \"SGD\" (text); did you mean 'sgd'?")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "not valid JSON at line 1, column 1"),
        ("   \n", "not valid JSON at line 2"),
        ('{"lr": 0.1, "arch": "res', "not valid JSON at line 1, column 21"),
        ('{"lr": 0.1,\n "views": 1', "not valid JSON at line 2"),
        ('{"lr": 0.1,}', "not valid JSON at line 1"),
        ('{"lr": 0.1} {}', "not valid JSON at line 1, column 13"),
        ('{"lr": 0.1} // slow', "not valid JSON at line 1, column 13"),
        ('{/* slow */ "lr": 0.1}', "not valid JSON at line 1, column 2"),
        ("{'lr': 0.1}", "not valid JSON"),
        ('{"lr": 01}', "not valid JSON"),
        ('{"model_name": "a\tb"}', "not valid JSON"),
        ("\0\0\0\0", "not valid JSON"),
        ('{"lr": 0.1, "lr": 0.2}', "setting 'lr' stands twice"),
        ('{"lr": 0.1, "\\u006cr": 0.2}', "setting 'lr' stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"lr": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"lr": ' + "1" * 5000 + "}", "4300 digits"),
        ("[]", "expected one object of settings in braces; got a list"),
        ("null", "got null"),
        ("3.5", "got a number"),
        ("true", "got true or false"),
        ('"lr"', "got text"),
        ('{"lr": 0.1}'.encode("utf-16"), "not text in UTF-8"),
        (b'{"model_name": "\xe9"}', "not text in UTF-8"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "not text in UTF-8"),
        ("<!doctype html><html></html>", "not valid JSON at line 1, column 1"),
        ("version https://git-lfs.github.com/spec/v1\n", "not valid JSON at line 1, column 1"),
    ],
)
def test_file_that_is_no_settings(tmp_path, content, part):
    path = write(tmp_path, content)
    message = refusal(path)
    assert message.startswith(f"{path}: ") and part in message


def test_a_megabyte_of_keys_is_refused_without_comparing_each_with_all(tmp_path):
    path = write(tmp_path, "{" + ",".join(f'"{i:x}":1' for i in range(90_000)) + "}")
    assert "unknown setting '0'" in refusal(path)


def test_byte_order_mark_and_schema_are_accepted(tmp_path):
    path = write(tmp_path, b'\xef\xbb\xbf{"$schema": "config.schema.json", "lr": 0.5}')
    assert load_config(path) == Config(lr=0.5)


def test_places_that_are_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "big.json", "wb") as file:
        file.truncate(30_000_000)
    (tmp_path / "dangling.json").symlink_to(tmp_path / "gone")
    for name, part in (
        ("pipe", "is a pipe or device, not a file"),
        (".", "is a folder, not a file"),
        ("missing.json", "no such file"),
        ("dangling.json", "no such file"),
        ("big.json", "30000000 bytes; expected at most 1048576"),
        ("big.json/x", "no such file"),
    ):
        assert refusal(tmp_path / name) == f"{tmp_path / name}: {part}"
    assert refusal("/dev/zero") == "/dev/zero: is a pipe or device, not a file"
    assert "not a usable file name (file name too long)" in refusal(tmp_path / ("x" * 300))
    assert "not a usable file name (embedded null byte)" in refusal("a\0b")


def test_overrides(tmp_path):
    path = write(tmp_path, '{"lr": 0.1, "model_name": "a"}')
    texts = ["lr=1e-3", "model_name=7", "views=2", "weighted_loss=true", "distributed=0", "drop_rate=null", "lr=0.02"]
    expected = Config(lr=0.02, model_name="7", views=2, weighted_loss=True)
    assert load_config(path, texts) == expected
    assert load_config(None, texts) == expected
    assert load_config(None) == Config()
    assert load_config(None, ["data_path=a=b"]).data_path == "a=b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "command line: expected key=value; got 'lr'"),
        ("=3", "command line: unknown setting ''; python main_fer.py --help lists all"),
        ("lr=", 'command line: lr must be a number above 0, at most 100; got "" (text)'),
        ("lr=fast", 'command line: lr must be a number above 0, at most 100; got "fast" (text)'),
        ("lr=NaN", "command line: lr must be a number above 0, at most 100; got NaN"),
        ("lr=1e999", "command line: lr must be a number above 0, at most 100; got Infinity"),
        ('lr="1"', 'command line: lr must be a number above 0, at most 100; got "1" (text)'),
        ("flip=True", 'command line: flip must be true or false; got "True" (text)'),
        ("views=19", "command line: views must be a whole number from 1 to 18; got 19"),
        ("views=1.5", "command line: views must be a whole number from 1 to 18; got 1.5"),
        ("model_name=", 'letters, digits and . _ - + = (at most 100 bytes); got "" (text)'),
        ("optmizer=sgd", "command line: unknown setting 'optmizer'; did you mean 'optimizer'?"),
        ("$schema=x", "command line: unknown setting '$schema'"),
        ("lr=" + "[" * 100_000, "command line: lr must be a number above 0, at most 100; got"),
        ("lr=" + "9" * 5000, "command line: lr must be a number above 0, at most 100; got"),
    ],
)
def test_wrong_override(text, message):
    assert message in refusal(None, [text])


def test_a_number_that_may_be_auto(tmp_path):
    for text in ("auto", '"auto"'):
        assert load_config(None, [f"batch_size={text}"]).batch_size == 0
    assert load_config(write(tmp_path, '{"batch_size": "auto"}')).batch_size == 0
    for text in ("off", "0", "1", "false", '""'):
        assert "batch_size must be a whole number from 2 to 65536 or auto" in refusal(None, [f"batch_size={text}"])
    assert "micro_batch must be" in refusal(None, ["micro_batch=auto"])
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid({"batch_size": "auto"}) and not validator.is_valid({"batch_size": "many"})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_file_loads_and_fits_the_schema(path):
    config = load_config(path)
    written = json.loads(path.read_text())
    assert (path.parent / written.pop("$schema")).resolve() == CONFIGS / "config.schema.json"
    assert {name: getattr(config, name) for name in written} == written
    jsonschema.validate(json.loads(path.read_text()), json_schema())


def test_schema_file_is_what_the_program_says():
    assert len(SHIPPED) >= 3
    assert json.loads((CONFIGS / "config.schema.json").read_text()) == json_schema()
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("name", FIELDS)
def test_schema_and_loader_agree(name):
    """What the schema refuses the loader refuses; the loader is stricter about the characters of texts alone."""
    validator = jsonschema.Draft202012Validator(json_schema())
    limits = FIELDS[name].metadata
    bounds = [b for b in (limits["least"], limits["most"], limits["above"]) if b is not None]
    values = [None, True, False, 0, 1, 2, -1, 0.5, 1e9, HUGE, "", "x" * 1001, "sgd", [], {}, FIELDS[name].default]
    values += [*bounds, *(b + 1 for b in bounds), *(b - 1 for b in bounds), *(limits["choices"] or ())]
    accepted = 0
    for value in values:
        try:
            config_from_dict({name: value}, "here")
            loads = True
        except UserError:
            loads = False
        assert validator.is_valid({name: value}) == loads, value
        accepted += loads
    assert 0 < accepted < len(values)
    assert not validator.is_valid({name + "x": FIELDS[name].default})


def test_an_old_users_file_is_accepted_unchanged(tmp_path):
    config = load_config(write(tmp_path, OLD_FILE))
    written = json.loads(OLD_FILE)
    assert len(written) == 20
    assert {name: getattr(config, name) for name in written} == written
    assert (config.weighted_loss, config.distributed) == (False, True)
    assert (
        load_config(write(tmp_path, OLD_FILE.replace('"weighted_loss": 0', '"weighted_loss": 1'))).weighted_loss is True
    )


@pytest.mark.parametrize("path", [None, *SHIPPED], ids=lambda path: path.name if path else "defaults")
def test_config_survives_the_checkpoint(path):
    config = load_config(path)
    table = dataclasses.asdict(config)
    assert config_from_dict(json.loads(json.dumps(table)), "here") == config
    assert config_from_dict(table, "here") == config


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ({1: 2}, "unknown setting '1'"),
        ({None: 2}, "unknown setting 'None'"),
        ({"lr": 10**9000}, "lr must be a number above 0, at most 100; got a number of more than 60 digits"),
        ({"lr": {1, 2}}, "lr must be"),
        ({"flip": b"1"}, "flip must be true or false"),
        ({"data_path": b"x"}, "data_path must be"),
    ],
)
def test_table_of_a_checkpoint_may_hold_anything(table, part):
    with pytest.raises(UserError, match="^best.pt: ") as refused:
        config_from_dict(table, "best.pt")
    assert part in str(refused.value)


def test_a_setting_that_an_older_table_lacks_counts_as_its_default():
    old = dataclasses.asdict(Config())
    del old["refit_size"]
    assert differing(old, dataclasses.asdict(Config())) == []
    assert differing(old, dataclasses.asdict(Config(refit_size=224))) == ["refit_size"]
    assert differing(dataclasses.asdict(Config(refit_size=224)), old) == ["refit_size"]
    assert with_defaults(old)["refit_size"] is None
