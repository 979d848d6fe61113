"""
Our own in-memory store: a POSIX directory tree without a file system.

Everything that a local file system holds is held: files, directories, symbolic links, hard links, FIFOs,
sockets and device nodes, permission bits, owners, times in nanoseconds, extended attributes. Permission
bits are kept and shown but guard nothing: whoever has the store may read and change it. Access times are
kept as on a file system mounted `noatime`: set on creation and by `utime`, never by reading.
"""

from __future__ import annotations

import errno
import os
import stat as _stat
from collections.abc import Hashable, Sequence
from io import RawIOBase
from typing import Final, NoReturn

from unionpath.model.entry import Kind, Stat
from unionpath.model.errors import oserror
from unionpath.model.parts import Parts, check_text, encoded_length, show_parts
from unionpath.model.store import WHY_NOT_OPENED, Capability, Listener, Watch
from unionpath.model.writable import WritableDirectory
from unionpath.stores.memory_inodes import (
    Change,
    DirectoryInode,
    EmptyPipe,
    FileInode,
    Inode,
    InodeFields,
    MemoryFile,
    SymlinkInode,
    Volume,
    make_node,
)
from unionpath.stores.memory_state import MemoryState, dump, load
from unionpath.stores.numbers import new_device

NAME_MAX: Final = 255
TARGET_MAX: Final = 4095
"""The most bytes that the target of a symbolic link may have (S2)."""

_CAPABILITIES: Final = Capability.POSIX | Capability.XATTRS | Capability.WATCHABLE | Capability.WRITABLE


