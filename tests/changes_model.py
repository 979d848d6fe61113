"""
The reference model of a union that changes: one file system in memory, as POSIX and Linux have it.

Once squashed, layers make one tree, and a union behaves as that tree does: nothing here knows of copy-up or
whiteouts. Each lower name is an object of its own, since copy-up breaks hard links (C8). The order in
which errors are noticed is that of Linux `fs/namei.c`. The process is root, so permissions refuse nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from hands import Actions, Holding, Openable, Status, act
from oracle import MAX_LINKS, NAME_MAX
from programs import Known, Seen, Xattrs, shown_target

SETUID, SETGID, STICKY = 0o4000, 0o2000, 0o1000


@dataclass(eq=False, slots=True)
class Inode:
    """One object. `mtime` None: changed while the test ran."""

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int | None = None
    data: bytes = b""
    """Content of a file, target of a link."""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    entries: dict[str, Inode] = field(default_factory=dict)
    nlink: int = 1

    def add(self, name: str, inode: Inode) -> None:
        """Put an object into this directory."""
        self.entries[name] = inode
        self.mtime = None

    def drop(self, name: str) -> None:
        """Take a name out of this directory."""
        self.entries.pop(name).nlink -= 1
        self.mtime = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads."""

    trail: tuple[Inode, ...]
    """The directories from the root to the one that holds the name."""
    name: str | None
    """The last component; None if the path ends in `..`, or is the root."""
    inode: Inode | None
    """What is there."""

    @property
    def parent(self) -> Inode:
        return self.trail[-1]


