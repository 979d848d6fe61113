"""
One writer at a time: the lock of one upper, for all stacks, threads and processes.

Stacks of one process over one upper share its door. What one of them does in an operation of another, on
the same thread (a signal's handler, a finalizer that closes a file), goes through, not waiting for itself.
Other processes are kept out by an advisory lock on the upper's own directory, wherever their work areas are.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Final, TypeVar

from unionpath.model.store import Capability
from unionpath.model.writable import Lock, WritableStore

_T = TypeVar("_T")


class Door:
    """Lets one writer in."""

    def __init__(self, store: WritableStore) -> None:
        self._store = store
        self._lock: Lock | None = None
        self.mutex = threading.RLock()

    def run(self, begin: Callable[[], None], act: Callable[[], _T]) -> _T:
        """
        Do something, after `begin`, as the one writer; reentrant.

        The mutex is taken by `with` itself, and the lock is given back whatever happens in between: an
        exception from a signal's handler may come at any instant.
        """
        with self.mutex:
            if self.depth() > 1:
                begin()
                return act()
            try:
                self._take(wait=True)
                begin()
                return act()
            finally:
                self._give_back()

    def try_run(self, act: Callable[[], object]) -> None:
        """Do something as the one writer, if nobody else is."""
        if not self.mutex.acquire(blocking=False):
            return
        try:
            if self.depth() > 1 or self._take(wait=False):
                act()
        finally:
            if self.depth() == 1:
                self._give_back()
            self.mutex.release()

    def depth(self) -> int:
        """Tell how often this thread is inside: what no counter of ours could tell after an interrupt."""
        count: Callable[[], int] | None = getattr(self.mutex, "_recursion_count", None)
        if count is not None:
            return count()
        found = re.search(r"count=(\d+)", repr(self.mutex))  # before 3.11.6
        return int(found.group(1)) if found else 1

    def _take(self, *, wait: bool) -> bool:
        if self._lock is None:
            self._lock = self._store.home().lock(None)
        return self._lock.acquire(wait=wait)

    def _give_back(self) -> None:
        lock = self._lock
        if lock is None:
            return
        try:
            lock.release()
        except BaseException:
            lock.release()
            raise

    def rest(self) -> None:
        """Hold nothing open until the next writer comes."""
        with self.mutex:
            if self.depth() == 1 and self._lock is not None:
                lock, self._lock = self._lock, None
                lock.close()

    def leave(self) -> None:
        """Be in the child of a fork: what was locked is nobody's here."""
        self.mutex = threading.RLock()
        if self._lock is not None:
            self._lock.close()
        self._lock = None


_DOORS: Final[weakref.WeakValueDictionary[Hashable, Door]] = weakref.WeakValueDictionary()
_DOORS_LOCK: Final = [threading.Lock()]
"""In a list, since the child of a fork needs another one."""


def door_of(store: WritableStore) -> Door:
    """Give the door of an upper."""
    key: Hashable = store.identity
    if Capability.DESCRIPTORS in store.capabilities:  # the same directory, by whatever path
        found = store.home().status()
        key = (found.st_dev, found.st_ino)
    with _DOORS_LOCK[0]:
        door = _DOORS.get(key)
        if door is None:
            door = _DOORS[key] = Door(store)
        return door


def _after_fork_in_child() -> None:
    _DOORS_LOCK[0] = threading.Lock()  # another thread may have been at it
    for door in tuple(_DOORS.values()):
        door.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
