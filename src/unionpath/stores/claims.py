"""
What all handles of this process know together about one place of a file system that has no locks or inodes.

Other processes know nothing of it: it orders threads, not machines.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from typing import Final, Protocol
from weakref import WeakSet, WeakValueDictionary


class OpenFile(Protocol):
    """A file that is open, and must stay what it is when its name is given to something else."""

    def detach(self) -> None:
        """Keep the content from now on without the name."""


class Claim:
    """One place; there is one object for it as long as anyone holds it."""

    __slots__ = ("__weakref__", "files", "guard", "lock")

    def __init__(self) -> None:
        self.guard: Final = threading.RLock()
        """Held while what the place holds is looked at and changed."""
        self.lock: Final = threading.Lock()
        """What `PlaceLock` takes: for as long as its caller likes."""
        self.files: Final[WeakSet[OpenFile]] = WeakSet()
        """Files that are open at this place."""

    def vacate(self) -> None:
        """Let all open files go on without the name; to be called before it is removed or given away."""
        for file in list(self.files):
            file.detach()
            self.files.discard(file)


_claims: WeakValueDictionary[tuple[Hashable, str], Claim] = WeakValueDictionary()
_guard = threading.Lock()


def claim(system: Hashable, path: str) -> Claim:
    """Give the claim on a path of a file system; the same one to all who ask while someone holds it."""
    with _guard:
        return _claims.setdefault((system, path), Claim())


def _forget() -> None:
    """Begin anew in the child of a fork: the locks it inherits are held by threads that it doesn't have."""
    global _guard  # noqa: PLW0603 (a process has one)
    _guard = threading.Lock()
    _claims.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class PlaceLock:
    """A lock on one place, between the threads of one process only. Fulfils `model.writable.Lock`."""

    def __init__(self, system: Hashable, path: str) -> None:
        self._key: Final = (system, path)
        self._held: Claim | None = None
        self._process = os.getpid()

    def acquire(self, *, wait: bool = True) -> bool:
        """Take it; False if `wait` is False and another thread or object has it."""
        found = claim(*self._key)
        if not found.lock.acquire(blocking=wait):
            return False
        self._held, self._process = found, os.getpid()
        return True

    def release(self) -> None:
        """Give it back."""
        held, self._held = self._held, None
        if held is not None and self._process == os.getpid():
            held.lock.release()

    def close(self) -> None:
        """Give it back if it is held; in the child of a fork, leave the parent's alone."""
        self.release()
