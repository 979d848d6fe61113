"""Stores that show another store's tree elsewhere: below a prefix, or from one of its directories on."""

from __future__ import annotations

import errno
from collections.abc import Hashable, Sequence
from contextlib import suppress
from io import RawIOBase
from typing import BinaryIO, Final, NoReturn, cast

from unionpath.model.entry import Kind, Stat, make_stat
from unionpath.model.errors import is_absence, oserror
from unionpath.model.parts import Parts, encoded_length, show_parts
from unionpath.model.store import Capability, Directory, Listener, Store, Watch
from unionpath.model.writable import Lock, Move, RawMode, WritableDirectory, WritableStore
from unionpath.stores.numbers import stable_number
from unionpath.stores.wrapping import NeighbourStore, WrappingStore, WritableWrappingDirectory


class SubtreeStore(WrappingStore):
    """
    Shows one directory of another store as a tree of its own (`Layer(root="/sub")`).

    The directory is looked up whenever it is asked for, component by component and through no link (L11):
    a handle that was kept would be shared by threads and by children of a fork.

    Raises:
        FileNotFoundError (ENOENT): there is nothing at `root`.
        NotADirectoryError (ENOTDIR): it, or a directory on the way, is something else, a link included.
    """

    def __init__(self, store: Store, root: Parts) -> None:
        super().__init__(store)
        self._root_parts = root
        directory = self._look_up(root)
        self._place = directory.place()
        self._device_and_inode = _device_and_inode(directory)

    @property
    def identity(self) -> Hashable:
        """The wrapped store's, and which of its directories."""
        return ("subtree", self.inner.identity, self._root_parts) if self._root_parts else self.inner.identity

    @property
    def real_path(self) -> str | None:
        """The directory's path below that of the wrapped store."""
        above = self.inner.real_path
        return None if above is None else "/".join((above.rstrip("/"), *self._root_parts))

    @property
    def place(self) -> str:
        """The directory's place in the wrapped store."""
        return self._place

    def shown(self, parts: Parts) -> Parts:
        """Take the directory's own place off."""
        return parts[len(self._root_parts) :]

    def root(self) -> Directory:
        """
        Give the directory.

        Raises:
            OSError (ESTALE): another directory stands there than when the store was made (E9).
        """
        self.before("root", ())
        return self.wrap(self._confirmed())

    def home(self) -> WritableDirectory:
        """Give the directory; raises as `root`."""
        self.writable_inner()
        self.before("home", ())
        return WritableWrappingDirectory(cast("WritableDirectory", self._confirmed()), self)

    def confirm(self) -> None:
        """As `WritableStore.confirm`, of the wrapped store and of the directory."""
        super().confirm()
        try:
            self._confirmed()
        except OSError as error:
            if not is_absence(error):
                raise
            raise oserror(
                errno.ESTALE, self.place, hint="the layer's directory is gone; make a new stack"
            ) from error

    def neighbour(self, name: str, *, make: bool = True) -> WritableStore | None:
        """
        As `WritableStore.neighbour`: a directory beside this one, so of its volume where the root may be of
        another, and of this one alone where the wrapped store has others.
        """
        if not self._root_parts:
            return super().neighbour(name, make=make)
        self.writable_inner()
        self.before("neighbour", ())
        parts = (*self._root_parts[:-1], name)
        above = cast("WritableDirectory", self._look_up(parts[:-1]))
        if above.status().st_dev != self._device_and_inode[0]:
            return None
        if make:
            with suppress(FileExistsError):
                above.mkdir(name, 0o700)
        try:
            store = SubtreeStore(self.inner, parts)
        except FileNotFoundError:
            return None
        return cast("WritableStore", NeighbourStore(store, self, name))

    def _confirmed(self) -> Directory:
        directory = self._look_up(self._root_parts)
        if _device_and_inode(directory) != self._device_and_inode:
            raise oserror(
                errno.ESTALE, self.place, hint="the layer's directory was replaced; make a new stack"
            )
        return directory

    def _look_up(self, parts: Parts) -> Directory:
        directory = self.inner.root()
        for name in parts:
            directory = directory.child(name)
        return directory


def _device_and_inode(directory: Directory) -> tuple[int, int]:
    found = directory.status()
    return found.st_dev, found.st_ino


