"""What one object in a layer is: its kind and its stat value."""

from __future__ import annotations

import stat as _stat
from enum import IntEnum
from os import stat_result
from typing import Final, TypeAlias

Stat: TypeAlias = stat_result
"""
The metadata of one object, as `os.lstat` gives it: immutable, sizes in bytes, times in integer
nanoseconds since the epoch in the `_ns` fields. It is the type that `pathlib.Path.stat` returns, so
a local layer's answer reaches the caller as the kernel gave it; other stores make one with `make_stat`.
"""


class Kind(IntEnum):
    """
    What an object is. The values are small and stable: an index packs one beside a layer number.
    """

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    FIFO = 3
    SOCKET = 4
    CHAR_DEVICE = 5
    BLOCK_DEVICE = 6


KINDS: Final = tuple(range(len(Kind)))
"""Tags for `Directory.scan` that are the kinds themselves."""
KIND_BITS: Final = 3
"""How many bits hold any `Kind`."""
KIND_MASK: Final = (1 << KIND_BITS) - 1
"""`code & KIND_MASK` is the `Kind` where one is packed below something else."""

KIND_WORDS: Final = {
    Kind.FILE: "file",
    Kind.DIRECTORY: "directory",
    Kind.SYMLINK: "symbolic link",
    Kind.FIFO: "FIFO",
    Kind.SOCKET: "socket",
    Kind.CHAR_DEVICE: "character device",
    Kind.BLOCK_DEVICE: "block device",
}
"""What people call them."""

_FORMAT_OF: Final = {
    Kind.FILE: _stat.S_IFREG,
    Kind.DIRECTORY: _stat.S_IFDIR,
    Kind.SYMLINK: _stat.S_IFLNK,
    Kind.FIFO: _stat.S_IFIFO,
    Kind.SOCKET: _stat.S_IFSOCK,
    Kind.CHAR_DEVICE: _stat.S_IFCHR,
    Kind.BLOCK_DEVICE: _stat.S_IFBLK,
}
_KIND_OF: Final = {fmt: kind for kind, fmt in _FORMAT_OF.items()}


def kind_of(mode: int) -> Kind:
    """
    Tell the kind from a full `st_mode`.

    Raises:
        ValueError: the file type bits are none that Linux knows (a broken archive or remote store).
    """
    try:
        return _KIND_OF[_stat.S_IFMT(mode)]
    except KeyError:
        raise ValueError(f"st_mode {mode:#o} has no known file type") from None


def make_stat(
    kind: Kind,
    *,
    permissions: int,
    size: int = 0,
    ino: int = 0,
    dev: int = 0,
    nlink: int = 1,
    uid: int = 0,
    gid: int = 0,
    atime_ns: int = 0,
    mtime_ns: int = 0,
    ctime_ns: int = 0,
    rdev: int = 0,
) -> Stat:
    """
    Make a `Stat` for a store that is not an operating system's.

    `permissions` are the permission, setuid, setgid and sticky bits only; `size` is in bytes.
    """
    fixed = (
        _FORMAT_OF[kind] | _stat.S_IMODE(permissions),
        ino,
        dev,
        nlink,
        uid,
        gid,
        size,
        atime_ns // 1_000_000_000,
        mtime_ns // 1_000_000_000,
        ctime_ns // 1_000_000_000,
    )
    more = {
        "st_atime": atime_ns / 1e9,
        "st_mtime": mtime_ns / 1e9,
        "st_ctime": ctime_ns / 1e9,
        "st_atime_ns": atime_ns,
        "st_mtime_ns": mtime_ns,
        "st_ctime_ns": ctime_ns,
        "st_blksize": 4096,
        "st_blocks": -(-size // 512),
        "st_rdev": rdev,
    }
    return stat_result(fixed, more)
