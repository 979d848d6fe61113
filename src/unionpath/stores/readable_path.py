"""
Any path object of pathlib's `ReadablePath` protocol (pathlib-abc, `pathlib.types`), as a store for reading.

The protocol tells kinds and gives bytes. Where the path also has a `stat` method, as a `UnionPath` has,
that is asked instead, because it tells faults from absence and knows modes and times.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from io import SEEK_END, RawIOBase
from typing import TYPE_CHECKING, Final, TypeGuard

from unionpath.model.entry import Kind, Stat, kind_of, make_stat
from unionpath.model.errors import oserror
from unionpath.model.parts import Parts, encoded_length
from unionpath.model.store import WHY_NOT_OPENED, Capability
from unionpath.stores.foreign import ForeignDirectory, ForeignFile, OtherFile, asking
from unionpath.stores.numbers import stable_number

if TYPE_CHECKING:
    from upath.types import PathInfo, ReadablePath, StatResultType

_NAME_MAX: Final = 255


def is_readable_path(path: object) -> TypeGuard[ReadablePath]:
    """Tell whether an object has what the protocol asks for, whichever package its base class comes from."""
    has_hook = hasattr(path, "__open_reader__") or hasattr(path, "__open_rb__")
    return has_hook and all(hasattr(path, name) for name in ("info", "iterdir", "readlink", "with_segments"))


class ReadablePathStore:
    """
    The tree below one `ReadablePath`.

    Raises:
        FileNotFoundError (ENOENT), NotADirectoryError (ENOTDIR): there is no directory at `path`.
    """

    notifier: Final = None
    name_max: Final = _NAME_MAX
    capabilities: Final = Capability.SYMLINKS

    def __init__(self, path: ReadablePath) -> None:
        self._path = path
        self.place: Final = str(path)
        self._root = ReadablePathDirectory(path, (), stable_number(self.place))
        self._root.check(follow=True)

    @property
    def real_path(self) -> None:
        """None: it is no local directory."""

    @property
    def identity(self) -> Hashable:
        """The path, or the store itself where paths don't hash."""
        has_hash = getattr(type(self._path), "__hash__", None) is not None
        return ("path", self._path) if has_hash else self

    def close(self) -> None:
        """Nothing is held open."""

    def root(self) -> ReadablePathDirectory:
        """Give the root directory."""
        return self._root

    def __repr__(self) -> str:
        return f"<ReadablePathStore {self.place}>"


