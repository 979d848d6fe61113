"""
Anything that fsspec can write, reached through a `UPath`, as a store for writing, too.

Such a store has files and directories and nothing else: no renames, links, modes, owners, times to be set or
extended attributes. What is written is shown when the file is flushed or closed, all of it at once, where the
file system can (see `stores.publishing`). The threads of one process are kept in order. Between processes,
only what the file system itself decides is: who makes a name on a disk or in an object store with conditional
puts, and on S3 that nothing appended is lost.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import RawIOBase
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from unionpath.model.entry import Kind
from unionpath.model.errors import is_absence, oserror
from unionpath.model.parts import Parts
from unionpath.model.store import WHY_NOT_OPENED, Capability
from unionpath.model.writable import Lock, Move, RawMode, WritableDirectory, WritableStore
from unionpath.stores.claims import Claim, PlaceLock, claim
from unionpath.stores.foreign import ForeignFile, asking
from unionpath.stores.fsspec_details import TEMPORARY, Details, kind_from
from unionpath.stores.publishing import Publisher, pick_publisher
from unionpath.stores.spooled import Spool, WholeFile
from unionpath.stores.upath import UPathDirectory, UPathStore, Volume

if TYPE_CHECKING:
    from upath import UPath

_KINDS: Final = tuple(Kind)


class WritableUPathStore(UPathStore):
    """
    The tree below one `UPath`, for reading and writing.

    Raises:
        FileNotFoundError (ENOENT), NotADirectoryError (ENOTDIR): there is no directory at `path`.
    """

    def __init__(self, path: UPath) -> None:
        super().__init__(path)
        volume = self._root.volume
        # What the file system may hold besides can be read, but not made through it.
        self.capabilities = Capability.WRITABLE
        publisher = pick_publisher(volume.fs, volume.protocols)
        self._writable_root = WritableUPathDirectory(volume, path.path, (), publisher)
        with asking(self.place):
            self._known = publisher.identify(path.path)
        self._publisher = publisher

    def root(self) -> WritableUPathDirectory:
        """Give the root directory."""
        return self._writable_root

    def home(self) -> WritableUPathDirectory:
        """Give the root directory: names can be made in it."""
        return self._writable_root

    def confirm(self) -> None:
        """
        See that the tree is still there; that it is another one is seen on disks only.

        Raises:
            OSError (ESTALE): it is not.
        """
        try:
            self._writable_root.status()
            with asking(self.place):
                found = self._publisher.identify(self._path.path)
        except OSError as error:
            if not is_absence(error):
                raise
            raise oserror(errno.ESTALE, self.place) from error
        if found != self._known:
            raise oserror(errno.ESTALE, self.place)

    def neighbour(self, name: str, *, make: bool = True) -> WritableStore | None:
        """None: nothing could be moved between the two."""
        return None


class WritableUPathDirectory(UPathDirectory):
    """One directory of a `WritableUPathStore`."""

    __slots__ = ("_publisher",)

    def __init__(self, volume: Volume, path: str, parts: Parts, publisher: Publisher) -> None:
        super().__init__(volume, path, parts)
        self._publisher = publisher

    def child(self, name: str) -> WritableUPathDirectory:
        """As `Directory.child`."""
        return self._handle(super().child(name).parts[-1])

    def create(self, name: str, data: bytes = b"", permissions: int = 0o644, *, sync: bool = False) -> None:
        """As `WritableDirectory.create`."""
        self._check_new(name)
        with self._claimed(name):
            self._check_free(name)
            with self._changing(name):
                self._publisher.new(self._join(name), Spool(data), permissions, sync=sync)

    def open_new(self, name: str, mode: RawMode, permissions: int = 0o666) -> RawIOBase:
        """As `WritableDirectory.open_new`; the file is there when it is flushed or closed."""
        self._check_new(name)
        with self._claimed(name):
            self._check_free(name)
            return self._opened_file(OpenName(self, name, permissions), mode, new=True)

    def open_writable(self, name: str, mode: RawMode, *, truncate: bool = False) -> RawIOBase:
        """As `WritableDirectory.open_writable`; reads what is there on first need only."""
        with self._claimed(name):
            kind = kind_from(self._details(name))
            if kind is not Kind.FILE:
                raise oserror(WHY_NOT_OPENED[kind], self.place(name))
            return self._opened_file(OpenName(self, name, 0o666), mode, truncate=truncate)

    def put(
        self, name: str, source: BinaryIO | RawIOBase, permissions: int = 0o644, *, sync: bool = False
    ) -> None:
        """As `WritableDirectory.put`."""
        self._check_new(name)
        content = Spool()
        try:
            content.fill(source)
            with self._claimed(name) as found:
                if self._kind(name) is Kind.DIRECTORY:
                    raise oserror(errno.EISDIR, self.place(name))
                found.vacate()
                with self._changing(name):
                    self._publisher.replace(self._join(name), content, permissions, sync=sync)
        finally:
            content.close()

    def mkdir(self, name: str, permissions: int = 0o755) -> WritableUPathDirectory:
        """
        As `WritableDirectory.mkdir`.

        Raises:
            OSError (EOPNOTSUPP): the file system shows no empty directories.
        """
        self._check_new(name)
        with self._claimed(name):
            self._check_free(name)
            with self._changing(name):
                self._publisher.mkdir(self._join(name), permissions)
        return self._handle(name)

    def unlink(self, name: str) -> None:
        """As `WritableDirectory.unlink`; this directory stays, though it be empty on an object store."""
        with self._claimed(name) as found:
            if kind_from(self._details(name)) is Kind.DIRECTORY:
                raise oserror(errno.EISDIR, self.place(name))
            found.vacate()
            with self._changing(name):
                self._publisher.keep(self._path)
                self.volume.fs.rm_file(self._join(name))

    def rmdir(self, name: str) -> None:
        """As `WritableDirectory.rmdir`."""
        with self._claimed(name):
            if self.child(name).scan(_KINDS):
                raise oserror(errno.ENOTEMPTY, self.place(name))
            with self._changing(name):
                self._publisher.keep(self._path)
                self._publisher.rmdir(self._join(name))

    def sync(self, name: str | None) -> None:
        """As `WritableDirectory.sync` on a disk; elsewhere, what was shown is as durable as it gets."""
        if name is not None:
            self._details(name)
        with asking(self.place(name)), self.volume.guard:
            self._publisher.sync(self._path if name is None else self._join(name))

    def lock(self, name: str | None) -> Lock:
        """As `WritableDirectory.lock`, but between the threads of this process only."""
        if name is None:
            return PlaceLock(self.volume.fs, self._path)
        self._details(name)
        return PlaceLock(self.volume.fs, self._join(name))

    # What such a store can't do (E4).

    def rename(
        self, name: str, target_directory: WritableDirectory, target_name: str, how: Move = Move.REPLACE
    ) -> None:
        """Refuse with EOPNOTSUPP: there is no such thing in one step."""
        self._refuse(name)

    def symlink(self, name: str, target: str) -> None:
        """Refuse with EOPNOTSUPP."""
        self._refuse(name)

    def link(self, name: str, source_directory: WritableDirectory, source_name: str) -> None:
        """Refuse with EOPNOTSUPP."""
        self._refuse(name)

    def mknod(self, name: str, kind: Kind, permissions: int, rdev: int = 0) -> None:
        """Refuse with EOPNOTSUPP, or EINVAL as `WritableDirectory.mknod`."""
        if kind in (Kind.DIRECTORY, Kind.SYMLINK):
            raise oserror(errno.EINVAL, self.place(name))
        self._refuse(name)

    def chmod(self, name: str | None, permissions: int) -> None:
        """Refuse with EOPNOTSUPP."""
        self._refuse(name)

    def chown(self, name: str | None, uid: int = -1, gid: int = -1) -> None:
        """Refuse with EOPNOTSUPP."""
        self._refuse(name)

    def utime(self, name: str | None, ns: tuple[int, int] | None = None) -> None:
        """Refuse with EOPNOTSUPP."""
        self._refuse(name)

    def setxattr(self, name: str | None, attribute: str, value: bytes) -> None:
        """Refuse with EOPNOTSUPP."""
        self._refuse(name)

    def removexattr(self, name: str | None, attribute: str) -> None:
        """Refuse with EOPNOTSUPP."""
        self._refuse(name)

    # What an `OpenName` asks for.

    def load(self, name: str) -> Spool:
        """Give what a file holds now."""
        with super()._open(name) as file:
            return Spool().fill(file)

    def size(self, name: str) -> int:
        """Tell how long a file is now."""
        return self.stat(name).st_size

    def show(self, name: str, content: Spool, permissions: int, *, new: bool) -> bool:
        """Show content under a name that is claimed; False if it was to be there already and is not."""
        if new:
            self._check_free(name)
        elif self._kind(name) is not Kind.FILE:
            return False
        publish = self._publisher.new if new else self._publisher.replace
        with self._changing(name):
            publish(self._join(name), content, permissions)
        return True

    def extend(self, name: str, tail: Spool, permissions: int) -> int | None:
        """
        Put `tail` after what a claimed file holds; the new size, or None if another process was faster.

        Raises:
            FileNotFoundError (ENOENT), IsADirectoryError (EISDIR): there is no file any more.
        """
        path = self._join(name)
        with asking(self.place(name)), self.volume.guard:
            self.volume.forget(path, self._path)
            version = self._publisher.version(path)
        try:
            content = self.load(name)
        except OSError as error:
            if version is None or error.errno != errno.EBUSY:  # s3fs: replaced in the middle of reading it
                raise
            return None
        try:
            content.add(tail)
            with self._changing(name):
                if version is None:
                    self._publisher.replace(path, content, permissions)
                elif not self._publisher.replace_version(path, content, version):
                    return None
            return content.size
        finally:
            content.close()

    def claim(self, name: str) -> Claim:
        """Give what this process knows of a name."""
        return claim(self.volume.fs, self._join(name))

    def _open(self, name: str) -> RawIOBase:
        """Open for reading; where a file that is open wouldn't outlive its name, it is made to."""
        if not self.volume.fs.async_impl:
            return super()._open(name)
        with self._claimed(name) as found:
            file = super()._open(name)
            assert isinstance(file, ForeignFile)
            kept = KeptFile(file, found)
            found.files.add(kept)
            return kept

    def _opened_file(
        self, target: OpenName, mode: RawMode, *, new: bool = False, truncate: bool = False
    ) -> WholeFile:
        file = WholeFile(target, mode, new=new, truncate=truncate)
        target.claim.files.add(file)
        return file

    def _handle(self, name: str) -> WritableUPathDirectory:
        return WritableUPathDirectory(self.volume, self._join(name), (*self.parts, name), self._publisher)

    @contextmanager
    def _claimed(self, name: str) -> Generator[Claim, None, None]:
        """Keep other threads of this process from changing the name."""
        found = self.claim(name)
        with found.guard:
            yield found

    @contextmanager
    def _changing(self, name: str) -> Generator[None, None, None]:
        """Give errors an errno; and whoever asks fsspec itself sees the change, too."""
        with asking(self.place(name)), self.volume.guard:
            try:
                yield
            finally:
                self.volume.forget(self._join(name), self._path)

    def _check_new(self, name: str) -> None:
        self._check_name(name)
        if name.startswith(TEMPORARY):
            raise oserror(errno.EINVAL, self.place(name), hint="such names are never shown")

    def _check_free(self, name: str) -> None:
        """See that this directory is there, and the name isn't."""
        if self._kind(name) is not None:
            raise oserror(errno.EEXIST, self.place(name))

    def _kind(self, name: str) -> Kind | None:
        """Tell what has the name; None if nothing, but this directory is there."""
        try:
            return kind_from(self._details(name))
        except OSError as error:
            if not is_absence(error):
                raise
        self._see_directory()
        return None

    def _see_directory(self) -> Details:
        """
        See that this directory is there.

        Raises:
            FileNotFoundError (ENOENT): it was removed.
        """
        try:
            return self._status()
        except NotADirectoryError:
            raise oserror(errno.ENOENT, self.place()) from None

    def _refuse(self, name: str | None) -> NoReturn:
        raise oserror(errno.EOPNOTSUPP, self.place(name))


