"""Advisory locks on the objects of an in-memory store, between threads and between `MemoryLock` objects."""

from __future__ import annotations

from threading import Lock
from typing import Final
from weakref import WeakValueDictionary


class _Held:
    """What all locks on one object share: the lock, and which of them has it."""

    __slots__ = ("__weakref__", "holder", "lock")

    def __init__(self) -> None:
        self.free()

    def free(self) -> None:
        self.lock = Lock()
        # A token and not the lock object, which would be kept alive by those that wait for it.
        self.holder: object = None


class MemoryLock:
    """One lock on one object, by its inode number; given back when it is forgotten."""

    __slots__ = ("_shared", "_token")

    def __init__(self, shared: _Held) -> None:
        self._shared = shared
        self._token = object()

    def acquire(self, *, wait: bool = True) -> bool:
        """Take it; False if `wait` is False and someone else has it."""
        if not self._shared.lock.acquire(blocking=wait):
            return False
        self._shared.holder = self._token
        return True

    def release(self) -> None:
        """Give it back; harmless if it isn't held."""
        if self._shared.holder is self._token:
            self._shared.holder = None
            self._shared.lock.release()

    def close(self) -> None:
        """Give it back if it is held."""
        self.release()

    def __del__(self) -> None:
        self.release()


class LockTable:
    """The locks of one volume; what nobody refers to any more is forgotten."""

    __slots__ = ("_every",)

    def __init__(self) -> None:
        self._every: Final[WeakValueDictionary[int, _Held]] = WeakValueDictionary()

    def lock(self, ino: int) -> MemoryLock:
        """Give a lock on one object; the volume's own lock is held."""
        return MemoryLock(self._every.setdefault(ino, _Held()))

    def free_all(self) -> None:
        """In the child of a fork, whose tree is its own: the parent's threads hold nothing here."""
        for held in tuple(self._every.values()):
            held.free()
