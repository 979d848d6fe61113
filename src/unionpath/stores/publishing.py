"""
How content and directories come and go in the file systems that fsspec speaks, each as whole as it can.

A publisher is asked when the name has been looked at and is held by a claim of this process. Errors are the
file system's own; whoever asks gives them an errno.
"""

from __future__ import annotations

import errno
import inspect
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from unionpath.stores.foreign import errno_of, is_other_version
from unionpath.stores.fsspec_details import TEMPORARY
from unionpath.stores.spooled import Spool

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ON_DISK: Final = frozenset({"file", "local"})
OBJECTS: Final = frozenset({"s3", "s3a", "gs", "gcs"})
"""Where a put is one step, and a directory is what keys begin with."""
_REPLACING: Final = frozenset({"sftp", "ssh"})
"""Where `mv` is rename(2), which replaces."""
_READ_ONLY: Final = frozenset(
    {"http", "https", "zip", "tar", "libarchive", "git", "github", "gist", "data", "reference"}
)
"""Where nothing can be removed, though something might be put."""
_BASES: Final = frozenset({"fsspec.spec", "fsspec.asyn", "fsspec.archive"})
"""Where methods stand that only raise or do nothing, until a file system overrides them."""
_ONE_REQUEST: Final = 64 << 20
"""What s3fs puts in one request, and so under a condition, whatever its settings are."""
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


