"""
Changes of local directories, as Linux's inotify reports them; one instance for the whole process.

inotify(7): an event is queued before the system call that caused it returns. So whoever polls the queue
*after* a change was complete finds its event there, and nothing that happened earlier on this machine is
ever missed. The price of asking is one `epoll_wait` that doesn't wait.

The instance is shared by all stacks, because a user may have 128 instances only
(`fs.inotify.max_user_instances`); the kernel gives one watch per inode and instance, so layers shared
between stacks share their watches too.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
import threading
from collections import deque
from typing import Final

from unionpath.model.store import Listener

IN_MODIFY: Final = 0x002
IN_ATTRIB: Final = 0x004
IN_MOVED_FROM: Final = 0x040
IN_MOVED_TO: Final = 0x080
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_UNMOUNT: Final = 0x2000
IN_Q_OVERFLOW: Final = 0x4000
IN_ISDIR: Final = 0x40000000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x0100_0000
IN_MASK_ADD: Final = 0x2000_0000

_NAMES: Final = (
    IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF
)
_EVENT: Final = struct.Struct("iIII")
_READ_SIZE: Final = 1 << 16

# Magic numbers of statfs(2) for file systems whose every change is made by this machine's kernel. Others
# (NFS, SMB, 9p, FUSE, proc …) change without an event.
_LOCAL_TYPES: Final = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0x01021994,  # tmpfs
        0x858458F6,  # ramfs
        0xF2F52010,  # f2fs
        0x2FC12FC1,  # zfs
        0xCA451A4E,  # bcachefs
        0x794C7630,  # overlayfs
        0x73717368,  # squashfs
        0xE0F5E1E2,  # erofs
        0x9660,  # iso9660
        0x15013346,  # udf
        0x52654973,  # reiserfs
        0x3153464A,  # jfs
        0x4D44,  # vfat
        0x2011BAB0,  # exfat
        0x7366746E,  # ntfs3
    }
)


_EVENT_MAX: Final = _EVENT.size + 256
"""Bytes in the longest event, that of a name of NAME_MAX (inotify(7))."""


class Inotify:
    """The process's inotify instance: watches by directory descriptor, events to listeners."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._lock = threading.RLock()
        self._watches: dict[int, list[InotifyWatch]] = {}
        # Watches to be taken out at the next occasion. Closing one never takes the lock: whoever closes
        # may hold a lock that a listener, called under this one, is waiting for.
        self._closed: deque[InotifyWatch] = deque()
        self._limit = _watch_limit()
        # True while events are read and handed on: a thread that finds the queue empty must not go on
        # before the thread that emptied it has delivered (see `poll`).
        self._busy = False
        # True while events that were taken off the queue may not have reached their listeners: an
        # exception (a signal's, say) in the middle of them leaves it so, and everybody is told.
        self._undelivered = False
        self._fd = self._open()
        try:
            self._wait = self._make_wait()
        except OSError:
            os.close(self._fd)
            raise

    def _open(self) -> int:
        fd: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return fd

    def _make_wait(self) -> select.epoll:
        epoll = select.epoll()
        epoll.register(self._fd, select.EPOLLIN)
        return epoll

    def poll(self) -> None:
        """Deliver every event queued so far. Costs one system call when there is none."""
        if self._wait.poll(0, 1) or self._busy:
            self._deliver()

    def watch(self, fd: int, listener: Listener, contents: bool) -> InotifyWatch | None:
        """Watch the directory behind a descriptor; None where that can't be had or is not to be trusted."""
        if not self._is_local(fd):
            return None
        mask = _NAMES | IN_ONLYDIR | IN_MASK_ADD | (IN_MODIFY if contents else 0)
        with self._lock:
            self._forget_closed()
            if len(self._watches) >= self._limit:
                return None
            wd: int = self._libc.inotify_add_watch(self._fd, b"/proc/self/fd/%d" % fd, mask)
            if wd < 0:
                return None
            watch = InotifyWatch(self, wd, listener)
            self._watches.setdefault(wd, []).append(watch)
            return watch

    def forget(self, watch: InotifyWatch) -> None:
        """Take one watch out soon, and the kernel's with the last one of its directory."""
        self._closed.append(watch)

    def flush(self) -> None:
        """Give the kernel its watches back that were closed."""
        with self._lock:
            self._forget_closed()

    def _forget_closed(self) -> None:
        # A signal handler may come here in the middle of this, on the same thread.
        while self._closed:
            try:
                watch = self._closed.popleft()
                others = self._watches.get(watch.wd, [])
                others.remove(watch)
            except (IndexError, ValueError):  # taken out already
                continue
            if not others and self._watches.pop(watch.wd, None) is not None:
                self._libc.inotify_rm_watch(self._fd, watch.wd)

    def close(self) -> None:
        """Give the descriptors back (after a fork, when a new instance takes over)."""
        self._watches.clear()
        self._wait.close()
        os.close(self._fd)

    def _is_local(self, fd: int) -> bool:
        # Asked each time: a device number may be another file system's after an unmount.
        # struct statfs begins with f_type, a word of the machine's size; the rest needs some 120 bytes.
        buffer = (ctypes.c_ulong * 64)()
        found = self._libc.fstatfs(fd, ctypes.byref(buffer)) == 0
        return found and int(buffer[0]) & 0xFFFF_FFFF in _LOCAL_TYPES

    def _deliver(self) -> None:
        with self._lock:
            outer, self._busy = self._busy, True
            try:
                if self._undelivered:
                    self._tell_all()
                self._forget_closed()
                self._undelivered = True
                while data := self._read():
                    self._dispatch(data)
                    if len(data) < _READ_SIZE - _EVENT_MAX:
                        break  # one more event would have fitted, so there was none
                self._undelivered = False
            finally:
                # Stays up if anything is undelivered, so that the next poll comes here again.
                self._busy = outer or self._undelivered

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return b""

    def _dispatch(self, data: bytes) -> None:
        offset = 0
        while offset < len(data):
            wd, mask, _cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            raw = data[offset : offset + length].rstrip(b"\0")
            offset += length
            if mask & IN_Q_OVERFLOW:
                self._tell_all()
            else:
                self._tell(wd, mask, os.fsdecode(raw) if raw else None)

    def _tell(self, wd: int, mask: int, name: str | None) -> None:
        gone = mask & (IN_IGNORED | IN_UNMOUNT)
        watches = self._watches.pop(wd, []) if gone else self._watches.get(wd, [])
        only_attributes = mask & IN_ATTRIB and not mask & ~(IN_ATTRIB | IN_ISDIR)
        for watch in tuple(watches):
            if only_attributes:
                watch.listener.altered(name)
            else:
                watch.listener.changed(name)

    def _tell_all(self) -> None:
        for watches in tuple(self._watches.values()):
            for watch in tuple(watches):
                watch.listener.changed(None)


