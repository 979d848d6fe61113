"""Which union a command looks at: `--lower` and `--upper`, or a stack file; before or after the command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from unionpath.cli.failures import building
from unionpath.cli.spelling import shown
from unionpath.cli.stack_file import as_layer, read_stack_file
from unionpath.stack import Layer, LayerStack

VARIABLE = "UNIONPATH_STACK"
"""The environment's word for `--stack`."""

_CommandT = TypeVar("_CommandT", bound="Callable[..., Any] | click.Command")


@dataclass(slots=True)
class Wish:
    """What the options say, wherever on the command line they stand."""

    lowers: list[str] = field(default_factory=list[str])
    upper: str | None = None
    file: str | None = None
    json: bool = False
    adopt: bool = False


def _lowers(context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]) -> None:
    context.ensure_object(Wish).lowers.extend(value)


def _upper(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    wish = context.ensure_object(Wish)
    wish.upper = wish.upper if value is None else value


def _file(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    wish = context.ensure_object(Wish)
    wish.file = wish.file if value is None else value


def _json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(Wish).json |= value


def _adopt(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(Wish).adopt |= value


_OPTIONS = [
    click.option(
        "--lower",
        multiple=True,
        metavar="DIR|URL",
        callback=_lowers,
        expose_value=False,
        help="A lower layer; repeat it, top first.",
    ),
    click.option(
        "--upper",
        metavar="DIR|URL",
        callback=_upper,
        expose_value=False,
        help="The layer above all of them, which takes all changes.",
    ),
    click.option(
        "--stack",
        metavar="FILE.toml",
        callback=_file,
        expose_value=False,
        help=f"A file that describes the layers, instead of the two. [env: {VARIABLE}]",
    ),
    click.option(
        "--adopt",
        is_flag=True,
        callback=_adopt,
        expose_value=False,
        help="Take over an upper that was written over other lowers, or whose volatile writer died.",
    ),
    click.option(
        "--json", is_flag=True, callback=_json, expose_value=False, help="Answer as one JSON document."
    ),
]


def union_options(command: _CommandT) -> _CommandT:
    """Give a command the options that say which union, and how to answer."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def open_stack(wish: Wish) -> LayerStack:
    """
    Make the stack that the options ask for.

    Raises:
        UsageError: they say nothing, or too much.
        BadUnionError: a layer or the stack file is of no use.
    """
    given = bool(wish.lowers) or wish.upper is not None
    if given and wish.file is not None:
        raise click.UsageError("--stack says all of the layers; give it without --lower and --upper.")
    file = wish.file if given or wish.file is not None else os.environ.get(VARIABLE)
    if file is not None and (file or wish.file is not None):
        return read_stack_file(file, adopt=wish.adopt)
    if not given:
        raise click.UsageError(
            f"Which union? Give --lower DIR (top first), or --stack FILE.toml, or set {VARIABLE}."
        )
    lowers = [_layer("--lower", each) for each in wish.lowers]
    upper = None if wish.upper is None else _layer("--upper", wish.upper)
    called = [(f"--lower {shown(each.name)}", each) for each in lowers]
    if upper is not None:
        called.insert(0, (f"--upper {shown(upper.name)}", upper))
    with building("these layers", called):
        return LayerStack(lowers, upper=upper, adopt=wish.adopt)


def _layer(option: str, source: str) -> Layer:
    with building(f"{option} {shown(source)}"):
        return as_layer(source, {}, Path())
