"""What only a local store has: descriptors, their bound, `openat2`, privileges, and what is at the root."""

from __future__ import annotations

import contextlib
import encodings.ascii  # noqa: F401  # a process that gives up its rights can't import any more
import errno
import io
import os
import pickle
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unionpath import Layer, LayerStack
from unionpath.model.entry import Kind
from unionpath.model.store import Directory
from unionpath.stores import local
from unionpath.stores.local import LocalDirectory, LocalStore

TAGS = tuple(Kind)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as Linux has it")
as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes root's rights")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="local stores need a POSIX system")


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """A directory some levels down, with a file in it."""
    (tmp_path / "root/a/b/c").mkdir(parents=True)
    (tmp_path / "root/a/b/c/f").write_text("deep")
    return tmp_path / "root"


def reopened(root: Path) -> LocalDirectory:
    """Give a handle of `a/b/c` that has lost its descriptor."""
    directory: Directory = LocalStore(root).root()
    for name in "abc":
        directory = directory.child(name)
    assert isinstance(directory, LocalDirectory)
    directory.release()
    return directory


def unprivileged(ask: Callable[[], object]) -> object:
    """Ask as a user without any rights."""
    source, target = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            answer: object = ask()
        except OSError as error:
            answer = errno.errorcode[error.errno or 0]
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test shall show it
            answer = repr(error)
        os.write(target, pickle.dumps(answer))
        os._exit(0)
    os.close(target)
    with os.fdopen(source, "rb") as file:
        data = file.read()
    os.waitpid(child, 0)
    return pickle.loads(data)


class TestReopening:
    @pytest.fixture(params=["openat2", "stepwise", "ENOSYS", "EPERM", "EINVAL"])
    def way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        """With `openat2`, without it, and with kernels and sandboxes that refuse it in their several ways."""
        way: str = request.param
        if way == "openat2":
            if not local._openat2.works:
                pytest.skip("no openat2 here")
        elif way == "stepwise":
            monkeypatch.setattr(local._openat2, "works", False)
        else:
            monkeypatch.setattr(local._openat2, "works", True)
            monkeypatch.setattr(local, "_libc", lambda: Refusing(getattr(errno, way)))
        return way

    def test_a_lost_descriptor_is_opened_again(self, deep: Path, way: str) -> None:
        directory = reopened(deep)
        for _ in range(2):
            assert b"deep" == directory.read("f")
            assert {"f": Kind.FILE} == directory.scan(TAGS)
            directory.release()
            assert stat.S_ISDIR(directory.status().st_mode)
            directory.release()

    @pytest.mark.rule("L11")
    @pytest.mark.parametrize("level", ["a", "a/b", "a/b/c"])
    def test_never_through_a_link(self, deep: Path, way: str, level: str, tmp_path: Path) -> None:
        """Not either when somebody swaps a directory for a link."""
        (deep / level).rename(tmp_path / "outside")
        (deep / level).symlink_to(tmp_path / "outside")
        with pytest.raises(NotADirectoryError):
            reopened_again(deep).read("f")

    def test_absence_is_absence(self, deep: Path, way: str) -> None:
        directory = reopened(deep)
        (deep / "a/b").rename(deep / "a/x")
        with pytest.raises(FileNotFoundError):
            directory.read("f")
        (deep / "a/b").touch()
        with pytest.raises(NotADirectoryError):
            directory.read("f")

    @as_root
    def test_searchable_is_enough(self, deep: Path, way: str) -> None:
        for parent in (deep, *deep.parents[:3]):
            parent.chmod(0o755)
        for level in ("a", "a/b", "a/b/c"):
            (deep / level).chmod(0o711)

        def ask() -> object:
            directory = reopened(deep)
            first = directory.read("f")
            directory.release()
            return first, directory.read("f")

        assert (b"deep", b"deep") == unprivileged(ask)

    @as_root
    def test_not_searchable_is_eacces(self, deep: Path, way: str) -> None:
        for parent in (deep, *deep.parents[:3]):
            parent.chmod(0o755)
        directory = reopened(deep)
        (deep / "a/b").chmod(0o600)
        assert "EACCES" == unprivileged(lambda: directory.read("f"))