class _Nobody:
    """Listens for closed watches."""

    def changed(self, name: str | None) -> None:
        """Do nothing."""

    def altered(self, name: str | None) -> None:
        """Do nothing."""


_NOBODY: Final[Listener] = _Nobody()


class InotifyWatch:
    """One listener's watch of one directory."""

    __slots__ = ("_owner", "listener", "wd")

    def __init__(self, owner: Inotify, wd: int, listener: Listener) -> None:
        self._owner = owner
        self.wd = wd
        self.listener: Listener = listener

    def close(self) -> None:
        """Stop watching."""
        if self.listener is not _NOBODY:
            self.listener = _NOBODY
            self._owner.forget(self)


_instance: Inotify | None = None
_instance_lock = threading.Lock()
_unavailable = not sys.platform.startswith("linux")


def shared_inotify() -> Inotify | None:
    """Give the process's instance, made at the first call; None where there is no inotify to be had."""
    global _instance, _unavailable
    if _instance is not None or _unavailable:
        return _instance
    with _instance_lock:
        if _instance is None:
            # Without an instance layers are asked every time, which is slower and just as right.
            try:
                _instance = Inotify()
            except OSError:
                return None  # none left for this user or this process just now (EMFILE)
            except AttributeError:
                _unavailable = True  # a C library without inotify
        return _instance


def poll_shared() -> None:
    """Deliver what the process's instance holds; nothing to do if there is none."""
    instance = _instance
    if instance is not None:
        instance.poll()


def flush_shared() -> None:
    """Give closed watches of the process's instance back to the kernel."""
    instance = _instance
    if instance is not None:
        instance.flush()


def _watch_limit() -> int:
    """Half of what the kernel lets this user watch in all processes together: the other half is theirs."""
    try:
        with open("/proc/sys/fs/inotify/max_user_watches", "rb") as file:
            return int(file.read()) // 2
    except (OSError, ValueError):
        return 4096


def _after_fork_in_child() -> None:
    # The child shares the parent's queue: reading it would steal the parent's events. Indexes drop all
    # they hold in the child as well (resolve/index.py), so no listener has to be told.
    global _instance, _instance_lock
    _instance_lock = threading.Lock()
    old, _instance = _instance, None
    if old is not None:
        old.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
