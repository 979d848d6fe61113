"""Advisory locks on files and directories of this machine, by flock(2)."""

from __future__ import annotations

import errno
import os
import sys
import weakref
from collections.abc import Callable
from typing import Final

if sys.platform != "win32":
    import fcntl


class FileLock:
    """
    A lock on what a function opens.

    flock(2) belongs to an open file description. Each lock has one of its own, so it also keeps out the
    other locks of this process. The child of a fork shares its parent's descriptions: what it inherits is
    closed there at once, so that a lock is free when the process that took it has died; asked for again in
    the child, it is opened anew.
    """

    __slots__ = ("__weakref__", "_fd", "_open")

    def __init__(self, open_: Callable[[], int]) -> None:
        self._open = open_
        self._fd = open_()
        _LOCKS.add(self)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.close()

    def acquire(self, *, wait: bool = True) -> bool:
        """
        Take it; a wait goes on after signals whose handlers return.

        Raises:
            OSError (ENOLCK): the system is out of locks; else as the opening, where it was closed before.
        """
        if self._fd < 0:
            self._fd = self._open()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not wait and error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def release(self) -> None:
        """Give it back; nothing happens if it isn't held."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the descriptor, which gives the lock back unless it is a fork's copy."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


_LOCKS: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in tuple(_LOCKS):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