def reopened_again(root: Path) -> LocalDirectory:
    """As `reopened`, for a tree in which not every step can be taken any more."""
    directory = LocalDirectory(LocalStore(root)._tree, ("a", "b", "c"))
    directory.release()
    return directory


class Refusing:
    """A C library whose kernel refuses every call."""

    def __init__(self, number: int) -> None:
        self._number = number

    def syscall(self, *_: object) -> int:
        import ctypes

        ctypes.set_errno(self._number)
        return -1


@linux
def test_thousands_of_directories_with_few_descriptors(tmp_path: Path) -> None:
    """What is held open is bounded by what the process may have, and opened again when needed."""
    for number in range(2_000):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}/f").write_text(str(number))
    program = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))
from unionpath import LayerStack
from unionpath.model.entry import Kind
with LayerStack([sys.argv[1]]) as stack:
    most = 0
    for _ in range(2):
        for number in range(2_000):
            assert {"f": Kind.FILE} == stack.resolver.listing(f"/d{number}")
            assert str(number).encode() == stack.resolver.read(f"/d{number}/f")
            if not number % 100:
                most = max(most, len(os.listdir("/proc/self/fd")))
    assert 2_001 == stack.cache_info().directories
store = stack.layers[0].store
held = [store.root().child(f"d{number}") for number in range(2_000)]
for _ in range(2):
    for number, directory in enumerate(held):
        assert str(number).encode() == directory.read("f")
print(max(most, len(os.listdir("/proc/self/fd"))))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert 24 <= int(done.stdout) < 60


