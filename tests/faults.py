"""A store that fails where it is told to: everything else is passed on to another store."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from io import RawIOBase

from unionpath.model.entry import Stat
from unionpath.model.parts import Parts
from unionpath.model.store import Capability, Directory, Listener, Notifier, Store, Watch


class FaultyStore:
    """Raises `number` for every question about the objects at `places`, and counts how often."""

    def __init__(self, store: Store, places: set[Parts], number: int) -> None:
        self.failed = 0
        self._store = store
        self._places = places
        self._number = number

    @property
    def capabilities(self) -> Capability:
        return self._store.capabilities

    @property
    def name_max(self) -> int:
        return self._store.name_max

    @property
    def identity(self) -> Hashable:
        return ("faulty", self._store.identity)

    @property
    def place(self) -> str:
        return self._store.place

    @property
    def notifier(self) -> Notifier | None:
        return self._store.notifier

    def root(self) -> Directory:
        return _FaultyDirectory(self, self._store.root())

    def check(self, parts: Parts, place: str) -> None:
        """Fail, if the object is among those that do."""
        if parts in self._places:
            self.failed += 1
            raise OSError(self._number, os.strerror(self._number), place)


class _FaultyDirectory:
    def __init__(self, store: FaultyStore, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    @property
    def parts(self) -> Parts:
        return self._directory.parts

    def place(self, name: str | None = None) -> str:
        return self._directory.place(name)

    def status(self) -> Stat:
        self._check(None)
        return self._directory.status()

    def stat(self, name: str) -> Stat:
        self._check(name)
        return self._directory.stat(name)

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        self._check(None)
        return self._directory.scan(tags)

    def child(self, name: str) -> Directory:
        self._check(name)
        return _FaultyDirectory(self._store, self._directory.child(name))

    def readlink(self, name: str) -> str:
        self._check(name)
        return self._directory.readlink(name)

    def open(self, name: str) -> RawIOBase:
        self._check(name)
        return self._directory.open(name)

    def read(self, name: str) -> bytes:
        self._check(name)
        return self._directory.read(name)

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        self._check(name)
        return self._directory.getxattr(name, attribute)

    def listxattr(self, name: str | None) -> list[str]:
        self._check(name)
        return self._directory.listxattr(name)

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        return self._directory.watch(listener, contents=contents)

    def _check(self, name: str | None) -> None:
        parts = self.parts if name is None else (*self.parts, name)
        self._store.check(parts, self.place(name))
