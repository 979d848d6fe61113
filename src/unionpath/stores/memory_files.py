"""Files of an in-memory store, opened."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING, Final, Literal

from unionpath.model.errors import oserror
from unionpath.model.writable import RawMode
from unionpath.stores.memory_inodes import Change, FileInode, Name, Volume

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class MemoryFile(io.RawIOBase):
    """
    An opened file. It stays with the inode that it opened, whatever becomes of the name.

    With `a` in its mode, every write goes to the end that the file has at that moment.
    """

    def __init__(
        self, volume: Volume, inode: FileInode, name: str, mode: RawMode | Literal["rb"], found: Name
    ) -> None:
        """`found`: the directory and name that it was opened by; `name`: its place, for people."""
        super().__init__()
        self._volume = volume
        self._inode = inode
        self._found = found
        self._readable = "r" in mode or "+" in mode
        self._writable = mode != "rb"
        self._append = "a" in mode
        self._position = inode.size if self._append else 0
        self.mode: Final = "rb+" if mode == "wb+" else mode
        """As `io.FileIO.mode`, which forgets of `wb+` that the file was cut."""
        self.name = name

    def readable(self) -> bool:
        """Tell whether it was opened for reading."""
        self._check()
        return self._readable

    def writable(self) -> bool:
        """Tell whether it was opened for writing."""
        self._check()
        return self._writable

    def seekable(self) -> bool:
        """Always."""
        self._check()
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer from the position on; 0 at the end."""
        self._check_readable()
        with memoryview(buffer) as view, view.cast("B") as target, self._volume.lock:
            # Released before the lock is: a view left over would forbid the next writer to resize.
            with memoryview(self._inode.data) as data:
                count = max(0, min(len(target), len(data) - self._position))
                target[:count] = data[self._position : self._position + count]
            self._position += count
            return count

    def readall(self) -> bytes:
        """Read from the position to the end, in one piece even while others write."""
        self._check_readable()
        with self._volume.lock:
            data = self._inode.data[self._position :]
            self._position += len(data)
            return bytes(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position, also beyond the end; EINVAL before the start."""
        self._check()
        with self._volume.lock:
            starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._inode.size}
            if whence not in starts or starts[whence] + offset < 0:
                raise oserror(errno.EINVAL, self.name)
            self._position = starts[whence] + offset
            return self._position

    def tell(self) -> int:
        """Give the position."""
        self._check()
        return self._position

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of it at the position, or at the end; a gap before it reads as zeros."""
        directory, name = self._check_writable()
        with memoryview(data) as view, view.cast("B") as source, Change(self._volume) as change:
            if not source:
                return 0
            content = self._inode.changeable()
            if self._append:
                self._position = len(content)
            content.extend(bytes(max(0, self._position - len(content))))
            content[self._position : self._position + len(source)] = source
            self._position += len(source)
            change.content(self._inode, directory, name)
            return len(source)

    def truncate(self, size: int | None = None, /) -> int:
        """Cut or lengthen with zeros to `size` bytes, by default to the position; the position stays."""
        directory, name = self._check_writable()
        with Change(self._volume) as change:
            wanted = self._position if size is None else size
            if wanted < 0:
                raise oserror(errno.EINVAL, self.name)
            content = self._inode.changeable()
            del content[wanted:]
            content.extend(bytes(wanted - len(content)))
            change.content(self._inode, directory, name)
            return wanted

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _check_readable(self) -> None:
        self._check()
        if not self._readable:
            raise io.UnsupportedOperation("File not open for reading")

    def _check_writable(self) -> Name:
        self._check()
        if not self._writable:
            raise io.UnsupportedOperation("File not open for writing")
        return self._found


class EmptyPipe(io.RawIOBase):
    """A FIFO opened for reading that nobody writes to: at its end at once, as if not to block (C7)."""

    mode = "rb"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def readable(self) -> bool:
        """Always."""
        return True

    def write(self, _data: ReadableBuffer, /) -> int:
        """Refuse: it is open for reading."""
        raise io.UnsupportedOperation("write")

    def readinto(self, _buffer: WriteableBuffer, /) -> int:
        """Nothing, at once."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return 0
