"""Copies of trees out of a union to a directory of the host, and into a union from anywhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from typing import Final, Protocol, cast

from upath.types import ReadablePath

from unionpath.model.change import Attributes
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

    def listxattr(self, path: str, /) -> list[str]:
        """The names of extended attributes."""

    def getxattr(self, path: str, attribute: str, /) -> bytes | None:
        """One of them."""


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
    copied: list[tuple[str, Path, Stat]] = []
    while pending:
        source, copy = pending.pop()
        status = tree.stat(source, follow_symlinks)
        _copy_one(tree, source, copy, status)
        copied.append((source, copy, status))
        if kind_of(status.st_mode) is Kind.DIRECTORY:
            pending += [
                (before_children(source) + name, copy / name) for name in tree.listing(source, passing=True)
            ]
    if preserve_metadata:
        for source, copy, status in reversed(copied):
            _copy_metadata(tree, source, copy, status)


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
    try:
        check_different(source, tree.stat(source), str(copy), copy.stat())
    except FileNotFoundError:
        pass
    with tree.open(source) as reader, copy.open("wb") as writer:
        while piece := reader.read(_PIECE):
            writer.write(piece)


def _copy_metadata(tree: Tree, source: str, copy: Path, status: Stat) -> None:
    """
    Set times, permission bits and `user.` attributes; of a link the times only, as Linux has no more for it.
    """
    link = kind_of(status.st_mode) is Kind.SYMLINK
    if not link:
        for name in tree.listxattr(source) if hasattr(os, "setxattr") else ():
            value = tree.getxattr(source, name) if name.startswith("user.") else None
            if value is not None:
                with suppress(OSError):  # a file system without them
                    os.setxattr(copy, name, value)
        copy.chmod(stat.S_IMODE(status.st_mode))
    if not link or os.utime in os.supports_follow_symlinks:
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=not link)


class Destination(Protocol):
    """What is asked of the union copied into; the engine of a stack is one."""

    def mkdir(self, path: str, permissions: int, /) -> None:
        """Make a directory."""

    def symlink(self, path: str, target: str, /) -> None:
        """Make a link."""

    def put(self, path: str, source: Callable[[], RawIOBase], attributes: Attributes | None, /) -> None:
        """Write a whole file of what a reader gives, with these attributes."""

    def adorn(self, path: str, attributes: Attributes, /) -> None:
        """Set metadata, as far as there is a place for them."""

    def stat(self, path: str, /) -> Stat:
        """The metadata of what is there; raises if nothing is."""


def copy_into_union(
    union: Destination,
    path: str,
    source: ReadablePath | Path,
    *,
    follow_symlinks: bool,
    preserve_metadata: bool,
) -> None:
    """
    Copy a file, a link or a whole tree of any readable kind to a path of a union, as `pathlib.Path.copy`
    does.

    A file that is there is overwritten, a directory isn't. Metadata are permission bits, times and `user.`
    attributes, as far as the source has such; a directory gets its own when all that it holds is written.

    Raises:
        FileExistsError (EEXIST): a directory's target exists.
        OSError (EOPNOTSUPP): a FIFO, a socket or a device, which no bytes stand for (C7).
    """
    pending: list[tuple[ReadablePath | Path, str]] = [(source, path)]
    directories: list[tuple[ReadablePath | Path, str]] = []
    while pending:
        original, copy = pending.pop()
        if not follow_symlinks and _is_link(original):
            union.symlink(copy, str(original.readlink()))
            continue
        if _is_directory(original, follow_symlinks):
            children: list[ReadablePath | Path] = list(original.iterdir())
            union.mkdir(copy, 0o777)
            directories.append((original, copy))
            pending += [(child, before_children(copy) + child.name) for child in children]
            continue
        _check_copyable(original, copy)
        _check_not_itself(union, original, copy)
        union.put(copy, _opener(original), _attributes_of(original) if preserve_metadata else None)
    if preserve_metadata:
        for original, copy in reversed(directories):
            attributes = _attributes_of(original)
            if attributes is not None:
                union.adorn(copy, attributes)


# pathlib's own paths have no `info` and no `__open_reader__` before 3.14.


def _is_link(path: ReadablePath | Path) -> bool:
    return path.is_symlink() if isinstance(path, Path) else path.info.is_symlink()


def _is_directory(path: ReadablePath | Path, follow: bool) -> bool:
    if isinstance(path, Path):
        return path.is_dir() and (follow or not path.is_symlink())
    return path.info.is_dir(follow_symlinks=follow)


def _opener(path: ReadablePath | Path) -> Callable[[], RawIOBase]:
    # Raw enough: what is asked of it is `readinto`, `fileno` where there is one, and `close`.
    if isinstance(path, Path):
        return lambda: path.open("rb", buffering=0)
    return lambda: cast("RawIOBase", path.__open_reader__())


def _check_copyable(original: ReadablePath | Path, copy: str) -> None:
    known = original if isinstance(original, Path) else original.info
    if not known.is_file() and known.exists():
        raise oserror(
            errno.EOPNOTSUPP, str(original), copy, hint="only files, links and directories are copied"
        )


def check_different(source: str, first: Stat, target: str, second: Stat) -> None:
    """
    Refuse to copy a file over itself, by whatever names.

    Raises:
        OSError (EINVAL): they are one file, as far as its numbers tell.
    """
    if first.st_ino and (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino):
        raise oserror(errno.EINVAL, source, target, hint="source and target are the same file")


def _check_not_itself(union: Destination, original: ReadablePath | Path, copy: str) -> None:
    ask = getattr(original, "stat", None)
    status = None if ask is None else ask()
    if not isinstance(status, os.stat_result):
        return
    try:
        found = union.stat(copy)
    except OSError:  # nothing there, or what writing to it will say
        return
    check_different(str(original), status, copy, found)


def _attributes_of(original: ReadablePath | Path) -> Attributes | None:
    """What is known of a path's metadata; None if nothing is."""
    ask = getattr(original, "stat", None)
    if ask is None:
        return None
    status = ask()
    if not isinstance(status, os.stat_result):  # another library's own idea of it
        return None
    return Attributes(
        permissions=stat.S_IMODE(status.st_mode),
        times=(status.st_atime_ns, status.st_mtime_ns),
        xattrs=tuple(_user_xattrs(original)),
    )


def _user_xattrs(original: ReadablePath | Path) -> Iterator[tuple[str, bytes]]:
    listing, reading = getattr(original, "listxattr", None), getattr(original, "getxattr", None)
    if listing is not None and reading is not None:
        for name in listing():
            if name.startswith("user."):
                yield name, reading(name)
    elif isinstance(original, Path) and hasattr(os, "listxattr"):
        with suppress(OSError):  # a file system without them
            yield from (
                (name, os.getxattr(original, name))
                for name in os.listxattr(original)
                if name.startswith("user.")
            )