class Publisher(Protocol):
    """One file system's way."""

    def new(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """
        Make a file.

        `sync`: bring its content to the disk first, where it is one of this machine.

        Raises:
            FileExistsError: the path is taken, as far as the file system can tell in the same step.
        """

    def replace(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """Make a file, or give it other content."""

    def version(self, path: str) -> str | None:
        """Give what tells this content of a file from what others put there; None if nothing does."""

    def replace_version(self, path: str, content: Spool, version: str) -> bool:
        """Give a file other content; False if it isn't of this version any more."""

    def mkdir(self, path: str, permissions: int) -> None:
        """Make a directory that is there although it is empty."""

    def rmdir(self, path: str) -> None:
        """Remove a directory that was seen to be empty."""

    def keep(self, path: str) -> None:
        """See that a directory stays when its last name goes."""

    def identify(self, path: str) -> object:
        """Give what tells a directory from another one that took its place, or None if nothing does."""

    def sync(self, path: str) -> None:
        """Bring a file or directory to the disk, where it is one of this machine."""


def can_write(fs: AbstractFileSystem, protocols: frozenset[str]) -> bool:
    """
    Tell whether files can be made and removed.

    Not through file systems that wrap others: caches among them go on showing what was there before.
    """
    if protocols & _READ_ONLY or hasattr(getattr(fs, "fs", None), "async_impl"):
        return False
    removing = ("_rm_file", "_rm") if fs.async_impl else ("rm_file", "_rm", "rm")
    making = ("_pipe_file",) if fs.async_impl else ("_open", "open", "pipe_file")
    return _has_own(fs, removing) and _has_own(fs, making)


def _has_own(fs: AbstractFileSystem, names: tuple[str, ...]) -> bool:
    """Tell whether the class, and not only the bases of all file systems, has one of these methods."""
    return any(
        name in vars(cls) for cls in type(fs).__mro__ if cls.__module__ not in _BASES for name in names
    )


def pick_publisher(fs: AbstractFileSystem, protocols: frozenset[str]) -> Publisher:
    """Give a file system's way."""
    if protocols & ON_DISK:
        return DiskPublisher()
    if "memory" in protocols:
        return MemoryPublisher(fs)
    if protocols & OBJECTS:
        return ObjectPublisher(fs)
    return PlainPublisher(fs, replaces=bool(protocols & _REPLACING))


class DiskPublisher:
    """A file system of this machine: a temporary file beside the name, then one link or rename."""

    def new(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """As `Publisher.new`; in one step where the disk knows hard links."""
        temporary = self._write(path, content, permissions, sync=sync)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
            os.replace(temporary, path)
        finally:
            _remove(temporary)

    def replace(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """As `Publisher.replace`; in one step. A symbolic link is replaced itself."""
        temporary = self._write(path, content, permissions, sync=sync)
        try:
            os.replace(temporary, path)
        finally:
            _remove(temporary)

    def version(self, path: str) -> str | None:
        """As `Publisher.version`: nothing does."""
        return None

    def replace_version(self, path: str, content: Spool, version: str) -> bool:
        """As `Publisher.replace_version`; there are no versions."""
        self.replace(path, content, 0o666)
        return True

    def mkdir(self, path: str, permissions: int) -> None:
        """As `Publisher.mkdir`."""
        os.mkdir(path, permissions)

    def rmdir(self, path: str) -> None:
        """As `Publisher.rmdir`; what writers that died have left in it goes, too."""
        try:
            os.rmdir(path)
        except OSError as error:
            left = [name for name in _listed(path) if name.startswith(TEMPORARY)]
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not left:
                raise
            for name in left:
                _remove(os.path.join(path, name))
            os.rmdir(path)

    def keep(self, path: str) -> None:
        """As `Publisher.keep`: it always does."""

    def identify(self, path: str) -> object:
        """As `Publisher.identify`."""
        found = os.stat(path)
        return found.st_dev, found.st_ino

    def sync(self, path: str) -> None:
        """As `Publisher.sync`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _write(self, path: str, content: Spool, permissions: int, *, sync: bool) -> str:
        temporary = temporary_beside(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, permissions)
        try:
            with open(descriptor, "wb", buffering=0) as file:
                content.copy_to(file)
                if sync:
                    os.fsync(descriptor)
        except BaseException:
            _remove(temporary)
            raise
        return temporary


class MemoryPublisher:
    """fsspec's memory: a dict of files, and a list of the directories that may be empty."""

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs

    def new(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """As `Publisher.new`."""
        self._fs.pipe_file(path, content.value())

    def replace(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """As `Publisher.replace`; in one step."""
        self._fs.pipe_file(path, content.value())

    def version(self, path: str) -> str | None:
        """As `Publisher.version`: nothing does."""
        return None

    def replace_version(self, path: str, content: Spool, version: str) -> bool:
        """As `Publisher.replace_version`; there are no versions."""
        self.replace(path, content, 0o666)
        return True

    def mkdir(self, path: str, permissions: int) -> None:
        """As `Publisher.mkdir`."""
        self._fs.mkdir(path, create_parents=False)

    def rmdir(self, path: str) -> None:
        """As `Publisher.rmdir`."""
        self._fs.rmdir(path)

    def keep(self, path: str) -> None:
        """As `Publisher.keep`: writes down a directory that is only there because files are in it."""
        with suppress(FileExistsError):
            self._fs.mkdir(path)

    def identify(self, path: str) -> object:
        """As `Publisher.identify`: nothing does."""
        return None

    def sync(self, path: str) -> None:
        """As `Publisher.sync`: there is no disk."""


class ObjectPublisher:
    """
    An object store: a put is one step.

    A directory is an empty object whose key ends in a slash, as the consoles of such stores make it.
    """

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs
        pipe = getattr(type(fs), "_pipe_file", None)
        self._is_conditional = pipe is not None and "mode" in inspect.signature(pipe).parameters

    def new(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """As `Publisher.new`; decided by the server where it knows conditional puts."""
        if not self._is_conditional:
            self._put(path, content)
            return
        try:
            self._put(path, content, mode="create")
        except Exception as error:
            if errno_of(error) not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            self._put(path, content)

    def replace(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """As `Publisher.replace`; in one step."""
        self._put(path, content)

    def version(self, path: str) -> str | None:
        """As `Publisher.version`; only S3 is known to compare it."""
        if not self._is_conditional or not _is_s3(self._fs):
            return None
        version = self._fs.info(path).get("ETag")
        return version if isinstance(version, str) else None

    def replace_version(self, path: str, content: Spool, version: str) -> bool:
        """As `Publisher.replace_version`; decided by the server where it knows conditional puts."""
        if content.size > _ONE_REQUEST:
            self._put(path, content)
            return True
        try:
            self._put(path, content, IfMatch=version)
        except Exception as error:
            if is_other_version(error):
                return False
            if errno_of(error) not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            self._put(path, content)
        return True

    def mkdir(self, path: str, permissions: int) -> None:
        """As `Publisher.mkdir`."""
        self._fs.pipe_file(f"{path}/", b"")

    def rmdir(self, path: str) -> None:
        """As `Publisher.rmdir`."""
        self._fs.rm_file(f"{path}/")

    def keep(self, path: str) -> None:
        """As `Publisher.keep`; a bucket stays by itself."""
        if "/" not in path.strip("/"):
            return
        try:
            self.new(f"{path}/", Spool(), 0)
        except Exception as error:
            if errno_of(error) != errno.EEXIST:
                raise

    def identify(self, path: str) -> object:
        """As `Publisher.identify`: nothing does."""
        return None

    def sync(self, path: str) -> None:
        """As `Publisher.sync`: there is no disk."""

    def _put(self, path: str, content: Spool, **how: str) -> None:
        # What older ones don't know they hand to the server, so a `mode` is given only where it is needed.
        if (source := content.path) is None:
            self._fs.pipe_file(path, content.value(), **how)
        else:
            self._fs.put_file(source, path, **how)


class PlainPublisher:
    """
    Any other file system that can be written to.

    Over sftp, a temporary file is written beside the name and renamed onto it. Elsewhere nothing is known
    that replaces in one step: a file is written under its name, and who reads meanwhile may see a part of it.
    """

    def __init__(self, fs: AbstractFileSystem, *, replaces: bool) -> None:
        self._fs = fs
        self._replaces = replaces

    def new(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """As `Publisher.new`; the name was looked at before, nothing more."""
        self.replace(path, content, permissions, sync=sync)

    def replace(self, path: str, content: Spool, permissions: int, *, sync: bool = False) -> None:
        """As `Publisher.replace`."""
        if not self._replaces:
            self._write(path, content)
            return
        temporary = temporary_beside(path)
        try:
            self._write(temporary, content)
            self._fs.mv(temporary, path)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(temporary)
            raise

    def version(self, path: str) -> str | None:
        """As `Publisher.version`: nothing does."""
        return None

    def replace_version(self, path: str, content: Spool, version: str) -> bool:
        """As `Publisher.replace_version`; there are no versions."""
        self.replace(path, content, 0o666)
        return True

    def mkdir(self, path: str, permissions: int) -> None:
        """
        As `Publisher.mkdir`.

        Raises:
            NotImplementedError: the file system shows no empty directories.
        """
        self._fs.mkdir(path, create_parents=False)
        self._fs.invalidate_cache(path)
        try:
            self._fs.info(path)
        except FileNotFoundError:
            raise NotImplementedError("the file system has no empty directories") from None

    def rmdir(self, path: str) -> None:
        """As `Publisher.rmdir`."""
        self._fs.rmdir(path)

    def keep(self, path: str) -> None:
        """As `Publisher.keep`: a directory that `mkdir` can make stays."""

    def identify(self, path: str) -> object:
        """As `Publisher.identify`: nothing is known to."""
        return None

    def sync(self, path: str) -> None:
        """As `Publisher.sync`: there is no disk."""

    def _write(self, path: str, content: Spool) -> None:
        with self._fs.open(path, "wb") as file:
            content.copy_to(file)


def _is_s3(fs: AbstractFileSystem) -> bool:
    return "s3" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def temporary_beside(path: str) -> str:
    """Give an unused name in the same directory, of those that no store over fsspec shows."""
    return f"{path.rpartition('/')[0]}/{TEMPORARY}{secrets.token_hex(8)}"


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
