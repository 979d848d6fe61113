"""What the commands ask a union: answers as values, for people and for programs alike."""

from __future__ import annotations

import select
from collections.abc import Iterator
from dataclasses import dataclass

from unionpath.cli.failures import Report
from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.path import UnionPath
from unionpath.stack import LayerStack

BLOCK = 1 << 20
"""Bytes of a file that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object of the union, with as much as was asked for."""

    path: str
    name: str
    kind: Kind
    target: str | None = None
    """Where a symbolic link leads, as stored."""
    status: Stat | None = None
    layers: tuple[int, ...] = ()
    """The layers that make it up, top first, if asked for; the first provides it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What `ls` found under one path: the names in a directory, or the one object that it is."""

    top: Item
    entries: tuple[Item, ...] | None
    """None: it is no directory."""


@dataclass(frozen=True, slots=True)
class Node:
    """One line of a tree."""

    item: Item
    depth: int
    """0 for the directory asked for, 1 for what stands in it."""
    is_last: bool
    """Nothing follows it in its directory."""


class Look:
    """Asks one stack; what fails goes to the report, and the rest is answered."""

    def __init__(self, stack: LayerStack, report: Report) -> None:
        self._resolver = stack.resolver
        self._report = report

    def item(
        self, path: UnionPath, *, status: bool = False, layers: bool = False, follow: bool = False
    ) -> Item:
        """
        Describe what shows at a path; a link for itself unless `follow`.

        Raises:
            OSError: nothing shows there, or a layer failed.
        """
        found = path.stat(follow_symlinks=follow) if status else None
        kind = _kind(path, follow) if found is None else kind_of(found.st_mode)
        return Item(
            str(path),
            path.name or "/",
            kind,
            self._resolver.readlink(str(path)) if kind is Kind.SYMLINK else None,
            found,
            self._layers(path, kind) if layers else (),
        )

    def status(self, path: UnionPath, *, follow: bool) -> Item | None:
        """Describe what shows at a path with all that is known of it; None if that fails."""
        with self._report.about(path):
            return self.item(path, status=True, layers=True, follow=follow)
        return None

    def listing(self, path: UnionPath, *, details: bool) -> Listing | None:
        """List a directory (also through a link), or give what else it is; None if that fails."""
        with self._report.about(path):
            top = self.item(path, status=details, layers=details)
            if top.kind is not Kind.DIRECTORY and not path.is_dir():
                return Listing(top, None)
            entries: list[Item] = []
            for child in path.iterdir():
                with self._report.about(child):
                    entries.append(self.item(child, status=details, layers=details))
            return Listing(top, tuple(entries))
        return None

    def tree(self, top: UnionPath, *, depth: int | None, layers: bool) -> Iterator[Node]:
        """Give a directory and all below it, each directory before what is in it; links are not followed."""
        root, pending = None, [_numbered([])]
        with self._report.about(top):
            pending = [_numbered(list(top.iterdir()))]
            root = self.item(top, layers=layers)
        if root is None:
            return
        yield Node(root, 0, is_last=True)
        while pending:
            child, is_last = next(pending[-1], (None, False))
            if child is None:
                pending.pop()
                continue
            found: Item | None = None
            with self._report.about(child):
                found = self.item(child, layers=layers)
            if found is None:
                continue
            yield Node(found, len(pending), is_last)
            if found.kind is Kind.DIRECTORY and (depth is None or len(pending) < depth):
                pending.append(_numbered(self._children(child)))

    def blocks(self, path: UnionPath) -> Iterator[bytes]:
        """Give the bytes of a file, a block at a time."""
        with self._report.about(path), path.open("rb", buffering=0) as file:
            while (block := file.read(BLOCK)) != b"":
                if block is None:  # a FIFO whose writer has nothing to say at the moment
                    select.select([file], [], [])
                else:
                    yield block

    def _children(self, path: UnionPath) -> list[UnionPath]:
        with self._report.about(path):
            return list(path.iterdir())
        return []

    def _layers(self, path: UnionPath, kind: Kind) -> tuple[int, ...]:
        if kind is Kind.DIRECTORY:
            return self._resolver.origins(str(path))
        return (self._resolver.lookup(str(path), kind is not Kind.SYMLINK).layer,)


def _numbered(paths: list[UnionPath]) -> Iterator[tuple[UnionPath | None, bool]]:
    for number, path in enumerate(paths, start=1):
        yield path, number == len(paths)


def _kind(path: UnionPath, follow: bool) -> Kind:
    """Tell the kind, by what the listing said if the path comes from one."""
    info = path.info
    if info.is_symlink() and not follow:
        return Kind.SYMLINK
    if info.is_dir():
        return Kind.DIRECTORY
    if info.is_file():
        return Kind.FILE
    return kind_of(path.stat(follow_symlinks=follow).st_mode)
