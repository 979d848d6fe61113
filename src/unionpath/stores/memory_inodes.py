"""
What an in-memory store is made of: inodes, the volume that they are on, and the telling of changes.

One lock guards all inodes of a store. Readers hold it while they look; writers work inside a `Change`,
which holds the lock until the new state is complete and tells the watches after it has let go, so a
listener may ask the store.
"""

from __future__ import annotations

import errno
import os
import time
import weakref
from collections.abc import Iterable
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from unionpath.model.entry import Kind, Stat, make_stat
from unionpath.model.store import Listener
from unionpath.model.writable import Move
from unionpath.stores.memory_locks import LockTable

if TYPE_CHECKING:
    from unionpath.stores.memory import MemoryStore


InodeFields: TypeAlias = tuple[int, int, int, int, int]
"""What an inode is made from: ino, permissions, uid, gid, and the time in nanoseconds."""
Name: TypeAlias = "tuple[DirectoryInode, str]"
"""One name of an object, and the directory that it is in."""


class Inode:
    """One object; its names are in directories. `xattrs` is None while there are none, to stay small."""

    __slots__ = (
        "atime_ns",
        "ctime_ns",
        "gid",
        "ino",
        "mtime_ns",
        "nlink",
        "permissions",
        "uid",
        "xattrs",
    )
    kind: Kind

    def __init__(self, ino: int, permissions: int, uid: int, gid: int, now: int) -> None:
        self.ino = ino
        self.permissions = permissions & 0o7777
        self.uid = uid
        self.gid = gid
        self.nlink = 1
        self.atime_ns = self.mtime_ns = self.ctime_ns = now
        self.xattrs: dict[str, bytes] | None = None

    @property
    def size(self) -> int:
        """Its st_size, in bytes."""
        return 0

    @property
    def rdev(self) -> int:
        """The device that it stands for."""
        return 0

    def status(self, device: int) -> Stat:
        """Make its `Stat`."""
        return make_stat(
            self.kind,
            permissions=self.permissions,
            size=self.size,
            ino=self.ino,
            dev=device,
            nlink=self.nlink,
            uid=self.uid,
            gid=self.gid,
            atime_ns=self.atime_ns,
            mtime_ns=self.mtime_ns,
            ctime_ns=self.ctime_ns,
            rdev=self.rdev,
        )


class FileInode(Inode):
    """A regular file. The data is `bytes` until the first write, so that reading all of it copies nothing."""

    __slots__ = ("data",)
    kind = Kind.FILE
    data: bytes | bytearray

    @property
    def size(self) -> int:
        """Length of the data."""
        return len(self.data)

    def changeable(self) -> bytearray:
        """Give the data for changing in place."""
        if isinstance(self.data, bytes):
            self.data = bytearray(self.data)
        return self.data


class DirectoryInode(Inode):
    """A directory; `parent` is None for the root. With nlink 0 it is removed and takes no new names."""

    __slots__ = ("children", "parent", "watches")
    kind = Kind.DIRECTORY

    def __init__(self, ino: int, permissions: int, uid: int, gid: int, now: int) -> None:
        super().__init__(ino, permissions, uid, gid, now)
        self.nlink = 2
        self.children: dict[str, Inode] = {}
        self.parent: DirectoryInode | None = None
        self.watches: tuple[MemoryWatch, ...] = ()

    def replace(self, name: str, inode: Inode) -> None:
        """Let a name show another object, which comes from elsewhere; counts the links of this directory."""
        self.nlink -= isinstance(self.children[name], DirectoryInode)
        self.children[name] = inode
        if isinstance(inode, DirectoryInode):
            inode.parent = self
            self.nlink += 1

    def is_within(self, other: DirectoryInode) -> bool:
        """Tell whether it is `other` or anywhere below it."""
        at: DirectoryInode | None = self
        while at is not None and at is not other:
            at = at.parent
        return at is other


