"""Contents copied between open files: whole, with their holes, by whichever way works."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import resource
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unionpath.stores import transfer as module
from unionpath.stores.memory import MemoryStore
from unionpath.stores.transfer import sync, transfer

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as Linux has it")

MIB = 1 << 20
DENSE = bytes(range(1, 252)) * 20_000
REFUSALS = ["EXDEV", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EBADF", "EPERM"]


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[io.FileIO, io.FileIO]]:
    """A source to be filled, and an empty target."""
    with io.FileIO(tmp_path / "source", "xb+") as source, io.FileIO(tmp_path / "target", "xb+") as target:
        yield source, target


def contents(file: io.RawIOBase) -> bytes:
    file.seek(0)
    return file.readall() or b""


def copied(files: tuple[io.FileIO, io.FileIO], *, buffer: int = MIB) -> int:
    files[0].seek(0)
    return transfer(*files, buffer=buffer)


@pytest.fixture(
    params=["as it is", "no clone", "no copy_file_range", "plain", "no SEEK_DATA", "copies nothing"]
)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways, from the cheapest down."""
    way: str = request.param
    if way != "as it is":
        monkeypatch.setattr(fcntl, "ioctl", failing(errno.EOPNOTSUPP))
    if way in ("no copy_file_range", "plain", "copies nothing"):
        range_ = failing(errno.EXDEV) if way != "copies nothing" else lambda *_: 0
        monkeypatch.setattr(os, "copy_file_range", range_)
    if way in ("plain", "copies nothing"):
        monkeypatch.setattr(os, "sendfile", failing(errno.EINVAL))
    if way == "no SEEK_DATA":
        really = os.lseek

        def lseek(fd: int, position: int, whence: int) -> int:
            if whence in (os.SEEK_DATA, os.SEEK_HOLE):
                raise OSError(errno.EINVAL, "unknown")
            return really(fd, position, whence)

        monkeypatch.setattr(os, "lseek", lseek)
    return way


@pytest.mark.rule("C6")
@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 5000, DENSE[:70_000], DENSE], ids=len)
@pytest.mark.parametrize("buffer", [1000, MIB])
def test_all_of_it(files: tuple[io.FileIO, io.FileIO], way: str, data: bytes, buffer: int) -> None:
    """Bytes are kept, whichever way they take."""
    files[0].write(data)
    assert len(data) == copied(files, buffer=buffer)
    assert data == contents(files[1])


@pytest.mark.rule("C6")
def test_holes_stay_holes(files: tuple[io.FileIO, io.FileIO], way: str) -> None:
    """Before, between and after the data."""
    source, target = files
    for place in (3, 90):
        os.pwrite(source.fileno(), DENSE[:MIB], place * MIB)
    os.ftruncate(source.fileno(), 200 * MIB + 1)
    assert 200 * MIB + 1 == copied(files) == os.fstat(target.fileno()).st_size
    for place in (0, 3, 50, 90, 199):
        expected = DENSE[:MIB] if place in (3, 90) else bytes(MIB)
        assert expected == os.pread(target.fileno(), MIB, place * MIB)
    if way != "no SEEK_DATA":
        assert os.fstat(target.fileno()).st_blocks * 512 < 4 * MIB


def test_nothing_but_a_hole(files: tuple[io.FileIO, io.FileIO], way: str) -> None:
    os.ftruncate(files[0].fileno(), 1 << 30 if way != "no SEEK_DATA" else MIB)
    assert copied(files) == os.fstat(files[1].fileno()).st_size == os.fstat(files[0].fileno()).st_size


def test_a_small_hole(files: tuple[io.FileIO, io.FileIO], way: str) -> None:
    os.pwrite(files[0].fileno(), b"end", 40_000)
    assert 40_003 == copied(files)
    assert bytes(40_000) + b"end" == contents(files[1])


