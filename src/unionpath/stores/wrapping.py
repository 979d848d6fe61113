"""
The common face of stores that wrap stores: every question is announced, then handed on.

A wrapping store overrides `before` (count, record, refuse, fail), `shown` (where things seem to be), or
what it says of itself. Only what `model.store` lists is handed on: a wrapped store's methods that write
are out of reach.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from io import RawIOBase
from typing import Final

from unionpath.model.entry import Stat
from unionpath.model.parts import Parts
from unionpath.model.store import Capability, Directory, Listener, Notifier, Store, Watch


class WrappingStore:
    """A store that shows what another one shows."""

    def __init__(self, store: Store) -> None:
        """Wrap a store; the name `inner` is for wrappers and tests."""
        self.inner: Final = store

    def before(self, method: str, parts: Parts) -> None:
        """Learn of a call that is about to be made: the method's name, and the place it asks about."""

    def shown(self, parts: Parts) -> Parts:
        """Give the place in this store of what is at `parts` in the wrapped one."""
        return parts

    @property
    def capabilities(self) -> Capability:
        """As the wrapped store's, but `WRITABLE`: no method that writes is handed on."""
        return self.inner.capabilities & ~Capability.WRITABLE

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
        return WrappingDirectory(self.inner.root(), self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.inner!r}>"


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
