"""What went wrong, in one line: paths that failed (exit 1), and unions that can't be made (exit 2)."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

import click
from typing_extensions import override

from unionpath.cli.spelling import escaped, shown
from unionpath.path import UnionPath
from unionpath.stack import Layer


@dataclass(frozen=True, slots=True)
class Failure:
    """One path that could not be shown."""

    path: str
    number: int
    """The errno."""
    message: str
    """The system's words for it."""
    hint: str | None
    """Why, as far as is known: what the layer said, or what hides the path."""

    def __str__(self) -> str:
        hint = "" if self.hint is None else f" ({self.hint})"
        return f"{shown(self.path)}: {escaped(self.message + hint)}"


class Report:
    """Collects the failures of one run, and tells of each on stderr as it happens."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def about(self, path: UnionPath) -> _About:
        """Turn an OSError into a failure of `path`. Nothing is printed inside: that fails in its own way."""
        return _About(self, path)

    def add(self, failure: Failure) -> None:
        """Note a failure and tell of it."""
        self.failures.append(failure)
        complain(str(failure))


class _About:
    """Questions about one path; the OSErrors among the answers end here."""

    def __init__(self, report: Report, path: UnionPath) -> None:
        self._report = report
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, OSError):
            return False
        self._report.add(_failure(self._path, error))
        return True


class BadUnionError(click.ClickException):
    """The union that was asked for can't be made."""

    exit_code = 2

    @override
    def show(self, file: IO[Any] | None = None) -> None:
        print(f"unionpath: {self.format_message()}", file=sys.stderr if file is None else file)


@contextmanager
def building(place: str, called: Iterable[tuple[str, Layer]] = ()) -> Generator[None]:
    """
    Turn what layers and stacks refuse into a `BadUnionError` that begins with `place`.

    `called`: the layers in the stack's order, each with the user's own words for it; they stand for the
    layer's `repr`.
    """
    try:
        yield
    except OSError as error:
        raise BadUnionError(_with_file(f"{place}: {error.strerror or error}", error)) from error
    except (TypeError, ValueError, ImportError) as error:
        message = str(error)
        for words, layer in called:
            message = message.replace(repr(layer), words, 1)
        raise BadUnionError(f"{place}: {message}") from error


def complain(line: str) -> None:
    """Write one line to stderr, after all that was printed so far."""
    sys.stdout.flush()
    print(f"unionpath: {line}", file=sys.stderr)


def _failure(path: UnionPath, error: OSError) -> Failure:
    number = error.errno or errno.EIO
    message = os.strerror(number)
    said = (error.strerror or str(error)).removeprefix(message).removeprefix(": ")
    hints = [said, *getattr(error, "__notes__", ())]
    hint = "; ".join(filter(None, hints)) or (_what_hides(path) if number == errno.ENOENT else None)
    return Failure(str(path), number, message, hint)


def _what_hides(path: UnionPath) -> str | None:
    """Say what keeps a path from showing, if something does."""
    try:
        explanation = path.explain()
    except OSError:
        return None
    if explanation.kind is not None:  # it came back meanwhile
        return None
    reason = next((report.hidden_by for report in explanation.layers if report.hidden_by), None)
    if reason is None and explanation.real_path != str(path):
        return f"it leads to {explanation.real_path}"
    return reason


def _with_file(sentence: str, error: OSError) -> str:
    """Add which file it is about, unless the sentence says so already."""
    filename = "" if error.filename is None else shown(str(error.filename))
    return sentence if filename in sentence else f"{sentence}: {filename}"
