"""
A directory of this machine as a store, reached only relative to directory descriptors.

L11, nothing outside the root is reachable: every step opens one name relative to the descriptor of the
directory before it, with O_NOFOLLOW, or several at once with `openat2(2)` and RESOLVE_BENEATH and
RESOLVE_NO_SYMLINKS. A symbolic link swapped in at any moment makes the step fail; it is never followed.

Descriptors are few, directories many: a `LocalDirectory` may lose its descriptor to another one and
opens it again, beneath the root, when it is asked next.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import io
import os
import stat as _stat
import sys
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import BinaryIO, Final, ParamSpec, TypeVar

from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.model.errors import UnsupportedOperation, is_absence, oserror
from unionpath.model.parts import Parts
from unionpath.model.store import Capability, Listener, Notifier, Watch
from unionpath.model.writable import Move, RawMode, WritableDirectory
from unionpath.stores import local_writing, system_calls
from unionpath.stores.inotify import flush_shared, poll_shared, shared_inotify
from unionpath.stores.locks import FileLock

_P = ParamSpec("_P")
_T = TypeVar("_T")

_O_PATH: Final = getattr(os, "O_PATH", 0)
_O_DIRECTORY: Final = getattr(os, "O_DIRECTORY", 0)
_O_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_O_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_OPEN_DIRECTORY: Final = os.O_RDONLY | _O_DIRECTORY | _O_NOFOLLOW | _O_CLOEXEC
# O_NONBLOCK: a FIFO without a writer must not hold the caller for ever (C7); regular files ignore it.
_OPEN_FILE: Final = os.O_RDONLY | _O_NOFOLLOW | _O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)

_CAPABILITIES: Final = (
    Capability.POSIX
    | Capability.DESCRIPTORS
    | Capability.WRITABLE
    | (Capability.XATTRS | Capability.WATCHABLE if sys.platform.startswith("linux") else Capability.NONE)
)


class LocalStore:
    """
    The tree below one directory.

    `path` is made absolute at once, so that a later `chdir` changes nothing (E8). The path itself may lead
    through symbolic links: they are outside the tree, and the caller's own.

    Raises:
        FileNotFoundError (ENOENT), NotADirectoryError (ENOTDIR): there is no directory at `path`.
        UnsupportedOperation: the system can't open names relative to a directory (Windows).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if os.open not in os.supports_dir_fd:
            raise UnsupportedOperation(
                "local layers need a POSIX system; give the layer as a UPath, such as UPath('file:///…')"
            )
        self._path = os.path.abspath(path)
        self._tree = _Tree(self._path)
        root = _with_room(self._tree.open)
        self._real_path = _real_path(root.fd, self._path)
        self._name_max = os.fstatvfs(root.fd).f_namemax or 255
        self._root = LocalDirectory(self._tree, (), root)
        self._tree.handle = weakref.ref(self._root)
        self._pinned: _Descriptor | None = None

    @property
    def capabilities(self) -> Capability:
        """Everything a POSIX file system has; watches on Linux."""
        return _CAPABILITIES

    @property
    def name_max(self) -> int:
        """`f_namemax` of the root's file system."""
        return self._name_max

    @property
    def identity(self) -> Hashable:
        """The real path of the root."""
        return ("local", self._real_path)

    @property
    def real_path(self) -> str:
        """The path of the root, without links, when the store was made."""
        return self._real_path

    @property
    def place(self) -> str:
        """The absolute path of the root, as given."""
        return self._path

    @property
    def notifier(self) -> Notifier | None:
        """The process's inotify instance."""
        return _SHARED_NOTIFIER

    def __reduce__(self) -> tuple[type[LocalStore], tuple[str]]:
        return LocalStore, (self._path,)

    def root(self) -> LocalDirectory:
        """Give the root directory."""
        return self._root

    def home(self) -> LocalDirectory:
        """Give the root: names can be made in it."""
        return self._root

    def confirm(self) -> None:
        """
        See that the root's path still leads to it; one stat.

        From the first time on the root's descriptor is kept, whatever the pool says: a file system gives
        the number of a removed directory to the next one, but not while it is held.

        Raises:
            OSError (ESTALE): it is gone, or another one stands there (E9).
        """
        if self._pinned is None:
            self._pinned = self._root.held()
        self._tree.confirm()

    def neighbour(self, name: str, *, make: bool = True) -> LocalStore | None:
        """
        Give a store for the directory `name` beside the root, made with permissions 0o700 if need be.

        None if there is none (without `make`), and if the root is a file system's own or mounted apart from
        what is around it.

        Raises:
            PermissionError (EPERM): it is there and others may write to it. NotADirectoryError (ENOTDIR):
                it is something else, a link included. OSError (EACCES, EROFS): it can't be made.
        """
        above, last = os.path.split(self._real_path)
        if not last:
            return None
        local_writing.check_new_name(name)
        root, parent = self._root.held(), _Descriptor(_with_room(_open_root, above))
        if _mount_of(parent.fd) != _mount_of(root.fd):
            return None
        path = os.path.join(above, name)
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=parent.fd)
            _check_private(parent.fd, name, owner=os.fstat(root.fd).st_uid)
        except OSError as error:
            if not make and isinstance(error, FileNotFoundError):
                return None
            error.filename = path
            raise
        return LocalStore(path)

    def close(self) -> None:
        """Give up the root's descriptor; it is opened again when needed."""
        self._pinned = None
        self._root.release()


