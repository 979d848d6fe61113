"""The process's umask, for stores that are no operating system's and behave like one (C10)."""

from __future__ import annotations

import os
from threading import Lock
from typing import Final

_STATUS: Final = "/proc/self/status"
_FIELD: Final = b"\nUmask:"
_setting: Final = Lock()


def current_umask() -> int:
    """
    Give the umask as it is now; a few microseconds.

    There is no call that only asks. Linux tells it in `/proc` (since 4.7); elsewhere it is set and put back,
    and what another thread makes in between is private to its owner, never open to more than it should be.
    """
    told = _told()
    return _asked_by_setting() if told is None else told


def _told() -> int | None:
    try:
        fd = os.open(_STATUS, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    try:
        # The name, at most 15 bytes that may be escaped, comes before it.
        _, found, rest = os.read(fd, 256).partition(_FIELD)
    finally:
        os.close(fd)
    return int(rest.split(None, 1)[0], 8) if found else None


def _asked_by_setting() -> int:
    with _setting:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask
