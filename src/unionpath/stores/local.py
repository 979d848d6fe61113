"""
A directory of this machine as a store, reached only relative to directory descriptors.

L11, nothing outside the root is reachable: every step opens one name relative to the descriptor of the
directory before it, with O_NOFOLLOW, or several at once with `openat2(2)` and RESOLVE_BENEATH and
RESOLVE_NO_SYMLINKS. A symbolic link swapped in at any moment makes the step fail; it is never followed.

Descriptors are few, directories many: a `LocalDirectory` may lose its descriptor to another one and
opens it again, beneath the root, when it is asked next.
"""

from __future__ import annotations

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
from typing import Final

from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.model.errors import UnsupportedOperation, is_absence, oserror
from unionpath.model.parts import Parts
from unionpath.model.store import Capability, Directory, Listener, Notifier, Watch
from unionpath.stores.inotify import flush_shared, poll_shared, shared_inotify

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
        root = self._tree.open()
        self._real_path = _real_path(root.fd, self._path)
        self._name_max = os.fstatvfs(root.fd).f_namemax or 255
        self._root = LocalDirectory(self._tree, (), root)
        self._tree.handle = weakref.ref(self._root)

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

    def close(self) -> None:
        """Give up the root's descriptor; it is opened again when needed."""
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
            raise oserror(
                errno.ESTALE, self.path, hint="the layer's directory was replaced; make a new stack"
            )
        self._identity = identity
        return descriptor


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


class LocalDirectory:
    """One directory beneath the root of a `LocalStore`."""

    __slots__ = ("__weakref__", "_descriptor", "_fresh", "_parts", "_tree")

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
        self._descriptor = None

    def _open(self) -> _Descriptor:
        try:
            descriptor = self._reach()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise self._placed(error, None) from None
            _POOL.release_all()  # it may be us who hold them all
            descriptor = self._reach()
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
                return _scan(held.fd, tags)
            fd = os.open(".", _OPEN_DIRECTORY, dir_fd=held.fd)
            try:
                return _scan(fd, tags)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._placed(error, None) from None

    def child(self, name: str) -> Directory:
        """Open the directory `name`."""
        held = self._descriptor or self._open()
        try:
            fd, readable = _open_directory(held.fd, name)
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
        """Open a file for reading."""
        fd = self._open_file(name)
        try:
            self._check_readable(os.fstat(fd), name)
            return io.FileIO(fd, "rb", closefd=True)
        except BaseException:
            os.close(fd)
            raise

    def read(self, name: str) -> bytes:
        """Read a whole file."""
        fd = self._open_file(name)
        try:
            found = os.fstat(fd)
            self._check_readable(found, name)
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
    with os.scandir(fd) as entries:
        found = {
            entry.name: file_tag
            if entry.is_file(follow_symlinks=False)
            else directory_tag
            if entry.is_dir(follow_symlinks=False)
            else tags[_odd_kind(entry)]
            for entry in entries
        }
    if not found and os.fstat(fd).st_nlink == 0:
        # The C library takes the kernel's ENOENT for the end of the directory.
        raise FileNotFoundError(errno.ENOENT, "the directory was removed")
    return found


def _odd_kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return Kind.SYMLINK
    try:
        return kind_of(entry.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:  # gone since it was listed: any kind is as good, its stat will fail
        return Kind.FILE


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
