"""Stores that show another store's tree elsewhere: below a prefix, or from one of its directories on."""

from __future__ import annotations

import errno
from collections.abc import Hashable, Sequence
from io import RawIOBase
from typing import Final

from unionpath.model.entry import Kind, Stat, make_stat
from unionpath.model.errors import oserror
from unionpath.model.parts import Parts, encoded_length, show_parts
from unionpath.model.store import Directory, Listener, Store, Watch
from unionpath.stores.numbers import stable_number
from unionpath.stores.wrapping import WrappingDirectory, WrappingStore


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
        directory = self._look_up()
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
        directory = self._look_up()
        if _device_and_inode(directory) != self._device_and_inode:
            raise oserror(
                errno.ESTALE, self.place, hint="the layer's directory was replaced; make a new stack"
            )
        return WrappingDirectory(directory, self)

    def _look_up(self) -> Directory:
        directory = self.inner.root()
        for name in self._root_parts:
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
            return WrappingDirectory(self.inner.root(), self)
        return DirectoryAbove(self, self._prefix, depth, self._device)


class DirectoryAbove:
    """A directory that is made up; its one name leads on towards the tree."""

    __slots__ = ("_depth", "_device", "_name", "_store", "parts")

    def __init__(self, store: PrefixedStore, prefix: Parts, depth: int, device: int) -> None:
        self._store = store
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


class _NothingToWatch:
    """The watch of what never changes."""

    def close(self) -> None:
        """Stop nothing."""
