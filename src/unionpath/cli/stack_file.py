"""
A stack written down as TOML.

    rename_dir = "copy"
    lower = ["site", { source = "/usr/share/shop", name = "defaults", immutable = true }]
    upper = "changes"
    cache = { ttl = 5 }

`[[lower]]`, `[upper]` and `[cache]` tables are the same in the long form. Relative directories are
relative to the file. Whatever the file says that isn't known here is an error, with its key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypedDict, cast

from unionpath.cli.failures import BadUnionError, building
from unionpath.cli.spelling import shown
from unionpath.model.layer import Cache
from unionpath.opener import WhiteoutName, is_local_path
from unionpath.stack import Case, Durability, Layer, LayerStack, OnLayerError, RenameDir


class _LayerOptions(TypedDict, total=False):
    name: str
    whiteouts: WhiteoutName
    userxattr: bool
    root: str
    at: str
    immutable: bool
    workdir: str


class _StackOptions(TypedDict, total=False):
    rename_dir: RenameDir
    on_layer_error: OnLayerError
    durability: Durability
    case: Case
    name: str


class _CacheOptions(TypedDict, total=False):
    ttl: float
    max_entries: int


_Type = Literal["text", "true or false", "a number", "a whole number", "a table", "a list", "text or a table"]
_IS: dict[_Type, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "true or false": lambda value: isinstance(value, bool),
    "a number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "a whole number": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "a table": lambda value: isinstance(value, dict),
    "a list": lambda value: isinstance(value, list),
    "text or a table": lambda value: isinstance(value, str | dict),
}

_OPTIONS: dict[str, _Type] = {
    "rename_dir": "text",
    "on_layer_error": "text",
    "durability": "text",
    "case": "text",
    "name": "text",
}
_STACK: dict[str, _Type] = {
    **_OPTIONS,
    "lower": "a list",
    "upper": "text or a table",
    "cache": "a table",
}
_LOWER: dict[str, _Type] = {
    "source": "text",
    "name": "text",
    "whiteouts": "text",
    "userxattr": "true or false",
    "root": "text",
    "at": "text",
    "immutable": "true or false",
}
_UPPER: dict[str, _Type] = {**_LOWER, "workdir": "text"}
_CACHE: dict[str, _Type] = {"ttl": "a number", "max_entries": "a whole number"}


def read_stack_file(file: str, *, adopt: bool = False) -> LayerStack:
    """
    Make the stack that a TOML file describes; `adopt` is `LayerStack`'s.

    Raises:
        BadUnionError: the file can't be read, isn't TOML, holds a key or value that isn't known, or one of
            its layers can't be opened; the message names the file and the key.
    """
    place = shown(file)
    with building(place):
        text = Path(file).read_text(encoding="utf-8")
        base = Path(file).absolute().parent
        table = _checked(tomllib.loads(text), _STACK, place)
    lowers = [
        _layer(each, _LOWER, f"{place}: lower[{number}]", base)
        for number, each in enumerate(cast("list[object]", table.get("lower", [])), start=1)
    ]
    upper = _layer(table["upper"], _UPPER, f"{place}: upper", base) if "upper" in table else None
    cache = None
    if "cache" in table:
        with building(f"{place}: cache"):
            cache = Cache(**cast("_CacheOptions", _checked(table["cache"], _CACHE, f"{place}: cache")))
    options = cast("_StackOptions", {key: table[key] for key in _OPTIONS if key in table})
    called = [(f"lower[{number}] {shown(each.name)}", each) for number, each in enumerate(lowers, start=1)]
    if upper is not None:
        called.insert(0, (f"upper {shown(upper.name)}", upper))
    with building(place, called):
        return LayerStack(lowers, upper=upper, cache=cache, adopt=adopt, **options)


def as_layer(source: str, options: _LayerOptions, base: Path) -> Layer:
    """Open a layer; a relative directory is relative to `base`, a URL is what it is."""
    place = str(base / source) if source and is_local_path(source) else source
    options.setdefault("name", source)
    return Layer(place, **options)


def _layer(given: object, known: Mapping[str, _Type], place: str, base: Path) -> Layer:
    if isinstance(given, str):
        given = {"source": given}
    table = _checked(given, known, place)
    if "source" not in table:
        raise BadUnionError(f"{place}: source is missing; it says which directory or URL the layer is")
    source = cast("str", table.pop("source"))
    if "workdir" in table:
        table["workdir"] = str(base / cast("str", table["workdir"]))
    with building(place):
        return as_layer(source, cast("_LayerOptions", table), base)


def _checked(given: object, known: Mapping[str, _Type], place: str) -> dict[str, object]:
    """Give a table of which every key is known and every value has the right type."""
    if not isinstance(given, dict):
        raise BadUnionError(f"{place}: text or a table is expected, not {given!r}")
    table = cast("dict[str, object]", given).copy()
    for key, value in table.items():
        if key not in known:
            raise BadUnionError(f"{place}: unknown key {key!r}; known are {', '.join(known)}")
        if not _IS[known[key]](value):
            raise BadUnionError(f"{place}: {key}: {known[key]} is expected, not {value!r}")
    return table