class PrefixedStore(WrappingStore):
    """
    Shows another store's tree at a place below its root (`Layer(at="/x/y")`).

    The directories above that place are made up: each holds one name, they never change, belong to user
    and group 0 with permissions 0o755, and all their times are 0.
    """

    def __init__(self, store: Store, at: Parts) -> None:
        super().__init__(store)
        self._prefix = at
        self._device = stable_number(f"above {store.place}")
        for name in at:
            if encoded_length(name) > store.name_max:
                raise oserror(errno.ENAMETOOLONG, show_parts(at))

    @property
    def identity(self) -> Hashable:
        """The wrapped store's, and where it is shown."""
        return ("at", self.inner.identity, self._prefix) if self._prefix else self.inner.identity

    def shown(self, parts: Parts) -> Parts:
        """Put the prefix in front."""
        return self._prefix + parts

    def root(self) -> Directory:
        """Give the uppermost directory that is made up, or the tree's own root if the prefix is empty."""
        self.before("root", ())
        return self.at_depth(0)

    def at_depth(self, depth: int) -> Directory:
        """Give the directory that has `depth` components of the prefix above it."""
        if depth == len(self._prefix):
            return self.wrap(self.inner.root())
        if Capability.WRITABLE in self.capabilities:
            return WritableDirectoryAbove(self, self._prefix, depth, self._device)
        return DirectoryAbove(self, self._prefix, depth, self._device)


class DirectoryAbove:
    """A directory that is made up; its one name leads on towards the tree."""

    __slots__ = ("_depth", "_device", "_name", "_prefix", "_store", "parts")

    def __init__(self, store: PrefixedStore, prefix: Parts, depth: int, device: int) -> None:
        self._store = store
        self._prefix = prefix
        self._depth = depth
        self._device = device
        self._name = prefix[depth]
        self.parts: Final = prefix[:depth]

    def place(self, name: str | None = None) -> str:
        """Give the place in the prefix: the wrapped store has none."""
        parts = self.parts if name is None else (*self.parts, name)
        return f"{show_parts(parts)} (above {self._store.inner.place})"

    def status(self) -> Stat:
        """Make up a stat; the inode number is always the same one."""
        self._store.before("status", self.parts)
        ino = stable_number(show_parts(self.parts))
        return make_stat(Kind.DIRECTORY, permissions=0o755, ino=ino, dev=self._device, nlink=3)

    def stat(self, name: str) -> Stat:
        """Stat the one name: the next directory."""
        return self.child(name).status()

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        """Give the one name."""
        self._store.before("scan", self.parts)
        return {self._name: tags[Kind.DIRECTORY]}

    def child(self, name: str) -> Directory:
        """Give the next directory; ENOENT for any other name."""
        self._check(name)
        return self._store.at_depth(self._depth + 1)

    def readlink(self, name: str) -> str:
        """Refuse: EINVAL, ENOENT."""
        self._check(name)
        raise oserror(errno.EINVAL, self.place(name))

    def open(self, name: str) -> RawIOBase:
        """Refuse: EISDIR, ENOENT."""
        self._check(name)
        raise oserror(errno.EISDIR, self.place(name))

    def read(self, name: str) -> bytes:
        """Refuse: EISDIR, ENOENT."""
        self._check(name)
        raise oserror(errno.EISDIR, self.place(name))

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        """None for a made-up directory; the tree's root has its own."""
        below = self._below(name)
        return None if below is None else below.getxattr(None, attribute)

    def listxattr(self, name: str | None) -> list[str]:
        """Nothing for a made-up directory; the tree's root has its own."""
        below = self._below(name)
        return [] if below is None else below.listxattr(None)

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        """Report the one thing that can change: the root of the tree, where it is the one name in here."""
        self._store.before("watch", self.parts)
        below = self._store.at_depth(self._depth + 1)
        if isinstance(below, DirectoryAbove):
            return _NothingToWatch()
        return below.watch(_NameListener(listener, self._name))

    def _below(self, name: str | None) -> Directory | None:
        return None if name is None else self.child(name)

    def _check(self, name: str) -> None:
        if name == self._name:
            return
        too_long = encoded_length(name) > self._store.name_max
        raise oserror(errno.ENAMETOOLONG if too_long else errno.ENOENT, self.place(name))


