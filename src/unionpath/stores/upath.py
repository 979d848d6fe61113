"""
Anything that fsspec speaks, reached through a `UPath`, as a store for reading; `upath_writing` adds writing.

fsspec's own listing caches are told to forget before every question, so that answers are never stale.
A symbolic link is seen only where the file system tells of it, and paths are given to it as a whole:
where links can be swapped in by others, such as on a local disk, `LocalStore` is the safe store (L11).
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO, RawIOBase
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar
from urllib.parse import quote, unquote

from unionpath.model.entry import Kind, Stat
from unionpath.model.errors import is_absence, oserror
from unionpath.model.parts import Parts, encoded_length
from unionpath.model.store import WHY_NOT_OPENED, Capability
from unionpath.stores.foreign import ForeignDirectory, ForeignFile, asking
from unionpath.stores.fsspec_details import TEMPORARY, Details, kind_from, link_target, stat_from
from unionpath.stores.numbers import stable_number
from unionpath.stores.readable_path import ReadablePathStore, is_readable_path

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem
    from upath import UPath

_WEB: Final = frozenset({"http", "https"})
_LISTING_KNOWS_MORE: Final = frozenset({"file", "local", "sftp", "ssh", "smb"}) | _WEB
"""Where `info` follows links, or calls every URL a file: only the listing of the parent tells the kind."""
_SHORT_NAMES: Final = frozenset({"file", "local", "sftp", "ssh", "smb"})
_KEY_MAX: Final = {"s3": 1024, "s3a": 1024, "gs": 1024, "gcs": 1024}
"""How many bytes a whole path may have, without its bucket."""
_VERSIONS: Final = {"s3": "?versionId=", "s3a": "?versionId="}
"""What s3fs takes for the end of a key, so that the rest of a name would be lost."""
_REFUSE_DIRECTORIES: Final = frozenset({"memory", "s3", "s3a", "gs", "gcs"})
"""Without links, and opening a directory fails or can be seen: nothing needs asking before."""
_LISTINGS: Final = 100
"""How often a directory is listed whose names come and go."""
_THREADSAFE: Final = frozenset({"file", "local", "memory"})
"""Besides the asynchronous ones, which run on a thread of their own."""
_CAPABILITIES: Final = {
    "file": Capability.SYMLINKS | Capability.MODES | Capability.OWNERS,
    "local": Capability.SYMLINKS | Capability.MODES | Capability.OWNERS,
    "zip": Capability.SYMLINKS,
}

T = TypeVar("T")
Guard: TypeAlias = AbstractContextManager[object]


def open_path(path: object) -> UPathStore | ReadablePathStore:
    """
    Give the store for a path object: a `UPath`, or anything of pathlib's `ReadablePath` protocol.

    It can be written to if it is a `UPath` of a file system that can.

    Raises:
        TypeError: it is neither.
        FileNotFoundError (ENOENT), NotADirectoryError (ENOTDIR): there is no directory at `path`.
    """
    from upath import UPath  # loads fsspec, so only when it is needed

    if isinstance(path, UPath):
        return _pick_store(path)
    if is_readable_path(path):
        return ReadablePathStore(path)
    raise TypeError(f"not a path that can be read: {path!r}")


def _pick_store(path: UPath) -> UPathStore:
    from unionpath.stores.publishing import can_write

    with asking(str(path)):
        fs = path.fs
    if not can_write(fs, _protocols(fs)):
        return UPathStore(path)
    from unionpath.stores.upath_writing import WritableUPathStore

    return WritableUPathStore(path)


class UPathStore:
    """
    The tree below one `UPath`, for reading.

    Raises:
        FileNotFoundError (ENOENT), NotADirectoryError (ENOTDIR): there is no directory at `path`.
    """

    def __init__(self, path: UPath) -> None:
        self._path = path
        self.place: Final = str(path)
        with asking(self.place):
            self._root = UPathDirectory(Volume(path.fs, self.place), path.path, ())
        self._root.status()
        names = self._root.volume.protocols
        self.name_max: Final = self._root.volume.longest_name(path.path)
        self.capabilities = next(
            (flags for name, flags in _CAPABILITIES.items() if name in names), Capability.NONE
        )

    @property
    def real_path(self) -> None:
        """None: it is no local directory."""

    @property
    def notifier(self) -> None:
        """None: nothing is watched."""

    @property
    def identity(self) -> Hashable:
        """The `UPath`: protocol, storage options and path."""
        return ("upath", self._path)

    def close(self) -> None:
        """Nothing is held open."""

    def root(self) -> UPathDirectory:
        """Give the root directory."""
        return self._root

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.place}>"

    def __reduce__(self) -> tuple[type[UPathStore], tuple[UPath]]:
        return type(self), (self._path,)


class Volume:
    """What all handles of one store share: the file system, and how it wants to be asked."""

    __slots__ = (
        "device",
        "fs",
        "guard",
        "key_max",
        "listing_knows_more",
        "name_max",
        "place",
        "protocols",
        "refuses_directories",
        "versions",
        "web",
    )

    def __init__(self, fs: AbstractFileSystem, place: str) -> None:
        self.fs: Final = fs
        self.place: Final = place
        self.device: Final = stable_number(place)
        inner = _innermost(fs)
        self.protocols: Final = _protocols(inner)
        self.refuses_directories: Final = bool(self.protocols & _REFUSE_DIRECTORIES)
        self.web: Final = bool(self.protocols & _WEB)
        self.listing_knows_more: Final = bool(self.protocols & _LISTING_KNOWS_MORE)
        self.name_max: Final = 255 if self.protocols & _SHORT_NAMES else 1024
        self.key_max: Final = min((_KEY_MAX.get(name, 0) for name in self.protocols), default=0)
        self.versions: Final = next((_VERSIONS[name] for name in self.protocols if name in _VERSIONS), None)
        # An archive has one stream for all files, ftp one connection: threads would mix their answers.
        is_safe = inner.async_impl or self.protocols & _THREADSAFE
        self.guard: Final[Guard] = nullcontext() if is_safe else threading.RLock()

    def longest_name(self, path: str) -> int:
        """Tell how many bytes a name in a directory may have."""
        key = encoded_length(path.partition("/")[2])
        return min(self.name_max, self.key_max - key - bool(key)) if self.key_max else self.name_max

    def join(self, path: str, name: str) -> str:
        """Give the file system's path of a name in a directory."""
        inside = quote(name) if self.web else name
        return f"{path.rstrip('/')}/{inside}" if path else inside

    def name_in(self, path: str, details: Details) -> str | None:
        """Give the name of a listed object, or None if it is no name in this directory."""
        place = str(details["name"]).rstrip("/")
        inside = path.rstrip("/")
        name = place.rpartition("/")[2]
        if _is_at(details, path) or name in ("", ".", "..") or "\0" in name or name.startswith(TEMPORARY):
            return None
        if not self.web:
            return name
        # A page also links to elsewhere, and to itself in another order.
        return unquote(name) if place.rpartition("/")[0] == inside and "?" not in name else None

    def ls(self, path: str, place: str) -> Sequence[Details]:
        """
        List a directory afresh.

        Raises:
            NotADirectoryError (ENOTDIR): it is a file, which fsspec lists as its own only entry.
        """
        with asking(place), self.guard:
            self.forget(path)
            found = self._list(path)
        if len(found) == 1 and found[0].get("type") != "directory" and _is_at(found[0], path):
            if str(found[0]["name"]).endswith("/"):
                return ()  # in an object store, the empty object that stands for an empty directory
            raise oserror(errno.ENOTDIR, place)
        return found

    def _list(self, path: str) -> Sequence[Details]:
        """List a directory; again where an older fsspec fails for a name that vanished meanwhile."""
        for _ in range(_LISTINGS):
            try:
                return self.fs.ls(path, detail=True)
            except FileNotFoundError as error:
                if str(error.filename).rpartition("/")[0] != path.rstrip("/"):
                    raise
        return self.fs.ls(path, detail=True)

    def info(self, path: str, parent: str, place: str) -> Details:
        """Ask for one object afresh."""
        with asking(place), self.guard:
            self.forget(path, parent)
            return self.fs.info(path)

    def forget(self, *paths: str) -> None:
        """Drop what fsspec keeps of these paths' listings; not all file systems drop the parents' too."""
        for path in paths:
            self.fs.invalidate_cache(path)