class ModelHand(Holding):
    """Runs programs on the model."""

    def __init__(self, root: Inode, umask: int) -> None:
        super().__init__()
        self._root = root
        self._umask = umask

    # Finding.

    def _place(self, path: str, follow: bool) -> Place:
        todo = _parts(path)
        trail = [self._root]
        links = 0
        while todo:
            name, here = todo.pop(0), trail[-1]
            if here.kind != "dir":
                raise _error(errno.ENOTDIR, path)
            if name == "..":
                del trail[max(1, len(trail) - 1) :]
                continue
            if len(os.fsencode(name)) > NAME_MAX:
                raise _error(errno.ENAMETOOLONG, path)
            inode = here.entries.get(name)
            if inode is not None and inode.kind == "link" and (todo or follow):
                links += 1
                if links > MAX_LINKS:
                    raise _error(errno.ELOOP, path)
                target = os.fsdecode(inode.data)
                if target.startswith("/"):
                    trail = [self._root]
                todo = _parts(target) + todo
            elif not todo:
                return Place(tuple(trail), name, inode)
            elif inode is None:
                raise _error(errno.ENOENT, path)
            else:
                trail.append(inode)
        return Place(tuple(trail), None, trail[-1])

    def _find(self, path: str, follow: bool = True) -> Inode:
        inode = self._place(path, follow).inode
        if inode is None:
            raise _error(errno.ENOENT, path)
        return inode

    def _free(self, path: str) -> Place:
        """Find the place for a new name (D6)."""
        place = self._place(path, follow=False)
        if place.name is None or place.inode is not None:
            raise _error(errno.EEXIST, path)
        return place

    # Looking.

    def stat(self, path: str) -> Status:
        return _status(self._find(path))

    def lstat(self, path: str) -> Status:
        return _status(self._find(path, follow=False))

    def names(self, path: str) -> list[str]:
        inode = self._find(path)
        if inode.kind != "dir":
            raise _error(errno.ENOTDIR, path)
        return sorted(inode.entries)

    def read(self, path: str) -> bytes:
        inode = self._find(path)
        if inode.kind == "dir":
            raise _error(errno.EISDIR, path)
        return inode.data

    def readlink(self, path: str) -> str:
        inode = self._find(path, follow=False)
        if inode.kind != "link":
            raise _error(errno.EINVAL, path)
        return shown_target(os.fsdecode(inode.data))

    def resolve(self, path: str) -> str:
        self._find(path)
        place = self._place(path, follow=True)
        names = [
            next(name for name, inode in above.entries.items() if inode is below)
            for above, below in zip(place.trail, place.trail[1:], strict=False)
        ]
        return "/" + "/".join([*names, place.name] if place.name else names)

    def xattrs(self, path: str) -> Xattrs:
        return tuple(sorted(self._find(path).xattrs.items()))

    def whole(self, path: str) -> list[Seen]:
        return sorted(_rows(path, self._find(path, follow=False)))

    def turn(self, path: str) -> list[str]:
        """Close all that is open, as who hands over does."""
        self.let_go()
        return []

    def known(self) -> Known:
        """List all that is there, for who makes programs."""
        rows = list(_rows("/", self._root))
        folders = [row.path for row in rows if row.kind == "dir"]
        return Known(folders, [row.path for row in rows if row.kind != "dir"] or folders)

    # Files.

    def open(self, path: str, mode: str, buffering: int, actions: Actions) -> list[object]:
        inode = self._opened(path, mode)
        return act(_Opened(inode, appends="a" in mode), actions)

    def _open_file(self, path: str, mode: str) -> Openable:
        return _Opened(self._opened(path, mode), appends="a" in mode)

    def write(self, path: str, data: bytes) -> int:
        self.let_go()
        _Opened(self._opened(path, "w"), appends=False).write(data)
        return len(data)

    def touch(self, path: str, mode: int, exist_ok: bool) -> None:
        if exist_ok:
            self._opened(path, "touch", mode).mtime = None
        else:
            self._opened(path, "x", mode)

    def _opened(self, path: str, mode: str, permissions: int = 0o666) -> Inode:
        exclusive, creates = "x" in mode, "r" not in mode
        place = self._place(path, follow=not exclusive)
        if exclusive and (place.name is None or place.inode is not None):
            raise _error(errno.EEXIST, path)
        if place.inode is None and not creates:
            raise _error(errno.ENOENT, path)
        if place.inode is None:
            return self._make(place, Inode("file", permissions & ~self._umask))
        if mode == "touch":
            return place.inode
        if place.inode.kind == "dir":
            raise _error(errno.EISDIR, path)
        if place.inode.kind == "fifo":
            raise _error(errno.ENXIO, path)
        if "w" in mode:
            place.inode.data, place.inode.mtime = b"", None
        return place.inode

    # Names.

    def mkdir(self, path: str, mode: int, parents: bool, exist_ok: bool) -> None:
        try:
            place = self._free(path)
        except FileNotFoundError:
            if not parents:
                raise
            self.mkdir(path.rpartition("/")[0] or "/", 0o777, True, True)
            self.mkdir(path, mode, False, exist_ok)
        except OSError:
            if not exist_ok or not self._is_directory(path):
                raise
        else:
            self._make(place, Inode("dir", mode & ~self._umask & 0o1777))

    def _is_directory(self, path: str) -> bool:
        try:
            return self._find(path).kind == "dir"
        except OSError:
            return False

    def symlink(self, path: str, target: str) -> None:
        if not target:
            raise _error(errno.ENOENT, path)
        self._make(self._free(path), Inode("link", 0o777, data=os.fsencode(target)))

    def link(self, path: str, source: str) -> None:
        inode = self._find(source, follow=False)
        place = self._free(path)
        if inode.kind == "dir":
            raise _error(errno.EPERM, path)
        inode.nlink += 1
        assert place.name is not None
        place.parent.add(place.name, inode)

    def _make(self, place: Place, inode: Inode) -> Inode:
        parent = place.parent
        if parent.mode & SETGID:
            inode.gid = parent.gid
            inode.mode |= SETGID if inode.kind == "dir" else 0
        assert place.name is not None
        parent.add(place.name, inode)
        return inode

    def rmdir(self, path: str) -> None:
        place = self._place(path, follow=False)
        if place.name is None:
            raise _error(errno.ENOTEMPTY if _parts(path) else errno.EBUSY, path)
        if place.inode is None:
            raise _error(errno.ENOENT, path)
        if place.inode.kind != "dir":
            raise _error(errno.ENOTDIR, path)
        if place.inode.entries:
            raise _error(errno.ENOTEMPTY, path)
        place.parent.drop(place.name)

    def unlink(self, path: str, missing_ok: bool) -> None:
        place = self._place_or_none(path) if missing_ok else self._place(path, follow=False)
        if place is None or (missing_ok and place.inode is None):
            return
        if place.name is None:
            raise _error(errno.EISDIR, path)
        if place.inode is None:
            raise _error(errno.ENOENT, path)
        if place.inode.kind == "dir":
            raise _error(errno.EISDIR, path)
        place.parent.drop(place.name)

    def _place_or_none(self, path: str) -> Place | None:
        try:
            return self._place(path, follow=False)
        except FileNotFoundError:
            return None

    def rmtree(self, path: str) -> None:
        place = self._place(path, follow=False)
        if place.inode is None:
            raise _error(errno.ENOENT, path)
        if place.inode.kind != "dir":
            raise _error(errno.ENOTDIR, path)
        assert place.name is not None, "who removes all that is there, or `..`, is not asked"
        _empty(place.inode)
        place.parent.drop(place.name)

    rmtree_loop = rmtree

    def rename(self, path: str, target: str) -> str:
        self.check_rename(path, target)
        old, new = self._place(path, follow=False), self._place(target, follow=False)
        assert old.name is not None
        assert new.name is not None
        assert old.inode is not None
        if old.inode is new.inode:
            return target
        if new.inode is not None:
            new.parent.drop(new.name)
        del old.parent.entries[old.name]
        old.parent.mtime = None
        new.parent.add(new.name, old.inode)
        return target

    replace = rename

    def check_rename(self, path: str, target: str) -> Inode:
        """Raise what a rename would; give what would be renamed (R1, R2, R6)."""
        old, new = self._place(path, follow=False), self._place(target, follow=False)
        if old.name is None or new.name is None:
            raise _error(errno.EBUSY, path)
        if old.inode is None:
            raise _error(errno.ENOENT, path)
        if old.inode in new.trail:
            raise _error(errno.EINVAL, path)
        if new.inode is not None and new.inode in old.trail:
            raise _error(errno.ENOTEMPTY, path)
        if new.inode is None or new.inode is old.inode:
            return old.inode
        if old.inode.kind == "dir" and new.inode.kind != "dir":
            raise _error(errno.ENOTDIR, path)
        if old.inode.kind != "dir" and new.inode.kind == "dir":
            raise _error(errno.EISDIR, path)
        if new.inode.entries:
            raise _error(errno.ENOTEMPTY, path)
        return old.inode

    # Metadata.

    def chmod(self, path: str, mode: int) -> None:
        self._find(path).mode = mode

    def lchmod(self, path: str, mode: int) -> None:
        inode = self._find(path, follow=False)
        if inode.kind == "link":
            raise _error(errno.EOPNOTSUPP, path)
        inode.mode = mode

    def chown(self, path: str, uid: int, gid: int, follow: bool) -> None:
        inode = self._find(path, follow)
        inode.uid = inode.uid if uid == -1 else uid
        inode.gid = inode.gid if gid == -1 else gid
        if inode.kind != "dir":
            # chown(2): set-group-ID without group execution is mandatory locking, and stays.
            dropped = SETUID | (SETGID if inode.mode & 0o010 else 0)
            inode.mode &= ~dropped if inode.kind != "link" else -1

    def utime(self, path: str, accessed: int, modified: int, follow: bool) -> None:
        self._find(path, follow).mtime = modified

    def setxattr(self, path: str, attribute: str, value: bytes, flags: int, follow: bool) -> None:
        inode = self._with_xattrs(path, follow)
        if flags == os.XATTR_CREATE and attribute in inode.xattrs:
            raise _error(errno.EEXIST, path)
        if flags == os.XATTR_REPLACE and attribute not in inode.xattrs:
            raise _error(errno.ENODATA, path)
        inode.xattrs[attribute] = value

    def removexattr(self, path: str, attribute: str, follow: bool) -> None:
        inode = self._with_xattrs(path, follow)
        if attribute not in inode.xattrs:
            raise _error(errno.ENODATA, path)
        del inode.xattrs[attribute]

    def _with_xattrs(self, path: str, follow: bool) -> Inode:
        """Find what can hold attributes of the `user.` namespace: xattr(7), "Extended user attributes"."""
        inode = self._find(path, follow)
        if inode.kind not in ("file", "dir"):
            raise _error(errno.EPERM, path)
        return inode