class WritableDirectoryAbove(DirectoryAbove):
    """
    A directory that is made up, above a tree that can be written to; nothing can be made or removed in it.

    What is asked of the tree's root by its name is done.

    Raises:
        OSError (EROFS): every method that would change a made-up directory or a name in it.
    """

    __slots__ = ()

    def child(self, name: str) -> WritableDirectory:
        """Give the next directory; ENOENT for any other name."""
        return cast("WritableDirectory", super().child(name))

    def create(self, name: str, data: bytes = b"", permissions: int = 0o644, *, sync: bool = False) -> None:
        """Refuse: EROFS."""
        self._refuse(name)

    def open_new(self, name: str, mode: RawMode, permissions: int = 0o666) -> RawIOBase:
        """Refuse: EROFS."""
        self._refuse(name)

    def open_writable(self, name: str, mode: RawMode, *, truncate: bool = False) -> RawIOBase:
        """Refuse: EISDIR, ENOENT."""
        return self.open(name)

    def put(
        self, name: str, source: BinaryIO | RawIOBase, permissions: int = 0o644, *, sync: bool = False
    ) -> None:
        """Refuse: EROFS."""
        self._refuse(name)

    def mkdir(self, name: str, permissions: int = 0o755) -> WritableDirectory:
        """Refuse: EROFS."""
        self._refuse(name)

    def symlink(self, name: str, target: str) -> None:
        """Refuse: EROFS."""
        self._refuse(name)

    def mknod(self, name: str, kind: Kind, permissions: int, rdev: int = 0) -> None:
        """Refuse: EROFS."""
        self._refuse(name)

    def link(self, name: str, source_directory: WritableDirectory, source_name: str) -> None:
        """Refuse: EROFS."""
        self._refuse(name)

    def unlink(self, name: str) -> None:
        """Refuse: EROFS."""
        self._refuse(name)

    def rmdir(self, name: str) -> None:
        """Refuse: EROFS."""
        self._refuse(name)

    def rename(
        self,
        name: str,
        target_directory: WritableDirectory,
        target_name: str,
        how: Move = Move.REPLACE,
    ) -> None:
        """Refuse: EROFS."""
        self._refuse(name)

    def chmod(self, name: str | None, permissions: int) -> None:
        """Set the permission bits of the tree's root, if that has the name."""
        self._changeable(name).chmod(None, permissions)

    def chown(self, name: str | None, uid: int = -1, gid: int = -1) -> None:
        """Set owner and group of the tree's root, if that has the name."""
        self._changeable(name).chown(None, uid, gid)

    def utime(self, name: str | None, ns: tuple[int, int] | None = None) -> None:
        """Set the times of the tree's root, if that has the name."""
        self._changeable(name).utime(None, ns)

    def setxattr(self, name: str | None, attribute: str, value: bytes) -> None:
        """Set an extended attribute of the tree's root, if that has the name."""
        self._changeable(name).setxattr(None, attribute, value)

    def removexattr(self, name: str | None, attribute: str) -> None:
        """Remove an extended attribute of the tree's root, if that has the name."""
        self._changeable(name).removexattr(None, attribute)

    def sync(self, name: str | None) -> None:
        """Nothing in here changes; ENOENT if `name` isn't there."""
        if name is not None:
            self._check(name)

    def lock(self, name: str | None) -> Lock:
        """Refuse: EROFS."""
        self._refuse(name)

    def _changeable(self, name: str | None) -> WritableDirectory:
        if name is None:
            self._refuse(None)
        return self.child(name)

    def _refuse(self, name: str | None) -> NoReturn:
        begins = show_parts(self._prefix)
        raise oserror(
            errno.EROFS, self.place(name), hint=f"the layer begins at {begins}; what is above is made up"
        )


class _NameListener:
    """Hears that a directory changed, and says it of its name in the directory above."""

    __slots__ = ("_listener", "_name")

    def __init__(self, listener: Listener, name: str) -> None:
        self._listener = listener
        self._name = name

    def changed(self, name: str | None) -> None:
        """Pass on what concerns the directory itself."""
        if name is None:
            self._listener.changed(self._name)

    def altered(self, name: str | None) -> None:
        """Pass on what concerns the directory itself."""
        if name is None:
            self._listener.altered(self._name)


class _NothingToWatch:
    """The watch of what never changes."""

    def close(self) -> None:
        """Stop nothing."""