class ReadablePathDirectory(ForeignDirectory):
    """One directory of a `ReadablePathStore`; asked through fresh paths, for a path may keep its answers."""

    __slots__ = ("_device", "_path", "parts")

    def __init__(self, path: ReadablePath, parts: Parts, device: int) -> None:
        self._path = path
        self._device = device
        self.parts: Final = parts

    def place(self, name: str | None = None) -> str:
        """Give the path's text."""
        return str(self._path if name is None else self._path / name)

    def check(self, *, follow: bool = False) -> None:
        """See that it is there, and a directory; `follow`: a link to one will do, as at the root."""
        with asking(self.place()):
            info = self._fresh().info
            if info.is_dir(follow_symlinks=follow):
                return
            found = info.exists(follow_symlinks=False)
        raise oserror(errno.ENOTDIR if found else errno.ENOENT, self.place())

    def status(self) -> Stat:
        """Stat the directory itself."""
        self.check(follow=not self.parts)
        return self._stat(self._fresh(), Kind.DIRECTORY, follow=not self.parts)

    def stat(self, name: str) -> Stat:
        """As `Directory.stat`."""
        path = self._at(name)
        return self._stat(path, self._kind(path))

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        """As `Directory.scan`."""
        self.check(follow=not self.parts)
        found: dict[str, int] = {}
        with asking(self.place()):
            for path in self._fresh().iterdir():
                kind = _kind_from(path.info)
                if kind is not None:
                    found[path.name] = tags[kind]
        return found

    def child(self, name: str) -> ReadablePathDirectory:
        """As `Directory.child`."""
        path = self._at(name)
        if self._kind(path) is not Kind.DIRECTORY:
            raise oserror(errno.ENOTDIR, self.place(name))
        return ReadablePathDirectory(path, (*self.parts, name), self._device)

    def readlink(self, name: str) -> str:
        """As `Directory.readlink`."""
        path = self._at(name)
        if self._kind(path) is not Kind.SYMLINK:
            raise oserror(errno.EINVAL, self.place(name))
        with asking(self.place(name)):
            return _text(path.readlink())

    def open(self, name: str) -> RawIOBase:
        """As `Directory.open`."""
        path = self._at(name)
        kind = self._kind(path)
        if kind is not Kind.FILE:
            raise oserror(WHY_NOT_OPENED[kind], self.place(name))
        return self._reader(path)

    def read(self, name: str) -> bytes:
        """As `Directory.read`."""
        with self.open(name) as file:
            return file.readall()

    def _fresh(self) -> ReadablePath:
        return self._path.with_segments(_text(self._path))

    def _at(self, name: str) -> ReadablePath:
        if encoded_length(name) > _NAME_MAX:
            raise oserror(errno.ENAMETOOLONG, self.place(name))
        return self._path / name

    def _kind(self, path: ReadablePath) -> Kind:
        with asking(str(path)):
            stated = _stated(path)
            kind = _kind_from(path.info) if stated is None else kind_of(stated.st_mode)
        if kind is None:
            self.check(follow=not self.parts)
            raise oserror(errno.ENOENT, str(path))
        return kind

    def _stat(self, path: ReadablePath, kind: Kind, *, follow: bool = False) -> Stat:
        with asking(str(path)):
            stated = _stated(path, follow=follow)
        if isinstance(stated, os.stat_result):
            return stated
        if stated is not None:
            return _as_stat(stated, kind)
        return make_stat(
            kind,
            permissions=_PERMISSIONS.get(kind, 0o644),
            size=self._size(path, kind),
            ino=stable_number(_text(path)),
            dev=self._device,
        )

    def _size(self, path: ReadablePath, kind: Kind) -> int:
        """Find a size by going to the file's end; 0 where that needs reading, as in /proc."""
        if kind is Kind.SYMLINK:
            with asking(str(path)):
                return encoded_length(_text(path.readlink()))
        if kind is not Kind.FILE:
            return 0
        with self._reader(path) as file:
            return file.seek(0, SEEK_END) if file.seekable() else 0

    def _reader(self, path: ReadablePath) -> ForeignFile:
        # 3.14's pathlib.types and older pathlib-abc call the hook __open_rb__.
        with asking(str(path)):
            hook = "__open_reader__" if hasattr(path, "__open_reader__") else "__open_rb__"
            file: OtherFile = getattr(path, hook)()
        return ForeignFile(file, str(path), nullcontext())


_PERMISSIONS: Final = {Kind.DIRECTORY: 0o755, Kind.SYMLINK: 0o777}


def _kind_from(info: PathInfo) -> Kind | None:
    """Tell the kind; None if there is nothing. What is none of three is shown as what can't be opened."""
    if info.is_symlink():
        return Kind.SYMLINK
    if info.is_dir(follow_symlinks=False):
        return Kind.DIRECTORY
    if info.is_file(follow_symlinks=False):
        return Kind.FILE
    return Kind.SOCKET if info.exists(follow_symlinks=False) else None


def _stated(path: ReadablePath, *, follow: bool = False) -> StatResultType | None:
    """Ask the path's own `stat`, if it has one."""
    ask: Callable[..., StatResultType] | None = getattr(path, "stat", None)
    return None if ask is None else ask(follow_symlinks=follow)


def _as_stat(stated: StatResultType, kind: Kind) -> Stat:
    return make_stat(
        kind,
        permissions=stated.st_mode & 0o7777,
        size=stated.st_size,
        ino=stated.st_ino,
        dev=stated.st_dev,
        nlink=stated.st_nlink,
        uid=stated.st_uid,
        gid=stated.st_gid,
        atime_ns=stated.st_atime_ns,
        mtime_ns=stated.st_mtime_ns,
        ctime_ns=stated.st_ctime_ns,
    )


def _text(path: ReadablePath) -> str:
    """Give a path as text, as its class writes it."""
    write: Callable[[], str] | None = getattr(path, "__vfspath__", None)
    return str(path) if write is None else write()
