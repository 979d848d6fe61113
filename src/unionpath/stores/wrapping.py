"""
The common face of stores that wrap stores: every question and every change is announced, then handed on.

A wrapping store overrides `before` (count, record, refuse, fail), `shown` (where things seem to be),
`opened` (what becomes of files), or what it says of itself. It is as writable as its `capabilities` say:
without WRITABLE its directories have no method that writes.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable, Sequence
from io import RawIOBase
from typing import BinaryIO, Final, cast

from unionpath.model.entry import Kind, Stat
from unionpath.model.errors import oserror
from unionpath.model.parts import Parts
from unionpath.model.store import Capability, Directory, Listener, Notifier, Store, Watch
from unionpath.model.writable import Lock, Move, RawMode, WritableDirectory, WritableStore


class WrappingStore:
    """A store that shows what another one shows, and lets it be changed if that is possible."""

    def __init__(self, store: Store) -> None:
        """Wrap a store; the name `inner` is for wrappers and tests."""
        self.inner: Final = store

    def before(self, method: str, parts: Parts) -> None:
        """
        Learn of a call that is about to be made: the method's name, and the place that it is about.

        Of a rename and a link that is the name given up and the name made. Places in a neighbour begin
        with `..` and its name.
        """

    def shown(self, parts: Parts) -> Parts:
        """Give the place in this store of what is at `parts` in the wrapped one."""
        return parts

    def opened(self, file: RawIOBase, parts: Parts) -> RawIOBase:
        """Give what is handed out for a file that was opened for writing: itself, or something over it."""
        return file

    @property
    def capabilities(self) -> Capability:
        """As the wrapped store's."""
        return self.inner.capabilities

    @property
    def name_max(self) -> int:
        """As the wrapped store's."""
        return self.inner.name_max

    @property
    def identity(self) -> Hashable:
        """As the wrapped store's: the same tree is shown."""
        return self.inner.identity

    @property
    def real_path(self) -> str | None:
        """As the wrapped store's."""
        return self.inner.real_path

    @property
    def place(self) -> str:
        """As the wrapped store's."""
        return self.inner.place

    @property
    def notifier(self) -> Notifier | None:
        """As the wrapped store's."""
        return self.inner.notifier

    def close(self) -> None:
        """Let the wrapped store give up what it holds."""
        self.inner.close()

    def root(self) -> Directory:
        """Give the root directory, wrapped."""
        self.before("root", ())
        return self.wrap(self.inner.root())

    def wrap(self, directory: Directory) -> Directory:
        """Give a directory of the wrapped store as one of this store."""
        if Capability.WRITABLE in self.capabilities:
            return WritableWrappingDirectory(cast("WritableDirectory", directory), self)
        return WrappingDirectory(directory, self)

    # What `WritableStore` asks for; EROFS without WRITABLE.

    def home(self) -> WritableDirectory:
        """As `WritableStore.home`; wrapped."""
        inner = self.writable_inner()
        self.before("home", ())
        return WritableWrappingDirectory(inner.home(), self)

    def confirm(self) -> None:
        """As `WritableStore.confirm`."""
        inner = self.writable_inner()
        self.before("confirm", ())
        inner.confirm()

    def neighbour(self, name: str, *, make: bool = True) -> WritableStore | None:
        """As `WritableStore.neighbour`; wrapped so that what is done there is announced to this store."""
        inner = self.writable_inner()
        self.before("neighbour", ())
        found = inner.neighbour(name, make=make)
        return None if found is None else cast("WritableStore", NeighbourStore(found, self, name))

    def writable_inner(self) -> WritableStore:
        """
        Give the wrapped store for writing.

        Raises:
            OSError (EROFS): this store has no WRITABLE.
        """
        if Capability.WRITABLE not in self.capabilities:
            raise oserror(errno.EROFS, self.place)
        return cast("WritableStore", self.inner)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.inner!r}>"


