"""
System calls for which Python has no function: renaming with flags, and changing a mode without following.

Errors are `OSError` with errno and no file name: the caller knows the place.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import stat as _stat
import sys
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from unionpath.model.writable import Move

_IS_LINUX: Final = sys.platform.startswith("linux")
# <linux/fs.h>; <sys/stdio.h> of macOS, which knows no whiteouts.
_FLAGS: Final[Mapping[Move, int]] = (
    {Move.EXCLUSIVE: 1, Move.EXCHANGE: 2, Move.WHITEOUT: 4}
    if _IS_LINUX
    else {Move.EXCLUSIVE: 4, Move.EXCHANGE: 2}
)
_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}
"""Numbers of renameat2(2), for C libraries that have no function for it (musl before 1.2.6)."""
_FCHMODAT2: Final = 452
"""The number of fchmodat2(2) on every architecture; since Linux 6.6."""
_AT_SYMLINK_NOFOLLOW: Final = 0x100

_Rename: TypeAlias = Callable[[int, bytes, int, bytes, int], int]
_Chmod: TypeAlias = Callable[[int, bytes, int], int]


def rename(source: int, name: str, target: int, target_name: str, how: Move) -> None:
    """
    Move a name of one directory to a name of another, both given by descriptor, with a flag.

    Raises:
        OSError (EOPNOTSUPP): the system or the file system can't; else as renameat2(2).
    """
    call, flag = _renaming(), _FLAGS.get(how)
    if call is None or flag is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    if call(source, os.fsencode(name), target, os.fsencode(target_name), flag) == 0:
        return
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.ENOTSUP) or (
        number == errno.EINVAL and not _is_circle(source, name, target, target_name, how)
    ):
        number = errno.EOPNOTSUPP
    raise OSError(number, os.strerror(number))


def chmod(above: int, name: str, permissions: int) -> bool:
    """
    Set the permission bits of what has a name now, which is not followed; False where the call isn't there.

    Raises:
        OSError (EOPNOTSUPP): a symbolic link; else as fchmodat2(2).
    """
    call = _changing()
    if call is None:
        return False
    if call(above, os.fsencode(name), permissions) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EPERM):  # EPERM: also a sandbox's answer to calls that it doesn't know
        return False
    raise OSError(number, os.strerror(number))


def _is_circle(source: int, name: str, target: int, target_name: str, how: Move) -> bool:
    """
    Tell if EINVAL means that a directory was to go into its own subtree.

    The kernel has the same errno for a flag that the file system doesn't know.
    """
    return _is_within(target, source, name) or (
        how is Move.EXCHANGE and _is_within(source, target, target_name)
    )


def _is_within(fd: int, above: int, name: str) -> bool:
    """Tell if a directory is, or is somewhere in, the directory `name` of another one."""
    try:
        outer = os.stat(name, dir_fd=above, follow_symlinks=False)
        return _stat.S_ISDIR(outer.st_mode) and any(os.path.samestat(outer, each) for each in _ancestry(fd))
    except OSError:
        return False


def _ancestry(fd: int) -> list[os.stat_result]:
    """Stat a directory, and those above it up to the root of all."""
    found = [os.fstat(fd)]
    step = fd
    try:
        while True:
            parent = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=step)
            if step != fd:
                os.close(step)
            step = parent
            found.append(os.fstat(step))
            if os.path.samestat(*found[-2:]):
                return found
    finally:
        if step != fd:
            os.close(step)


@functools.cache
def _renaming() -> _Rename | None:
    libc = _libc()
    named: _Rename | None = getattr(libc, "renameat2" if _IS_LINUX else "renameatx_np", None)
    if named is not None:
        named.argtypes = (  # type: ignore[attr-defined]  # what ctypes gives is no plain function
            ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
        )  # fmt: skip
        return named
    number = _RENAMEAT2.get(platform.machine()) if _IS_LINUX else None
    if number is None:
        return None
    call = _by_number(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

    def rename_(source: int, name: bytes, target: int, target_name: bytes, flags: int) -> int:
        return call(number, source, name, target, target_name, flags)

    return rename_


@functools.cache
def _changing() -> _Chmod | None:
    if not _IS_LINUX:
        return None
    call = _by_number(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint)
    # Asked once if it is there: with flags that no kernel knows, which is EINVAL, and changes nothing.
    if call(_FCHMODAT2, -1, b".", 0, 0xFFFF_0000) == -1 and ctypes.get_errno() != errno.EINVAL:
        return None
    return lambda above, name, permissions: call(_FCHMODAT2, above, name, permissions, _AT_SYMLINK_NOFOLLOW)


def _by_number(*types: type) -> Callable[..., int]:
    # Not the function that everybody gets: the argument types would be everybody's.
    return ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *types, use_errno=True)(("syscall", _libc()))


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
