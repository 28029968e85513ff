"""One setting: its default, what it does, which values it takes, and the sentence that refuses another."""

import dataclasses
import json
import math
import types
import typing
from dataclasses import field
from typing import Any

from utils.errors import UserError, closest


def setting(
    default: Any,
    doc: str,
    *,
    choices: tuple[str, ...] | None = None,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    name: bool = False,
    auto: bool = False,
) -> Any:
    """One documented setting: its default, what it does, and which values it takes.

    With ``auto``, a number may also be the word "auto", which is kept as 0.
    """
    limits = {"doc": doc, "choices": choices, "least": least, "most": most, "above": above, "name": name, "auto": auto}
    return field(default=default, metadata=limits)


def check_value(f: dataclasses.Field[Any], value: Any, source: str) -> Any:
    """``value`` as the setting ``f`` keeps it.

    Raises:
        UserError: not allowed; names ``source``, the setting, the value and what is allowed.
    """
    kind = base_type(f)
    wrong = UserError(f"{source}: {f.name} must be {allowed(f)}; got {_shown(value)}")
    if value is None:
        if kind is not f.type:
            return None
        raise wrong
    if kind is bool:
        if not isinstance(value, int) or value not in (True, False):
            raise wrong
        return bool(value)
    if kind is str:
        return _check_text(f, value, wrong)
    if f.metadata["auto"] and value == "auto":
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong
    if isinstance(value, float) and not (math.isfinite(value) and (kind is float or value.is_integer())):
        raise wrong
    least, most, above = f.metadata["least"], f.metadata["most"], f.metadata["above"]
    if (least is not None and value < least) or (most is not None and value > most):
        raise wrong
    if above is not None and value <= above:
        raise wrong
    return kind(value)


def schema_entry(f: dataclasses.Field[Any]) -> dict[str, Any]:
    """What a JSON Schema says of the setting ``f``."""
    limits, kind = f.metadata, base_type(f)
    entry: dict[str, Any] = {"description": limits["doc"], "default": f.default, "type": _json_type(f)}
    if limits["choices"]:
        entry["enum"] = list(limits["choices"])
    for key, keyword in (("least", "minimum"), ("most", "maximum"), ("above", "exclusiveMinimum")):
        if limits[key] is not None:
            entry[keyword] = limits[key]
    if kind is str and not limits["choices"]:
        entry |= {"minLength": 1, "maxLength": 100 if limits["name"] else 1000}
    if kind is bool:
        del entry["type"]
        entry["enum"] = [True, False, 0, 1]  # older files write 0 and 1
    if limits["auto"]:
        entry["type"] = [entry["type"], "string"]
        entry["pattern"] = "^auto$"
    return entry


def _check_text(f: dataclasses.Field[Any], value: Any, wrong: UserError) -> str:
    choices = f.metadata["choices"]
    if not isinstance(value, str) or not value or len(value) > 1000 or not value.isprintable():
        raise wrong
    if choices and value not in choices:
        near = closest(value.lower(), choices, 1)
        raise UserError(f"{wrong}; did you mean '{near[0]}'?" if near else str(wrong))
    if f.metadata["name"] and not (len(value.encode()) <= 100 and all(c.isalnum() or c in "._-+=" for c in value)):
        raise wrong
    return value


def base_type(f: dataclasses.Field[Any]) -> Any:
    """The type of a setting, without the ``None`` of an optional one."""
    if isinstance(f.type, types.UnionType):
        return next(kind for kind in typing.get_args(f.type) if kind is not types.NoneType)
    return f.type


def _json_type(f: dataclasses.Field[Any]) -> Any:
    name = {str: "string", int: "integer", float: "number", bool: "boolean"}[base_type(f)]
    return [name, "null"] if base_type(f) is not f.type else name


def allowed(f: dataclasses.Field[Any]) -> str:
    """In words, which values a setting takes."""
    limits = f.metadata
    if limits["choices"]:
        return "one of " + ", ".join(limits["choices"])
    if limits["name"]:
        return "a name of letters, digits and . _ - + = (at most 100 bytes)"
    kind = base_type(f)
    words = {str: "a text on one line", bool: "true or false", int: "a whole number", float: "a number"}[kind]
    if limits["above"] is not None:
        words += f" above {limits['above']:g}"
    elif limits["least"] is not None:
        words += f" from {limits['least']:g}"
    if limits["most"] is not None:
        words += f"{', at most' if limits['above'] is not None else ' to'} {limits['most']:g}"
    return words + (" or auto" if limits["auto"] else "") + (" or null" if kind is not f.type else "")


def kind_of(value: Any) -> str:
    """What kind of JSON value this is, in words."""
    names: dict[type, str] = {
        str: "text",
        bool: "true or false",
        list: "a list",
        dict: "an object",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"{short(json.dumps(value, ensure_ascii=False))} (text)"
    if isinstance(value, int) and abs(value) > 10**60:  # Python refuses to spell out thousands of digits
        return "a number of more than 60 digits"
    return short(json.dumps(value)) if isinstance(value, (bool, int, float, type(None))) else kind_of(value)


def short(text: str) -> str:
    """``text`` fit for a message: printable, at most 60 characters."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 60 else text[:57] + "..."