class NeighbourStore(WrappingStore):
    """A neighbour of the wrapped store: tells the wrapping one of everything."""

    def __init__(self, store: Store, beside: WrappingStore, name: str) -> None:
        super().__init__(store)
        self._beside = beside
        self._above = ("..", name)

    def before(self, method: str, parts: Parts) -> None:
        """Tell the wrapping store."""
        self._beside.before(method, self._above + parts)

    def opened(self, file: RawIOBase, parts: Parts) -> RawIOBase:
        """Let the wrapping store decide."""
        return self._beside.opened(file, self._above + parts)


class WrappingDirectory:
    """One directory of a `WrappingStore`."""

    __slots__ = ("_inner", "_store")

    def __init__(self, inner: Directory, store: WrappingStore) -> None:
        self._inner = inner
        self._store = store

    def __repr__(self) -> str:
        return f"<{type(self._store).__name__} directory {self.place()}>"

    def _announce(self, method: str, name: str | None = None) -> None:
        self._store.before(method, self.parts if name is None else (*self.parts, name))

    @property
    def parts(self) -> Parts:
        """Its place in the wrapping store."""
        return self._store.shown(self._inner.parts)

    def place(self, name: str | None = None) -> str:
        """Give the wrapped store's place."""
        return self._inner.place(name)

    def status(self) -> Stat:
        """As `Directory.status`."""
        self._announce("status")
        return self._inner.status()

    def stat(self, name: str) -> Stat:
        """As `Directory.stat`."""
        self._announce("stat", name)
        return self._inner.stat(name)

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        """As `Directory.scan`."""
        self._announce("scan")
        return self._inner.scan(tags)

    def child(self, name: str) -> Directory:
        """As `Directory.child`; wrapped."""
        self._announce("child", name)
        return WrappingDirectory(self._inner.child(name), self._store)

    def readlink(self, name: str) -> str:
        """As `Directory.readlink`."""
        self._announce("readlink", name)
        return self._inner.readlink(name)

    def open(self, name: str) -> RawIOBase:
        """As `Directory.open`."""
        self._announce("open", name)
        return self._inner.open(name)

    def read(self, name: str) -> bytes:
        """As `Directory.read`."""
        self._announce("read", name)
        return self._inner.read(name)

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        """As `Directory.getxattr`."""
        self._announce("getxattr", name)
        return self._inner.getxattr(name, attribute)

    def listxattr(self, name: str | None) -> list[str]:
        """As `Directory.listxattr`."""
        self._announce("listxattr", name)
        return self._inner.listxattr(name)

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        """As `Directory.watch`."""
        self._announce("watch")
        return self._inner.watch(listener, contents=contents)


