"""Copies of trees out of a union, to a directory of the host."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from io import RawIOBase
from pathlib import Path
from typing import Final, Protocol

from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.model.errors import oserror
from unionpath.model.text import before_children

_PIECE: Final = 1 << 20
"""Bytes copied at a time: memory stays bounded whatever the size of a file."""


class Tree(Protocol):
    """What is asked of the tree copied from; the resolver of a stack is one."""

    def stat(self, path: str, follow: bool = True, /) -> Stat:
        """The metadata of what is there; raises if nothing is."""

    def listing(self, path: str, /, *, passing: bool = False) -> Mapping[str, int]:
        """The names in a directory; `passing`: by a walk that may not come again."""

    def open(self, path: str, /) -> RawIOBase:
        """A file opened for reading."""

    def readlink(self, path: str, /) -> str:
        """The target of a link, as stored."""


def copy_to_host(
    tree: Tree, path: str, target: Path, *, follow_symlinks: bool, preserve_metadata: bool
) -> None:
    """
    Copy a file, a link or a whole merged directory to a host path, as `pathlib.Path.copy` does.

    A file that is there is overwritten, a directory isn't. Metadata are permission bits and times; a
    directory gets its own when all that it holds is written.

    Raises:
        FileExistsError (EEXIST): a directory's target exists.
        OSError (EOPNOTSUPP): a FIFO, a socket or a device, which no bytes stand for (C7).
    """
    pending = [(path, target)]
    copied: list[tuple[Path, Stat]] = []
    while pending:
        source, copy = pending.pop()
        status = tree.stat(source, follow_symlinks)
        _copy_one(tree, source, copy, status)
        copied.append((copy, status))
        if kind_of(status.st_mode) is Kind.DIRECTORY:
            pending += [
                (before_children(source) + name, copy / name) for name in tree.listing(source, passing=True)
            ]
    if preserve_metadata:
        for copy, status in reversed(copied):
            _copy_metadata(copy, status)


def _copy_one(tree: Tree, source: str, copy: Path, status: Stat) -> None:
    """Copy one object without what it holds and without metadata."""
    match kind_of(status.st_mode):
        case Kind.DIRECTORY:
            copy.mkdir()
        case Kind.SYMLINK:
            copy.symlink_to(tree.readlink(source))
        case Kind.FILE:
            _copy_bytes(tree, source, copy)
        case kind:
            raise oserror(errno.EOPNOTSUPP, source, str(copy), hint=f"a {kind.name} is not copied")


def _copy_bytes(tree: Tree, source: str, copy: Path) -> None:
    with tree.open(source) as reader, copy.open("wb") as writer:
        while piece := reader.read(_PIECE):
            writer.write(piece)


def _copy_metadata(copy: Path, status: Stat) -> None:
    """Set times and permission bits; of a link the times only, as Linux has no modes for links."""
    link = kind_of(status.st_mode) is Kind.SYMLINK
    if not link:
        copy.chmod(stat.S_IMODE(status.st_mode))
    if not link or os.utime in os.supports_follow_symlinks:
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=not link)
