"""Hands that run programs (`programs.py`) on a tree of the operating system and on a union."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar

from programs import HELD, Seen, Xattrs, shown_target, shown_time
from views import KINDS

if TYPE_CHECKING:
    from unionpath import UnionPath

T = TypeVar("T")
Actions: TypeAlias = Sequence[tuple[object, ...]]


class Status(NamedTuple):
    """What must agree of a stat value; number of links and size are 0 for directories."""

    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int | None
    nlink: int
    size: int


class Openable(Protocol):
    """A file opened for writing; `act` knows its methods by name."""

    def write(self, data: bytes, /) -> int | None:
        """Write at the position, or at the end."""

    def close(self) -> None:
        """Give it up."""


class Holding:
    """Keeps files open while other operations go on."""

    def __init__(self) -> None:
        self._files: dict[str, Openable] = {}

    def hold(self, path: str, slot: str, data: bytes) -> int | None:
        """
        Open a file, and write to it at once.

        A union copies up at the first write, the kernel at opening (C1): what comes in between may differ.
        """
        self._close(slot)
        file = self._files[slot] = self._open_file(path, HELD[slot])
        return file.write(data)

    def held(self, path: str, slot: str, actions: Actions) -> list[object] | None:
        """Do things to a file that is open, wherever its name is by now."""
        file = self._files.get(slot)
        return None if file is None else act(file, actions)

    def reopen(self, path: str) -> None:
        """Close all that is open. A mount stays; `trials.py` knows how to make another stack."""
        self.let_go()

    def let_go(self) -> None:
        """
        Close all that is open.

        Before `write` too: it may put another file in the place of the one that is open (C11).
        """
        for slot in list(self._files):
            self._close(slot)

    def _close(self, slot: str) -> None:
        if (file := self._files.pop(slot, None)) is not None:
            file.close()

    def _open_file(self, path: str, mode: str) -> Openable:
        raise NotImplementedError


class HostHand(Holding):
    """The tree of the operating system, from its root: what a process in a chroot sees."""

    # Looking.

    def stat(self, path: str) -> Status:
        return status_of(os.stat(path))

    def lstat(self, path: str) -> Status:
        return status_of(os.lstat(path))

    def names(self, path: str) -> list[str]:
        return sorted(name for name in os.listdir(path) if _is_there(f"{path}/{name}"))

    def read(self, path: str) -> bytes:
        with open(path, "rb", opener=_without_waiting) as file:
            return file.read()

    def readlink(self, path: str) -> str:
        return shown_target(os.readlink(path))

    def resolve(self, path: str) -> str:
        os.stat(path)  # realpath takes "file/.." for the directory of the file
        return os.path.realpath(path, strict=True)

    def xattrs(self, path: str) -> Xattrs:
        return _xattrs(path, follow=True)

    def whole(self, path: str) -> list[Seen]:
        return sorted(self._rows(path))

    def _rows(self, path: str) -> Iterator[Seen]:
        status = os.lstat(path)
        yield row(path, status, lambda: self._content(path, status), _xattrs(path, follow=False))
        if stat.S_ISDIR(status.st_mode):
            for name in self.names(path):
                yield from self._rows(f"{path.rstrip('/')}/{name}")

    def _content(self, path: str, status: os.stat_result) -> bytes:
        return os.fsencode(self.readlink(path)) if stat.S_ISLNK(status.st_mode) else self.read(path)

    # Changing.

    def _open_file(self, path: str, mode: str) -> Openable:
        _refuse_fifo(path)
        return open(path, f"{mode}b", buffering=0)

    def open(self, path: str, mode: str, buffering: int, actions: Actions) -> list[object]:
        if "x" not in mode:
            _refuse_fifo(path)
        with open(path, f"{mode}b", buffering=buffering) as file:
            return act(file, actions)

    def write(self, path: str, data: bytes) -> int:
        self.let_go()
        _refuse_fifo(path)
        return Path(path).write_bytes(data)

    def mkdir(self, path: str, mode: int, parents: bool, exist_ok: bool) -> None:
        Path(path).mkdir(mode, parents, exist_ok)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def unlink(self, path: str, missing_ok: bool) -> None:
        Path(path).unlink(missing_ok)

    def rename(self, path: str, target: str) -> str:
        os.rename(path, target)
        return target

    def replace(self, path: str, target: str) -> str:
        os.replace(path, target)
        return target

    def symlink(self, path: str, target: str) -> None:
        os.symlink(target, path)

    def link(self, path: str, source: str) -> None:
        os.link(source, path, follow_symlinks=False)

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def lchmod(self, path: str, mode: int) -> None:
        # As fchmodat2(2) with AT_SYMLINK_NOFOLLOW, which not every C library has.
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        os.chmod(path, mode)

    def chown(self, path: str, uid: int, gid: int, follow: bool) -> None:
        os.chown(path, uid, gid, follow_symlinks=follow)

    def utime(self, path: str, accessed: int, modified: int, follow: bool) -> None:
        os.utime(path, ns=(accessed, modified), follow_symlinks=follow)

    def touch(self, path: str, mode: int, exist_ok: bool) -> None:
        Path(path).touch(mode, exist_ok)

    def setxattr(self, path: str, attribute: str, value: bytes, flags: int, follow: bool) -> None:
        os.setxattr(path, attribute, value, flags, follow_symlinks=follow)

    def removexattr(self, path: str, attribute: str, follow: bool) -> None:
        os.removexattr(path, attribute, follow_symlinks=follow)

    def rmtree(self, path: str) -> None:
        # `shutil.rmtree` has no errno for a link, and none of its own for the rest.
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        folder, _, name = path.rpartition("/")
        self._remove_all(f"{os.path.realpath(folder or '/')}/{name}")  # the path may lead through the tree

    def _remove_all(self, path: str) -> None:
        for name in self.names(path):
            below = f"{path}/{name}"
            if stat.S_ISDIR(os.lstat(below).st_mode):
                self._remove_all(below)
            else:
                os.unlink(below)
        os.rmdir(path)

    rmtree_loop = rmtree

    def turn(self, path: str) -> list[str]:
        """Take over: no listing may have a name that isn't there (M9)."""
        return [row.path for row in self._rows("/") if row.kind == "dir" and self._has_ghost(row.path)]

    def _has_ghost(self, path: str) -> bool:
        return sorted(os.listdir(path)) != self.names(path)


