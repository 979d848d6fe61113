"""
Files of stores that can only take a file as a whole: what is written waits here until it is all there.

Small content waits in memory, large content in a temporary file on this machine: memory stays bounded.
"""

from __future__ import annotations

import io
import tempfile
from contextlib import AbstractContextManager, suppress
from typing import IO, TYPE_CHECKING, Final, Protocol

from unionpath.model.writable import RawMode

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

IN_MEMORY: Final = 8 << 20
"""The most bytes that wait in memory."""
CHUNK: Final = 1 << 20
"""How many bytes are copied at a time."""


class Readable(Protocol):
    """What content is read from."""

    def read(self, size: int = -1, /) -> bytes | None:
        """Give up to `size` bytes; nothing at the end."""


class Writable(Protocol):
    """What content is copied to."""

    def write(self, data: memoryview, /) -> int | None:
        """Take some of the bytes, and tell how many."""


class Spool:
    """Bytes that wait to be shown, or that were shown once and are still needed."""

    __slots__ = ("_disk", "_memory", "size")

    def __init__(self, data: bytes = b"") -> None:
        self._memory: io.BytesIO | None = io.BytesIO(data)
        self._disk: IO[bytes] | None = None
        self.size = len(data)

    @property
    def path(self) -> str | None:
        """The temporary file, with all that was written so far; None while it is in memory."""
        if self._disk is None:
            return None
        self._disk.flush()
        return self._disk.name

    def value(self) -> bytes:
        """Give all of it at once."""
        return self.read(0, self.size)

    def read(self, offset: int, size: int) -> bytes:
        """Give up to `size` bytes from `offset` on."""
        file = self._file
        file.seek(offset)
        return file.read(size)

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Put bytes at `offset`; a gap before them is zeros."""
        end = offset + len(data)
        if not len(data):
            return
        if end > IN_MEMORY and self._memory is not None:
            self._to_disk()
        file = self._file
        file.seek(offset)
        file.write(data)
        self.size = max(self.size, end)

    def truncate(self, size: int) -> None:
        """Cut it, or fill it up with zeros."""
        if size > self.size:
            self.write(size - 1, b"\0")
        self._file.truncate(size)
        self.size = size

    def fill(self, source: Readable) -> Spool:
        """Add all that `source` reads; gives itself."""
        while data := source.read(CHUNK):
            self.write(self.size, data)
        return self

    def add(self, other: Spool) -> Spool:
        """Add all of another one; gives itself."""
        for offset in range(0, other.size, CHUNK):
            self.write(self.size, other.read(offset, CHUNK))
        return self

    def copy_to(self, target: Writable) -> None:
        """Write all of it to a file, piece by piece."""
        for offset in range(0, self.size, CHUNK):
            data = memoryview(self.read(offset, CHUNK))
            while data:
                written = target.write(data)  # None of some of fsspec's files: all of it
                data = data[len(data) if written is None else written :]

    def close(self) -> None:
        """Give it up."""
        if self._disk is not None:
            self._disk.close()
        self._memory = None

    @property
    def _file(self) -> IO[bytes]:
        file = self._memory if self._memory is not None else self._disk
        assert file is not None
        return file

    def _to_disk(self) -> None:
        assert self._memory is not None
        disk = tempfile.NamedTemporaryFile(prefix="unionpath-")  # noqa: SIM115 (closed with the spool)
        try:
            disk.write(self._memory.getbuffer())
        except BaseException:
            disk.close()
            raise
        self._disk, self._memory = disk, None


class Target(Protocol):
    """Where a `WholeFile` comes from and goes to."""

    @property
    def guard(self) -> AbstractContextManager[object]:
        """Reentrant; held while the file is used, and by whoever changes what has its name."""

    @property
    def place(self) -> str:
        """Where the file is, for messages."""

    def load(self) -> Spool:
        """Give the content that the file has now."""

    def size(self) -> int:
        """Tell how long the file is now."""

    def publish(self, content: Spool, *, new: bool) -> bool:
        """
        Show new content, at once; False if the name is the file's no more, which is then nobody's.

        Raises:
            FileExistsError (EEXIST): `new`, and the name was taken meanwhile.
        """

    def append(self, tail: Spool) -> int | None:
        """Show what the file has now, then `tail`; the new size, or None where `publish` gives False."""


class WholeFile(io.RawIOBase):
    """
    A file open for writing; what was done to it is shown at `flush` or at `close`, all of it at once.

    Of several that are written to at once, the one shown last wins; what is appended is never lost.
    """

    def __init__(self, target: Target, mode: RawMode, *, new: bool = False, truncate: bool = False) -> None:
        super().__init__()
        self.name = target.place
        self.mode: Final = "rb+" if mode == "wb+" else mode  # as `io.FileIO` has it
        self._target = target
        self._appends: Final = "a" in mode
        self._new = new
        self._private = False
        self._content: Spool | None = Spool() if new or truncate else None
        self._tail: Spool | None = None
        """What is to be appended to whatever the file has when it is shown; None: `_content` is all of it."""
        self._changed = new or truncate
        self._size = 0
        """How long the file was without the tail, when that was last asked."""
        if self._appends and self._content is None:
            self._tail, self._size = Spool(), target.size()
        self._position = self._end() if self._appends else 0

    def readable(self) -> bool:
        """Tell whether the mode has a `+`."""
        self._check()
        return "+" in self.mode

    def writable(self) -> bool:
        """Always."""
        self._check()
        return True

    def seekable(self) -> bool:
        """Always."""
        self._check()
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer from the position on; 0 at the end."""
        self._check_readable()
        with memoryview(buffer) as view, view.cast("B") as target, self._target.guard:
            data = self._load().read(self._position, len(target))
            target[: len(data)] = data
            self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Read from the position to the end."""
        self._check_readable()
        with self._target.guard:
            content = self._load()
            data = content.read(self._position, max(0, content.size - self._position))
            self._position += len(data)
        return data

    def write(self, data: ReadableBuffer, /) -> int:
        """Write at the position, or at the end in the modes with `a`."""
        self._check()
        with memoryview(data) as view, view.cast("B") as source, self._target.guard:
            offset = self._end() if self._appends else self._position
            if self._tail is not None:
                self._tail.write(self._tail.size, source)
            if self._tail is None or self._content is not None:
                self._load().write(offset, source)
            self._changed = self._changed or bool(len(source))
            self._position = offset + len(source)
            return len(source)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position."""
        self._check()
        with self._target.guard:
            if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
                raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
            start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
            position = offset + (self._end() if start is None else start)
            if position < 0:
                raise OSError(22, "Invalid argument")
            self._position = position
            return position

    def tell(self) -> int:
        """Give the position."""
        self._check()
        return self._position

    def truncate(self, size: int | None = None, /) -> int:
        """Cut the file, or fill it up with zeros."""
        self._check()
        with self._target.guard:
            size = self._position if size is None else size
            if size < 0:
                raise OSError(22, "Invalid argument")
            self._load().truncate(size)
            self._drop_tail()
            self._changed = True
            return size

    def flush(self) -> None:
        """Show all that was written so far, at once; nothing if nothing was."""
        super().flush()
        with self._target.guard:
            if self._private or not self._changed:
                return
            if self._tail is not None:
                self._append(self._tail)
            else:
                self._publish(self._load())

    def close(self) -> None:
        """Show what was written and not shown yet; closing twice is harmless."""
        if self.closed:
            return
        try:
            self.flush()
        finally:
            self._changed = False
            super().close()
            self._drop_tail()
            self._forget()

    def detach(self) -> None:
        """Become a file without a name, as after an unlink: what is written from now on is nobody else's."""
        with self._target.guard:
            if self.closed or self._private:
                return
            if not self._new:
                with suppress(OSError):  # gone already: what it held can't be had any more
                    self._load()
            self._content = self._content or Spool()
            self._drop_tail()
            self._private = True

    def _append(self, tail: Spool) -> None:
        end = self._end()
        size = self._target.append(tail)
        if size is None:
            self.detach()
            return
        self._forget()
        if self._position == end:
            self._position = size
        tail.close()
        self._tail, self._size, self._changed = Spool(), size, False

    def _publish(self, content: Spool) -> None:
        if not self._target.publish(content, new=self._new):
            self.detach()
            return
        self._new = self._changed = False
        if self._appends:
            self._tail, self._size = Spool(), content.size
        # What others show from now on is seen, and kept by the next writing.
        self._forget()

    def _load(self) -> Spool:
        """Give the content as this file sees it, reading what is there already on first need."""
        if self._content is None:
            self._content = self._target.load()
            self._size = self._content.size
            if self._tail is not None:
                self._content.add(self._tail)
        return self._content

    def _end(self) -> int:
        if self._content is not None:
            return self._content.size
        return self._load().size if self._tail is None else self._size + self._tail.size

    def _forget(self) -> None:
        if self._content is not None:
            self._content.close()
            self._content = None

    def _drop_tail(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def _check_readable(self) -> None:
        if not self.readable():
            raise io.UnsupportedOperation("File not open for reading")