class OpenName:
    """One name under which a file is open for writing. Fulfils `stores.spooled.Target`."""

    def __init__(self, directory: WritableUPathDirectory, name: str, permissions: int) -> None:
        self._directory = directory
        self._name = name
        self._permissions = permissions
        self.place: Final = directory.place(name)
        self.claim: Final = directory.claim(name)
        self.guard: Final = self.claim.guard

    def load(self) -> Spool:
        """
        Give the content that the file has now.

        Raises:
            OSError (ESTALE): another process removed it.
        """
        try:
            return self._directory.load(self._name)
        except OSError as error:
            if not is_absence(error):
                raise
            raise oserror(errno.ESTALE, self.place) from error

    def size(self) -> int:
        """Tell how long the file is now."""
        return self._directory.size(self._name)

    def publish(self, content: Spool, *, new: bool) -> bool:
        """As `Target.publish`."""
        with self.guard:
            self._keep_readers()
            return self._directory.show(self._name, content, self._permissions, new=new)

    def append(self, tail: Spool) -> int | None:
        """
        As `Target.append`; nobody writes between reading what is there and showing it.

        No other thread does; where the server compares versions, no other process or machine either.
        """
        with self.guard:
            self._keep_readers()
            try:
                while (size := self._directory.extend(self._name, tail, self._permissions)) is None:
                    continue
            except OSError as error:
                if not is_absence(error) and error.errno != errno.EISDIR:
                    raise
                return None
            return size

    def _keep_readers(self) -> None:
        """Let those who read go on with what they opened."""
        for file in list(self.claim.files):
            if isinstance(file, KeptFile):
                file.detach()