class MemoryStore:
    """
    A directory tree in memory, for reading and, through its `Directory` handles, for writing.

    A store is one live, changeable thing, so it doesn't pickle: two processes would believe they share it
    while they don't. Who knows that the tree never changes again (an immutable layer) may send the content
    on purpose: `MemoryStore.from_state(store.__getstate__())` gives an independent store with an equal tree.
    """

    def __init__(self, *, permissions: int = 0o755) -> None:
        """Make an empty store; `permissions` are those of its root directory."""
        self._volume = Volume(new_device())
        with Change(self._volume) as change:
            root = DirectoryInode(self._volume.next_ino(), permissions, *_owner(), change.now)
        self._root = MemoryDirectory(self, self._volume, root, ())

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
        """`memory:` and a number, for people."""
        return self._root.place()

    def close(self) -> None:
        """Nothing is held open."""

    def root(self) -> MemoryDirectory:
        """Give the root directory."""
        return self._root

    def __repr__(self) -> str:
        return f"<MemoryStore {self.place}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a MemoryStore can't be pickled or copied: the copy would not see later changes; "
            "declare its layer immutable to send its content"
        )

    def __getstate__(self) -> MemoryState:
        """Give the whole content as plain, picklable values; watches and open files are left out."""
        with self._volume.lock:
            return dump(self._root.inode)

    def __setstate__(self, state: MemoryState) -> None:
        """Fill a store that was made without `__init__` from what `__getstate__` gave."""
        self._volume = Volume(new_device())
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
        return f"memory:{self._volume.device & 0xFFFFFF}{show_parts(parts)}"

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
            return {name: tags[inode.kind] for name, inode in self.inode.children.items()}

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
                return MemoryFile(self._volume, inode, self.place(name))
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

    def create(self, name: str, data: bytes = b"", permissions: int = 0o644) -> None:
        """
        Make a regular file with its whole content.

        Raises:
            FileExistsError (EEXIST): the name is taken.
            FileNotFoundError (ENOENT): this directory was removed.
        """
        with Change(self._volume) as change:
            inode = FileInode(*self._fresh(name, permissions, change))
            inode.data = bytes(data)
            self._add(name, inode, change)

    def open_writable(self, name: str, *, append: bool = False) -> RawIOBase:
        """
        Open a regular file for reading and writing; with `append`, every write goes to its end.

        Raises:
            IsADirectoryError (EISDIR); OSError (ELOOP): a symbolic link, (ENXIO): a FIFO or socket,
            (EACCES): a device node.
        """
        with self._volume.lock:
            inode = self._find(name)
            if not isinstance(inode, FileInode):
                raise self._not_openable(inode, name)
            place = self.place(name)
            return MemoryFile(self._volume, inode, place, found=(self.inode, name), append=append)

    def mkdir(self, name: str, permissions: int = 0o755) -> MemoryDirectory:
        """Make a directory and give its handle; raises as `create`. A set-group-ID bit is inherited (C10)."""
        with Change(self._volume) as change:
            inherited = self.inode.permissions & _stat.S_ISGID
            inode = DirectoryInode(*self._fresh(name, permissions | inherited, change))
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
            inode = SymlinkInode(*self._fresh(name, 0o777, change))
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
        source = self._same_store(source_directory, source_name, name)
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

    def rename(self, name: str, target_directory: WritableDirectory, target_name: str) -> None:
        """
        Move an object in one step, replacing what the target name had, as the system call does (R1, R2).

        Raises:
            OSError (EXDEV): to another store; (EINVAL): a directory into its own subtree;
                (ENOTEMPTY): onto a directory with names. (EISDIR, ENOTDIR): file onto directory, the reverse.
        """
        target = self._same_store(target_directory, target_name, name)
        with Change(self._volume) as change:
            inode = self._find(name)
            target._check_alive(target_name)
            replaced = target.inode.children.get(target_name)
            if replaced is inode:
                return
            problem = _rename_problem(self.inode, inode, target.inode, replaced)
            if problem:
                raise oserror(problem, self.place(name), target.place(target_name))
            if replaced is not None:
                target._drop(target_name, replaced, change)
            self._move(name, inode, target, target_name, change)

    def chmod(self, name: str | None, permissions: int) -> None:
        """Set the permission bits of `name` (None: of the directory itself); a link's own, never followed."""
        with Change(self._volume) as change:
            inode = self._find(name)
            inode.permissions = permissions & 0o7777
            self._changed(inode, name, change)

    def chown(self, name: str | None, uid: int = -1, gid: int = -1) -> None:
        """Set owner and group; -1 keeps. A link's own, never followed."""
        with Change(self._volume) as change:
            inode = self._find(name)
            inode.uid = inode.uid if uid == -1 else uid
            inode.gid = inode.gid if gid == -1 else gid
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

    def _same_store(self, other: WritableDirectory, other_name: str, name: str) -> MemoryDirectory:
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

    def _fresh(self, name: str, permissions: int, change: Change) -> InodeFields:
        """Check the new name and give what an `Inode` is made from."""
        self._check_new(name)
        uid, gid = _owner()
        if self.inode.permissions & _stat.S_ISGID:
            gid = self.inode.gid
        return self._volume.next_ino(), permissions, uid, gid, change.now

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

    def _changed(self, inode: Inode, name: str | None, change: Change) -> None:
        change.attributes(inode, self.inode if name is not None else None, name)


def _owner() -> tuple[int, int]:
    """Give the user and group that new objects belong to; 0 and 0 where the system has neither."""
    if hasattr(os, "geteuid"):
        return os.geteuid(), os.getegid()
    return 0, 0


def _rename_problem(
    source: DirectoryInode, inode: Inode, target: DirectoryInode, replaced: Inode | None
) -> int:
    """Give the errno that forbids moving `inode` from `source` onto `replaced` in `target`, or 0 (R2)."""
    is_directory = isinstance(inode, DirectoryInode)
    if isinstance(inode, DirectoryInode) and target.is_within(inode):
        return errno.EINVAL
    if not isinstance(replaced, DirectoryInode):
        return errno.ENOTDIR if is_directory and replaced is not None else 0
    if source.is_within(replaced):
        # Asked before EISDIR, as the kernel does (fs/namei.c, do_renameat2: "target should not be an
        # ancestor of source").
        return errno.ENOTEMPTY
    if not is_directory:
        return errno.EISDIR
    return errno.ENOTEMPTY if replaced.children else 0
