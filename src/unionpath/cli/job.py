"""One run of one command: the stack it is about, what it was asked of it, and the way its answers go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from unionpath.cli import documents
from unionpath.cli.failures import Report
from unionpath.cli.look import Look
from unionpath.cli.screen import Screen
from unionpath.cli.union import Wish, open_stack
from unionpath.model.parts import check_text
from unionpath.path import UnionPath
from unionpath.stack import LayerStack

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])


class Job:
    """One run of one command."""

    def __init__(self, context: click.Context, wish: Wish, stack: LayerStack) -> None:
        self._context = context
        self.wish = wish
        self.stack = stack
        self.layers = [layer.name for layer in stack.layers]
        self.report = Report()
        self.look = Look(stack, self.report)
        self.screen = Screen()

    def paths(self, texts: Sequence[str]) -> Iterator[UnionPath]:
        """Give the paths of the union that the arguments name."""
        return (UnionPath(self.stack, "/", text) for text in texts)

    def finish(self, results: Sequence[Mapping[str, object]]) -> None:
        """Print the document, if one was asked for, and end with the exit code."""
        if self.wish.json:
            command, failures = self._context.info_name or "", self.report.failures
            if is_plan(self._context):
                command = "plan"
            text = documents.document(command, results, failures, indent=self.screen.is_terminal)
            sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        self._context.exit(1 if self.report.failures else 0)


@contextmanager
def job_of(context: click.Context) -> Generator[Job]:
    """Open the stack for one run of one command."""
    wish = context.ensure_object(Wish)
    with open_stack(wish) as stack:
        yield Job(context, wish, stack)


def is_plan(context: click.Context) -> bool:
    """Tell whether a command is only planned: it stands behind `plan`."""
    return context.parent is not None and context.parent.info_name == "plan"


def paths_argument(*, required: bool) -> Callable[[_CommandT], _CommandT]:
    """Give a command its PATH arguments."""
    return click.argument(
        "paths",
        nargs=-1,
        metavar="PATH..." if required else "[PATH...]",
        required=required,
        callback=checked,
    )


def checked(
    _context: click.Context, _parameter: click.Parameter, given: str | tuple[str, ...]
) -> str | tuple[str, ...]:
    """
    Take what can be a path (L10).

    Raises:
        BadParameter: it can't.
    """
    for text in (given,) if isinstance(given, str) else given:
        try:
            check_text(text)
        except ValueError as error:
            raise click.BadParameter(f"{text!r}: {error}") from error
    return given
