"""
Our own in-memory store: a POSIX directory tree without a file system.

Everything that a local file system holds is held: files, directories, symbolic links, hard links, FIFOs,
sockets and device nodes, permission bits, owners, times in nanoseconds, extended attributes. The process's
umask is taken off the permissions of new objects (C10). Permission bits are kept and shown but guard
nothing: whoever has the store may read and change it. Access times are kept as on a file system mounted
`noatime`: set on creation and by `utime`, never by reading.
"""

from __future__ import annotations

import errno
import os
import stat as _stat
from collections.abc import Hashable, Sequence
from io import RawIOBase
from typing import BinaryIO, Final, NoReturn

from unionpath.model.entry import Kind, Stat
from unionpath.model.errors import oserror
from unionpath.model.parts import Parts, check_text, encoded_length, show_parts
from unionpath.model.store import WHY_NOT_OPENED, Capability, Listener, Watch
from unionpath.model.writable import Move, RawMode, WritableDirectory
from unionpath.stores.memory_files import EmptyPipe, MemoryFile
from unionpath.stores.memory_inodes import (
    Change,
    DirectoryInode,
    FileInode,
    Inode,
    InodeFields,
    SymlinkInode,
    Volume,
    make_node,
    rename_problem,
)
from unionpath.stores.memory_locks import MemoryLock
from unionpath.stores.memory_state import MemoryState, dump, load
from unionpath.stores.numbers import new_device
from unionpath.stores.umask import current_umask

NAME_MAX: Final = 255
TARGET_MAX: Final = 4095
"""The most bytes that the target of a symbolic link may have (S2)."""
_CHUNK: Final = 1 << 20
"""How many bytes `put` asks its source for."""

_CAPABILITIES: Final = Capability.POSIX | Capability.XATTRS | Capability.WATCHABLE | Capability.WRITABLE


class MemoryStore:
    """
    A directory tree in memory, for reading and, through its `Directory` handles, for writing.

    A store is one live, changeable thing, so it doesn't pickle: two processes would believe they share it
    while they don't. Who knows that the tree never changes again (an immutable layer) may send the content
    on purpose: `MemoryStore.from_state(store.__getstate__())` gives an independent store with an equal tree.
    """

    def __init__(self, *, permissions: int = 0o755) -> None:
        """Make an empty store; `permissions` are those of its root directory, whatever the umask."""
        self._plant(Volume(new_device()), permissions, "")

    def _plant(self, volume: Volume, permissions: int, name: str) -> None:
        """Begin an empty tree; `name` is "" for the first one of the volume."""
        with Change(volume) as change:
            root = DirectoryInode(volume.next_ino(), permissions, *_owner(), change.now)
        self._volume = volume
        self._name = name
        self._root = MemoryDirectory(self, volume, root, ())

    @property
    def capabilities(self) -> Capability:
        """Everything a POSIX file system has, but descriptors."""
        return _CAPABILITIES

    @property
    def name_max(self) -> int:
        """255 bytes, as on most disks."""
        return NAME_MAX

    @property
    def notifier(self) -> None:
        """None: watches are told at once."""

    @property
    def real_path(self) -> None:
        """None: it is no local directory."""

    @property
    def identity(self) -> Hashable:
        """The store itself: no other one ever shows the same tree."""
        return self

    @property
    def place(self) -> str:
        """`memory:` and a number, for people; a neighbour's name follows in brackets."""
        return self._root.place()

    @property
    def label(self) -> str:
        """What its places begin with."""
        return f"memory:{self._volume.device & 0xFFFFFF}" + (f"[{self._name}]" if self._name else "")

    def close(self) -> None:
        """Nothing is held open."""

    def root(self) -> MemoryDirectory:
        """Give the root directory."""
        return self._root

    def home(self) -> MemoryDirectory:
        """Give the root directory."""
        return self._root

    def confirm(self) -> None:
        """The tree is where it was: in this object."""

    def neighbour(self, name: str, *, make: bool = True) -> MemoryStore | None:
        """
        Give the tree `name` beside this one, on the same volume; the same one for every tree that asks.

        None if there is none yet, and `make` is False.
        """
        with self._volume.lock:
            if (found := self._volume.neighbours.get(name)) is None and make:
                found = MemoryStore.__new__(MemoryStore)
                found._plant(self._volume, 0o700, name)
                self._volume.neighbours[name] = found
            return found

    def __repr__(self) -> str:
        return f"<MemoryStore {self.place}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a MemoryStore can't be pickled or copied: the copy would not see later changes; "
            "declare its layer immutable to send its content"
        )

    def __getstate__(self) -> MemoryState:
        """Give the whole tree as plain, picklable values; watches, open files, neighbours are left out."""
        with self._volume.lock:
            return dump(self._root.inode)

    def __setstate__(self, state: MemoryState) -> None:
        """Fill a store that was made without `__init__` from what `__getstate__` gave."""
        self._volume = Volume(new_device())
        self._name = ""
        self._volume.last_ino = max(row[0] for row in state)
        root, self._volume.hard_links = load(state)
        self._root = MemoryDirectory(self, self._volume, root, ())

    @classmethod
    def from_state(cls, state: MemoryState) -> MemoryStore:
        """Make an independent store with the content that `__getstate__` gave."""
        store = cls.__new__(cls)
        store.__setstate__(state)
        return store