class UnionHand(Holding):
    """A `UnionPath`, through its public methods; checks that errors carry the union's paths (E2)."""

    def __init__(self, root: UnionPath) -> None:
        super().__init__()
        self._root = root

    # Looking.

    def stat(self, path: str) -> Status:
        return self._checked(path, lambda at: status_of(at.stat()))

    def lstat(self, path: str) -> Status:
        return self._checked(path, lambda at: status_of(at.lstat()))

    def names(self, path: str) -> list[str]:
        return self._checked(path, lambda at: [child.name for child in at.iterdir()])

    def read(self, path: str) -> bytes:
        return self._checked(path, lambda at: at.read_bytes())

    def readlink(self, path: str) -> str:
        return self._checked(path, lambda at: str(at.readlink()))

    def resolve(self, path: str) -> str:
        return self._checked(path, lambda at: str(at.resolve(strict=True)))

    def xattrs(self, path: str) -> Xattrs:
        return self._checked(path, lambda at: _xattrs_of(at, follow=True))

    def whole(self, path: str) -> list[Seen]:
        return sorted(self._rows(self._root / path))

    def turn(self, path: str) -> list[str]:
        """Take over: nothing is wrong with what the other left."""
        self.whole("/")
        return []

    def _rows(self, at: UnionPath) -> Iterator[Seen]:
        status = at.lstat()
        yield row(str(at), status, lambda: self._content(at, status), _xattrs_of(at, follow=False))
        if stat.S_ISDIR(status.st_mode):
            for child in at.iterdir():
                yield from self._rows(child)

    def _content(self, at: UnionPath, status: os.stat_result) -> bytes:
        return os.fsencode(str(at.readlink())) if stat.S_ISLNK(status.st_mode) else at.read_bytes()

    # Changing.

    def _open_file(self, path: str, mode: str) -> Openable:
        return self._checked(path, lambda at: at.open(f"{mode}b", buffering=0))

    def open(self, path: str, mode: str, buffering: int, actions: Actions) -> list[object]:
        def write(at: UnionPath) -> list[object]:
            with at.open(f"{mode}b", buffering=buffering) as file:
                return act(file, actions)

        return self._checked(path, write)

    def write(self, path: str, data: bytes) -> int:
        self.let_go()
        return self._checked(path, lambda at: at.write_bytes(data))

    def mkdir(self, path: str, mode: int, parents: bool, exist_ok: bool) -> None:
        self._checked(path, lambda at: at.mkdir(mode, parents, exist_ok), inexact=parents)

    def rmdir(self, path: str) -> None:
        self._checked(path, lambda at: at.rmdir())

    def unlink(self, path: str, missing_ok: bool) -> None:
        self._checked(path, lambda at: at.unlink(missing_ok))

    def rename(self, path: str, target: str) -> str:
        return self._checked(path, lambda at: str(at.rename(self._root / target)), target)

    def replace(self, path: str, target: str) -> str:
        return self._checked(path, lambda at: str(at.replace(self._root / target)), target)

    def symlink(self, path: str, target: str) -> None:
        self._checked(path, lambda at: at.symlink_to(target), inexact=True)

    def link(self, path: str, source: str) -> None:
        self._checked(path, lambda at: at.hardlink_to(self._root / source), inexact=True)

    def chmod(self, path: str, mode: int) -> None:
        self._checked(path, lambda at: at.chmod(mode))

    def lchmod(self, path: str, mode: int) -> None:
        self._checked(path, lambda at: at.lchmod(mode))

    def chown(self, path: str, uid: int, gid: int, follow: bool) -> None:
        self._checked(path, lambda at: at.chown(uid, gid, follow_symlinks=follow))

    def utime(self, path: str, accessed: int, modified: int, follow: bool) -> None:
        self._checked(path, lambda at: at.utime(ns=(accessed, modified), follow_symlinks=follow))

    def touch(self, path: str, mode: int, exist_ok: bool) -> None:
        self._checked(path, lambda at: at.touch(mode, exist_ok))

    def setxattr(self, path: str, attribute: str, value: bytes, flags: int, follow: bool) -> None:
        self._checked(path, lambda at: at.setxattr(attribute, value, flags, follow_symlinks=follow))

    def removexattr(self, path: str, attribute: str, follow: bool) -> None:
        self._checked(path, lambda at: at.removexattr(attribute, follow_symlinks=follow))

    def rmtree(self, path: str) -> None:
        self._checked(path, lambda at: at.rmtree(), inexact=True)

    def rmtree_loop(self, path: str) -> None:
        self._checked(path, self._remove_all, inexact=True)

    def _remove_all(self, top: UnionPath) -> None:
        if not stat.S_ISDIR(top.lstat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(top))
        top = top.parent.resolve() / top.name  # the path may lead through the tree
        for at, folders, files in top.walk(top_down=False):
            for name in files:
                (at / name).unlink()
            for name in folders:
                (at / name).rmdir()
        top.rmdir()

    def _checked(
        self, path: str, do: Callable[[UnionPath], T], target: str | None = None, *, inexact: bool = False
    ) -> T:
        at = self._root / path
        try:
            return do(at)
        except OSError as error:
            named = error.filename, error.filename2
            expected = str(at), None if target is None else str(self._root / target)
            if error.errno is not None and not inexact:
                assert named == expected, f"{error!r} names {named}, not {expected} (E2)"
            raise


