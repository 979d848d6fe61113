"""
The system calls of a local directory that change something, relative to its descriptor.

L11: no name is followed. What Python can only reach by path goes through `/proc/self/fd/N`, the kernel's
own reference to the very object behind a descriptor.
"""

from __future__ import annotations

import errno
import io
import os
import stat as _stat
import sys
from collections.abc import Mapping
from typing import BinaryIO, Final

from unionpath.model.entry import Kind
from unionpath.model.store import WHY_NOT_OPENED
from unionpath.model.writable import RawMode
from unionpath.stores import system_calls

_IS_LINUX: Final = sys.platform.startswith("linux")
_O_PATH: Final = getattr(os, "O_PATH", 0)
_O_NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)
_SAFELY: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_NEW: Final = os.O_CREAT | os.O_EXCL | _SAFELY
_UNNAMED: Final = os.O_WRONLY | getattr(os, "O_TMPFILE", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_UNNAMED: Final = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""
How file systems and kernels without O_TMPFILE refuse it (open(2)); EPERM is ext4's for a removed directory.
Making the file under its name then gives the answer that counts.
"""
_ACCESS: Final[Mapping[RawMode, int]] = {
    "wb": os.O_WRONLY,
    "xb": os.O_WRONLY,
    "ab": os.O_WRONLY | os.O_APPEND,
    "rb+": os.O_RDWR,
    "wb+": os.O_RDWR,
    "xb+": os.O_RDWR,
    "ab+": os.O_RDWR | os.O_APPEND,
}
_FORMATS: Final = {
    Kind.FILE: _stat.S_IFREG,
    Kind.FIFO: _stat.S_IFIFO,
    Kind.SOCKET: _stat.S_IFSOCK,
    Kind.CHAR_DEVICE: _stat.S_IFCHR,
    Kind.BLOCK_DEVICE: _stat.S_IFBLK,
}
_BUFFER: Final = 1 << 20


def check_new_name(name: str) -> None:
    """
    Refuse what is no name, before any system call takes it for a way.

    Raises:
        OSError (EINVAL).
    """
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "not a name")


# Making files.


def create(above: int, name: str, data: bytes, permissions: int, *, sync: bool) -> None:
    """
    Make a regular file with its whole content.

    It gets its name when it is complete; only a file system without O_TMPFILE shows it while it grows.
    """
    check_new_name(name)
    if not data and _IS_LINUX:
        os.mknod(name, _stat.S_IFREG | permissions, dir_fd=above)
        return
    fd = _open_unnamed(above, permissions)
    if fd is None:
        _create_in_place(above, name, data, permissions, sync=sync)
        return
    try:
        _write_all(fd, data)
        if sync:
            os.fsync(fd)
        _give_name(fd, above, name)
        return
    except FileNotFoundError:  # no /proc, or this directory was removed: the other way tells
        pass
    finally:
        os.close(fd)
    _create_in_place(above, name, data, permissions, sync=sync)


def _open_unnamed(above: int, permissions: int) -> int | None:
    """Open a new file that has no name, and is gone if it gets none; None where there is no such thing."""
    if not _IS_LINUX:
        return None
    try:
        return os.open(".", _UNNAMED, permissions, dir_fd=above)
    except OSError as error:
        if error.errno in _NO_UNNAMED:
            return None
        raise


def _give_name(fd: int, above: int, name: str) -> None:
    # Only with both descriptors given does Python call linkat(2), which follows the reference if told to.
    os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=above, dst_dir_fd=above, follow_symlinks=True)


def _create_in_place(above: int, name: str, data: bytes, permissions: int, *, sync: bool) -> None:
    fd = os.open(name, _NEW | os.O_WRONLY, permissions, dir_fd=above)
    try:
        _write_all(fd, data)
        if sync:
            os.fsync(fd)
    except BaseException:
        _take_back(fd, above, name)
        raise
    finally:
        os.close(fd)


def _take_back(fd: int, above: int, name: str) -> None:
    """Remove a file that was just made, if it still has its name."""
    try:
        if os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=above, follow_symlinks=False)):
            os.unlink(name, dir_fd=above)
    except OSError:
        pass


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    if written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]


def put(above: int, name: str, source: BinaryIO | io.RawIOBase, permissions: int, *, sync: bool) -> None:
    """Make or replace a regular file with all that `source` reads; published by one rename."""
    check_new_name(name)
    # Where markers are names, this one is private, and shown to nobody (M2).
    temporary = f".wh..wh.put.{os.urandom(8).hex()}"
    fd = _open_unnamed(above, permissions) if os.path.isdir("/proc/self/fd") else None
    is_named = fd is None
    if fd is None:
        fd = os.open(temporary, _NEW | os.O_WRONLY, permissions, dir_fd=above)
    try:
        _write_stream(fd, source)
        if sync:
            os.fsync(fd)
        if not is_named:
            _give_name(fd, above, temporary)
            is_named = True
        os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
    except BaseException:
        if is_named:
            _take_back(fd, above, temporary)
        raise
    finally:
        os.close(fd)


def _write_stream(fd: int, source: BinaryIO | io.RawIOBase) -> None:
    while data := source.read(_BUFFER):
        _write_all(fd, data)
    if data is None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


# Opening files.


def open_new(above: int, name: str, mode: RawMode, permissions: int) -> io.FileIO:
    """Make an empty file and open it."""
    check_new_name(name)
    return io.FileIO(os.open(name, _NEW | _ACCESS[mode], permissions, dir_fd=above), mode)


def open_writable(above: int, name: str, mode: RawMode, *, truncate: bool) -> io.FileIO:
    """
    Open a file that is there.

    Raises:
        OSError (ELOOP), (EISDIR), (ENXIO), (EACCES): it is something else.
    """
    # O_NONBLOCK: a FIFO without a reader must not hold the caller for ever (C7).
    fd = open_patiently(above, name, _ACCESS[mode] | _SAFELY | _O_NONBLOCK)
    try:
        found = os.fstat(fd).st_mode
        if _stat.S_ISREG(found):
            if truncate:
                os.ftruncate(fd, 0)
        elif not _stat.S_ISFIFO(found) or "+" in mode:
            number = WHY_NOT_OPENED[_kind_refused(found)]
            raise OSError(number, os.strerror(number))
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    # Not in the `try`: an interrupt must not close what the file has taken over.
    return io.FileIO(fd, mode)


def _kind_refused(mode: int) -> Kind:
    return next(kind for kind, form in _FORMATS.items() if form == _stat.S_IFMT(mode))


def open_patiently(above: int, name: str, flags: int) -> int:
    """
    Open a file with O_NONBLOCK in `flags`; wait if another process's lease on a regular file wants it.

    The kernel breaks a lease after `/proc/sys/fs/lease-break-time` seconds at most (fcntl(2)).
    """
    try:
        return os.open(name, flags, dir_fd=above)
    except BlockingIOError:
        if not _O_PATH:
            raise
        found = os.open(name, _O_PATH | _SAFELY, dir_fd=above)
        try:
            if not _stat.S_ISREG(os.fstat(found).st_mode):
                raise
            waiting = flags & ~(_O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
            return os.open(f"/proc/self/fd/{found}", waiting)
        finally:
            os.close(found)


# Making other things.


def mknod(above: int, name: str, kind: Kind, permissions: int, rdev: int) -> None:
    """
    Make a FIFO, a socket, a device node or an empty file.

    Raises:
        OSError (EINVAL): a directory or symbolic link.
    """
    check_new_name(name)
    if kind not in _FORMATS:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    os.mknod(name, _FORMATS[kind] | permissions, rdev, dir_fd=above)


# Changing metadata. `name` None: of the directory itself, whose descriptor may be one of O_PATH, good for
# nothing but to reach it by.


def chmod(above: int, name: str | None, permissions: int) -> None:
    """Set permission bits; EOPNOTSUPP for a link, except where links have some."""
    if name is None:
        try:
            os.fchmod(above, permissions)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            os.chmod(_itself(above), permissions)
    elif os.chmod in os.supports_follow_symlinks:
        os.chmod(name, permissions, dir_fd=above, follow_symlinks=False)
    elif not system_calls.chmod(above, name, permissions):
        _chmod_by_reference(above, name, permissions)


def _chmod_by_reference(above: int, name: str, permissions: int) -> None:
    fd = os.open(name, _O_PATH | _SAFELY, dir_fd=above)
    try:
        if _stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        os.chmod(_itself(fd), permissions)
    finally:
        os.close(fd)


def chown(above: int, name: str | None, uid: int, gid: int) -> None:
    """Set owner and group; -1 keeps."""
    if name is not None:
        os.chown(name, uid, gid, dir_fd=above, follow_symlinks=False)
        return
    try:
        os.fchown(above, uid, gid)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        os.chown(_itself(above), uid, gid)


def utime(above: int, name: str | None, ns: tuple[int, int] | None) -> None:
    """Set the times; None: now."""
    if name is None:
        _utime_itself(above, ns)
    elif ns is None:
        os.utime(name, dir_fd=above, follow_symlinks=False)
    else:
        os.utime(name, ns=ns, dir_fd=above, follow_symlinks=False)


def _utime_itself(above: int, ns: tuple[int, int] | None) -> None:
    which: int | str = above
    for _attempt in range(2):
        try:
            if ns is None:
                os.utime(which)
            else:
                os.utime(which, ns=ns)
            return
        except OSError as error:
            if error.errno != errno.EBADF or which != above:
                raise
        which = _itself(above)


def setxattr(above: int, name: str | None, attribute: str, value: bytes) -> None:
    """Set one extended attribute."""
    os.setxattr(_itself(above, name), attribute, value, follow_symlinks=name is None)


def removexattr(above: int, name: str | None, attribute: str) -> None:
    """Remove one extended attribute."""
    os.removexattr(_itself(above, name), attribute, follow_symlinks=name is None)


def _itself(fd: int, name: str | None = None) -> str:
    return f"/proc/self/fd/{fd}" if name is None else f"/proc/self/fd/{fd}/{name}"


# Durability, and locks.


def sync(above: int, name: str | None) -> None:
    """
    Bring a file, or the names of a directory, to the disk.

    What can't be opened (a link, a FIFO, a device) is in its inode and its directory, which are synced.
    """
    if name is not None:
        mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
        name = name if _stat.S_ISREG(mode) or _stat.S_ISDIR(mode) else None
    try:
        fd = os.open(name or ".", os.O_RDONLY | _SAFELY | _O_NONBLOCK, dir_fd=above)
    except PermissionError:
        if name is None:
            raise
        fd = os.open(name, os.O_WRONLY | _SAFELY | _O_NONBLOCK, dir_fd=above)
    try:
        os.fsync(fd)
    except OSError as error:
        # EINVAL: a file system that has nothing to sync for such an object (fsync(2)).
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(fd)


def open_for_lock(above: int, name: str) -> int:
    """Open what is to be locked; for writing too where that can be, because NFS asks for it (flock(2))."""
    try:
        return os.open(name, os.O_RDWR | _SAFELY | _O_NONBLOCK, dir_fd=above)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ETXTBSY):
            raise
    return os.open(name, os.O_RDONLY | _SAFELY | _O_NONBLOCK, dir_fd=above)