class KeptFile(ForeignFile):
    """
    A file open for reading on a store that forgets what is replaced or removed.

    Before this process does either, what it holds is brought here; if another process does, reading it fails.
    """

    def __init__(self, file: ForeignFile, found: Claim) -> None:
        super().__init__(file, file.name, threading.RLock())
        self._claim: Final = found  # kept as long as it is needed

    def detach(self) -> None:
        """Bring the content here and let go of the name."""
        with self._guard:
            if self.closed or isinstance(self._file, SpooledFile):
                return
            with suppress(OSError):  # gone already: the next read says so
                position = self._file.tell()
                self._file.seek(0)
                content = Spool().fill(self._file)
                self._file.close()
                self._file = SpooledFile(content, position)


class SpooledFile:
    """The content of a spool as a file for reading."""

    def __init__(self, content: Spool, position: int) -> None:
        self._content = content
        self._position = position

    def read(self, size: int = -1, /) -> bytes:
        """Give up to `size` bytes; nothing at the end."""
        left = max(0, self._content.size - self._position)
        data = self._content.read(self._position, left if size < 0 else min(size, left))
        self._position += len(data)
        return data

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position."""
        start = (0, self._position, self._content.size)[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Give the position."""
        return self._position

    def close(self) -> None:
        """Give the content up."""
        self._content.close()
