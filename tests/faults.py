"""A store that fails where and when it is told to: everything else is passed on to another store."""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from io import RawIOBase
from threading import Lock
from typing import TYPE_CHECKING, Final

from unionpath.model.parts import Parts, show_parts
from unionpath.model.store import Store
from unionpath.model.writable import WritableDirectory
from unionpath.stores.wrapping import WrappingStore

if TYPE_CHECKING:
    from collections.abc import Hashable

    from _typeshed import ReadableBuffer, WriteableBuffer

FILE_WRITES: Final = frozenset({"file.write", "file.truncate", "file.flush", "file.close"})
"""What is done with a file opened for writing."""
CHANGES: Final = FILE_WRITES | (
    {name for name in vars(WritableDirectory) if not name.startswith("_")} - {"child", "lock"}
)
"""Every call that may change a store, `sync` included."""


class Stopped(BaseException):
    """What a store raises in place of an error, as if the process had been stopped there."""


class FaultyStore(WrappingStore):
    """
    Raises `number` for every question about the objects at `places`, and counts how often.

    `fail` arms it further: then calls of given methods fail, wherever, until `heal`.
    """

    def __init__(self, store: Store, places: Collection[Parts] = (), number: int = 0) -> None:
        super().__init__(store)
        self.failed = 0
        """How many calls were refused."""
        self.seen: list[tuple[str, str]] = []
        """The calls of the methods that `fail` was told, since then, as (method, place)."""
        self._places = set(places)
        self._number = number
        self._lock = Lock()
        self._methods: Collection[str] = ()
        self._error: int | type[BaseException] = 0
        self._calls: range | None = None

    def fail(
        self,
        error: int | type[BaseException],
        methods: Collection[str] = CHANGES,
        *,
        call: int | None = None,
        onwards: bool = False,
    ) -> None:
        """
        From now on raise `error`, an errno or an exception's type, for calls of `methods`.

        `call`: only for this one of them, counted from 1; with `onwards` for all later ones too, as if the
        store were gone for good. None: for each. `call=0` fails none: `seen` says which ones there are.
        """
        with self._lock:
            self.seen = []
            self._methods = methods
            self._error = error
            last = (1 << 62) if onwards or call is None else (call + 1)
            self._calls = range(1 if call is None else call, last) if call != 0 else range(0)

    def heal(self) -> None:
        """Fail no more, but at the places."""
        with self._lock:
            self._methods = ()

    @property
    def identity(self) -> Hashable:
        return ("faulty", self.inner.identity)

    def before(self, method: str, parts: Parts) -> None:
        place = self.place + show_parts(parts)
        if parts in self._places and method not in ("root", "watch"):
            self.failed += 1
            raise OSError(self._number, os.strerror(self._number), place)
        if method in self._methods:
            self._meet(method, place)

    def _meet(self, method: str, place: str) -> None:
        with self._lock:
            self.seen.append((method, place))
            if self._calls is None or len(self.seen) not in self._calls:
                return
            self.failed += 1
        if isinstance(self._error, int):
            raise OSError(self._error, os.strerror(self._error), place)
        raise self._error(f"{method} {place}")

    def opened(self, file: RawIOBase, parts: Parts) -> RawIOBase:
        return FaultyFile(file, self, parts)


class FaultyFile(io.RawIOBase):
    """A file opened for writing in a `FaultyStore`: each write, truncation, flush and close may fail."""

    def __init__(self, file: RawIOBase, store: FaultyStore, parts: Parts) -> None:
        super().__init__()
        self._file = file
        self._store = store
        self._parts = parts
        self.name = getattr(file, "name", show_parts(parts))
        self.mode = getattr(file, "mode", "")

    def readable(self) -> bool:
        return self._file.readable()

    def writable(self) -> bool:
        return self._file.writable()

    def seekable(self) -> bool:
        return self._file.seekable()

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        return self._file.readinto(buffer)

    def readall(self) -> bytes:
        return self._file.readall()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def write(self, data: ReadableBuffer, /) -> int | None:
        self._store.before("file.write", self._parts)
        return self._file.write(data)

    def truncate(self, size: int | None = None, /) -> int:
        self._store.before("file.truncate", self._parts)
        return self._file.truncate(size)

    def flush(self) -> None:
        super().flush()
        if not self._file.closed:  # else it is being closed
            self._store.before("file.flush", self._parts)
            self._file.flush()

    def close(self) -> None:
        """Close what is below in any case, as close(2) does when it fails."""
        if self.closed:
            return
        try:
            self._store.before("file.close", self._parts)
        finally:
            self._file.close()
            super().close()

    def __del__(self) -> None:
        self._file.close()  # unannounced: nobody could hear of the error
