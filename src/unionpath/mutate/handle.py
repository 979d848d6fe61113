"""
A file of a lower, open for reading and writing, that is copied up when the first byte is written.

Until then it reads the lower's file; opening for writing and writing nothing changes nothing (C1, better than
the kernel). Asking for the descriptor copies up, since whoever has it may write through it.
"""

from __future__ import annotations

import errno
import io
import os
import threading
import weakref
from collections.abc import Callable
from io import RawIOBase
from typing import TYPE_CHECKING, Final, Protocol

from unionpath.model.entry import Stat
from unionpath.model.typed import override
from unionpath.model.writable import RawMode

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class Copies:
    """
    What files of uppers are copies of, as far as this process made them while a lower's file was open.

    What another process made can't be told: a file that has the name is taken for the copy.
    """

    def __init__(self) -> None:
        self._origins: dict[tuple[int, int], tuple[int, int] | None] = {}

    def note(self, made: Callable[[], Stat], origin: Stat | None) -> None:
        """
        Remember what a file just made in an upper is a copy of, if that may ever be asked; None: of nothing.
        """
        if not _OPEN:
            self._origins.clear()
            return
        status = made()
        of = None if origin is None else (origin.st_dev, origin.st_ino)
        self._origins[status.st_dev, status.st_ino] = of

    def contradict(self, found: Stat, origin: tuple[int, int]) -> bool:
        """Tell whether a file of an upper is known to be something else than a copy of `origin`."""
        return self._origins.get((found.st_dev, found.st_ino), origin) != origin


COPIES: Final = Copies()


class Owner(Protocol):
    """What knows where a file is by now; the engine of a stack is one."""

    def promoted(self, file: DeferredFile, /) -> RawIOBase:
        """Give the upper's file, copied up if nobody did that yet."""

    def met(self, file: DeferredFile, /) -> RawIOBase | None:
        """Give the upper's file if somebody copied it up since, else None."""


class DeferredFile(RawIOBase):
    """
    A raw file in one of the modes that keep what is there: `ab`, `ab+`, `rb+`.

    Several of them, and files opened in the upper, are one file to whoever uses them: what any of them writes
    is seen by all from then on, as if each had been copied up when it was opened.
    """

    def __init__(
        self, source: RawIOBase, path: str, origin: tuple[int, int], mode: RawMode, owner: Owner
    ) -> None:
        self._raw = source
        self.origin = origin
        """Device and inode number of the lower's file."""
        self._mode = mode
        self._owner = owner
        self._promoted = False
        self._lock = threading.RLock()
        self.path = path
        """Where it is in the union; its owner keeps this right when the file is renamed."""
        self.orphaned = False
        """Its name has been given to something else since, or removed."""
        self.name: str | int = ""
        _OPEN.add(self)
        if mode.startswith("a"):
            source.seek(0, io.SEEK_END)

    @property
    def mode(self) -> str:
        """As of a file that `io.open` gives."""
        return self._mode

    @property
    def source(self) -> RawIOBase:
        """The lower's file; after the copy-up the upper's."""
        return self._raw

    def _writing(self) -> RawIOBase:
        """Give the upper's file, at the same position."""
        self._check_open()
        if not self._promoted:
            with self._lock:
                if not self._has_moved():
                    self._go_on_with(self._owner.promoted(self))
        return self._raw

    def _current(self) -> RawIOBase:
        """Give the file as it is by now: the upper's, if anyone copied it up."""
        self._check_open()
        if not self._promoted:
            with self._lock:
                upper = None if self._has_moved() else self._owner.met(self)
                if upper is not None:
                    self._go_on_with(upper)
        return self._raw

    def _has_moved(self) -> bool:
        """Tell whether another thread was faster."""
        return self._promoted

    def _go_on_with(self, upper: RawIOBase) -> None:
        upper.seek(self._raw.tell())
        lower, self._raw, self._promoted = self._raw, upper, True
        lower.close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    @override
    def readable(self) -> bool:
        """Tell whether it may be read."""
        self._check_open()
        return "+" in self._mode

    @override
    def writable(self) -> bool:
        """Tell that it may be written."""
        self._check_open()
        return True

    @override
    def seekable(self) -> bool:
        """Tell that it has positions."""
        self._check_open()
        return True

    @override
    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read into a buffer; from the lower until something is written."""
        self._check_open()
        if "+" not in self._mode:
            raise io.UnsupportedOperation("File not open for reading")
        view = memoryview(buffer).cast("B")
        data = self._current().read(len(view))
        if data is None:
            return None
        view[: len(data)] = data
        return len(data)

    @override
    def readall(self) -> bytes:
        """Read to the end."""
        self._check_open()
        if "+" not in self._mode:
            raise io.UnsupportedOperation("File not open for reading")
        return self._current().readall() or b""

    @override
    def write(self, data: ReadableBuffer) -> int | None:
        """Write, after the copy-up if it is the first byte (C1)."""
        self._check_open()
        if memoryview(data).nbytes == 0:
            return 0
        return self._writing().write(data)

    @override
    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file, after the copy-up."""
        if size is not None and size < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self._writing().truncate(self.tell() if size is None else size)

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move."""
        return (self._current() if whence == io.SEEK_END else self._raw).seek(offset, whence)

    @override
    def tell(self) -> int:
        """Say where it is."""
        self._check_open()
        return self._raw.tell()

    @override
    def fileno(self) -> int:
        """Give the descriptor of the upper's file: whoever has it may write through it."""
        return self._writing().fileno()

    @override
    def isatty(self) -> bool:
        """Tell that it is no terminal."""
        self._check_open()
        return False

    @override
    def flush(self) -> None:
        """Flush what the store holds back."""
        if not self.closed and not self._raw.closed:
            self._raw.flush()

    @override
    def close(self) -> None:
        """Close."""
        if not self.closed:
            try:
                super().close()
            finally:
                self._raw.close()

    @override
    def __repr__(self) -> str:
        return f"<unionpath file name={self.name!r} mode={self.mode!r}>"


_OPEN: Final[weakref.WeakSet[DeferredFile]] = weakref.WeakSet()
