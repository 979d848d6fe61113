"""The border to other people's file systems: their errors get an errno, their files keep io's promises."""

from __future__ import annotations

import errno
import io
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol, cast

from unionpath.model.errors import oserror
from unionpath.model.store import Listener, Watch

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

# Asked from top to bottom: subclasses stand before their bases.
_ERRNO_OF_TYPE: Final[tuple[tuple[type[Exception], int], ...]] = (
    (FileNotFoundError, errno.ENOENT),
    (NotADirectoryError, errno.ENOTDIR),
    (IsADirectoryError, errno.EISDIR),
    (FileExistsError, errno.EEXIST),
    (PermissionError, errno.EACCES),
    (TimeoutError, errno.ETIMEDOUT),
    (ConnectionRefusedError, errno.ECONNREFUSED),
    (ConnectionResetError, errno.ECONNRESET),
    (NotImplementedError, errno.EOPNOTSUPP),
    (io.UnsupportedOperation, errno.EOPNOTSUPP),
    # A name with no bytes in the other side's encoding: it can't be held there (L10).
    (UnicodeEncodeError, errno.ENAMETOOLONG),
)
_ERRNO_OF_HTTP: Final = {
    401: errno.EACCES,
    403: errno.EACCES,
    404: errno.ENOENT,
    407: errno.EACCES,
    408: errno.ETIMEDOUT,
    410: errno.ENOENT,
    412: errno.EEXIST,  # a conditional put whose condition is that there is nothing
    413: errno.EFBIG,
    429: errno.EAGAIN,
    501: errno.EOPNOTSUPP,
    503: errno.EAGAIN,
    504: errno.ETIMEDOUT,
    507: errno.ENOSPC,
}


@contextmanager
def asking(place: str) -> Generator[None, None, None]:
    """
    Turn whatever is raised inside into an OSError about `place`, with errno and the cause kept (L8).

    What is not understood is EIO, never absence. Running out of memory stays what it is, and so does a
    missing package, whose message says what to install.
    """
    try:
        yield
    except (MemoryError, ImportError):
        raise
    except Exception as error:
        raise translate(error, place) from error


def translate(error: Exception, place: str) -> OSError:
    """Make the OSError that says about `place` what somebody else's error says."""
    number = errno_of(error)
    if number in (errno.ENOENT, errno.ENOTDIR) or (isinstance(error, OSError) and error.errno is not None):
        return oserror(number, place)
    text = str(error)
    hint = type(error).__name__ + (f": {text}" if text and text != place else "")
    return oserror(number, place, hint=hint)


def errno_of(error: Exception) -> int:
    """Give the errno that says what somebody else's error says; EIO for what isn't understood."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    for kind, number in _ERRNO_OF_TYPE:
        if isinstance(error, kind):
            return number
    return _ERRNO_OF_HTTP.get(_http_status(error), errno.EIO)


def is_other_version(error: Exception) -> bool:
    """Tell whether a conditional put was refused because somebody else was faster."""
    causes = (error, error.__cause__, error.__context__)
    return any(_http_status(each) in (409, 412) for each in causes if isinstance(each, Exception))


class _BotocoreError(Protocol):
    response: dict[str, dict[str, int]]


def _http_status(error: Exception) -> int:
    """Find the HTTP status in the errors of botocore (`response`), aiohttp (`status`) and gcsfs (`code`)."""
    with suppress(AttributeError, LookupError, TypeError, ValueError):
        return int(cast("_BotocoreError", error).response["ResponseMetadata"]["HTTPStatusCode"])
    for name in ("status", "status_code", "code"):
        status: object = getattr(error, name, None)
        if isinstance(status, int):
            return status
    return 0


class ForeignDirectory:
    """What all directories of somebody else's have in common: no extended attributes and no watches."""

    __slots__ = ()

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        """None: there are no extended attributes."""
        return None

    def listxattr(self, name: str | None) -> list[str]:
        """Nothing: there are no extended attributes."""
        return []

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        """None: there are no watches."""
        return None


class OtherFile(Protocol):
    """What a file opened by somebody else must have, as `io.BufferedIOBase` means it."""

    def read(self, size: int = -1, /) -> bytes:
        """Give up to `size` bytes; nothing at the end."""

    def seekable(self) -> bool:
        """Tell whether the position can be moved."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position."""

    def tell(self) -> int:
        """Give the position."""

    def close(self) -> None:
        """Give it up."""


class ForeignFile(io.RawIOBase):
    """
    A file opened by somebody else, as a raw file that keeps io's promises.

    `guard` is held during every call, for file systems whose files share one stream.
    """

    mode: Final = "rb"

    def __init__(self, file: OtherFile, place: str, guard: AbstractContextManager[object]) -> None:
        super().__init__()
        self._file = file
        self._guard = guard
        self.name = place

    def readable(self) -> bool:
        """Always."""
        self._check()
        return True

    def seekable(self) -> bool:
        """Tell whether the other side can seek."""
        self._check()
        with asking(self.name), self._guard:
            # fsspec's streaming files claim to be seekable, and give None where a position is due.
            return self._file.seekable() and isinstance(self._file.seek(0, io.SEEK_CUR), int)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer from the position on; 0 at the end."""
        self._check()
        with memoryview(buffer) as view, view.cast("B") as target:
            with asking(self.name), self._guard:
                data = self._file.read(len(target)) if len(target) else b""
            target[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Read from the position to the end."""
        self._check()
        chunks: list[bytes] = []
        with asking(self.name), self._guard:
            while data := self._file.read():
                chunks.append(data)
        return b"".join(chunks)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position."""
        if not self.seekable():
            raise io.UnsupportedOperation("seek")
        with asking(self.name), self._guard:
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Give the position."""
        self._check()
        with asking(self.name), self._guard:
            return self._file.tell()

    def write(self, _data: ReadableBuffer, /) -> int:
        """Refuse: it is open for reading."""
        self._check()
        raise io.UnsupportedOperation("write")

    def close(self) -> None:
        """Close the other side's file; closing twice is harmless."""
        if self.closed:
            return
        try:
            with asking(self.name), self._guard:
                self._file.close()
        finally:
            super().close()

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