class UPathDirectory(ForeignDirectory):
    """One directory of a `UPathStore`: a path, asked anew every time."""

    __slots__ = ("_path", "parts", "volume")

    def __init__(self, volume: Volume, path: str, parts: Parts) -> None:
        self.volume: Final = volume
        self._path = path
        self.parts: Final = parts

    def place(self, name: str | None = None) -> str:
        """Give the URL; in a chain of them, the place goes to the first that has places."""
        inside = "/".join(self.parts if name is None else (*self.parts, name))
        if not inside:
            return self.volume.place
        chain = self.volume.place.split("::")
        index = next((number for number, link in enumerate(chain) if "://" in link), 0)
        chain[index] += inside if chain[index].endswith("/") else f"/{inside}"
        return "::".join(chain)

    def status(self) -> Stat:
        """Stat the directory itself; ENOTDIR if it is none any more."""
        return self._stat(self._status(), Kind.DIRECTORY, self._path)

    def stat(self, name: str) -> Stat:
        """As `Directory.stat`."""
        details = self._details(name)
        return self._stat(details, kind_from(details), self._join(name))

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        """As `Directory.scan`: one call; one more each for a name that is listed as two kinds."""
        found: dict[str, int] = {}
        for name, details in self._listing():
            tag = tags[kind_from(details)]
            if found.setdefault(name, tag) != tag:
                # An object store may hold "x" and "x/y": what `stat` says decides (N3).
                found[name] = tags[kind_from(self._details(name))]
        return found

    def child(self, name: str) -> UPathDirectory:
        """As `Directory.child`."""
        if kind_from(self._details(name)) is not Kind.DIRECTORY:
            raise oserror(errno.ENOTDIR, self.place(name))
        return UPathDirectory(self.volume, self._join(name), (*self.parts, name))

    def readlink(self, name: str) -> str:
        """
        As `Directory.readlink`.

        Raises:
            OSError (EOPNOTSUPP): the file system tells that it is a link, but not where it leads.
        """
        details = self._details(name)
        if kind_from(details) is not Kind.SYMLINK:
            raise oserror(errno.EINVAL, self.place(name))
        target = link_target(details)
        if target is not None:
            return target
        if "external_attr" not in details:
            raise oserror(
                errno.EOPNOTSUPP, self.place(name), hint="the file system doesn't tell where it leads"
            )
        # In a zip archive, the target is the link's content.
        return self._cat(name).decode("utf-8", "surrogateescape")

    def open(self, name: str) -> RawIOBase:
        """As `Directory.open`; a FIFO is ENXIO, for it can't be opened without waiting."""
        return self._opened(name, self._open)

    def read(self, name: str) -> bytes:
        """As `Directory.read`."""
        return self._opened(name, self._cat)

    def _join(self, name: str) -> str:
        return self.volume.join(self._path, name)

    def _opened(self, name: str, use: Callable[[str], T]) -> T:
        """Use a file; whatever else `name` is, is refused. Asks first only where opening wouldn't refuse."""
        if not self.volume.refuses_directories:
            self._check_openable(name)
            return use(name)
        try:
            self._check_name(name)
            return use(name)
        except OSError:
            self._check_openable(name)
            raise

    def _open(self, name: str) -> RawIOBase:
        volume, path, place = self.volume, self._join(name), self.place(name)
        with asking(place), volume.guard:
            volume.forget(path, self._path)
            file = volume.fs.open(path, "rb")
        details: Details | None = getattr(file, "details", None)
        if details is not None and kind_from(details) is not Kind.FILE:
            file.close()  # s3fs opens a directory as well, as a file without content
            raise oserror(errno.EISDIR, place)
        # fsspec's memory file system gives all who open a file the same object with one position.
        own = BytesIO(file.getvalue()) if isinstance(file, BytesIO) else file
        return ForeignFile(own, place, volume.guard)

    def _cat(self, name: str) -> bytes:
        path = self._join(name)
        with asking(self.place(name)), self.volume.guard:
            self.volume.forget(path, self._path)
            return self.volume.fs.cat_file(path)

    def _stat(self, details: Details, kind: Kind, path: str) -> Stat:
        return stat_from(details, kind, ino=stable_number(path), dev=self.volume.device)

    def _check_openable(self, name: str) -> None:
        kind = kind_from(self._details(name))
        if kind is not Kind.FILE:
            # A FIFO too: fsspec can only open one by waiting for its writer (C7).
            raise oserror(WHY_NOT_OPENED[kind], self.place(name))

    def _check_name(self, name: str) -> None:
        volume = self.volume
        if encoded_length(name) > volume.name_max:
            raise oserror(errno.ENAMETOOLONG, self.place(name))
        if volume.key_max and encoded_length(self._join(name).partition("/")[2]) > volume.key_max:
            raise oserror(errno.ENAMETOOLONG, self.place(name))
        if volume.versions is not None and volume.versions in name:
            raise oserror(errno.ENAMETOOLONG, self.place(name), hint="the file system takes it for a version")

    def _details(self, name: str) -> Details:
        """Ask for one name in it, without following a link."""
        self._check_name(name)
        if not self.volume.listing_knows_more:
            return self.volume.info(self._join(name), self._path, self.place(name))
        for found, details in self._listing():
            if found == name:
                return self._with_size(details, name)
        raise oserror(errno.ENOENT, self.place(name))

    def _with_size(self, details: Details, name: str) -> Details:
        """Ask for the size too, where listings have none."""
        if details.get("size") is not None or kind_from(details) is not Kind.FILE:
            return details
        return self.volume.info(self._join(name), self._path, self.place(name))

    def _listing(self) -> list[tuple[str, Details]]:
        entries = self.volume.ls(self._path, self.place())
        if not entries and self.parts:
            self._status()  # some archives list a missing directory as an empty one
        names = [self.volume.name_in(self._path, details) for details in entries]
        return [(name, details) for name, details in zip(names, entries, strict=True) if name is not None]

    def _status(self) -> Details:
        """
        Ask for the directory itself. The root may be a link: what leads to the tree is the caller's own.

        Raises:
            NotADirectoryError (ENOTDIR): it is something else by now.
        """
        try:
            details = self.volume.info(self._path, self._path, self.place())
        except OSError as error:
            if self.parts or not is_absence(error):
                raise
            # The root of an empty archive has no entry of its own, and can be listed all the same.
            self.volume.ls(self._path, self.place())
            return _SOME_DIRECTORY
        if self.volume.web:
            return _SOME_DIRECTORY
        if details.get("type") == "directory" and (not self.parts or kind_from(details) is Kind.DIRECTORY):
            return {**details, "islink": False}
        raise oserror(errno.ENOTDIR, self.place())


def _is_at(details: Details, path: str) -> bool:
    """Tell whether the details are of the path itself; some file systems add slashes at either end."""
    return str(details["name"]).strip("/") == path.strip("/")


_SOME_DIRECTORY: Final[Details] = {"type": "directory"}


def _innermost(fs: AbstractFileSystem) -> AbstractFileSystem:
    """Look through file systems that wrap others (`dir://`, `simplecache::`), which keep them as `fs`."""
    while (inner := getattr(fs, "fs", None)) is not None and hasattr(inner, "async_impl"):
        fs = inner
    return fs


def _protocols(fs: AbstractFileSystem) -> frozenset[str]:
    return frozenset({fs.protocol} if isinstance(fs.protocol, str) else fs.protocol)
