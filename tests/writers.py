"""Hands that put objects at places of a tree, knowing nothing of whiteouts."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from trees import Device, Fifo, File, Link, Parts

if TYPE_CHECKING:
    from unionpath.opener import LayerSource
    from unionpath.stores.memory import MemoryDirectory, MemoryStore


class Writer(Protocol):
    """Changes one tree. Parents are there; names are free, except for `remove`, which takes all below."""

    @property
    def source(self) -> LayerSource:
        """What `Layer` takes."""

    def make(self, parts: Parts, node: File | Link | Fifo | Device) -> None:
        """Make one object that isn't a directory."""

    def append(self, parts: Parts, data: bytes) -> None:
        """Write at the end of a file, in place."""

    def mkdir(self, parts: Parts, mode: int) -> None:
        """Make an empty directory."""

    def remove(self, parts: Parts) -> None:
        """Take away what is there, with all below; nothing is fine."""

    def rename(self, source: Parts, target: Parts) -> None:
        """Move an object in one step."""

    def chmod(self, parts: Parts, mode: int) -> None:
        """Set permission bits."""

    def set_xattr(self, parts: Parts, attribute: str, value: bytes | None) -> None:
        """Set or (None) remove an extended attribute."""


@cache
def no_device(major: int, minor: int) -> str | None:
    """Say why such a character device can't be made on this machine by who runs the tests, or None."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            os.mknod(os.path.join(directory, "device"), stat.S_IFCHR, os.makedev(major, minor))
        except (OSError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            return f"no character device {major}:{minor} can be made here: {why}"
    return None


class DiskWriter:
    """A directory of the host."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def source(self) -> LayerSource:
        return self.root

    def at(self, parts: Parts) -> str:
        """Give the place on the host."""
        return os.path.join(self.root, *parts)

    def make(self, parts: Parts, node: File | Link | Fifo | Device) -> None:
        at = self.at(parts)
        if isinstance(node, Link):
            os.symlink(node.target, at)
            return
        if isinstance(node, File):
            with open(at, "xb") as file:
                file.write(node.data)
        elif isinstance(node, Fifo):
            os.mkfifo(at)
        else:
            os.mknod(at, stat.S_IFCHR, os.makedev(node.major, node.minor))
        os.chmod(at, node.mode)

    def append(self, parts: Parts, data: bytes) -> None:
        with open(self.at(parts), "ab", buffering=0) as file:
            file.write(data)

    def mkdir(self, parts: Parts, mode: int) -> None:
        if parts:
            os.mkdir(self.at(parts))
        os.chmod(self.at(parts), mode)

    def remove(self, parts: Parts) -> None:
        at = self.at(parts)
        try:
            os.unlink(at)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            shutil.rmtree(at)

    def rename(self, source: Parts, target: Parts) -> None:
        os.rename(self.at(source), self.at(target))

    def chmod(self, parts: Parts, mode: int) -> None:
        os.chmod(self.at(parts), mode)

    def set_xattr(self, parts: Parts, attribute: str, value: bytes | None) -> None:
        at = self.at(parts)
        if value is not None:
            os.setxattr(at, attribute, value, follow_symlinks=False)
        elif attribute in os.listxattr(at, follow_symlinks=False):
            os.removexattr(at, attribute, follow_symlinks=False)


class MemoryWriter:
    """Our own memory store, through its writing side."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    @property
    def source(self) -> LayerSource:
        return self._store

    def make(self, parts: Parts, node: File | Link | Fifo | Device) -> None:
        from unionpath.model.entry import Kind

        parent, name = self._parent(parts)
        if isinstance(node, Link):
            parent.symlink(name, node.target)
            return
        if isinstance(node, File):
            parent.create(name, node.data, node.mode)
        elif isinstance(node, Fifo):
            parent.mknod(name, Kind.FIFO, node.mode)
        else:
            parent.mknod(name, Kind.CHAR_DEVICE, node.mode, os.makedev(node.major, node.minor))
        parent.chmod(name, node.mode)  # whatever the umask took

    def append(self, parts: Parts, data: bytes) -> None:
        parent, name = self._parent(parts)
        with parent.open_writable(name, "ab") as file:
            file.write(data)

    def mkdir(self, parts: Parts, mode: int) -> None:
        if parts:
            parent, name = self._parent(parts)
            parent.mkdir(name, mode)
        self.chmod(parts, mode)

    def remove(self, parts: Parts) -> None:
        from unionpath.model.entry import Kind

        parent, name = self._parent(parts)
        kinds = parent.scan(tuple(Kind))
        if name not in kinds:
            return
        if kinds[name] != Kind.DIRECTORY:
            parent.unlink(name)
            return
        for inner in parent.child(name).scan(tuple(Kind)):
            self.remove((*parts, inner))
        parent.rmdir(name)

    def rename(self, source: Parts, target: Parts) -> None:
        parent, name = self._parent(source)
        parent.rename(name, *self._parent(target))

    def chmod(self, parts: Parts, mode: int) -> None:
        if not parts:
            self._store.root().chmod(None, mode)
            return
        parent, name = self._parent(parts)
        parent.chmod(name, mode)

    def set_xattr(self, parts: Parts, attribute: str, value: bytes | None) -> None:
        at: MemoryDirectory = self._store.root()
        name: str | None = None
        if parts:
            at, name = self._parent(parts)
        if value is not None:
            at.setxattr(name, attribute, value)
        elif attribute in at.listxattr(name):
            at.removexattr(name, attribute)

    def _parent(self, parts: Parts) -> tuple[MemoryDirectory, str]:
        at = self._store.root()
        for name in parts[:-1]:
            at = at.child(name)
        return at, parts[-1]


class UPathWriter:
    """A directory of fsspec's memory file system, through universal-pathlib: no links, modes or xattrs."""

    _numbers = itertools.count()

    def __init__(self) -> None:
        from upath import UPath

        self._root = UPath(f"memory:///unionpath-tests-{next(self._numbers)}")
        self._root.mkdir(parents=True)

    @property
    def source(self) -> LayerSource:
        return self._root

    def make(self, parts: Parts, node: File | Link | Fifo | Device) -> None:
        assert isinstance(node, File), "fsspec's memory file system holds files and directories only"
        self._root.joinpath(*parts).write_bytes(node.data)

    def append(self, parts: Parts, data: bytes) -> None:
        at = self._root.joinpath(*parts)
        at.write_bytes(at.read_bytes() + data)

    def mkdir(self, parts: Parts, mode: int) -> None:
        if parts:
            self._root.joinpath(*parts).mkdir()

    def remove(self, parts: Parts) -> None:
        at = self._root.joinpath(*parts)
        if at.is_dir():
            at.fs.rm(at.path, recursive=True)
        elif at.exists():
            at.unlink()

    def rename(self, source: Parts, target: Parts) -> None:
        fs, old = self._root.fs, self._root.joinpath(*source)
        fs.mv(old.path, self._root.joinpath(*target).path, recursive=old.is_dir())

    def chmod(self, parts: Parts, mode: int) -> None:
        """Keep no modes."""

    def set_xattr(self, parts: Parts, attribute: str, value: bytes | None) -> None:
        raise NotImplementedError("fsspec's memory file system holds no extended attributes")
