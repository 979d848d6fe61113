"""How a local store writes: never through a link, whole or not at all, and with few descriptors."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unionpath.model.entry import Kind
from unionpath.model.store import Capability
from unionpath.model.writable import Move, RawMode, WritableDirectory, WritableStore
from unionpath.stores import local, local_writing, system_calls
from unionpath.stores.local import LocalDirectory, LocalStore
from unionpath.stores.memory import MemoryStore

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as Linux has it")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes root's rights")

BIG = bytes(range(256)) * 8192
NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}
MODES: list[RawMode] = ["wb", "ab", "xb", "rb+", "wb+", "ab+", "xb+"]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    (tmp_path / "root").mkdir()
    return LocalStore(tmp_path / "root")


@pytest.fixture
def root(store: LocalStore) -> LocalDirectory:
    return store.root()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def plain_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def refusal(ask: Callable[..., object]) -> str | None:
    """The name of the errno that something is refused with; None if it isn't."""
    try:
        ask()
    except OSError as error:
        return NAMES[error.errno or 0]
    return None


def read(file: io.FileIO) -> bytes:
    with file:
        return file.readall()


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def without_unnamed(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have O_TMPFILE refused."""
    really = os.open

    def open_(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(number, os.strerror(number))
        return really(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", open_)


def test_it_is_a_writable_store(store: LocalStore, root: LocalDirectory) -> None:
    as_store: WritableStore = store
    assert Capability.WRITABLE | Capability.POSIX in as_store.capabilities
    assert as_store.home() is root


class TestMaking:
    @pytest.fixture(params=["unnamed", "EOPNOTSUPP", "EISDIR", "EINVAL", "no /proc"])
    def way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        """With unnamed files, on file systems that refuse them in their several ways, and without /proc."""
        way: str = request.param
        if way == "no /proc":
            monkeypatch.setattr(local_writing, "_give_name", failing(errno.ENOENT))
            monkeypatch.setattr(os.path, "isdir", lambda _: False)
        elif way != "unnamed":
            without_unnamed(monkeypatch, getattr(errno, way))
        return way

    @pytest.mark.parametrize("data", [b"", b"x", BIG])
    @pytest.mark.parametrize("sync", [False, True])
    def test_create(self, root: LocalDirectory, host: Path, way: str, data: bytes, sync: bool) -> None:
        mode = 0o751 if os.geteuid() else 0o4751  # writing takes the bit off again, but for the superuser
        root.create("f", data, mode, sync=sync)
        assert (data, mode) == ((host / "f").read_bytes(), stat.S_IMODE((host / "f").stat().st_mode))
        assert "EEXIST" == refusal(lambda: root.create("f", data, sync=sync))
        os.umask(0o077)
        root.create("g", data, 0o666)
        assert 0o600 == stat.S_IMODE((host / "g").stat().st_mode)
        assert ["f", "g"] == sorted(os.listdir(host))

    def test_create_over_a_dangling_link(self, root: LocalDirectory, host: Path, way: str) -> None:
        (host / "link").symlink_to("nothing")
        for data in (b"", b"data"):
            assert "EEXIST" == refusal(lambda data=data: root.create("link", data))
        assert ["link"] == os.listdir(host)

    def test_create_in_a_removed_directory(self, root: LocalDirectory, host: Path, way: str) -> None:
        directory = root.mkdir("d")
        (host / "d").rmdir()
        for data in (b"", b"data"):
            assert "ENOENT" == refusal(lambda data=data: directory.create("f", data))

    @pytest.mark.rule("E6")
    def test_a_full_disk_leaves_nothing(
        self, root: LocalDirectory, host: Path, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (host / "old").write_bytes(b"old")
        really, left = os.write, [100]

        def write(fd: int, data: bytes) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = really(fd, data[: left[0]])
            left[0] -= count
            return count

        monkeypatch.setattr(os, "write", write)
        assert "ENOSPC" == refusal(lambda: root.create("f", BIG))
        left[0] = 100
        assert "ENOSPC" == refusal(lambda: root.put("old", io.BytesIO(BIG)))
        assert ["old"] == os.listdir(host)
        assert b"old" == (host / "old").read_bytes()

    def test_what_is_written_in_pieces_is_whole(
        self, root: LocalDirectory, host: Path, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        really = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: really(fd, data[:100_003]))
        root.create("f", BIG)
        assert BIG == (host / "f").read_bytes()

    @pytest.mark.parametrize("sync", [False, True])
    def test_put_makes_and_replaces(self, root: LocalDirectory, host: Path, way: str, sync: bool) -> None:
        for data in (b"first", BIG, b""):
            root.put("f", io.BytesIO(data), 0o640, sync=sync)
            assert data == (host / "f").read_bytes()
            assert 0o640 == stat.S_IMODE((host / "f").stat().st_mode)
        assert ["f"] == os.listdir(host)

    def test_put_onto_a_directory_or_a_link(self, root: LocalDirectory, host: Path, way: str) -> None:
        root.mkdir("d")
        assert "EISDIR" == refusal(lambda: root.put("d", io.BytesIO(b"data")))
        (host / "link").symlink_to("d/f")
        root.put("link", io.BytesIO(b"data"))
        assert b"data" == root.read("link")
        assert {"d": Kind.DIRECTORY, "link": Kind.FILE} == root.scan(tuple(Kind))

    def test_put_of_a_source_that_fails(self, root: LocalDirectory, host: Path, way: str) -> None:
        class Source(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, buffer: object) -> int:
                raise OSError(errno.EIO, "broken")

        root.create("f", b"old")
        assert "EIO" == refusal(lambda: root.put("f", Source()))
        assert (b"old", ["f"]) == (root.read("f"), os.listdir(host))

    def test_a_set_group_id_directory_gives_its_group(
        self, root: LocalDirectory, host: Path, way: str
    ) -> None:
        if os.geteuid() != 0:
            pytest.skip("takes root's rights")
        os.chown(host, -1, 12345)
        host.chmod(0o2775)
        root.create("f", b"data")
        root.create("empty")
        root.mkdir("d")
        assert [12345] * 3 == [(host / name).stat().st_gid for name in ("f", "empty", "d")]
        assert (host / "d").stat().st_mode & stat.S_ISGID

    def test_mkdir_gives_the_directory_itself(self, root: LocalDirectory, host: Path) -> None:
        directory = root.mkdir("d", 0o700)
        assert (("d",), 0o700) == (directory.parts, stat.S_IMODE(directory.status().st_mode))
        (host / "d").rename(host / "moved")
        directory.create("f", b"data")
        assert b"data" == (host / "moved/f").read_bytes()

    def test_mkdir_without_descriptors_left_changes_nothing(
        self, root: LocalDirectory, host: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root.held()
        monkeypatch.setattr(local, "_open_directory", failing(errno.EMFILE))
        assert "EMFILE" == refusal(lambda: root.mkdir("d"))
        assert [] == os.listdir(host)

    @pytest.mark.parametrize("target", ["plain", "../..", "/a b", "\udcff", "x" * 4095])
    def test_symlinks_keep_their_target(self, root: LocalDirectory, target: str) -> None:
        root.symlink("link", target)
        assert target == root.readlink("link")

    @pytest.mark.rule("S2")
    def test_targets_that_no_link_has(self, root: LocalDirectory) -> None:
        assert "ENOENT" == refusal(lambda: root.symlink("link", ""))
        assert "ENAMETOOLONG" == refusal(lambda: root.symlink("link", "x" * 4096))
        with pytest.raises(ValueError, match="null"):
            root.symlink("link", "a\0b")

    def test_special_files(self, root: LocalDirectory) -> None:
        kinds = [Kind.FILE, Kind.FIFO, Kind.SOCKET]
        for kind in kinds:
            root.mknod(kind.name, kind, 0o640)
            assert 0o640 == stat.S_IMODE(root.stat(kind.name).st_mode)
        assert {kind.name: kind for kind in kinds} == root.scan(tuple(Kind))
        for kind in (Kind.DIRECTORY, Kind.SYMLINK):
            assert "EINVAL" == refusal(lambda kind=kind: root.mknod("x", kind, 0o640))

    @as_root
    def test_devices(self, root: LocalDirectory) -> None:
        root.mknod("white", Kind.CHAR_DEVICE, 0, os.makedev(0, 0))
        root.mknod("block", Kind.BLOCK_DEVICE, 0o600, os.makedev(240, 7))
        assert [0, os.makedev(240, 7)] == [root.stat(name).st_rdev for name in ("white", "block")]

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "../a", "a\0"])
    def test_what_is_no_name(self, root: LocalDirectory, name: str) -> None:
        root.create("f", b"data")
        asks: list[Callable[[], object]] = [
            lambda: root.create(name, b"data"),
            lambda: root.create(name),
            lambda: root.put(name, io.BytesIO()),
            lambda: root.open_new(name, "xb"),
            lambda: root.mkdir(name),
            lambda: root.symlink(name, "x"),
            lambda: root.mknod(name, Kind.FIFO, 0o600),
            lambda: root.link(name, root, "f"),
            lambda: root.rename("f", root, name),
            lambda: root.rename("f", root, name, Move.EXCLUSIVE),
        ]
        assert ["EINVAL"] * len(asks) == [refusal(ask) for ask in asks]


class TestOpening:
    @pytest.mark.parametrize("mode", MODES)
    def test_modes_are_those_of_io(self, root: LocalDirectory, host: Path, mode: RawMode) -> None:
        with root.open_new("f", mode, 0o600) as file, io.FileIO(os.dup(file.fileno()), mode) as plain:
            assert (plain.mode, plain.readable(), plain.writable(), plain.seekable()) == (
                file.mode, file.readable(), file.writable(), file.seekable(),
            )  # fmt: skip
            assert 0o600 == stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            assert not os.get_inheritable(file.fileno())
        (host / "f").write_bytes(b"old")
        with root.open_writable("f", mode) as file:
            assert plain.mode == file.mode
            assert os.get_blocking(file.fileno())
            assert 3 == file.write(b"new")
        assert (b"oldnew" if "a" in mode else b"new") == (host / "f").read_bytes()

    def test_one_of_several_makers_wins(self, root: LocalDirectory) -> None:
        root.open_new("f", "xb").close()
        assert "EEXIST" == refusal(lambda: root.open_new("f", "xb"))

    def test_truncate(self, root: LocalDirectory, host: Path) -> None:
        (host / "f").write_bytes(b"old")
        with root.open_writable("f", "wb", truncate=True):
            assert b"" == (host / "f").read_bytes()

    def test_appending_goes_to_the_end_of_that_moment(self, root: LocalDirectory, host: Path) -> None:
        root.create("f", b"1")
        with root.open_writable("f", "ab") as one, root.open_writable("f", "ab") as two:
            for file, data in ((one, b"2"), (two, b"3"), (one, b"4")):
                file.write(data)
        assert b"1234" == (host / "f").read_bytes()

    @pytest.mark.rule("L11")
    @pytest.mark.parametrize("mode", ["wb", "ab", "rb+"])
    def test_what_is_refused(
        self, root: LocalDirectory, host: Path, mode: RawMode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing outside the root is reachable, and nothing waits for ever."""
        (host / "file").write_bytes(b"data")
        (host / "link").symlink_to("file")
        (host / "dir").mkdir()
        os.mkfifo(host / "fifo")
        monkeypatch.chdir(host)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            names = ["link", "dir", "fifo", "socket", "missing"]
            found = [refusal(lambda n=n: root.open_writable(n, mode, truncate=True)) for n in names]
        assert ["ELOOP", "EISDIR", "ENXIO", "ENXIO", "ENOENT"] == found
        assert b"data" == (host / "file").read_bytes()

    @as_root
    @pytest.mark.rule("L11")
    def test_devices_are_refused(self, root: LocalDirectory, host: Path) -> None:
        """What a device node reaches lies outside the layer."""
        os.mknod(host / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        assert "EACCES" == refusal(lambda: root.open_writable("null", "wb"))

    @pytest.mark.rule("C7")
    def test_a_fifo_with_a_reader(self, root: LocalDirectory, host: Path) -> None:
        """Written to as the system does, which waits for a slow reader."""
        os.mkfifo(host / "fifo")
        reader = os.open(host / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        with root.open_writable("fifo", "wb") as file:
            assert os.get_blocking(file.fileno())
            file.write(b"through")
        assert b"through" == os.read(reader, 100)
        os.close(reader)

    def test_another_process_s_lease_is_waited_for(self, root: LocalDirectory, host: Path) -> None:
        (host / "f").write_bytes(b"data")
        lease = (
            "import fcntl, os, signal, sys, time\n"
            "fd = os.open(sys.argv[1], os.O_RDWR)\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])\n"
            "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
            "print('leased', flush=True)\n"
            "signal.sigtimedwait([signal.SIGIO], 10); time.sleep(0.1)\n"
            "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)\n"
        )
        asks: list[Callable[[], bytes]] = [
            lambda: root.read("f"),
            lambda: read(root.open("f")),
            lambda: read(root.open_writable("f", "rb+")),
        ]
        for ask in asks:
            with subprocess.Popen(
                [sys.executable, "-c", lease, host / "f"], stdout=subprocess.PIPE
            ) as holder:
                assert holder.stdout is not None
                if holder.stdout.readline() != b"leased\n":
                    pytest.skip("no leases here")
                assert b"data" == ask()
                assert 0 == holder.wait()


class TestRenaming:
    def test_replace(self, root: LocalDirectory, host: Path) -> None:
        root.create("a", b"a")
        root.create("b", b"b")
        below = root.mkdir("d")
        root.rename("a", below, "x")
        root.rename("b", below, "x")
        assert (["d"], b"b") == (os.listdir(host), (host / "d/x").read_bytes())

    def test_exclusive(self, root: LocalDirectory, host: Path) -> None:
        root.create("a", b"a")
        root.symlink("taken", "nowhere")
        assert "EEXIST" == refusal(lambda: root.rename("a", root, "taken", Move.EXCLUSIVE))
        root.rename("a", root, "free", Move.EXCLUSIVE)
        assert ["free", "taken"] == sorted(os.listdir(host))

    def test_exchange(self, root: LocalDirectory) -> None:
        root.create("a", b"a")
        root.mkdir("d").create("x", b"x")
        assert "ENOENT" == refusal(lambda: root.rename("a", root, "missing", Move.EXCHANGE))
        root.rename("a", root, "d", Move.EXCHANGE)
        assert (b"x", b"a") == (root.child("a").read("x"), root.read("d"))

    def test_whiteout(self, root: LocalDirectory) -> None:
        root.create("a", b"a")
        number = refusal(lambda: root.rename("a", root, "b", Move.WHITEOUT))
        if number in ("EOPNOTSUPP", "EPERM"):
            pytest.skip("the file system has no whiteouts")
        assert {"a": Kind.CHAR_DEVICE, "b": Kind.FILE} == root.scan(tuple(Kind))
        assert 0 == root.stat("a").st_rdev

    @pytest.mark.rule("R2")
    @pytest.mark.parametrize("how", [Move.REPLACE, Move.EXCLUSIVE, Move.EXCHANGE])
    def test_into_its_own_subtree(self, root: LocalDirectory, how: Move) -> None:
        deep = root.mkdir("d").mkdir("e").mkdir("f")
        deep.create("g")
        target = "free" if how is Move.EXCLUSIVE else "g"
        assert "EINVAL" == refusal(lambda: root.rename("d", deep, target, how))
        expected = "EINVAL" if how is Move.EXCHANGE else "EEXIST" if how is Move.EXCLUSIVE else "ENOTEMPTY"
        assert expected == refusal(lambda: deep.rename("g", root, "d", how))

    @pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
    def test_what_the_file_system_cannot(
        self, root: LocalDirectory, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        def call(*_: object) -> int:
            ctypes.set_errno(number)
            return -1

        monkeypatch.setattr(system_calls, "_renaming", lambda: call)
        root.mkdir("d")
        root.create("a")
        for how in (Move.EXCLUSIVE, Move.EXCHANGE, Move.WHITEOUT):
            for name in ("a", "d"):
                assert "EOPNOTSUPP" == refusal(lambda n=name, h=how: root.rename(n, root, "x", h))
        monkeypatch.setattr(system_calls, "_renaming", lambda: None)
        assert "EOPNOTSUPP" == refusal(lambda: root.rename("a", root, "x", Move.EXCHANGE))

    def test_by_the_number_of_the_call(self, root: LocalDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        class Old(ctypes.CDLL):
            def __getattr__(self, name: str) -> ctypes._NamedFuncPointer:
                if name == "renameat2":
                    raise AttributeError(name)
                return super().__getattr__(name)

        if platform.machine() not in system_calls._RENAMEAT2:
            pytest.skip("a machine whose number isn't known")
        monkeypatch.setattr(system_calls, "_libc", lambda: Old(None, use_errno=True))
        monkeypatch.setattr(system_calls, "_renaming", system_calls._renaming.__wrapped__)
        root.create("a")
        root.rename("a", root, "b", Move.EXCLUSIVE)
        assert "ENOENT" == refusal(lambda: root.rename("a", root, "c", Move.EXCLUSIVE))
        assert {"b": Kind.FILE} == root.scan(tuple(Kind))

    def test_between_trees_of_one_file_system(self, root: LocalDirectory, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = LocalStore(tmp_path / "other").root()
        other.create("a", b"a")
        root.create("b", b"b")
        other.rename("a", root, "b", Move.EXCHANGE)
        assert (b"a", b"b") == (root.read("b"), other.read("a"))
        root.link("linked", other, "a")
        assert 2 == other.stat("a").st_nlink

    @pytest.mark.rule("R5")
    def test_to_another_kind_of_store(self, root: LocalDirectory) -> None:
        memory: WritableDirectory = MemoryStore().root()
        root.create("f")
        for ask in (lambda: root.rename("f", memory, "f"), lambda: root.link("g", memory, "f")):
            assert "EXDEV" == refusal(ask)

    def test_faults_carry_both_places(self, root: LocalDirectory, host: Path) -> None:
        root.create("f")
        root.mkdir("d")
        asks: list[Callable[[], None]] = [
            lambda: root.rename("f", root, "d"),
            lambda: root.link("d", root, "f"),
        ]
        for ask in asks:
            with pytest.raises(OSError, match="f") as caught:
                ask()
            assert (str(host / "f"), str(host / "d")) == (caught.value.filename, caught.value.filename2)


class TestRemoving:
    @pytest.mark.rule("D2")
    def test_kinds(self, root: LocalDirectory) -> None:
        root.create("f")
        root.symlink("link", "d")
        root.mkdir("d").create("x")
        found = [refusal(lambda: root.unlink("d")), refusal(lambda: root.rmdir("d"))]
        found += [refusal(lambda n=n: root.rmdir(n)) for n in ("f", "link", "missing")]
        assert ["EISDIR", "ENOTEMPTY", "ENOTDIR", "ENOTDIR", "ENOENT"] == found
        root.unlink("f")
        root.unlink("link")
        assert ["ENOENT", None] == [refusal(lambda: root.unlink("f")), refusal(lambda: root.child("d"))]

    @pytest.mark.rule("C8")
    def test_links(self, root: LocalDirectory) -> None:
        root.create("f", b"data")
        root.symlink("link", "f")
        root.mkdir("d")
        root.link("g", root, "f")
        root.link("h", root, "link")
        assert ("f", root.stat("f").st_ino) == (root.readlink("h"), root.stat("g").st_ino)
        assert ["EPERM", "EEXIST"] == [refusal(lambda n=n: root.link(n, root, "d")) for n in ("new", "f")]


class TestMetadata:
    @pytest.fixture(params=["fchmodat2", "by reference"])
    def way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        """With the newer call, if the kernel has it, and without."""
        way: str = request.param
        if way == "by reference":
            monkeypatch.setattr(system_calls, "_changing", lambda: None)
        elif system_calls._changing() is None:
            pytest.skip("the kernel has no fchmodat2")
        return way

    def test_chmod(self, root: LocalDirectory, host: Path, way: str) -> None:
        root.create("f")
        root.mkdir("d")
        root.mknod("fifo", Kind.FIFO, 0o600)
        (host / "link").symlink_to("f")
        for name in ("f", "d", "fifo", None):
            root.chmod(name, 0o2751)
            found = root.status() if name is None else root.stat(name)
            assert 0o2751 == stat.S_IMODE(found.st_mode)
        root.chmod("f", 0o600)
        assert "EOPNOTSUPP" == refusal(lambda: root.chmod("link", 0o777))
        assert "ENOENT" == refusal(lambda: root.chmod("missing", 0o777))
        assert 0o600 == stat.S_IMODE((host / "f").stat().st_mode)

    @as_root
    def test_chmod_that_is_not_allowed(self, root: LocalDirectory, host: Path, way: str) -> None:
        root.create("f")
        for directory in (host, *host.parents[:3]):
            directory.chmod(0o755)
        assert "EPERM" == unprivileged(lambda: root.chmod("f", 0o777))

    @as_root
    def test_chown(self, root: LocalDirectory, host: Path) -> None:
        root.create("f")
        (host / "link").symlink_to("f")
        root.chown("link", 11, 12)
        root.chown(None, gid=13)
        found = [root.stat("link"), root.stat("f"), root.status()]
        assert [(11, 12), (0, os.getegid()), (0, 13)] == [(each.st_uid, each.st_gid) for each in found]

    def test_utime(self, root: LocalDirectory, host: Path) -> None:
        root.create("f")
        (host / "link").symlink_to("f")
        before = root.stat("f").st_mtime_ns
        for name in ("link", None):
            root.utime(name, (123_456_789_012_345_678, 234_567_890_123_456_789))
            found = root.status() if name is None else root.stat(name)
            assert (123_456_789_012_345_678, 234_567_890_123_456_789) == (
                found.st_atime_ns, found.st_mtime_ns,
            )  # fmt: skip
            root.utime(name)
            found = root.status() if name is None else root.stat(name)
            assert before <= found.st_mtime_ns + 100_000_000
        assert before == root.stat("f").st_mtime_ns

    def test_xattrs(self, root: LocalDirectory, host: Path) -> None:
        root.create("f")
        if (number := refusal(lambda: root.setxattr("f", "user.a", b"1"))) is not None:
            pytest.skip(f"no xattrs here: {number}")
        root.setxattr("f", "user.a", b"2")
        root.setxattr(None, "user.b", b"3")
        assert (b"2", b"3") == (root.getxattr("f", "user.a"), root.getxattr(None, "user.b"))
        (host / "link").symlink_to("f")
        assert refusal(lambda: root.setxattr("link", "user.a", b"4")) in ("EPERM", "EOPNOTSUPP")
        for name, attribute in (("f", "user.a"), (None, "user.b")):
            root.removexattr(name, attribute)
            assert "ENODATA" == refusal(lambda n=name, a=attribute: root.removexattr(n, a))

    @as_root
    def test_a_directory_that_only_can_be_searched(self, root: LocalDirectory, host: Path) -> None:
        for directory in (host, *host.parents[:3]):
            directory.chmod(0o755)
        (host / "d").mkdir(0o300)
        os.chown(host / "d", 65534, 65534)

        def change() -> str:
            directory = LocalStore(host).root().child("d")
            directory.utime(None, (1, 1))
            directory.utime(None)
            directory.chown(None, gid=65534)
            directory.create("f", b"data")
            directory.setxattr(None, "user.a", b"1")
            directory.removexattr(None, "user.a")
            directory.chmod(None, 0o700)
            return f"{directory.status().st_mode:o}"

        assert "40700" == unprivileged(change)
        assert b"data" == (host / "d/f").read_bytes()


def unprivileged(ask: Callable[[], object]) -> str:
    """What a user without any rights gets: the answer's text, or an errno's name."""
    source, target = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            answer = str(ask())
        except OSError as error:
            answer = errno.errorcode[error.errno or 0]
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test shall show it
            answer = repr(error)
        os.write(target, answer.encode())
        os._exit(0)
    os.close(target)
    with os.fdopen(source, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    return data.decode()


class TestSync:
    def test_everything_can_be_synced(self, root: LocalDirectory, host: Path) -> None:
        root.create("f", b"data")
        root.mkdir("d")
        root.symlink("link", "nowhere")
        root.mknod("fifo", Kind.FIFO, 0o600)
        for name in ("f", "d", "link", "fifo", None):
            root.sync(name)
        assert "ENOENT" == refusal(lambda: root.sync("missing"))

    def test_faults_pass(self, root: LocalDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
        root.create("f", b"data")
        monkeypatch.setattr(os, "fsync", failing(errno.EIO))
        assert ["EIO"] * 2 == [refusal(lambda n=n: root.sync(n)) for n in ("f", None)]
        assert "EIO" == refusal(lambda: root.create("g", b"data", sync=True))
        assert {"f": Kind.FILE} == root.scan(tuple(Kind))
        monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
        root.sync(None)


class TestLock:
    @pytest.mark.parametrize("name", ["file", "dir"])
    def test_one_at_a_time(self, root: LocalDirectory, name: str) -> None:
        root.create("file")
        root.mkdir("dir")
        one, two = root.lock(name), root.lock(name)
        assert one.acquire()
        assert not two.acquire(wait=False)
        one.release()
        assert two.acquire(wait=False)
        two.close()
        assert one.acquire(wait=False)
        one.close()
        one.release()
        assert one.acquire(wait=False)

    def test_of_nothing(self, root: LocalDirectory) -> None:
        assert "ENOENT" == refusal(lambda: root.lock("missing"))

    def test_waits_for_another_thread(self, root: LocalDirectory) -> None:
        root.create("f")
        one, two, order = root.lock("f"), root.lock("f"), list[str]()
        one.acquire()

        def wait() -> None:
            two.acquire()
            order.append("two")
            two.release()

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        order.append("one")
        one.release()
        thread.join(10)
        assert ["one", "two"] == order

    def test_a_signal_does_not_end_the_wait(self, root: LocalDirectory) -> None:
        root.create("f")
        one, two = root.lock("f"), root.lock("f")
        one.acquire()
        before = signal.signal(signal.SIGALRM, lambda *_: None)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            threading.Timer(0.1, one.release).start()
            assert two.acquire()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def test_a_child_neither_gives_it_back_nor_keeps_it(self, root: LocalDirectory) -> None:
        root.create("f")
        lock, other = root.lock("f"), root.lock("f")
        lock.acquire()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover  # another process
            lock.release()
            lock.close()
            os.write(writer, b"taken" if lock.acquire(wait=False) else b"held")
            signal.pause()
            os._exit(0)
        try:
            assert b"held" == os.read(reader, 10)
            assert not other.acquire(wait=False)
            lock.close()  # as if the parent had died, with the child alive
            assert other.acquire(wait=False)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            os.close(writer)


class TestConfirming:
    @pytest.mark.rule("E9")
    def test_where_it_was(self, store: LocalStore, host: Path) -> None:
        """A root that is replaced or removed is noticed."""
        store.confirm()
        host.rename(host.with_name("moved"))
        assert "ESTALE" == refusal(store.confirm)
        host.mkdir()
        assert "ESTALE" == refusal(store.confirm)
        host.rmdir()
        host.with_name("moved").rename(host)
        store.confirm()
        store.close()
        store.confirm()

    @pytest.mark.rule("E9")
    def test_a_removed_root_whose_number_could_be_used_again(self, store: LocalStore, host: Path) -> None:
        """Not by the next directory, as long as the root is held."""
        store.confirm()
        store.root().release()
        for _ in range(5):
            host.rmdir()
            host.mkdir()
            assert "ESTALE" == refusal(store.confirm)

    def test_a_file_in_its_place(self, store: LocalStore, host: Path) -> None:
        host.rmdir()
        host.touch()
        assert "ESTALE" == refusal(store.confirm)
        host.unlink()
        host.symlink_to(host.parent / "missing")
        assert "ESTALE" == refusal(store.confirm)

    @pytest.mark.rule("E9")
    def test_nothing_lands_in_what_took_a_directory_s_place(self, root: LocalDirectory, host: Path) -> None:
        """A handle that lost its descriptor doesn't take another directory for its own."""
        directory = root.mkdir("d")
        directory.release()
        directory.create("f")
        directory.release()
        (host / "d").rename(host / "old")
        (host / "d").mkdir()
        for ask in (
            lambda: directory.create("g"),
            lambda: directory.unlink("f"),
            lambda: root.rename("old", directory, "old"),
        ):
            assert "ESTALE" == refusal(ask)
        assert [] == os.listdir(host / "d")


class TestNeighbour:
    def test_is_made_and_found(self, store: LocalStore, tmp_path: Path) -> None:
        assert store.neighbour(".work", make=False) is None
        made = store.neighbour(".work")
        assert made is not None
        assert (str(tmp_path / ".work"), 0o700) == (
            made.place, stat.S_IMODE((tmp_path / ".work").stat().st_mode),
        )  # fmt: skip
        made.root().create("f", b"data")
        for make in (False, True):
            again = store.neighbour(".work", make=make)
            assert again is not None
            again.root().rename("f", store.root(), "f")
            store.root().rename("f", again.root(), "f")

    def test_beside_the_real_directory(self, tmp_path: Path) -> None:
        (tmp_path / "a/root").mkdir(parents=True)
        (tmp_path / "link").symlink_to("a/root")
        made = LocalStore(tmp_path / "link").neighbour("work")
        assert made is not None
        assert ["root", "work"] == sorted(os.listdir(tmp_path / "a"))

    def test_never_what_others_may_write_to(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir(0o700)
        (tmp_path / "link").symlink_to("target")
        (tmp_path / "file").touch()
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o770)
        found = [refusal(lambda n=n: store.neighbour(n)) for n in ("link", "file", "open", "..", "a/b")]
        assert ["ENOTDIR", "ENOTDIR", "EPERM", "EINVAL", "EINVAL"] == found

    @as_root
    def test_never_a_stranger_s(self, store: LocalStore, tmp_path: Path) -> None:
        (tmp_path / "theirs").mkdir(0o700)
        os.chown(tmp_path / "theirs", 12345, 12345)
        assert "EPERM" == refusal(lambda: store.neighbour("theirs"))

    def test_there_is_none_of_a_file_system_s_root(self) -> None:
        assert LocalStore("/").neighbour("work") is None
        if os.path.ismount("/proc"):
            assert LocalStore("/proc").neighbour("work") is None


class TestDescriptors:
    @pytest.mark.parametrize(
        "what", ["child", "open", "read", "scan", "create", "open_new", "mkdir", "lock", "sync", "neighbour"]
    )
    def test_the_pool_gives_its_up_where_others_hold_too_many(
        self, root: LocalDirectory, host: Path, what: str
    ) -> None:
        (host / "d").mkdir()
        (host / "f").write_bytes(b"data")
        asks: dict[str, Callable[[], object]] = {
            "child": lambda: root.child("d"),
            "open": lambda: root.open("f").close(),
            "read": lambda: root.read("f"),
            "scan": lambda: root.scan(tuple(Kind)),
            "create": lambda: root.create("new", b"data"),
            "open_new": lambda: root.open_new("new", "xb").close(),
            "mkdir": lambda: root.mkdir("new"),
            "lock": lambda: root.lock("f").close(),
            "sync": lambda: root.sync("f"),
            "neighbour": lambda: LocalStore(host).neighbour("work"),
        }
        others = [root.child("d") for _ in range(5)]
        with _exhausted():
            assert None is refusal(asks[what])
            assert None is refusal(asks[what]) or what in ("create", "open_new", "mkdir")
        assert 5 == len({id(each) for each in others})

    def test_nothing_is_left_open(self, root: LocalDirectory, host: Path) -> None:
        (host / "d").mkdir()
        (host / "link").symlink_to("d")
        os.mkfifo(host / "pipe")
        root.held()
        before = len(os.listdir("/proc/self/fd"))
        asks: list[Callable[[str], object]] = [
            lambda name: root.create(name, b"data"),
            lambda name: root.put(name, io.BytesIO(b"data")),
            lambda name: root.open_new(name, "xb").close(),
            lambda name: root.open_writable(name, "rb+").close(),
            root.sync,
            lambda name: root.lock(name).close(),
            lambda name: root.chmod(name, 0o700),
            lambda name: root.rename(name, root, "x" * 300, Move.EXCHANGE),
        ]
        for name in ("d", "link", "pipe", "missing", "n" * 300):
            for ask in asks:
                with contextlib.suppress(OSError):
                    ask(name)
        assert before == len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def _exhausted() -> Iterator[None]:
    """Leave this process no descriptor but those that the pool holds."""
    import resource as limits

    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (256, hard))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        for fd in taken:
            os.close(fd)
        limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))