class SymlinkInode(Inode):
    """A symbolic link."""

    __slots__ = ("target",)
    kind = Kind.SYMLINK
    target: str

    @property
    def size(self) -> int:
        """Length of the target, in bytes."""
        return len(self.target.encode("utf-8", "surrogateescape"))


class SpecialInode(Inode):
    """A FIFO, socket or device node: something to be shown, nothing that works."""

    __slots__ = ("device", "kind")
    device: int

    @property
    def rdev(self) -> int:
        """The device of a device node, 0 for the others."""
        return self.device


def make_node(kind: Kind, fields: InodeFields, rdev: int) -> FileInode | SpecialInode:
    """Make what mknod(2) makes: an empty file, FIFO, socket or device node."""
    if kind is Kind.FILE:
        file = FileInode(*fields)
        file.data = b""
        return file
    special = SpecialInode(*fields)
    special.kind = kind
    special.device = rdev if kind in (Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE) else 0
    return special


def rename_problem(
    source: DirectoryInode, inode: Inode, target: DirectoryInode, other: Inode | None, how: Move
) -> int:
    """
    Give the errno that forbids moving `inode` from `source` to where `other` is in `target`, or 0 (R2).

    In the order in which the kernel asks (fs/namei.c, do_renameat2, then vfs_rename).
    """
    if how is Move.EXCLUSIVE and other is not None:
        return errno.EEXIST
    if how is Move.EXCHANGE and other is None:
        return errno.ENOENT
    if isinstance(inode, DirectoryInode) and target.is_within(inode):
        return errno.EINVAL
    # "target should not be an ancestor of source"
    if isinstance(other, DirectoryInode) and source.is_within(other):
        return errno.EINVAL if how is Move.EXCHANGE else errno.ENOTEMPTY
    if other is None or other is inode or how is Move.EXCHANGE:
        return 0
    return _replacing_problem(inode, other)


def _replacing_problem(inode: Inode, other: Inode) -> int:
    if isinstance(inode, DirectoryInode):
        if not isinstance(other, DirectoryInode):
            return errno.ENOTDIR
        return errno.ENOTEMPTY if other.children else 0
    return errno.EISDIR if isinstance(other, DirectoryInode) else 0


class MemoryWatch:
    """A listener on one directory."""

    __slots__ = ("contents", "directory", "listener", "volume")

    def __init__(self, volume: Volume, directory: DirectoryInode, listener: Listener, contents: bool) -> None:
        self.volume = volume
        self.directory = directory
        self.listener: Listener | None = listener
        self.contents = contents

    def tell(self, name: str | None, *, only_attributes: bool) -> None:
        """Tell the listener, unless the watch was closed."""
        if (listener := self.listener) is not None:
            if only_attributes:
                listener.altered(name)
            else:
                listener.changed(name)

    def close(self) -> None:
        """Stop."""
        self.listener = None
        self.volume.forget(self)