class _Tree:
    """What the directories of one tree share: its root, by path, identity and handle."""

    __slots__ = ("_identity", "handle", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None
        # Not to a descriptor: one that is about to close itself could be had through such a reference.
        self.handle: Callable[[], LocalDirectory | None] = _none

    def root(self) -> _Descriptor:
        """Give the root's descriptor: that of the root's handle while there is one."""
        handle = self.handle()
        return self.open() if handle is None else handle.held()

    def open(self) -> _Descriptor:
        """
        Open the root by its path.

        Raises:
            OSError (ESTALE): another directory stands there than when it was opened first (E9).
        """
        descriptor = _Descriptor(_open_root(self.path))
        found = os.fstat(descriptor.fd)
        identity = (found.st_dev, found.st_ino)
        if self._identity not in (None, identity):
            raise oserror(errno.ESTALE, self.path, hint=_REPLACED)
        self._identity = identity
        return descriptor

    def confirm(self) -> None:
        """
        See that the path leads to the root that was opened first.

        Raises:
            OSError (ESTALE): it doesn't, or to nothing.
        """
        try:
            found = os.stat(self.path)
        except OSError as error:
            if not is_absence(error):
                raise
            raise oserror(
                errno.ESTALE, self.path, hint="the layer's directory is gone; make a new stack"
            ) from None
        if (found.st_dev, found.st_ino) != self._identity:
            raise oserror(errno.ESTALE, self.path, hint=_REPLACED)


_REPLACED: Final = "the layer's directory was replaced; make a new stack"


def _none() -> None:
    """Stand in for a reference to a handle that was never made."""


class _SharedNotifier:
    """The process's inotify, whichever instance that is after a fork."""

    def poll(self) -> None:
        poll_shared()

    def flush(self) -> None:
        flush_shared()


_SHARED_NOTIFIER: Final = _SharedNotifier()


class _Descriptor:
    """
    A directory's descriptor, closed with its last reference.

    Whoever uses one holds a reference meanwhile, so no thread can find its number closed, or open on
    something else, in the middle of a call.
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd
        _POOL.count += 1

    def __del__(self) -> None:
        if hasattr(self, "fd"):  # else a signal's exception came before
            _POOL.count -= 1
            os.close(self.fd)


class _Pool:
    """Bounds how many directories hold a descriptor: the one that opened first gives its up first."""

    def __init__(self) -> None:
        self.count = 0
        self.generation = 0
        """Counts the forks that led to this process."""
        self._holders: deque[weakref.ref[LocalDirectory]] = deque()
        self._capacity = _descriptor_share()

    def opened(self, holder: LocalDirectory) -> None:
        """Remember a holder; make room if there is one too many."""
        holders = self._holders
        holders.append(weakref.ref(holder))
        while self.count > self._capacity and len(holders) > 1:
            self._release_oldest()
        if len(holders) > 4 * self._capacity:  # most of them long dead
            self._holders = deque(each for each in tuple(holders) if each() is not None)

    def release_all(self) -> None:
        """Let every holder give its descriptor up."""
        while self._holders:
            self._release_oldest()

    def _release_oldest(self) -> None:
        try:
            holder = self._holders.popleft()()
        except IndexError:  # another thread was faster
            return
        if holder is not None:
            holder.release()


def _descriptor_share() -> int:
    """A quarter of the descriptors this process may have, and not more than any walk profits from."""
    try:
        import resource
    except ImportError:
        return 64
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1024 if soft == resource.RLIM_INFINITY else max(16, min(1024, soft // 4))


_POOL: Final = _Pool()


def _with_room(open_: Callable[_P, _T], *arguments: _P.args, **more: _P.kwargs) -> _T:
    """
    Call what opens something before all else; once more if descriptors ran out and the pool has some.

    Raises:
        OSError (EMFILE): it is others who hold them all.
    """
    try:
        return open_(*arguments, **more)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    _POOL.release_all()
    return open_(*arguments, **more)


class LocalDirectory:
    """One directory beneath the root of a `LocalStore`."""

    __slots__ = ("__weakref__", "_descriptor", "_fresh", "_identity", "_parts", "_tree")

    def __init__(
        self, tree: _Tree, parts: Parts, descriptor: _Descriptor | None = None, *, fresh: bool = False
    ) -> None:
        self._tree = tree
        self._parts = parts
        self._descriptor = descriptor
        # A descriptor's read position is shared by all who list through it, children of a fork included,
        # so only the first listing of a handle that nobody else has yet may use it; later ones open their
        # own. What is kept is the process's generation in which the handle was made; -1: not fresh.
        self._fresh = _POOL.generation if fresh else -1
        self._identity: tuple[int, int] | None = None
        """Device and inode number, kept while the descriptor is given up."""
        if descriptor is not None:
            _POOL.opened(self)

    @property
    def parts(self) -> Parts:
        """Its place beneath the root."""
        return self._parts

    def place(self, name: str | None = None) -> str:
        """Give the host's path of this directory, or of a name in it."""
        return (
            "/".join((self._tree.path.rstrip("/"), *self._parts, *(() if name is None else (name,)))) or "/"
        )

    def release(self) -> None:
        """Give up the descriptor; it is opened again when needed."""
        self._fresh = -1
        descriptor = self._descriptor
        if descriptor is not None:
            if self._identity is None:
                found = os.fstat(descriptor.fd)
                self._identity = (found.st_dev, found.st_ino)
            self._descriptor = None

    def _open(self) -> _Descriptor:
        try:
            descriptor = _with_room(self._reach)
        except OSError as error:
            raise self._placed(error, None) from None
        self._descriptor = descriptor
        _POOL.opened(self)
        return descriptor

    def _reach(self) -> _Descriptor:
        if not self._parts:
            return self._tree.open()
        root = self._tree.root()
        return _Descriptor(_open_beneath(root.fd, self._parts))

    def held(self) -> _Descriptor:
        """Give the descriptor, opened again if it was given up."""
        return self._descriptor or self._open()

    def _own(self) -> _Descriptor:
        """
        Give the descriptor for a change: nothing lands in a directory that took this one's place.

        Raises:
            OSError (ESTALE): the descriptor was given up, and another directory has the place since then.
        """
        held = self._descriptor or self._open()
        if self._identity is not None:  # it was given up once
            found = os.fstat(held.fd)
            if self._identity != (found.st_dev, found.st_ino):
                raise oserror(errno.ESTALE, self.place(), hint="the directory was replaced")
        return held

    def status(self) -> Stat:
        """Stat the directory itself."""
        held = self._descriptor or self._open()
        return os.fstat(held.fd)

    def stat(self, name: str) -> Stat:
        """Stat one name, following nothing."""
        held = self._descriptor or self._open()
        try:
            return os.stat(name, dir_fd=held.fd, follow_symlinks=False)
        except OSError as error:
            raise self._placed(error, name) from None

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        """List the names with their kinds' tags."""
        held = self._descriptor or self._open()
        try:
            if self._fresh == _POOL.generation:
                self._fresh = -1
                return _with_room(_scan, held.fd, tags)
            return _with_room(_scan_apart, held.fd, tags)
        except OSError as error:
            raise self._placed(error, None) from None

    def child(self, name: str) -> LocalDirectory:
        """Open the directory `name`."""
        return self._child(self._descriptor or self._open(), name)

    def _child(self, held: _Descriptor, name: str) -> LocalDirectory:
        try:
            fd, readable = _with_room(_open_directory, held.fd, name)
        except OSError as error:
            raise self._placed(error, name) from None
        return LocalDirectory(self._tree, (*self._parts, name), _Descriptor(fd), fresh=readable)

    def readlink(self, name: str) -> str:
        """Give a link's target."""
        held = self._descriptor or self._open()
        try:
            return os.readlink(name, dir_fd=held.fd)
        except OSError as error:
            raise self._placed(error, name) from None

    def open(self, name: str) -> io.FileIO:
        """
        Open a file for reading.

        A FIFO without a writer is at its end at once; with one, reading waits for it as the system does.
        """
        fd = self._open_file(name)
        try:
            self._check_readable(os.fstat(fd), name)
            os.set_blocking(fd, True)
        except BaseException:
            os.close(fd)
            raise
        # Not in the `try`: an interrupt must not close what the file has taken over.
        return io.FileIO(fd, "rb", closefd=True)

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        fd = self._open_file(name)
        try:
            found = os.fstat(fd)
            self._check_readable(found, name)
            if not found.st_size:  # it may be a FIFO
                os.set_blocking(fd, True)
            return _read_all(fd, found.st_size)
        except OSError as error:
            raise self._placed(error, name) from None
        finally:
            os.close(fd)

    def _open_file(self, name: str) -> int:
        held = self._descriptor or self._open()
        try:
            return os.open(name, _OPEN_FILE, dir_fd=held.fd)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.EAGAIN):
                raise self._placed(error, name) from None
        try:
            return _with_room(local_writing.open_patiently, held.fd, name, _OPEN_FILE)
        except OSError as error:
            raise self._placed(error, name) from None

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        """Read one extended attribute, of a link itself where `name` is one."""
        held = self._descriptor or self._open()
        try:
            return os.getxattr(_by_descriptor(held.fd, name), attribute, follow_symlinks=name is None)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                return None
            raise self._placed(error, name) from None

    def listxattr(self, name: str | None) -> list[str]:
        """Name the extended attributes."""
        held = self._descriptor or self._open()
        try:
            if name is None:
                return os.listxattr(held.fd)
            return os.listxattr(_by_descriptor(held.fd, name), follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.EBADF and name is None:  # a descriptor opened with O_PATH
                return os.listxattr(_by_descriptor(held.fd, None))
            if error.errno == errno.ENOTSUP:
                return []
            raise self._placed(error, name) from None

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        """Watch through the process's inotify instance."""
        inotify = shared_inotify()
        if inotify is None:
            return None
        held = self._descriptor or self._open()
        return inotify.watch(held.fd, listener, contents)

    # What `WritableDirectory` asks for.

    def create(self, name: str, data: bytes = b"", permissions: int = 0o644, *, sync: bool = False) -> None:
        """Make a regular file with its whole content; `sync`: on the disk before it has its name."""
        held = self._own()
        try:
            _with_room(local_writing.create, held.fd, name, data, permissions, sync=sync)
        except OSError as error:
            raise self._placed(error, name) from None

    def open_new(self, name: str, mode: RawMode, permissions: int = 0o666) -> io.FileIO:
        """Make an empty regular file, and open it."""
        held = self._own()
        try:
            return _with_room(local_writing.open_new, held.fd, name, mode, permissions)
        except OSError as error:
            raise self._placed(error, name) from None

    def open_writable(self, name: str, mode: RawMode, *, truncate: bool = False) -> io.FileIO:
        """Open a file that is there; also a FIFO with a reader, for writing alone."""
        held = self._own()
        try:
            return _with_room(local_writing.open_writable, held.fd, name, mode, truncate=truncate)
        except OSError as error:
            raise self._placed(error, name) from None

    def put(
        self, name: str, source: BinaryIO | io.RawIOBase, permissions: int = 0o644, *, sync: bool = False
    ) -> None:
        """Make or replace a regular file; `sync`: on the disk before it has its name."""
        held = self._own()
        try:
            _with_room(local_writing.put, held.fd, name, source, permissions, sync=sync)
        except OSError as error:
            raise self._placed(error, name) from None

    def mkdir(self, name: str, permissions: int = 0o755) -> LocalDirectory:
        """Make an empty directory; the handle holds it open."""
        held = self._own()
        try:
            local_writing.check_new_name(name)
            os.mkdir(name, permissions, dir_fd=held.fd)
        except OSError as error:
            raise self._placed(error, name) from None
        try:
            return self._child(held, name)
        except BaseException:
            os.rmdir(name, dir_fd=held.fd)
            raise

    def symlink(self, name: str, target: str) -> None:
        """Make a symbolic link."""
        held = self._own()
        try:
            local_writing.check_new_name(name)
            os.symlink(target, name, dir_fd=held.fd)
        except OSError as error:
            error.filename2 = None
            raise self._placed(error, name) from None

    def mknod(self, name: str, kind: Kind, permissions: int, rdev: int = 0) -> None:
        """Make a FIFO, a socket, a device node, or an empty file."""
        held = self._own()
        try:
            local_writing.mknod(held.fd, name, kind, permissions, rdev)
        except OSError as error:
            raise self._placed(error, name) from None

    def link(self, name: str, source_directory: WritableDirectory, source_name: str) -> None:
        """Give an object of a local directory a further name here."""
        held = self._own()
        source = _local(source_directory, source_name, self.place(name))
        try:
            local_writing.check_new_name(name)
            os.link(source_name, name, src_dir_fd=source.held().fd, dst_dir_fd=held.fd, follow_symlinks=False)
        except OSError as error:
            raise source._placed_both(error, source_name, self, name) from None

    def unlink(self, name: str) -> None:
        """Remove a name that isn't a directory's."""
        held = self._own()
        try:
            os.unlink(name, dir_fd=held.fd)
        except OSError as error:
            raise self._placed(error, name) from None

    def rmdir(self, name: str) -> None:
        """Remove an empty directory."""
        held = self._own()
        try:
            os.rmdir(name, dir_fd=held.fd)
        except OSError as error:
            raise self._placed(error, name) from None

    def rename(
        self, name: str, target_directory: WritableDirectory, target_name: str, how: Move = Move.REPLACE
    ) -> None:
        """Move an object, also into another tree of the same file system."""
        held = self._own()
        target = _local(target_directory, target_name, self.place(name))
        below = target._own()
        try:
            local_writing.check_new_name(target_name)
            if how is Move.REPLACE:
                os.rename(name, target_name, src_dir_fd=held.fd, dst_dir_fd=below.fd)
            else:
                system_calls.rename(held.fd, name, below.fd, target_name, how)
        except OSError as error:
            raise self._placed_both(error, name, target, target_name) from None

    def chmod(self, name: str | None, permissions: int) -> None:
        """Set permission bits."""
        held = self._own()
        try:
            local_writing.chmod(held.fd, name, permissions)
        except OSError as error:
            raise self._placed(error, name) from None

    def chown(self, name: str | None, uid: int = -1, gid: int = -1) -> None:
        """Set owner and group."""
        held = self._own()
        try:
            local_writing.chown(held.fd, name, uid, gid)
        except OSError as error:
            raise self._placed(error, name) from None

    def utime(self, name: str | None, ns: tuple[int, int] | None = None) -> None:
        """Set the times."""
        held = self._own()
        try:
            local_writing.utime(held.fd, name, ns)
        except OSError as error:
            raise self._placed(error, name) from None

    def setxattr(self, name: str | None, attribute: str, value: bytes) -> None:
        """Set one extended attribute, of a link itself where `name` is one."""
        held = self._own()
        try:
            local_writing.setxattr(held.fd, name, attribute, value)
        except OSError as error:
            raise self._placed(error, name) from None

    def removexattr(self, name: str | None, attribute: str) -> None:
        """Remove one extended attribute."""
        held = self._own()
        try:
            local_writing.removexattr(held.fd, name, attribute)
        except OSError as error:
            raise self._placed(error, name) from None

    def sync(self, name: str | None) -> None:
        """Bring a file, or the names in this directory, to the disk."""
        held = self._own()
        try:
            _with_room(local_writing.sync, held.fd, name)
        except OSError as error:
            raise self._placed(error, name) from None

    def lock(self, name: str | None) -> FileLock:
        """Make a lock; it keeps a descriptor open until it is closed."""
        return FileLock(functools.partial(self._open_for_lock, "." if name is None else name))

    def _open_for_lock(self, name: str) -> int:
        held = self._own()
        try:
            return _with_room(local_writing.open_for_lock, held.fd, name)
        except OSError as error:
            raise self._placed(error, name) from None

    def _placed_both(self, error: OSError, name: str, target: LocalDirectory, target_name: str) -> OSError:
        """Give a fault the places of both objects."""
        if not is_absence(error):
            error.filename, error.filename2 = self.place(name), target.place(target_name)
        return error

    def _placed(self, error: OSError, name: str | None) -> OSError:
        """Give a fault the object's place; absence, an answer that is given often, stays as it is."""
        if not is_absence(error):
            error.filename = self.place(name)
        return error

    def _check_readable(self, found: Stat, name: str) -> None:
        mode = found.st_mode
        if _stat.S_ISREG(mode) or _stat.S_ISFIFO(mode):
            return
        if _stat.S_ISDIR(mode):
            raise oserror(errno.EISDIR, self.place(name))
        # What a device node reaches lies outside the layer: as on a mount with `nodev` (mount(8)).
        raise oserror(errno.EACCES, self.place(name), hint="a layer's device nodes are not opened")


def _local(directory: WritableDirectory, name: str, place: str) -> LocalDirectory:
    """
    Take another directory for a local one.

    Raises:
        OSError (EXDEV): it is of another kind of store.
    """
    if isinstance(directory, LocalDirectory):
        return directory
    raise oserror(errno.EXDEV, place, directory.place(name))


def can_read_trusted_xattrs() -> bool:
    """
    Tell whether this process sees `trusted.` attributes: to others the kernel says that there are none.

    It takes CAP_SYS_ADMIN in the first user namespace (xattr(7)).
    """
    return _sees_trusted_xattrs(os.geteuid())


@functools.cache
def _sees_trusted_xattrs(euid: int) -> bool:
    # Read once for each user that the process has been: privileges are given up with the user's number.
    try:
        with open("/proc/self/status", "rb") as status, open("/proc/self/uid_map", "rb") as uid_map:
            effective = next(int(line.split()[1], 16) for line in status if line.startswith(b"CapEff:"))
            is_first = uid_map.read().split() == [b"0", b"0", b"4294967295"]
    except (OSError, StopIteration):
        return euid == 0
    return bool(effective >> 21 & 1) and is_first


def _scan(fd: int, tags: Sequence[int]) -> dict[str, int]:
    file_tag, directory_tag = tags[Kind.FILE], tags[Kind.DIRECTORY]
    whiteouts: set[int] = set()
    with os.scandir(fd) as entries:
        found = {
            entry.name: file_tag
            if entry.is_file(follow_symlinks=False)
            else directory_tag
            if entry.is_dir(follow_symlinks=False)
            else tags[Kind.SYMLINK]
            if entry.is_symlink()
            else _odd_tag(entry, tags, whiteouts)
            for entry in entries
        }
    if not found and os.fstat(fd).st_nlink == 0:
        # The C library takes the kernel's ENOENT for the end of the directory.
        raise FileNotFoundError(errno.ENOENT, "the directory was removed")
    return found


def _scan_apart(fd: int, tags: Sequence[int]) -> dict[str, int]:
    """Scan with a read position of its own."""
    own = os.open(".", _OPEN_DIRECTORY, dir_fd=fd)
    try:
        return _scan(own, tags)
    finally:
        os.close(own)


def _odd_tag(entry: os.DirEntry[str], tags: Sequence[int], whiteouts: set[int]) -> int:
    """Give the tag of what is neither file, directory nor link."""
    # Devices 0:0 of one upper are names of a few inodes: one stat serves them all.
    if entry.inode() in whiteouts:
        return tags[7]
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # gone since it was listed: any kind is as good, its stat will fail
        return tags[Kind.FILE]
    if len(tags) > 7 and _stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        whiteouts.add(found.st_ino)
        return tags[7]
    return tags[kind_of(found.st_mode)]


def _read_all(fd: int, expected: int) -> bytes:
    """Read to the end; one call suffices for a file that has the size it had a moment ago."""
    data = os.read(fd, expected + 1)
    if len(data) == expected:
        return data
    chunks = [data]
    while data:
        data = os.read(fd, max(expected, 1 << 16))
        chunks.append(data)
    return b"".join(chunks)


def _by_descriptor(fd: int, name: str | None) -> str:
    # There is no getxattr relative to a directory before Linux 6.13; /proc's magic link leads to the very
    # directory behind the descriptor, and one name below it is not followed.
    return f"/proc/self/fd/{fd}" if name is None else f"/proc/self/fd/{fd}/{name}"


def _open_root(path: str) -> int:
    """Open a layer's root, which the caller may reach through links of their own."""
    try:
        return os.open(path, os.O_RDONLY | _O_DIRECTORY | _O_CLOEXEC)
    except PermissionError:
        return os.open(path, _O_PATH | _O_DIRECTORY | _O_CLOEXEC)


def _real_path(fd: int, path: str) -> str:
    """Give the path of an open directory without links; one system call where there is /proc."""
    try:
        found = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return os.path.realpath(path)
    return found if found.startswith("/") else os.path.realpath(path)


def _mount_of(fd: int) -> tuple[int, bytes]:
    """Tell what a directory is mounted with: its device, and which of the device's mounts it is seen in."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:
            mount = next((line for line in lines if line.startswith(b"mnt_id:")), b"")
    except FileNotFoundError:  # a system without
        mount = b""
    return os.fstat(fd).st_dev, mount


def _check_private(parent: int, name: str, *, owner: int) -> None:
    """
    See that a directory is fit for our own use.

    Raises:
        PermissionError (EPERM): it belongs to a stranger, or others may write to it.
        NotADirectoryError (ENOTDIR): it is something else, a link included.
    """
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not _stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if found.st_uid not in (os.geteuid(), owner) or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "the directory is not private")


def _open_directory(above: int, name: str) -> tuple[int, bool]:
    """Open one directory, and tell if it is readable; names in one that isn't may still be reached."""
    try:
        return os.open(name, _OPEN_DIRECTORY, dir_fd=above), True
    except PermissionError:
        return os.open(name, _OPEN_DIRECTORY | _O_PATH, dir_fd=above), False


def _open_beneath(root: int, parts: Parts) -> int:
    """Open a directory several names below `root`; no name on the way may be a link."""
    if len(parts) > 1 and _openat2.works and (path := os.fsencode("/".join(parts))) and len(path) < 4096:
        return _openat2(root, path)
    return _open_stepwise(root, parts)


def _open_stepwise(root: int, parts: Parts) -> int:
    fd = root
    for name in parts:
        try:
            deeper, _readable = _open_directory(fd, name)
        finally:
            if fd != root:
                os.close(fd)
        fd = deeper
    return fd


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _Openat2:
    """openat2(2), for which neither Python nor older C libraries have a function."""

    _NUMBER: Final = 437  # the same on every architecture
    _RESOLVE: Final = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS | NO_SYMLINKS | BENEATH

    def __init__(self) -> None:
        self.works = sys.platform.startswith("linux")

    def __call__(self, root: int, path: bytes) -> int:
        try:
            return self._call(root, path)
        except PermissionError:
            # Not readable, or a sandbox that answers EPERM to calls that it doesn't know.
            return _open_stepwise(root, tuple(os.fsdecode(path).split("/")))

    def _call(self, root: int, path: bytes) -> int:
        how = _OpenHow(_OPEN_DIRECTORY & ~_O_NOFOLLOW, 0, self._RESOLVE)
        for _attempt in range(64):
            fd: int = _libc().syscall(self._NUMBER, root, path, ctypes.byref(how), ctypes.sizeof(how))
            if fd >= 0:
                return fd
            number = ctypes.get_errno()
            if number in (errno.ENOSYS, errno.E2BIG, errno.EINVAL):
                self.works = False  # a kernel before 5.6, or one that hides the call
                return _open_stepwise(root, tuple(os.fsdecode(path).split("/")))
            if number != errno.EAGAIN:  # EAGAIN: a rename raced with the walk
                # A link on the way is something else than a directory.
                number = errno.ENOTDIR if number == errno.ELOOP else number
                raise OSError(number, os.strerror(number), os.fsdecode(path))
        return _open_stepwise(root, tuple(os.fsdecode(path).split("/")))


_openat2: Final = _Openat2()


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _after_fork_in_child() -> None:
    _POOL.generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
