"""
Answers as lines for people: rows of pieces of text, each with the name of a style. Nothing is printed here.

Every name goes through `spelling`, so that none can act on the terminal.
"""

from __future__ import annotations

import stat as _stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from unionpath.cli.accounts import account_name
from unionpath.cli.look import Item, Node
from unionpath.cli.spelling import escaped, shown, width
from unionpath.model.entry import KIND_WORDS, Kind
from unionpath.mutate.changes import LETTERS, Change, What
from unionpath.mutate.steps import Step
from unionpath.resolve.explain import Explanation, LayerReport, Role, outcome

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of text, each with its style; an empty style is the terminal's own."""


@dataclass(frozen=True, slots=True)
class Guides:
    """What the branches of a tree are drawn with."""

    inner: str
    last: str
    past: str
    blank: str


LINES = Guides("├── ", "└── ", "│   ", "    ")
ASCII = Guides("|-- ", "`-- ", "|   ", "    ")

_KIND_STYLES = {
    Kind.FILE: "",
    Kind.DIRECTORY: "bold blue",
    Kind.SYMLINK: "cyan",
    Kind.FIFO: "yellow",
    Kind.SOCKET: "magenta",
    Kind.CHAR_DEVICE: "bold yellow",
    Kind.BLOCK_DEVICE: "bold yellow",
}
_ROLE_STYLES = {
    Role.PROVIDES: "bold green",
    Role.MERGES: "green",
    Role.SHADOWED: "yellow",
    Role.HIDDEN: "red",
    Role.WHITEOUT: "bold red",
    Role.ABSENT: "dim",
}
_CHANGE_STYLES: dict[What, str] = {
    "added": "green",
    "modified": "yellow",
    "metadata": "cyan",
    "deleted": "red",
    "opaque": "bold red",
}
_LAYER_STYLES = ("green", "magenta", "yellow", "cyan", "blue", "red")


# --- ls --------------------------------------------------------------------------------------------