@pytest.mark.rule("C6")
def test_a_clone_is_all_that_is_asked_for(
    files: tuple[io.FileIO, io.FileIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system can clone, no bytes pass."""

    def clone(target: int, request: int, source: int) -> int:
        assert (files[1].fileno(), 0x40049409, files[0].fileno()) == (target, request, source)
        os.pwrite(target, os.pread(source, len(DENSE), 0), 0)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    monkeypatch.setattr(module, "_copy", failing(errno.EIO))
    files[0].write(DENSE)
    assert len(DENSE) == copied(files)
    assert DENSE == contents(files[1])


@pytest.mark.parametrize("refusal", REFUSALS)
def test_each_way_may_be_refused(
    files: tuple[io.FileIO, io.FileIO], monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    for owner, name in ((fcntl, "ioctl"), (os, "copy_file_range"), (os, "sendfile")):
        monkeypatch.setattr(owner, name, failing(getattr(errno, refusal)))
        files[0].write(DENSE)
        files[1].truncate(0)
        size = os.fstat(files[0].fileno()).st_size
        assert size == copied(files)
        assert contents(files[0]) == contents(files[1])


def test_a_way_that_ends_in_the_middle(
    files: tuple[io.FileIO, io.FileIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one goes on where it stopped; what is copied in part is copied on."""
    monkeypatch.setattr(fcntl, "ioctl", failing(errno.EOPNOTSUPP))
    really_range, really_send = os.copy_file_range, os.sendfile

    def copy_file_range(source: int, target: int, count: int, at: int, to: int) -> int:
        if at > MIB:
            raise OSError(errno.EXDEV, "no more")
        return really_range(source, target, min(count, 700_001), at, to)

    def sendfile(target: int, source: int, offset: int, count: int) -> int:
        if offset > 3 * MIB:
            raise OSError(errno.EINVAL, "no more")
        return really_send(target, source, offset, min(count, 500_003))

    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    monkeypatch.setattr(os, "sendfile", sendfile)
    files[0].write(DENSE)
    assert len(DENSE) == copied(files)
    assert DENSE == contents(files[1])


@pytest.mark.rule("E6")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_faults_pass(
    files: tuple[io.FileIO, io.FileIO], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    files[0].write(DENSE)
    ways = [(os, "pwrite"), (os, "sendfile"), (os, "copy_file_range"), (fcntl, "ioctl")]
    for owner, name in ways[1:]:
        monkeypatch.setattr(owner, name, failing(errno.EOPNOTSUPP))
    for owner, name in ways:
        monkeypatch.setattr(owner, name, failing(number))
        with pytest.raises(OSError) as caught:
            copied(files)
        assert number == caught.value.errno


@pytest.mark.parametrize("change", [1, -2_000_000, -len(DENSE)], ids=["grows", "shrinks", "emptied"])
def test_a_source_that_changes_meanwhile(
    files: tuple[io.FileIO, io.FileIO], way: str, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    """The target has the size of what was copied."""
    if way == "as it is":
        pytest.skip("a clone is made in one step")
    source, target = files
    source.write(DENSE)
    really = module._step

    def step(*arguments: object) -> int:
        os.ftruncate(source.fileno(), len(DENSE) + change)
        return really(*arguments)  # type: ignore[arg-type]  # handed on as they are

    monkeypatch.setattr(module, "_step", step)
    expected = min(len(DENSE), len(DENSE) + change)
    assert expected == copied(files)
    assert DENSE[:expected] == contents(target)


def test_a_hole_that_is_cut_meanwhile(
    files: tuple[io.FileIO, io.FileIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", failing(errno.EOPNOTSUPP))
    source, target = files
    source.write(DENSE[:MIB])
    os.ftruncate(source.fileno(), 50 * MIB)
    really = module._step

    def step(*arguments: object) -> int:
        os.ftruncate(source.fileno(), 10 * MIB)
        return really(*arguments)  # type: ignore[arg-type]  # handed on as they are

    monkeypatch.setattr(module, "_step", step)
    assert 10 * MIB == copied(files) == os.fstat(target.fileno()).st_size


def test_a_target_that_appends(files: tuple[io.FileIO, io.FileIO], tmp_path: Path, way: str) -> None:
    os.pwrite(files[0].fileno(), DENSE, 3 * MIB)
    os.ftruncate(files[0].fileno(), 10 * MIB)
    with io.FileIO(tmp_path / "log", "ab+") as log:
        assert 10 * MIB == transfer(files[0], log)
        assert bytes(3 * MIB) + DENSE == contents(log).rstrip(b"\0")


@pytest.mark.rule("C6")
def test_memory_is_bounded(files: tuple[io.FileIO, io.FileIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the file's size."""
    monkeypatch.setattr(fcntl, "ioctl", failing(errno.EOPNOTSUPP))
    for name in ("copy_file_range", "sendfile"):
        monkeypatch.setattr(os, name, failing(errno.EXDEV))
    for _ in range(8):
        files[0].write(DENSE)
    tracemalloc.start()
    try:
        assert 8 * len(DENSE) == copied(files, buffer=1 << 16)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_files_without_descriptors(files: tuple[io.FileIO, io.FileIO]) -> None:
    top = MemoryStore().root()
    data = DENSE + bytes(3 * MIB) + b"x" + bytes(2 * MIB)
    top.create("a", data)
    with top.open("a") as source, top.open_new("b", "xb") as target:
        assert len(data) == transfer(source, target)
    assert data == top.read("b")
    with top.open("b") as source:
        assert len(data) == transfer(source, files[1])
    assert data == contents(files[1])
    files[1].seek(0)
    with top.open_new("c", "xb") as target:
        assert len(data) == transfer(files[1], target, buffer=1000)
    assert data == top.read("c")


class Raw(io.RawIOBase):
    """A file that reads, and takes, as it is told."""

    def __init__(self, *answers: bytes | None, takes: int | None = 0) -> None:
        self.answers = [*answers]
        self.takes = takes
        self.taken = b""

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int | None:  # any buffer will do
        answer = self.answers.pop(0) if self.answers else b""
        if answer is None:
            return None
        memoryview(buffer)[: len(answer)] = answer  # type: ignore[arg-type]
        return len(answer)

    def write(self, data: object) -> int | None:
        if self.takes is None:
            return None
        part = bytes(data)[: self.takes or None]  # type: ignore[call-overload]
        self.taken += part
        return len(part)


def test_a_target_that_cannot_seek_gets_the_zeros_and_takes_what_it_likes() -> None:
    target = Raw(takes=7)
    assert 1024 == transfer(Raw(bytes(512), b"x" * 512), target)
    assert bytes(512) + b"x" * 512 == target.taken


@pytest.mark.parametrize("pair", [(Raw(None), Raw()), (Raw(b"x"), Raw(takes=None))], ids=["source", "target"])
def test_who_is_not_ready(pair: tuple[Raw, Raw]) -> None:
    with pytest.raises(BlockingIOError):
        transfer(*pair)


def test_files_whose_size_is_a_lie(files: tuple[io.FileIO, io.FileIO]) -> None:
    with io.FileIO("/proc/self/status") as source:
        assert transfer(source, files[1]) > 100
    assert contents(files[1]).startswith(b"Name:")


def test_between_file_systems(files: tuple[io.FileIO, io.FileIO], way: str) -> None:
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no second file system to be had")
    fd = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR, 0o600)
    with io.FileIO(fd, "rb+") as source:
        source.write(DENSE)
        os.ftruncate(fd, 30 * MIB)
        assert 30 * MIB == transfer(source, files[1])
    assert DENSE + bytes(30 * MIB - len(DENSE)) == contents(files[1])


def test_a_file_too_large(files: tuple[io.FileIO, io.FileIO], way: str) -> None:
    """A limit of the process stands for a full disk."""
    files[0].write(DENSE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
        with pytest.raises(OSError) as caught:
            copied(files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert errno.EFBIG == caught.value.errno


def test_sync(files: tuple[io.FileIO, io.FileIO], monkeypatch: pytest.MonkeyPatch) -> None:
    sync(files[0])
    top = MemoryStore().root()
    top.create("a")
    with top.open_writable("a", "rb+") as file:
        sync(file)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError) as caught:
        sync(files[0])
    assert errno.EIO == caught.value.errno