class _Opened:
    """A file opened for writing."""

    def __init__(self, inode: Inode, *, appends: bool) -> None:
        self._inode = inode
        self._appends = appends
        self._at = len(inode.data) if appends else 0

    def write(self, data: bytes) -> int:
        if not data:
            return 0
        old = self._inode.data
        at = len(old) if self._appends else self._at
        self._inode.data = old[:at].ljust(at, b"\0") + data + old[at + len(data) :]
        self._inode.mtime = None
        self._at = at + len(data)
        return len(data)

    def seek(self, offset: int) -> int:
        self._at = offset
        return offset

    def truncate(self, size: int) -> int:
        self._inode.data = self._inode.data[:size].ljust(size, b"\0")
        self._inode.mtime = None
        return size

    def read(self, size: int) -> bytes:
        assert size == -1
        data = self._inode.data[self._at :]
        self._at += len(data)
        return data

    def close(self) -> None:
        """Nothing is held back."""


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _empty(folder: Inode) -> None:
    for inode in folder.entries.values():
        _empty(inode)
        inode.nlink -= 1
    folder.entries.clear()


def _status(inode: Inode) -> Status:
    nlink, size = (0, 0) if inode.kind == "dir" else (inode.nlink, len(inode.data))
    return Status(inode.kind, inode.mode, inode.uid, inode.gid, inode.mtime, nlink, size)


def _rows(path: str, inode: Inode) -> Iterator[Seen]:
    kind, mode, uid, gid, mtime, nlink, _ = _status(inode)
    data = os.fsencode(shown_target(os.fsdecode(inode.data))) if kind == "link" else inode.data
    yield Seen(path, kind, mode, uid, gid, mtime, nlink, data, tuple(sorted(inode.xattrs.items())))
    for name, below in inode.entries.items():
        yield from _rows(f"{path.rstrip('/')}/{name}", below)


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
