"""
One face for everything that shows a union: the oracle, `UnionPath`, a mounted tree.

Every answer is plain data, every refusal an `OSError`; `outcome` makes both comparable. Imports nothing of
unionpath until a `UnionView` is made, because the worker that looks at a kernel mount needs none of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from unionpath import UnionPath

T = TypeVar("T")

Walked: TypeAlias = list[tuple[str, list[str], list[str]]]
"""What `walk` gives: path, names of directories, names of others; each list sorted."""
Row: TypeAlias = tuple[str, str, int, int, int, int, str]
"""One object of a whole tree: path, kind, permissions, uid, gid, mtime in ns, digest or target."""

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}


class View(Protocol):
    """Something that shows a tree. Paths are absolute text from the tree's root."""

    def kind(self, path: str) -> str:
        """Name the kind, following links."""

    def lkind(self, path: str) -> str:
        """Name the kind of the object itself."""

    def exists(self, path: str) -> bool:
        """Tell as `Path.exists` does."""

    def mode(self, path: str) -> int:
        """Give the permission bits, following links."""

    def read(self, path: str) -> bytes:
        """Read a file."""

    def names(self, path: str) -> list[str]:
        """List a directory, sorted."""

    def readlink(self, path: str) -> str:
        """Give a link's target."""

    def resolve(self, path: str) -> str:
        """Give the path free of links and `..`, strictly."""

    def walk(self, path: str) -> Walked:
        """Walk a tree from the top, links not followed, sorted by path."""

    def glob(self, path: str, pattern: str) -> list[str]:
        """Give the paths that match, sorted."""


def outcome(call: Callable[..., object], *arguments: object) -> tuple[str, object]:
    """Call and give the value, or the name of the errno."""
    try:
        return "value", call(*arguments)
    except OSError as error:
        return "error", errno.errorcode[error.errno or 0]


def as_error(answer: tuple[str, object]) -> str | None:
    """Give the name of the errno of an outcome, or None."""
    return str(answer[1]) if answer[0] == "error" else None


class HostView:
    """A tree of the operating system, seen through `os` and `pathlib`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.rstrip("/")

    def kind(self, path: str) -> str:
        return KINDS[stat.S_IFMT(os.stat(self._at(path)).st_mode)]

    def lkind(self, path: str) -> str:
        return KINDS[stat.S_IFMT(os.lstat(self._at(path)).st_mode)]

    def exists(self, path: str) -> bool:
        return Path(self._at(path)).exists()

    def mode(self, path: str) -> int:
        return stat.S_IMODE(os.stat(self._at(path)).st_mode)

    def read(self, path: str) -> bytes:
        with open(self._at(path), "rb", opener=_without_waiting) as file:
            return file.read()

    def names(self, path: str) -> list[str]:
        return sorted(name for name in os.listdir(self._at(path)) if self._is_no_ghost(path, name))

    def readlink(self, path: str) -> str:
        return os.readlink(self._at(path))

    def resolve(self, path: str) -> str:
        return os.path.realpath(self._at(path), strict=True)[len(self._prefix) :]

    def walk(self, path: str) -> Walked:
        found = []
        for top, folders, files in os.walk(self._at(path)):
            inside = top[len(self._prefix) :] or "/"
            # os.walk puts links to directories with the directories, pathlib's walk with the rest.
            links = [name for name in folders if os.path.islink(os.path.join(top, name))]
            others = [name for name in (*files, *links) if self._is_no_ghost(inside, name)]
            found.append((inside, sorted(set(folders) - set(links)), sorted(others)))
        return sorted(found)

    def glob(self, path: str, pattern: str) -> list[str]:
        cut = len(self._prefix)
        return sorted(str(found)[cut:] for found in Path(self._at(path)).glob(pattern))

    def whole(self) -> list[Row]:
        """Give the whole tree, with contents."""
        return sorted(
            self._row(_join(top, name))
            for top, folders, files in self.walk("/")
            for name in (*folders, *files)
        )

    def _row(self, path: str) -> Row:
        status = os.lstat(self._at(path))
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        return row(path, status, lambda: self._content(kind, path))

    def _content(self, kind: str, path: str) -> bytes:
        if kind == "link":
            return os.fsencode(self.readlink(path))
        return self.read(path) if kind == "file" else b""

    def _at(self, path: str) -> str:
        return self._prefix + path

    def _is_no_ghost(self, path: str, name: str) -> bool:
        # The kernel lists whiteouts of a directory that merges with nothing, yet they don't stat; N3 doesn't.
        try:
            os.lstat(self._at(_join(path, name)))
        except FileNotFoundError:
            return False
        return True


class UnionView:
    """A `UnionPath`, seen through its public methods; checks that errors carry the union's path (E2)."""

    def __init__(self, root: UnionPath) -> None:
        self._root = root

    def kind(self, path: str) -> str:
        return self._checked(path, lambda at: KINDS[stat.S_IFMT(at.stat().st_mode)])

    def lkind(self, path: str) -> str:
        return self._checked(path, lambda at: KINDS[stat.S_IFMT(at.lstat().st_mode)])

    def exists(self, path: str) -> bool:
        return self._checked(path, lambda at: at.exists())

    def mode(self, path: str) -> int:
        return self._checked(path, lambda at: stat.S_IMODE(at.stat().st_mode))

    def read(self, path: str) -> bytes:
        return self._checked(path, lambda at: at.read_bytes())

    def names(self, path: str) -> list[str]:
        return self._checked(path, lambda at: [child.name for child in at.iterdir()])

    def readlink(self, path: str) -> str:
        # Compared as text: a path spells "./a" as "a", the link itself doesn't.
        return self._checked(path, lambda at: str(at.readlink()))

    def resolve(self, path: str) -> str:
        return self._checked(path, lambda at: str(at.resolve(strict=True)))

    def walk(self, path: str) -> Walked:
        return self._checked(
            path,
            lambda at: sorted(
                (str(top), sorted(folders), sorted(files)) for top, folders, files in at.walk()
            ),
        )

    def glob(self, path: str, pattern: str) -> list[str]:
        return self._checked(path, lambda at: sorted(str(found) for found in at.glob(pattern)))

    def whole(self) -> list[Row]:
        """Give the whole tree, with contents."""
        return sorted(self._rows())

    def _rows(self) -> Iterator[Row]:
        for top, folders, files in self._root.walk():
            for name in (*folders, *files):
                yield self._row(top / name)

    def _row(self, at: UnionPath) -> Row:
        status = at.lstat()
        kind = KINDS[stat.S_IFMT(status.st_mode)]

        def content() -> bytes:
            if kind == "link":
                return os.fsencode(str(at.readlink()))
            return at.read_bytes() if kind == "file" else b""

        return row(str(at), status, content)

    def _checked(self, path: str, look: Callable[[UnionPath], T]) -> T:
        at = self._root / path
        try:
            return look(at)
        except OSError as error:
            assert error.filename == str(at), f"{error!r} names {error.filename!r}, not {str(at)!r} (E2)"
            raise


def row(path: str, status: os.stat_result, content: Callable[[], bytes]) -> Row:
    """Make one row of a whole tree."""
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    digest = hashlib.sha256(content()).hexdigest()
    mode = stat.S_IMODE(status.st_mode)
    return path, kind, mode, status.st_uid, status.st_gid, status.st_mtime_ns, digest


def _join(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}"


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def refusal(call: Callable[..., object], *arguments: object) -> str:
    """Call what must be refused with an `OSError`, and name its errno."""
    try:
        value = call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    raise AssertionError(f"not refused, but gave {value!r}")