def act(file: Openable, actions: Actions) -> list[object]:
    """Do things to an open file; what each gave."""
    return [getattr(file, str(name))(*arguments) for name, *arguments in actions]


def status_of(status: os.stat_result) -> Status:
    """Give what must agree of a stat value."""
    kind, mode = KINDS[stat.S_IFMT(status.st_mode)], stat.S_IMODE(status.st_mode)
    nlink, size = (0, 0) if kind == "dir" else (status.st_nlink, status.st_size)
    return Status(kind, mode, status.st_uid, status.st_gid, shown_time(status.st_mtime_ns), nlink, size)


def row(path: str, status: os.stat_result, content: Callable[[], bytes], xattrs: Xattrs) -> Seen:
    """Make one row of a whole tree."""
    kind, mode, uid, gid, mtime, nlink, _ = status_of(status)
    data = content() if kind in ("file", "link") else b""
    return Seen(path, kind, mode, uid, gid, mtime, nlink, data, xattrs)


def _xattrs(path: str, *, follow: bool) -> Xattrs:
    names = [name for name in os.listxattr(path, follow_symlinks=follow) if name.startswith("user.")]
    # In a layer of the kernel's format with `userxattr`, the marks themselves are no business of ours.
    ours = sorted(name for name in names if not name.startswith("user.overlay."))
    return tuple((name, os.getxattr(path, name, follow_symlinks=follow)) for name in ours)


def _xattrs_of(at: UnionPath, *, follow: bool) -> Xattrs:
    names = [name for name in at.listxattr(follow_symlinks=follow) if name.startswith("user.")]
    return tuple((name, at.getxattr(name, follow_symlinks=follow)) for name in sorted(names))


def _is_there(path: str) -> bool:
    # The kernel lists whiteouts of a directory that merges with nothing, yet they don't stat (M5).
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _refuse_fifo(path: str) -> None:
    """Give the answer of open(2) with O_NONBLOCK to who would write to a FIFO that no one reads (C7)."""
    try:
        status = os.stat(path)
    except OSError:
        return
    if stat.S_ISFIFO(status.st_mode):
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), path)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
