"""
Contents from one open file to another, by the cheapest way that works (C6).

In turn: a clone, which shares the blocks; a copy within the kernel, data by data so that holes stay holes;
reads and writes in a bounded buffer. What a file system can't do it says before the first byte, or after
some: the next way goes on from there.
"""

from __future__ import annotations

import errno
import os
import stat as _stat
import sys
from collections.abc import Callable, Iterator
from io import RawIOBase
from typing import Final, TypeAlias

if sys.platform != "win32":
    import fcntl

_IS_LINUX: Final = sys.platform.startswith("linux")
_FICLONE: Final = 0x4004_9409
_SMALL: Final = 1 << 16
"""What is copied at once in less time than it takes to ask for a clone."""
_MOST: Final = 1 << 27
"""Bytes to ask of the kernel in one call: a signal is not kept waiting for longer than that takes."""
_CANNOT: Final = frozenset(
    (
        errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ENOTTY,
        errno.ETXTBSY, errno.EISDIR, errno.EOVERFLOW,
    )
)  # fmt: skip
"""
How kernels, file systems and sandboxes say that this way is not for these files. Were it true of the files
themselves, plain reads and writes will say it again.
"""

_Way: TypeAlias = Callable[[int, int, int, int], int]
"""Copies from one descriptor to the other, at an offset, at most so many bytes; 0: the source has no more."""


def transfer(source: RawIOBase, target: RawIOBase, *, buffer: int = 1 << 20) -> int:
    """
    Copy all of a file into an empty one, both just opened; give its size in bytes.

    Holes stay holes where both have descriptors. Of a file that changes meanwhile as much is copied as it had
    at the start, or less if it has been cut; the target has the size of what was copied. Memory is bounded by
    `buffer`. The positions of both are undefined afterwards.

    Raises:
        OSError: as reading and writing do; the target then holds a part.
        BlockingIOError (EAGAIN): one of the two is not ready, and doesn't wait.
    """
    reading, writing = _descriptor(source), _descriptor(target)
    if reading is None or writing is None:
        return _stream(source, target, buffer)
    found = os.fstat(reading)
    size = found.st_size
    if not size or not _stat.S_ISREG(found.st_mode):  # files of /proc have no size, and contents
        return _stream(source, target, buffer)
    ways: list[_Way] = [_plain(min(buffer, size))]
    if size > _SMALL or found.st_blocks * 512 < size:
        if _is_cloned(reading, writing):
            return os.fstat(writing).st_size
        ways = [*_KERNEL_WAYS, *ways]
    return _copy(reading, writing, size, ways)


def sync(file: RawIOBase) -> None:
    """Bring what was written to the disk, if the file is one of this machine."""
    fd = _descriptor(file)
    if fd is not None:
        os.fsync(fd)


def _descriptor(file: RawIOBase) -> int | None:
    try:
        return file.fileno()
    except OSError:  # io.UnsupportedOperation is one
        return None


def _is_cloned(reading: int, writing: int) -> bool:
    """Try to have the target share the source's blocks."""
    if not _IS_LINUX:
        return False
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def _copy(reading: int, writing: int, size: int, ways: list[_Way]) -> int:
    """Copy data by data; `ways` loses those that turn out not to work."""
    end = 0
    for start, stop in _data(reading, size):
        if start > end:
            # The hole is made by growing, not by seeking, which a target that appends would ignore.
            os.ftruncate(writing, start)
        end = start
        while end < stop:
            copied = _step(reading, writing, end, stop - end, ways)
            if not copied:
                return end
            end += copied
    if end < size:
        # A hole at the end, unless the source has been cut meanwhile.
        end = max(end, min(size, os.fstat(reading).st_size))
        os.ftruncate(writing, end)
    return end


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Give where the data is, below `size`; all of it where the file system doesn't tell."""
    stop = 0
    while stop < size:
        try:
            start = os.lseek(fd, stop, os.SEEK_DATA)
            stop = os.lseek(fd, start, os.SEEK_HOLE)
        except (OSError, AttributeError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENXIO:  # no more data
                return
            if isinstance(error, OSError) and error.errno not in _CANNOT:
                raise
            yield stop, size
            return
        if start >= size:
            return
        yield start, min(stop, size)


def _step(reading: int, writing: int, offset: int, most: int, ways: list[_Way]) -> int:
    """Copy some bytes by the first way that works; the last one's answer counts, whatever it is."""
    while len(ways) > 1:
        try:
            copied = ways[0](reading, writing, offset, most)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            copied = 0
        if copied:
            return copied
        # Nothing: the end of the file, or one of the file systems of which copy_file_range(2) says under
        # "Bugs" that they copy nothing and call it success. The next way knows.
        del ways[0]
    return ways[0](reading, writing, offset, most)


def _copy_file_range(reading: int, writing: int, offset: int, most: int) -> int:
    return os.copy_file_range(reading, writing, min(most, _MOST), offset, offset)


def _sendfile(reading: int, writing: int, offset: int, most: int) -> int:
    os.lseek(writing, offset, os.SEEK_SET)
    return os.sendfile(writing, reading, offset, min(most, _MOST))


_KERNEL_WAYS: Final[tuple[_Way, ...]] = (
    (*((_copy_file_range,) if hasattr(os, "copy_file_range") else ()), _sendfile) if _IS_LINUX else ()
)


def _plain(buffer: int) -> _Way:
    """Read and write, through a buffer that is made once."""
    view = memoryview(bytearray())

    def copy(reading: int, writing: int, offset: int, most: int) -> int:
        nonlocal view
        if not view:
            view = memoryview(bytearray(buffer))
        count = os.preadv(reading, [view[: min(len(view), most)]], offset)
        done = 0
        while done < count:
            done += os.pwrite(writing, view[done:count], offset + done)
        return count

    return copy


def _stream(source: RawIOBase, target: RawIOBase, buffer: int) -> int:
    """Copy through the files' own methods; blocks of nothing but zeros become holes where that can be."""
    block, zeros = bytearray(buffer), bytes(buffer)
    view = memoryview(block)
    skips = target.seekable()
    size, gap = 0, False
    while count := source.readinto(block):
        gap = skips and not block[0] and block.startswith(zeros if count == buffer else zeros[:count])
        if gap:
            target.seek(count, os.SEEK_CUR)
        else:
            _write_all(target, view[:count])
        size += count
    if count is None:
        raise _not_ready()
    if gap:
        target.truncate(size)
    return size


def _write_all(target: RawIOBase, data: memoryview) -> None:
    while data:
        written = target.write(data)
        if written is None:
            raise _not_ready()
        data = data[written:]


def _not_ready() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
