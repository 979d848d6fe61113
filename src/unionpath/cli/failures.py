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

from unionpath.cli.places import Place
from unionpath.cli.spelling import escaped, shown
from unionpath.model.errors import UnsupportedOperation
from unionpath.path import UnionPath
from unionpath.stack import Layer

NO_UPPER = "there is no upper; give one with --upper DIR, or as `upper` in the stack file"


@dataclass(frozen=True, slots=True)
class Failure:
    """One path that could not be shown, or changed."""

    path: str
    number: int
    """The errno."""
    message: str
    """The system's words for it."""
    hint: str | None
    """Why, as far as is known: what the layer said, what hides the path, or what to do."""

    def __str__(self) -> str:
        hint = "" if self.hint is None else f" ({self.hint})"
        return f"{shown(self.path)}: {escaped(self.message + hint)}"


class Report:
    """Collects the failures of one run, and tells of each on stderr as it happens."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def about(self, place: Place | str, words: str | None = None, target: str | None = None) -> _About:
        """
        Turn an OSError into a failure of `place`. Nothing is printed inside: that fails in its own way.

        `words`: how the place is spelled. `target`: where it was to go.
        """
        return _About(self, place, str(place) if words is None else words, target)

    def add(self, failure: Failure) -> None:
        """Note a failure and tell of it."""
        self.failures.append(failure)
        complain(str(failure))


class _About:
    """Questions about one path; the OSErrors among the answers end here."""

    def __init__(self, report: Report, place: Place | str, words: str, target: str | None) -> None:
        self._report = report
        self._place = place
        self._words = words
        self._target = target

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, UnsupportedOperation):
            number = errno.EOPNOTSUPP
            failure = Failure(self._words, number, os.strerror(number), str(error) or None)
        elif isinstance(error, OSError):
            failure = self._failure(error)
        else:
            return False
        self._report.add(failure)
        return True

    def _failure(self, error: OSError) -> Failure:
        number = error.errno or errno.EIO
        message = os.strerror(number)
        said = (error.strerror or str(error)).removeprefix(message).removeprefix(": ")
        hints = [said, *getattr(error, "__notes__", ()), self._elsewhere(error)]
        if number == errno.EROFS and isinstance(self._place, UnionPath) and self._place.stack.upper is None:
            hints = [NO_UPPER]
        elif not any(hints) and number == errno.ENOENT and isinstance(self._place, UnionPath):
            hints = [_what_hides(self._place)]
        return Failure(self._words, number, message, "; ".join(filter(None, hints)) or None)

    def _elsewhere(self, error: OSError) -> str | None:
        """Say at which end it failed, where there are two, or how far inside."""
        if self._target is None:
            return None
        if error.filename2 is not None or error.filename is None:
            return f"to {self._target}"
        return f"at {error.filename}" if str(error.filename) != str(self._place) else None


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
        message = str(error).replace("adopt=True", "--adopt")
        for words, layer in called:
            message = message.replace(repr(layer), words, 1)
        raise BadUnionError(f"{place}: {message}") from error


def complain(line: str) -> None:
    """Write one line to stderr, after all that was printed so far."""
    sys.stdout.flush()
    print(f"unionpath: {line}", file=sys.stderr)


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