def names(items: Sequence[Item], columns: int | None, *, as_paths: bool = False) -> Iterator[Line]:
    """Give the names of objects: one a line, or in columns (read downwards) on so wide a terminal."""
    pieces = [_name(item, item.path if as_paths else None) for item in items]
    if columns is None:
        yield from ([piece] for piece in pieces)
        return
    wide = max((width(text) for text, _style in pieces), default=0) + 2
    per_line = max(1, (columns + 2) // wide)
    height = -(-len(pieces) // per_line)
    for number in range(height):
        row = pieces[number::height]
        yield [part for piece in row for part in (piece, (" " * (wide - width(piece[0])), ""))][:-1]


def long_lines(items: Sequence[Item], layers: Sequence[str], *, as_paths: bool = False) -> Iterator[Line]:
    """Give `ls -l`: mode, owner, group, size, time, layer and name of each object."""
    rows: list[tuple[Line, Line]] = []
    for item in items:
        assert item.status is not None, "asked for without details"
        status, (layer, *_merged) = item.status, item.layers
        cells = [
            _stat.filemode(status.st_mode),
            account_name("user", status.st_uid) or str(status.st_uid),
            account_name("group", status.st_gid) or str(status.st_gid),
            str(status.st_size),
            moment(status.st_mtime_ns)[:16],
        ]
        tail = [_name(item, item.path if as_paths else None), *_arrow(item)]
        rows.append(([*((cell, "") for cell in cells), _layer(layer, layers)], tail))
    return _aligned(rows, right=3)


def header(top: Item, *, is_first: bool) -> Iterator[Line]:
    """Give what stands above one of several listings."""
    if not is_first:
        yield []
    yield [_name(top, top.path), (":", "")]


def _aligned(rows: Sequence[tuple[Line, Line]], *, right: int | None = None) -> Iterator[Line]:
    """Put the cells of rows under each other, column `right` to the right; the tails follow as they are."""
    widths = [
        max(width(text) for text, _style in column) for column in zip(*(row[0] for row in rows), strict=True)
    ]
    for cells, tail in rows:
        line: Line = []
        for column, (text, style) in enumerate(cells):
            blank = " " * (widths[column] - width(text))
            line += [(blank, ""), (text, style)] if column == right else [(text, style), (blank, "")]
            line.append((" ", ""))
        yield [*line, *tail] if tail else line[:-2]


# --- tree ------------------------------------------------------------------------------------------


class Branches:
    """Draws the lines of a tree, one after the other."""

    def __init__(self, guides: Guides) -> None:
        self._guides = guides
        self._before: list[str] = []
        self._drawn = False
        self.directories = 0
        self.others = 0

    def line(self, node: Node, layers: Sequence[str]) -> Line:
        """Give the line of the next node, with its layers if they were asked for."""
        item, guides = node.item, self._guides
        self._drawn = True
        marks: Line = []
        for number, layer in enumerate(item.layers):
            marks += [(", " if number else "  [", "dim"), _layer(layer, layers)]
        end: Line = [("]", "dim")] if marks else []
        if node.depth == 0:
            return [_name(item, item.path), *_arrow(item), *marks, *end]
        self._count(item)
        before = "".join(self._before[: node.depth - 1])
        self._before[node.depth - 1 :] = [guides.blank if node.is_last else guides.past]
        branch = before + (guides.last if node.is_last else guides.inner)
        return [(branch, "dim"), _name(item), *_arrow(item), *marks, *end]

    def summary(self) -> Iterator[Line]:
        """Give the last lines: how much there was; none if there was no tree."""
        if not self._drawn:
            return
        directories = "directory" if self.directories == 1 else "directories"
        others = "file" if self.others == 1 else "files"
        yield from ([], [(f"{self.directories} {directories}, {self.others} {others}", "")])

    def _count(self, item: Item) -> None:
        if item.kind is Kind.DIRECTORY:
            self.directories += 1
        else:
            self.others += 1


# --- stat ------------------------------------------------------------------------------------------


def status_lines(item: Item, layers: Sequence[str]) -> Iterator[Line]:
    """Give all that is known of one object, below its path."""
    assert item.status is not None, "asked for without details"
    status = item.status
    yield [_name(item, item.path), *_arrow(item)]
    facts = {
        "kind": KIND_WORDS[item.kind],
        "size": f"{status.st_size} bytes",
        "mode": f"{_stat.filemode(status.st_mode)} ({_stat.S_IMODE(status.st_mode):04o})",
        "owner": _with_number(account_name("user", status.st_uid), status.st_uid),
        "group": _with_number(account_name("group", status.st_gid), status.st_gid),
        "links": str(status.st_nlink),
        "inode": str(status.st_ino),
        "accessed": moment(status.st_atime_ns),
        "modified": moment(status.st_mtime_ns),
        "changed": moment(status.st_ctime_ns),
    }
    for word, fact in facts.items():
        yield [(f"  {word:<8}  ", "dim"), (fact, "")]
    for number, layer in enumerate(item.layers):
        yield [("  merges    " if number else "  layer     ", "dim"), _layer(layer, layers)]


def _with_number(name: str | None, number: int) -> str:
    return str(number) if name is None else f"{name} ({number})"


# --- explain ---------------------------------------------------------------------------------------


def explanation_lines(explanation: Explanation) -> Iterator[Line]:
    """Give what a path shows and why: a line for the outcome, and one for each layer's part in it."""
    path, real_path = explanation.path, explanation.real_path
    arrow = "" if real_path == path else f" -> {shown(real_path)}"
    yield [(shown(path), "bold"), (f"{arrow}: {escaped(outcome(explanation))}", "")]
    rows = [(_part(report), _reason(report)) for report in explanation.layers]
    for line in _aligned(rows):
        yield [("  ", ""), *line]


def _part(report: LayerReport) -> Line:
    return [(f"{report.role.value} ", _ROLE_STYLES[report.role]), (escaped(report.layer), "")]


def _reason(report: LayerReport) -> Line:
    what: Line = [] if report.kind is None else [(f" {KIND_WORDS[report.kind]} {shown(report.place)}", "")]
    return what if report.hidden_by is None else [*what, (f"  ({escaped(report.hidden_by)})", "dim")]


# --- changes, plan ---------------------------------------------------------------------------------


def change_line(change: Change) -> Line:
    """Give one change: a letter and the path."""
    return [(LETTERS[change.what], _CHANGE_STYLES[change.what]), (" ", ""), (shown(change.path), "")]


def step_lines(steps: Sequence[Step]) -> Iterator[Line]:
    """Give the steps of a plan; a plan without steps says that nothing is to do."""
    yield from ([(escaped(str(step)), "")] for step in steps)
    if not steps:
        yield [("nothing to do", "dim")]


# --- pieces ----------------------------------------------------------------------------------------


def _name(item: Item, text: str | None = None) -> tuple[str, str]:
    """Give the name of an object (or `text` for it) in the style of its kind."""
    style = _KIND_STYLES[item.kind]
    if item.kind is Kind.FILE and item.status is not None and item.status.st_mode & 0o111:
        style = "bold green"
    return shown(item.name if text is None else text), style


def _arrow(item: Item) -> Line:
    return [] if item.target is None else [(" -> ", "dim"), (shown(item.target), "")]


def _layer(index: int, layers: Sequence[str]) -> tuple[str, str]:
    return escaped(layers[index]), _LAYER_STYLES[index % len(_LAYER_STYLES)]


def moment(nanoseconds: int) -> str:
    """Write a time in the local zone, to the second; one beyond the calendar as seconds since the epoch."""
    seconds = nanoseconds // 1_000_000_000
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s"