class MemoryDirectory:
    """One directory of a `MemoryStore`. It stays with its inode, also when that is renamed or removed."""

    __slots__ = ("_store", "_volume", "inode", "parts")

    def __init__(self, store: MemoryStore, volume: Volume, inode: DirectoryInode, parts: Parts) -> None:
        self._store = store
        self._volume = volume
        self.inode: Final = inode
        self.parts: Final = parts

    def __repr__(self) -> str:
        return f"<MemoryDirectory {self.place()}>"

    # What `Directory` asks for.

    def place(self, name: str | None = None) -> str:
        """`memory:NUMBER` and the path, when the handle was made."""
        parts = self.parts if name is None else (*self.parts, name)
        return self._store.label + show_parts(parts)

    def status(self) -> Stat:
        """Stat the directory itself; st_nlink is 0 after its removal."""
        with self._volume.lock:
            return self.inode.status(self._volume.device)

    def stat(self, name: str) -> Stat:
        """As `Directory.stat`."""
        with self._volume.lock:
            return self._find(name).status(self._volume.device)

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        """As `Directory.scan`; in the order of creation."""
        with self._volume.lock:
            found = {name: tags[inode.kind] for name, inode in self.inode.children.items()}
            if len(tags) > 7 and tags[Kind.CHAR_DEVICE] in found.values():
                children = self.inode.children
                devices = [name for name, inode in children.items() if inode.kind is Kind.CHAR_DEVICE]
                found.update({name: tags[7] for name in devices if children[name].rdev == 0})
            return found

    def child(self, name: str) -> MemoryDirectory:
        """As `Directory.child`."""
        with self._volume.lock:
            return self._handle(name, self._find_directory(name))

    def readlink(self, name: str) -> str:
        """As `Directory.readlink`."""
        with self._volume.lock:
            inode = self._find(name)
            if not isinstance(inode, SymlinkInode):
                raise oserror(errno.EINVAL, self.place(name))
            return inode.target

    def open(self, name: str) -> RawIOBase:
        """As `Directory.open`; a FIFO is at its end at once."""
        with self._volume.lock:
            inode = self._find(name)
            if isinstance(inode, FileInode):
                return MemoryFile(self._volume, inode, self.place(name), "rb", (self.inode, name))
            if inode.kind is Kind.FIFO:
                return EmptyPipe(self.place(name))
            raise self._not_openable(inode, name)

    def read(self, name: str) -> bytes:
        """As `Directory.read`; copies nothing if the file was never written to after its creation."""
        with self._volume.lock:
            inode = self._find(name)
            if isinstance(inode, FileInode):
                return bytes(inode.data)
            if inode.kind is Kind.FIFO:
                return b""
            raise self._not_openable(inode, name)

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        """As `Directory.getxattr`."""
        with self._volume.lock:
            xattrs = self._find(name).xattrs
            return None if xattrs is None else xattrs.get(attribute)

    def listxattr(self, name: str | None) -> list[str]:
        """As `Directory.listxattr`."""
        with self._volume.lock:
            return list(self._find(name).xattrs or ())

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        """
        As `Directory.watch`. The listener is called by the thread that makes the change, after the change
        is visible and before the changing call returns, with no lock held.
        """
        return self._volume.watch(self.inode, listener, contents)

    # What `WritableDirectory` asks for; also EINVAL for a name that no directory can hold.

    def create(self, name: str, data: bytes = b"", permissions: int = 0o644, *, sync: bool = False) -> None:
        """
        Make a regular file with its whole content; there is nothing to `sync`.

        Raises:
            FileExistsError (EEXIST): the name is taken.
            FileNotFoundError (ENOENT): this directory was removed.
        """
        with Change(self._volume) as change:
            self._check_new(name)
            self._add_file(name, bytes(data), permissions, change)

    def open_new(self, name: str, mode: RawMode, permissions: int = 0o666) -> MemoryFile:
        """Make an empty regular file and open it; raises as `create`."""
        with Change(self._volume) as change:
            self._check_new(name)
            return self._opened(name, self._add_file(name, b"", permissions, change), mode)

    def open_writable(self, name: str, mode: RawMode, *, truncate: bool = False) -> MemoryFile:
        """
        Open a regular file for what `mode` allows; `truncate` cuts it to nothing first.

        Raises:
            IsADirectoryError (EISDIR); OSError (ELOOP): a symbolic link, (ENXIO): a FIFO or socket,
            (EACCES): a device node.
        """
        with Change(self._volume) as change:
            inode = self._find(name)
            if not isinstance(inode, FileInode):
                raise self._not_openable(inode, name)
            if truncate:
                inode.data = b""
                change.content(inode, self.inode, name)
            return self._opened(name, inode, mode)

    def put(
        self, name: str, source: BinaryIO | RawIOBase, permissions: int = 0o644, *, sync: bool = False
    ) -> None:
        """
        Make or replace a regular file with all that `source` reads; there is nothing to `sync`.

        Raises:
            IsADirectoryError (EISDIR): the name is a directory's; otherwise as `create`, but for EEXIST.
        """
        with self._volume.lock:
            self._find_replaced(name)  # so that nothing is read in vain
        data = b"".join(iter(lambda: source.read(_CHUNK) or b"", b""))
        with Change(self._volume) as change:
            replaced = self._find_replaced(name)
            if replaced is not None:
                self._drop(name, replaced, change)
            self._add_file(name, data, permissions, change)

    def mkdir(self, name: str, permissions: int = 0o755) -> MemoryDirectory:
        """Make a directory and give its handle; raises as `create`. A set-group-ID bit is inherited (C10)."""
        with Change(self._volume) as change:
            inode = DirectoryInode(*self._fresh(name, permissions, change))
            inode.permissions |= self.inode.permissions & _stat.S_ISGID
            self._add(name, inode, change)
            return self._handle(name, inode)

    def symlink(self, name: str, target: str) -> None:
        """
        Make a symbolic link; raises as `create`.

        Raises:
            OSError (ENAMETOOLONG): a target over 4095 bytes. FileNotFoundError (ENOENT): an empty one (S2).
            ValueError: a target that holds a NUL.
        """
        check_text(target)
        if not target:
            raise oserror(errno.ENOENT, target, self.place(name))
        if encoded_length(target) > TARGET_MAX:
            raise oserror(errno.ENAMETOOLONG, target, self.place(name))
        with Change(self._volume) as change:
            inode = SymlinkInode(*self._fresh(name, 0, change))
            inode.permissions = 0o777
            inode.target = target
            self._add(name, inode, change)

    def mknod(self, name: str, kind: Kind, permissions: int, rdev: int = 0) -> None:
        """
        Make a FIFO, socket, device node or empty file; raises as `create`.

        Raises:
            OSError (EINVAL): a directory or symbolic link can't be made like this.
        """
        if kind in (Kind.DIRECTORY, Kind.SYMLINK):
            raise oserror(errno.EINVAL, self.place(name))
        with Change(self._volume) as change:
            self._add(name, make_node(kind, self._fresh(name, permissions, change), rdev), change)

    def link(self, name: str, source_directory: WritableDirectory, source_name: str) -> None:
        """
        Give the object `source_name` of `source_directory` a further name here; raises as `create`.

        Raises:
            OSError (EXDEV): of another store. PermissionError (EPERM): a directory (C8).
        """
        source = self._same_volume(source_directory, source_name, name)
        with Change(self._volume) as change:
            inode = source._find(source_name)
            self._check_new(name)
            if isinstance(inode, DirectoryInode):
                raise oserror(errno.EPERM, source.place(source_name), self.place(name))
            inode.nlink += 1
            change.attributes(inode, source.inode, source_name)
            self._add(name, inode, change)
            self._volume.linked(inode, (source.inode, source_name), (self.inode, name))

    def unlink(self, name: str) -> None:
        """
        Remove a name that isn't a directory's.

        Raises:
            IsADirectoryError (EISDIR): a directory (D2).
        """
        with Change(self._volume) as change:
            inode = self._find(name)
            if isinstance(inode, DirectoryInode):
                raise oserror(errno.EISDIR, self.place(name))
            self._drop(name, inode, change)
            change.names(self.inode, name)

    def rmdir(self, name: str) -> None:
        """
        Remove an empty directory.

        Raises:
            NotADirectoryError (ENOTDIR): something else. OSError (ENOTEMPTY): it has names.
        """
        with Change(self._volume) as change:
            inode = self._find_directory(name)
            if inode.children:
                raise oserror(errno.ENOTEMPTY, self.place(name))
            self._drop(name, inode, change)
            change.names(self.inode, name)

    def rename(
        self,
        name: str,
        target_directory: WritableDirectory,
        target_name: str,
        how: Move = Move.REPLACE,
    ) -> None:
        """
        Move an object in one step, doing as `how` says about the two names, as renameat2(2) does (R1, R2).

        Raises:
            FileExistsError (EEXIST): the target name is taken, and the move EXCLUSIVE.
            FileNotFoundError (ENOENT): the name isn't there, or the target's isn't in an EXCHANGE.
            OSError (EXDEV): to another volume; (EINVAL): a directory into its own subtree;
                (ENOTEMPTY): onto a directory with names. (EISDIR, ENOTDIR): file onto directory, the reverse.
        """
        target = self._same_volume(target_directory, target_name, name)
        with Change(self._volume) as change:
            inode = self._find(name)
            target._check_alive(target_name)
            other = target.inode.children.get(target_name)
            problem = rename_problem(self.inode, inode, target.inode, other, how)
            if problem:
                raise oserror(problem, self.place(name), target.place(target_name))
            if other is inode:
                return
            if other is not None and how is Move.EXCHANGE:
                self._exchange((name, inode), target, (target_name, other), change)
                return
            if other is not None:
                target._drop(target_name, other, change)
            self._move(name, inode, target, target_name, change)
            if how is Move.WHITEOUT:
                self._add(name, make_node(Kind.CHAR_DEVICE, self._fields(0, change), 0), change)

    def chmod(self, name: str | None, permissions: int) -> None:
        """Set the permission bits of `name` (None: of the directory itself); a link's own, never followed."""
        with Change(self._volume) as change:
            inode = self._find(name)
            inode.permissions = permissions & 0o7777
            self._changed(inode, name, change)

    def chown(self, name: str | None, uid: int = -1, gid: int = -1) -> None:
        """
        Set owner and group; -1 keeps. A link's own, never followed.

        As chown(2), it takes the set-user-ID bit off files, and the set-group-ID bit off those the group may
        run.
        """
        with Change(self._volume) as change:
            inode = self._find(name)
            inode.uid = inode.uid if uid == -1 else uid
            inode.gid = inode.gid if gid == -1 else gid
            if inode.kind not in (Kind.DIRECTORY, Kind.SYMLINK):
                executable = inode.permissions & _stat.S_IXGRP
                inode.permissions &= ~(_stat.S_ISUID | (_stat.S_ISGID if executable else 0))
            self._changed(inode, name, change)

    def utime(self, name: str | None, ns: tuple[int, int] | None = None) -> None:
        """Set access and modification time, in nanoseconds since the epoch; None: now. A link's own."""
        with Change(self._volume) as change:
            inode = self._find(name)
            inode.atime_ns, inode.mtime_ns = ns or (change.now, change.now)
            self._changed(inode, name, change)

    def setxattr(self, name: str | None, attribute: str, value: bytes) -> None:
        """Set one extended attribute, new or not."""
        with Change(self._volume) as change:
            inode = self._find(name)
            inode.xattrs = {**(inode.xattrs or {}), attribute: bytes(value)}
            self._changed(inode, name, change)

    def removexattr(self, name: str | None, attribute: str) -> None:
        """
        Remove one extended attribute.

        Raises:
            OSError (ENODATA): there is none of this name.
        """
        with Change(self._volume) as change:
            inode = self._find(name)
            if inode.xattrs is None or attribute not in inode.xattrs:
                raise oserror(errno.ENODATA, self.place(name))
            del inode.xattrs[attribute]
            inode.xattrs = inode.xattrs or None
            self._changed(inode, name, change)

    def sync(self, name: str | None) -> None:
        """Nothing outlives the process; ENOENT if `name` isn't there."""
        with self._volume.lock:
            self._find(name)

    def lock(self, name: str | None) -> MemoryLock:
        """Make a lock on the file or directory `name`; it stays with the object that has the name now."""
        with self._volume.lock:
            return self._volume.locks.lock(self._find(name).ino)

    def _same_volume(self, other: WritableDirectory, other_name: str, name: str) -> MemoryDirectory:
        if not isinstance(other, MemoryDirectory) or other._volume is not self._volume:
            raise oserror(errno.EXDEV, self.place(name), other.place(other_name))
        return other

    # All below: the lock is held.

    def _find(self, name: str | None) -> Inode:
        if name is None:
            return self.inode
        inode = self.inode.children.get(name)
        if inode is None:
            too_long = encoded_length(name) > NAME_MAX
            raise oserror(errno.ENAMETOOLONG if too_long else errno.ENOENT, self.place(name))
        return inode

    def _find_directory(self, name: str) -> DirectoryInode:
        inode = self._find(name)
        if not isinstance(inode, DirectoryInode):
            raise oserror(errno.ENOTDIR, self.place(name))
        return inode

    def _handle(self, name: str, inode: DirectoryInode) -> MemoryDirectory:
        return MemoryDirectory(self._store, self._volume, inode, (*self.parts, name))

    def _not_openable(self, inode: Inode, name: str) -> OSError:
        return oserror(WHY_NOT_OPENED[inode.kind], self.place(name))

    def _check_alive(self, name: str) -> None:
        """Check that a name could be made here."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise oserror(errno.EINVAL, self.place(name))
        if encoded_length(name) > NAME_MAX:
            raise oserror(errno.ENAMETOOLONG, self.place(name))
        if not self.inode.nlink:
            raise oserror(errno.ENOENT, self.place(name))

    def _check_new(self, name: str) -> None:
        self._check_alive(name)
        if name in self.inode.children:
            raise oserror(errno.EEXIST, self.place(name))

    def _find_replaced(self, name: str) -> Inode | None:
        """Give what a file put at `name` takes the place of; refuse if none can be put there."""
        self._check_alive(name)
        replaced = self.inode.children.get(name)
        if isinstance(replaced, DirectoryInode):
            raise oserror(errno.EISDIR, self.place(name))
        return replaced

    def _fresh(self, name: str, permissions: int, change: Change) -> InodeFields:
        """Check the new name and give what an `Inode` is made from."""
        self._check_new(name)
        return self._fields(permissions, change)

    def _fields(self, permissions: int, change: Change) -> InodeFields:
        uid, gid = _owner()
        if self.inode.permissions & _stat.S_ISGID:
            gid = self.inode.gid
        return self._volume.next_ino(), permissions & ~current_umask(), uid, gid, change.now

    def _opened(self, name: str, inode: FileInode, mode: RawMode) -> MemoryFile:
        return MemoryFile(self._volume, inode, self.place(name), mode, (self.inode, name))

    def _add_file(self, name: str, data: bytes, permissions: int, change: Change) -> FileInode:
        inode = FileInode(*self._fields(permissions, change))
        inode.data = data
        self._add(name, inode, change)
        return inode

    def _add(self, name: str, inode: Inode, change: Change) -> None:
        self.inode.children[name] = inode
        if isinstance(inode, DirectoryInode):
            inode.parent = self.inode
            self.inode.nlink += 1
        change.names(self.inode, name)

    def _drop(self, name: str, inode: Inode, change: Change) -> None:
        """Take an object away from its name, without telling this directory's watches of the name."""
        del self.inode.children[name]
        inode.ctime_ns = change.now
        if isinstance(inode, DirectoryInode):
            inode.nlink = 0
            self.inode.nlink -= 1
            change.itself(inode)
            return
        inode.nlink -= 1
        self._volume.unlinked(inode, (self.inode, name))
        if inode.nlink:
            change.attributes(inode, self.inode, name)

    def _move(
        self, name: str, inode: Inode, target: MemoryDirectory, target_name: str, change: Change
    ) -> None:
        del self.inode.children[name]
        if isinstance(inode, DirectoryInode):
            self.inode.nlink -= 1
        change.names(self.inode, name)
        self._volume.moved(inode, (self.inode, name), (target.inode, target_name))
        target._add(target_name, inode, change)
        change.attributes(inode, target.inode, target_name)

    def _exchange(
        self, ours: tuple[str, Inode], target: MemoryDirectory, theirs: tuple[str, Inode], change: Change
    ) -> None:
        (name, inode), (target_name, other) = ours, theirs
        self.inode.replace(name, other)
        target.inode.replace(target_name, inode)
        self._volume.moved(inode, (self.inode, name), (target.inode, target_name))
        self._volume.moved(other, (target.inode, target_name), (self.inode, name))
        change.names(self.inode, name)
        change.names(target.inode, target_name)
        change.attributes(inode, target.inode, target_name)
        change.attributes(other, self.inode, name)

    def _changed(self, inode: Inode, name: str | None, change: Change) -> None:
        change.attributes(inode, self.inode if name is not None else None, name)


def _owner() -> tuple[int, int]:
    """Give the user and group that new objects belong to; 0 and 0 where the system has neither."""
    if hasattr(os, "geteuid"):
        return os.geteuid(), os.getegid()
    return 0, 0