def test_handles_are_shared_by_threads(tmp_path: Path) -> None:
    """A descriptor given up by one thread isn't closed, or another one, in the middle of another's call."""
    for number in range(40):
        (tmp_path / f"d{number}").mkdir()
        for inner in range(number):
            (tmp_path / f"d{number}/f{inner}").write_text(str(number))
    root = LocalStore(tmp_path).root()
    handles = [root.child(f"d{number}") for number in range(40)]
    wrong: list[object] = []

    def use() -> None:
        try:
            for _ in range(20):
                for number, handle in enumerate(handles):
                    if number != len(handle.scan(TAGS)):
                        wrong.append(number)
                    if number and handle.read("f0") != str(number).encode():
                        wrong.append(number)
        except OSError as error:
            wrong.append(error)

    def give_up() -> None:
        for _ in range(200):
            for handle in handles:
                assert isinstance(handle, LocalDirectory)
                handle.release()

    for handle in handles:
        handle.scan(TAGS)
    threads = [threading.Thread(target=target) for target in (use, use, use, give_up)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == wrong


class TestRoot:
    @pytest.mark.rule("E9")
    def test_a_replaced_root_is_stale(self, deep: Path) -> None:
        """What took its place is another tree."""
        store = LocalStore(deep)
        assert ["a"] == list(store.root().scan(TAGS))
        deep.rename(deep.with_name("old"))
        store.root().release()
        with pytest.raises(FileNotFoundError):
            store.root().scan(TAGS)
        (deep / "other").mkdir(parents=True)
        with pytest.raises(OSError, match="replaced") as refusal:
            store.root().scan(TAGS)
        assert (errno.ESTALE, str(deep)) == (refusal.value.errno, refusal.value.filename)
        deep.joinpath("other").rmdir()
        deep.rmdir()
        deep.with_name("old").rename(deep)
        assert ["a"] == list(store.root().scan(TAGS))

    @pytest.mark.rule("E9")
    def test_and_so_is_what_is_below_it(self, deep: Path) -> None:
        directory = reopened(deep)
        deep.rename(deep.with_name("old"))
        deep.mkdir()
        with pytest.raises(OSError, match="replaced"):
            directory.read("f")

    def test_it_may_be_behind_links(self, deep: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(deep)
        store = LocalStore(tmp_path / "link")
        assert ["a"] == list(store.root().scan(TAGS))
        assert str(tmp_path / "link") == store.place
        assert LocalStore(deep).identity == store.identity

    def test_it_must_be_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "f").touch()
        with pytest.raises(NotADirectoryError):
            LocalStore(tmp_path / "f")
        with pytest.raises(FileNotFoundError):
            LocalStore(tmp_path / "missing")

    def test_it_is_pickled_by_its_place(self, deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(deep.parent)
        store = LocalStore("root")
        monkeypatch.chdir("/")
        again = pickle.loads(pickle.dumps(store))
        assert (store.place, store.identity) == (again.place, again.identity)
        assert str(deep) == again.place

    def test_the_hosts_root_has_plain_places(self) -> None:
        root = LocalStore("/").root()
        assert ("/", "/etc") == (root.place(), root.place("etc"))


@as_root
class TestRights:
    @pytest.fixture
    def searchable(self, tmp_path: Path) -> Path:
        """A tree whose root and one directory may be searched by all and read by nobody."""
        root = tmp_path / "root"
        (root / "d/e").mkdir(parents=True)
        (root / "d/f").write_text("seen")
        (root / "d/secret").write_text("hidden")
        (root / "d/secret").chmod(0o600)
        for parent in (root, *root.parents[:4]):
            parent.chmod(0o755)
        (root / "d").chmod(0o711)
        return root

    def test_names_in_an_unreadable_directory_are_reached(self, searchable: Path) -> None:
        def ask() -> object:
            directory = LocalStore(searchable).root().child("d")
            found = [directory.read("f"), directory.stat("f").st_size, directory.child("e").parts]
            return [*found, stat.S_ISDIR(directory.status().st_mode)]

        assert [b"seen", 4, ("d", "e"), True] == unprivileged(ask)

    @pytest.mark.parametrize("looks", [0, 1, 2])
    def test_listing_one_fails(self, searchable: Path, looks: int) -> None:
        def ask() -> object:
            directory = LocalStore(searchable).root().child("d")
            for _ in range(looks):
                directory.stat("f")
            return directory.scan(TAGS)

        assert "EACCES" == unprivileged(ask)

    def test_in_a_union(self, searchable: Path) -> None:
        def ask() -> object:
            with LayerStack([searchable]) as stack:
                found: list[object] = []
                for _ in range(4):
                    found.append((stack.resolver.kind("/d/f"), stack.resolver.read("/d/f")))
                    try:
                        found.append(stack.resolver.listing("/d"))
                    except OSError as error:
                        found.append((error.errno, error.filename))
                return found

        assert [(Kind.FILE, b"seen"), (errno.EACCES, "/d")] * 4 == unprivileged(ask)

    def test_a_root_that_is_only_searchable(self, searchable: Path) -> None:
        searchable.chmod(0o711)

        def ask() -> object:
            with LayerStack([searchable]) as stack:
                return [stack.resolver.read("/d/f") for _ in range(3)]

        assert [b"seen"] * 3 == unprivileged(ask)

    def test_a_file_that_may_not_be_read(self, searchable: Path) -> None:
        def ask() -> object:
            return LocalStore(searchable).root().child("d").read("secret")

        assert "EACCES" == unprivileged(ask)

    @linux
    def test_xattrs_behind_a_descriptor_without_rights(self, searchable: Path) -> None:
        """Names are looked up through it, and its own attributes are read."""
        try:
            os.setxattr(searchable / "d", "user.colour", b"blue")
            os.setxattr(searchable / "d/f", "user.colour", b"red")
        except OSError:
            pytest.skip("no user xattrs here")
        (searchable / "d").chmod(0o711)
        (searchable / "d/f").chmod(0o644)

        def ask() -> object:
            directory = LocalStore(searchable).root().child("d")
            return [
                directory.getxattr("f", "user.colour"),
                directory.listxattr("f"),
                directory.getxattr("f", "user.none"),
                directory.listxattr(None),
            ]

        assert [b"red", ["user.colour"], None, ["user.colour"]] == unprivileged(ask)


class TestObjects:
    @pytest.fixture
    def root(self, tmp_path: Path) -> LocalDirectory:
        return LocalStore(tmp_path).root()

    @pytest.mark.rule("C7")
    def test_fifos_never_block(self, root: LocalDirectory, tmp_path: Path) -> None:
        """Shown by stat and listing; opening one for reading never blocks for ever."""
        os.mkfifo(tmp_path / "pipe")
        assert {"pipe": Kind.FIFO} == root.scan(TAGS)
        assert b"" == root.read("pipe")
        with root.open("pipe") as file:
            assert b"" == file.read()
            writer = os.open(tmp_path / "pipe", os.O_WRONLY)
            os.write(writer, b"data")
            os.close(writer)
            assert b"data" == file.read()

    @pytest.mark.rule("C7")
    @pytest.mark.parametrize("way", ["read", "open"])
    def test_what_a_slow_writer_puts_into_a_fifo_is_read_to_its_end(
        self, root: LocalDirectory, tmp_path: Path, way: str
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        writer = os.open(tmp_path / "pipe", os.O_RDWR)

        def write() -> None:
            for part in (b"one, ", b"two"):
                time.sleep(0.05)
                os.write(writer, part)
            os.close(writer)

        thread = threading.Thread(target=write)
        thread.start()
        if way == "read":
            assert b"one, two" == root.read("pipe")
        else:
            with root.open("pipe") as file:
                assert b"one, two" == file.read()
        thread.join()

    @pytest.mark.rule("L11")
    @as_root
    @pytest.mark.parametrize("number", [os.makedev(1, 3), os.makedev(240, 7), os.makedev(0, 0)])
    @pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
    def test_devices_are_not_opened(
        self, root: LocalDirectory, tmp_path: Path, number: int, kind: int
    ) -> None:
        """What a device reaches lies outside the layer."""
        os.mknod(tmp_path / "device", kind | 0o666, number)
        expected = Kind.CHAR_DEVICE if kind == stat.S_IFCHR else Kind.BLOCK_DEVICE
        assert {"device": expected} == root.scan(TAGS)
        with LayerStack([Layer(tmp_path)]) as stack:
            for ask in (stack.resolver.read, stack.resolver.open):
                with pytest.raises(OSError, match="device") as refusal:
                    ask("/device")
                assert (errno.EACCES, "/device") == (refusal.value.errno, refusal.value.filename)

    @as_root
    def test_nor_where_nobody_asks_for_the_kind_before(self, root: LocalDirectory, tmp_path: Path) -> None:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        for ask in (root.read, root.open):
            with pytest.raises(PermissionError):
                ask("null")

    def test_sockets_are_not_opened(
        self, root: LocalDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # a socket's path has a hundred bytes at most
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            assert {"socket": Kind.SOCKET} == root.scan(TAGS)
            for ask in (root.read, root.open):
                with pytest.raises(OSError, match="socket") as refusal:
                    ask("socket")
                assert refusal.value.errno == errno.ENXIO

    @pytest.mark.parametrize("name", ["caf\udce9", "\udcff", "ü\udc80", " ", "\n", "a\\b", "*", "ﬁ"])
    def test_names_are_bytes(self, root: LocalDirectory, tmp_path: Path, name: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name, errors="surrogateescape")
        (tmp_path / "link").symlink_to(name)
        assert {name, "link"} == root.scan(TAGS).keys()
        assert name == root.readlink("link")
        directory = root.child(name)
        assert isinstance(directory, LocalDirectory)
        for _ in range(2):
            assert os.fsencode(name) == directory.read(name)
            directory.release()
        deeper = LocalDirectory(LocalStore(tmp_path)._tree, (name, "x"))
        with pytest.raises(FileNotFoundError):
            deeper.status()

    def test_a_file_that_grows_or_shrinks_while_it_is_read(
        self, root: LocalDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "f").write_bytes(b"x" * 100)
        fstat = os.fstat
        for size, data in ((100, b"y" * 300_000), (100, b"z"), (0, b"w" * 70_000), (100, b"")):
            (tmp_path / "f").write_bytes(b"x" * size)

            def late(fd: int, data: bytes = data) -> os.stat_result:
                found = fstat(fd)
                (tmp_path / "f").write_bytes(data)
                return found

            monkeypatch.setattr(os, "fstat", late)
            assert data == root.read("f")
            monkeypatch.undo()

    @linux
    def test_files_whose_size_is_a_lie(self) -> None:
        """Those of /proc have none, and contents nevertheless."""
        assert LocalStore("/proc/self").root().read("status").startswith(b"Name:")

    @linux
    def test_nothing_is_left_open(self, root: LocalDirectory, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        os.mkfifo(tmp_path / "pipe")
        before = len(os.listdir("/proc/self/fd"))
        for ask in (root.read, root.open, root.child):
            for name in ("d", "missing", "pipe"):
                with contextlib.suppress(OSError):
                    made = ask(name)
                    if isinstance(made, io.FileIO):
                        made.close()
                    del made
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the root's