class Volume:
    """What all handles of a store and its neighbours share: lock, device number, who watches."""

    __slots__ = ("__weakref__", "device", "hard_links", "last_ino", "lock", "locks", "neighbours", "watched")

    def __init__(self, device: int) -> None:
        self.lock = RLock()
        self.device: Final = device
        self.last_ino = 0
        self.hard_links: dict[Inode, set[Name]] = {}
        """All names of each object that has or once had several, so that a change finds them at once."""
        self.watched: set[DirectoryInode] = set()
        self.locks: Final = LockTable()
        """The locks that users take on objects; `lock` guards the inodes."""
        self.neighbours: dict[str, MemoryStore] = {}
        """The trees beside the first one, by name."""
        _VOLUMES.add(self)

    def next_ino(self) -> int:
        """Give a fresh inode number; the lock is held."""
        self.last_ino += 1
        return self.last_ino

    def watch(self, directory: DirectoryInode, listener: Listener, contents: bool) -> MemoryWatch:
        """Add a listener."""
        with self.lock:
            watch = MemoryWatch(self, directory, listener, contents)
            directory.watches += (watch,)
            self.watched.add(directory)
        return watch

    def forget(self, watch: MemoryWatch) -> None:
        """Drop a listener; dropping it twice is harmless."""
        directory = watch.directory
        with self.lock:
            directory.watches = tuple(other for other in directory.watches if other is not watch)
            if not directory.watches:
                self.watched.discard(directory)

    def linked(self, inode: Inode, old: Name, new: Name) -> None:
        """An object got a further name; `old` is one that it had."""
        self.hard_links.setdefault(inode, {old}).add(new)

    def moved(self, inode: Inode, old: Name, new: Name) -> None:
        """A name was moved."""
        if (names := self.hard_links.get(inode)) is not None:
            names.discard(old)
            names.add(new)

    def unlinked(self, inode: Inode, old: Name) -> None:
        """A name was taken away."""
        if (names := self.hard_links.get(inode)) is not None:
            names.discard(old)
            if not names:
                del self.hard_links[inode]

    def names_of(self, inode: Inode, directory: DirectoryInode, name: str) -> Iterable[Name]:
        """
        Name an object wherever it must be told of; `directory` and `name` are where it was met.

        A hard link has names elsewhere too. So has a file that was renamed while it was open: only writing
        to it comes here, so only directories whose watches ask for contents are searched.
        """
        if (names := self.hard_links.get(inode)) is not None:
            return names
        if directory.children.get(name) is inode:
            return ((directory, name),)
        if not inode.nlink:
            return ()
        searched = [at for at in self.watched if any(watch.contents for watch in at.watches)]
        return [(at, other) for at in searched for other, child in at.children.items() if child is inode]


_VOLUMES: Final[weakref.WeakSet[Volume]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A thread that held a lock is not there any more to let it go.
    for volume in tuple(_VOLUMES):
        volume.lock = RLock()
        volume.locks.free_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Change:
    """A change of the store: holds the lock inside `with`, tells the watches at its end."""

    __slots__ = ("_lock", "_tell", "_volume", "now")

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        # Kept, for the volume gets another one if this thread forks in the middle (in a signal handler).
        self._lock = volume.lock
        self._tell: list[_News] = []
        self.now = 0
        """The time of the change, in nanoseconds since the epoch."""

    def __enter__(self) -> Self:
        self._lock.acquire()
        self.now = time.time_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
        if self._tell:
            _tell_all(self._tell)

    def names(self, directory: DirectoryInode, *names: str) -> None:
        """Names in the directory came or went: its times change, and its watches are told."""
        directory.mtime_ns = directory.ctime_ns = self.now
        self._tell.extend((watch, name, False) for watch in directory.watches for name in names)

    def itself(self, directory: DirectoryInode) -> None:
        """The directory itself was moved or removed."""
        self._tell.extend((watch, None, False) for watch in directory.watches)

    def attributes(self, inode: Inode, directory: DirectoryInode | None, name: str | None) -> None:
        """An object got other attributes; `directory` and `name` are where it was met, None if nowhere."""
        inode.ctime_ns = self.now
        if isinstance(inode, DirectoryInode):
            self._tell.extend((watch, None, True) for watch in inode.watches)
        if directory is not None and name is not None:
            for at, other in self._volume.names_of(inode, directory, name):
                self._tell.extend((watch, other, True) for watch in at.watches)

    def content(self, inode: FileInode, directory: DirectoryInode, name: str) -> None:
        """A file was written to."""
        inode.mtime_ns = inode.ctime_ns = self.now
        for at, other in self._volume.names_of(inode, directory, name):
            self._tell.extend((watch, other, False) for watch in at.watches if watch.contents)


_News: TypeAlias = tuple[MemoryWatch, str | None, bool]
"""Whom to tell, of which name, and whether of its attributes only."""


def _tell_all(told: list[_News]) -> None:
    """Tell every watch, whatever the listeners raise; the first error is raised at the end."""
    first: BaseException | None = None
    for watch, name, only_attributes in told:
        try:
            watch.tell(name, only_attributes=only_attributes)
        except BaseException as error:  # noqa: BLE001 (raised below; a watch left out would show stale names)
            first = error if first is None else first
    if first is not None:
        raise first