class WritableWrappingDirectory(WrappingDirectory):
    """One directory of a `WrappingStore` with WRITABLE; raises as the wrapped directory does."""

    __slots__ = ()
    _inner: WritableDirectory

    def __init__(self, inner: WritableDirectory, store: WrappingStore) -> None:
        super().__init__(inner, store)

    def unwrap(self) -> WritableDirectory:
        """Give the directory that this one stands for, one wrapper less."""
        return self._inner

    def child(self, name: str) -> WritableDirectory:
        """As `Directory.child`; wrapped."""
        self._announce("child", name)
        return WritableWrappingDirectory(self._inner.child(name), self._store)

    def create(self, name: str, data: bytes = b"", permissions: int = 0o644, *, sync: bool = False) -> None:
        """As `WritableDirectory.create`."""
        self._announce("create", name)
        self._inner.create(name, data, permissions, sync=sync)

    def open_new(self, name: str, mode: RawMode, permissions: int = 0o666) -> RawIOBase:
        """As `WritableDirectory.open_new`."""
        self._announce("open_new", name)
        return self._store.opened(self._inner.open_new(name, mode, permissions), (*self.parts, name))

    def open_writable(self, name: str, mode: RawMode, *, truncate: bool = False) -> RawIOBase:
        """As `WritableDirectory.open_writable`."""
        self._announce("open_writable", name)
        file = self._inner.open_writable(name, mode, truncate=truncate)
        return self._store.opened(file, (*self.parts, name))

    def put(
        self, name: str, source: BinaryIO | RawIOBase, permissions: int = 0o644, *, sync: bool = False
    ) -> None:
        """As `WritableDirectory.put`."""
        self._announce("put", name)
        self._inner.put(name, source, permissions, sync=sync)

    def mkdir(self, name: str, permissions: int = 0o755) -> WritableDirectory:
        """As `WritableDirectory.mkdir`; wrapped."""
        self._announce("mkdir", name)
        return WritableWrappingDirectory(self._inner.mkdir(name, permissions), self._store)

    def symlink(self, name: str, target: str) -> None:
        """As `WritableDirectory.symlink`."""
        self._announce("symlink", name)
        self._inner.symlink(name, target)

    def mknod(self, name: str, kind: Kind, permissions: int, rdev: int = 0) -> None:
        """As `WritableDirectory.mknod`."""
        self._announce("mknod", name)
        self._inner.mknod(name, kind, permissions, rdev)

    def link(self, name: str, source_directory: WritableDirectory, source_name: str) -> None:
        """As `WritableDirectory.link`; of a directory that is wrapped, what is wrapped counts."""
        self._announce("link", name)
        self._inner.link(name, unwrapped(source_directory, source_name), source_name)

    def unlink(self, name: str) -> None:
        """As `WritableDirectory.unlink`."""
        self._announce("unlink", name)
        self._inner.unlink(name)

    def rmdir(self, name: str) -> None:
        """As `WritableDirectory.rmdir`."""
        self._announce("rmdir", name)
        self._inner.rmdir(name)

    def rename(
        self,
        name: str,
        target_directory: WritableDirectory,
        target_name: str,
        how: Move = Move.REPLACE,
    ) -> None:
        """As `WritableDirectory.rename`; of a directory that is wrapped, what is wrapped counts."""
        self._announce("rename", name)
        self._inner.rename(name, unwrapped(target_directory, target_name), target_name, how)

    def chmod(self, name: str | None, permissions: int) -> None:
        """As `WritableDirectory.chmod`."""
        self._announce("chmod", name)
        self._inner.chmod(name, permissions)

    def chown(self, name: str | None, uid: int = -1, gid: int = -1) -> None:
        """As `WritableDirectory.chown`."""
        self._announce("chown", name)
        self._inner.chown(name, uid, gid)

    def utime(self, name: str | None, ns: tuple[int, int] | None = None) -> None:
        """As `WritableDirectory.utime`."""
        self._announce("utime", name)
        self._inner.utime(name, ns)

    def setxattr(self, name: str | None, attribute: str, value: bytes) -> None:
        """As `WritableDirectory.setxattr`."""
        self._announce("setxattr", name)
        self._inner.setxattr(name, attribute, value)

    def removexattr(self, name: str | None, attribute: str) -> None:
        """As `WritableDirectory.removexattr`."""
        self._announce("removexattr", name)
        self._inner.removexattr(name, attribute)

    def sync(self, name: str | None) -> None:
        """As `WritableDirectory.sync`."""
        self._announce("sync", name)
        self._inner.sync(name)

    def lock(self, name: str | None) -> Lock:
        """As `WritableDirectory.lock`."""
        self._announce("lock", name)
        return self._inner.lock(name)


def unwrapped(directory: WritableDirectory, name: str) -> WritableDirectory:
    """
    Give the directory of a store that wraps none, which is what one rename or link can reach.

    Raises:
        OSError (EROFS): a wrapper on the way is read-only.
    """
    found = directory
    while isinstance(found, WrappingDirectory):
        if not isinstance(found, WritableWrappingDirectory):
            raise oserror(errno.EROFS, directory.place(name))
        found = found.unwrap()
    return found
