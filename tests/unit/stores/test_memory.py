"""The writing side of the in-memory store: what system calls do, threads, watches, sending the content."""

from __future__ import annotations

import copy
import errno
import gc
import io
import os
import pickle
import random
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier, Event
from typing import NoReturn, TypeAlias

import pytest

from trees import Parts
from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.stores.memory import MemoryDirectory, MemoryStore
from unionpath.stores.memory_inodes import Change, Inode
from unionpath.stores.umask import _asked_by_setting, current_umask

KINDS = tuple(Kind)
WORDS = ("a", "b", "c")


def outcome(action: Callable[..., object], *arguments: object) -> object:
    """What an action gives, or the errno that it is refused with."""
    try:
        return action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def errno_of(action: Callable[..., object], *arguments: object) -> int | None:
    with pytest.raises(OSError) as caught:
        action(*arguments)
    return caught.value.errno


def at(store: MemoryStore, parts: Parts) -> MemoryDirectory:
    directory = store.root()
    for name in parts:
        directory = directory.child(name)
    return directory


# The same operations on a real file system.

Described: TypeAlias = tuple[str, int, int, object]
Tree: TypeAlias = dict[Parts, Described]


def describe(found: Stat, content: object) -> Described:
    is_directory = stat.S_ISDIR(found.st_mode)
    return str(kind_of(found.st_mode)), found.st_mode, 0 if is_directory else found.st_nlink, content


def memory_tree(directory: MemoryDirectory) -> Tree:
    tree: Tree = {}
    for name, kind in directory.scan(KINDS).items():
        content: object = None
        if kind == Kind.DIRECTORY:
            tree.update(memory_tree(directory.child(name)))
        elif kind == Kind.SYMLINK:
            content = directory.readlink(name)
        elif kind == Kind.FILE:
            content = directory.read(name)
        tree[(*directory.parts, name)] = describe(directory.stat(name), content)
    return tree


def real_tree(top: Path) -> Tree:
    tree: Tree = {}
    for place, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = Path(place, name)
            found = path.lstat()
            content: object = None
            if stat.S_ISLNK(found.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(found.st_mode):
                content = path.read_bytes()
            tree[path.relative_to(top).parts] = describe(found, content)
    return tree


class Pair:
    """One tree in memory, one on disk; every operation is done to both."""

    def __init__(self, top: Path, chance: random.Random) -> None:
        self.top = top
        self.store = MemoryStore()
        self.chance = chance

    def pick(self) -> tuple[MemoryDirectory, Path, str]:
        """Any directory, and any name."""
        directories = [
            (),
            *(parts for parts, found in memory_tree(self.store.root()).items() if "DIR" in found[0]),
        ]
        parts = self.chance.choice([parts for parts in directories if len(parts) < 4])
        name = self.chance.choice(WORDS)
        return at(self.store, parts), self.top.joinpath(*parts, name), name

    def create(self) -> tuple[object, object]:
        directory, path, name = self.pick()
        data = self.chance.randbytes(3)
        return outcome(lambda: directory.create(name, data)), outcome(lambda: _create(path, data))

    def mkdir(self) -> tuple[object, object]:
        directory, path, name = self.pick()
        made = outcome(directory.mkdir, name)
        return None if isinstance(made, MemoryDirectory) else made, outcome(os.mkdir, path, 0o755)

    def symlink(self) -> tuple[object, object]:
        directory, path, name = self.pick()
        return outcome(lambda: directory.symlink(name, "a/…")), outcome(lambda: os.symlink("a/…", path))

    def mknod(self) -> tuple[object, object]:
        directory, path, name = self.pick()
        return (
            outcome(lambda: directory.mknod(name, Kind.FIFO, 0o600)),
            outcome(lambda: os.mkfifo(path, 0o600)),
        )

    def unlink(self) -> tuple[object, object]:
        directory, path, name = self.pick()
        return outcome(lambda: directory.unlink(name)), outcome(lambda: os.unlink(path))

    def rmdir(self) -> tuple[object, object]:
        directory, path, name = self.pick()
        return outcome(lambda: directory.rmdir(name)), outcome(lambda: os.rmdir(path))

    def rename(self) -> tuple[object, object]:
        source, old, name = self.pick()
        target, new, new_name = self.pick()
        return outcome(lambda: source.rename(name, target, new_name)), outcome(lambda: os.rename(old, new))

    def link(self) -> tuple[object, object]:
        source, old, name = self.pick()
        target, new, new_name = self.pick()
        return (
            outcome(lambda: target.link(new_name, source, name)),
            outcome(lambda: os.link(old, new, follow_symlinks=False)),
        )

    def write(self) -> tuple[object, object]:
        directory, path, name = self.pick()
        if os.path.islink(path) or path.is_fifo():
            return None, None  # opened by following, or by waiting
        offset, data, cut = self.chance.randrange(6), self.chance.randbytes(2), self.chance.randrange(8)
        return (
            outcome(lambda: _write(directory.open_writable(name, "rb+"), offset, data, cut)),
            outcome(lambda: _write(io.FileIO(path, "rb+"), offset, data, cut)),
        )

    def chmod(self) -> tuple[object, object]:
        directory, path, name = self.pick()
        if os.path.islink(path):
            return None, None  # the kernel has no modes for links
        mode = self.chance.choice([0o700, 0o755, 0o1777, 0o711])
        return outcome(lambda: directory.chmod(name, mode)), outcome(lambda: os.chmod(path, mode))


def _create(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "wb") as file:
        file.write(data)


def _write(file: io.RawIOBase, offset: int, data: bytes, cut: int) -> tuple[object, ...]:
    with file:
        moved = file.seek(offset)
        written = file.write(data)
        cut_to = file.truncate(cut)
        after = file.tell()
        file.seek(0)
        return moved, written, cut_to, after, file.readall()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="compares with a POSIX file system")
@pytest.mark.parametrize("number", range(40))
def test_operations_do_what_the_system_does(tmp_path: Path, seed: int, number: int) -> None:
    chance = random.Random(seed * 1000 + number)
    pair = Pair(tmp_path, chance)
    actions = [pair.create, pair.mkdir, pair.symlink, pair.mknod, pair.unlink, pair.rmdir]
    actions += [pair.rename, pair.rename, pair.rename, pair.link, pair.write, pair.chmod]
    old_mask = os.umask(0)
    try:
        for step in range(60):
            action = chance.choice(actions)
            ours, theirs = action()
            assert theirs == ours, (step, action.__name__)
            assert real_tree(tmp_path) == memory_tree(pair.store.root()), (step, action.__name__)
    finally:
        os.umask(old_mask)


# What the comparison can't reach.


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_names_that_no_directory_can_hold(name: str) -> None:
    root = MemoryStore().root()
    assert errno.EINVAL == errno_of(root.create, name)
    assert {} == root.scan(KINDS)


def test_long_names_are_not_made() -> None:
    root = MemoryStore().root()
    root.create("n" * 255)
    for make in (root.create, root.mkdir):
        assert errno.ENAMETOOLONG == errno_of(make, "n" * 256)
        assert errno.ENAMETOOLONG == errno_of(make, "é" * 128)
    assert errno.ENAMETOOLONG == errno_of(root.rename, "n" * 255, root, "n" * 256)


@pytest.mark.rule("S2")
def test_lengths_of_link_targets() -> None:
    """A target of 4 095 bytes is held, a longer one ENAMETOOLONG, an empty one ENOENT."""
    root = MemoryStore().root()
    root.symlink("held", "t" * 4095)
    assert 4095 == root.stat("held").st_size
    assert errno.ENAMETOOLONG == errno_of(root.symlink, "longer", "t" * 4096)
    assert errno.ENOENT == errno_of(root.symlink, "empty", "")
    with pytest.raises(ValueError, match="null"):
        root.symlink("nul", "a\0")


def test_a_removed_directory_takes_no_names() -> None:
    root = MemoryStore().root()
    gone = root.mkdir("gone")
    root.create("file")
    root.rmdir("gone")
    assert 0 == gone.status().st_nlink
    for action in (
        lambda: gone.create("x"),
        lambda: gone.mkdir("x"),
        lambda: gone.link("x", root, "file"),
        lambda: root.rename("file", gone, "x"),
    ):
        assert "ENOENT" == outcome(action)
    assert ["file"] == list(root.scan(KINDS))


def test_a_handle_stays_with_its_directory() -> None:
    root = MemoryStore().root()
    inside = root.mkdir("old")
    root.rename("old", root, "new")
    root.mkdir("old")
    inside.create("x")
    assert {"x"} == root.child("new").scan(KINDS).keys()


def test_other_stores_are_exdev() -> None:
    root, other = MemoryStore().root(), MemoryStore().root()
    root.create("x")
    assert errno.EXDEV == errno_of(root.rename, "x", other, "x")
    assert errno.EXDEV == errno_of(other.link, "x", root, "x")


def test_errors_name_both_places() -> None:
    root = MemoryStore().root()
    with pytest.raises(FileNotFoundError) as caught:
        root.unlink("missing")
    assert root.place("missing") == caught.value.filename
    root.mkdir("d")
    with pytest.raises(OSError) as refused:
        root.rename("d", root.child("d"), "e")
    assert (root.place("d"), root.child("d").place("e")) == (refused.value.filename, refused.value.filename2)


def test_specials_keep_kind_and_device() -> None:
    root = MemoryStore().root()
    for kind in (Kind.FIFO, Kind.SOCKET, Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE, Kind.FILE):
        root.mknod(kind.name, kind, 0o640, rdev=0x105)
        found = root.stat(kind.name)
        assert (kind, 0o640) == (kind_of(found.st_mode), stat.S_IMODE(found.st_mode))
        assert (0x105 if "DEVICE" in kind.name else 0) == found.st_rdev
    assert errno.ENXIO == errno_of(root.open, "SOCKET")
    assert errno.EACCES == errno_of(root.open, "BLOCK_DEVICE")
    assert [errno.EINVAL] * 2 == [
        errno_of(root.mknod, "x", kind, 0o600) for kind in (Kind.DIRECTORY, Kind.SYMLINK)
    ]
    with root.open("FIFO") as fifo:
        assert b"" == fifo.read(1)
        with pytest.raises(io.UnsupportedOperation):
            fifo.write(b"x")


@pytest.mark.rule("C10")
def test_a_setgid_directory_gives_its_group() -> None:
    """A new entry in a setgid directory takes its group, a subdirectory the bit too."""
    root = MemoryStore().root()
    shared = root.mkdir("shared")
    root.chown("shared", 5, 4321)
    root.chmod("shared", 0o2775)
    shared.create("file")
    shared.mkdir("sub", 0o700)
    assert (4321, 4321) == (shared.stat("file").st_gid, shared.stat("sub").st_gid)
    assert 0o2700 == stat.S_IMODE(shared.stat("sub").st_mode)
    assert 5 != shared.stat("file").st_uid


def test_owners() -> None:
    root = MemoryStore().root()
    root.create("x")
    root.chown("x", 7)
    root.chown("x", gid=8)
    assert (7, 8) == (root.stat("x").st_uid, root.stat("x").st_gid)
    root.chown(None, 1, 2)
    assert (1, 2) == (root.status().st_uid, root.status().st_gid)


def test_directories_count_their_links() -> None:
    root = MemoryStore().root()
    root.mkdir("a").mkdir("b")
    assert (3, 3, 2) == (root.status().st_nlink, root.stat("a").st_nlink, root.child("a").stat("b").st_nlink)
    root.child("a").rename("b", root, "b")
    assert (4, 2) == (root.status().st_nlink, root.stat("a").st_nlink)
    root.rename("b", root, "a")
    assert 3 == root.status().st_nlink


def test_attributes_are_set_and_removed() -> None:
    root = MemoryStore().root()
    root.symlink("l", "nowhere")
    for name in ("l", None):
        root.setxattr(name, "user.a", b"1")
        root.setxattr(name, "user.b", b"2")
        root.setxattr(name, "user.a", b"3")
        assert ["user.a", "user.b"] == root.listxattr(name)
        assert b"3" == root.getxattr(name, "user.a")
        root.removexattr(name, "user.a")
        assert errno.ENODATA == errno_of(root.removexattr, name, "user.a")
        root.removexattr(name, "user.b")
        assert [] == root.listxattr(name)


# Times.

OLD = 1_000_000_007


def times(directory: MemoryDirectory, name: str | None) -> str:
    """Which of atime, mtime, ctime are new; all were made old before."""
    found = directory.status() if name is None else directory.stat(name)
    all_times = {"a": found.st_atime_ns, "m": found.st_mtime_ns, "c": found.st_ctime_ns}
    return "".join(letter for letter, when in all_times.items() if when != OLD)


@pytest.mark.parametrize(
    ("action", "of_file", "of_root", "of_sub"),
    [
        (lambda root: root.read("f"), "", "", ""),
        (lambda root: root.scan(KINDS), "", "", ""),
        (lambda root: root.chmod("f", 0o600), "c", "", ""),
        (lambda root: root.chown("f", 1, 1), "c", "", ""),
        (lambda root: root.setxattr("f", "user.x", b""), "c", "", ""),
        (lambda root: root.create("new"), "", "mc", ""),
        (lambda root: root.mkdir("new"), "", "mc", ""),
        (lambda root: root.unlink("other"), "", "mc", ""),
        (lambda root: root.link("new", root, "f"), "c", "mc", ""),
        (lambda root: root.rename("f", root, "f"), "", "", ""),
        (lambda root: root.rename("other", root.child("sub"), "o"), "", "mc", "mc"),
        (lambda root: root.open_writable("f", "rb+").write(b"x"), "mc", "", ""),
        (lambda root: root.open_writable("f", "rb+").write(b""), "", "", ""),
        (lambda root: root.open_writable("f", "rb+").truncate(1), "mc", "", ""),
        (lambda root: root.open_writable("f", "rb+").close(), "", "", ""),
    ],
)
def test_times_change_as_posix_says(
    action: Callable[[MemoryDirectory], object], of_file: str, of_root: str, of_sub: str
) -> None:
    root = MemoryStore().root()
    root.create("f", b"data")
    root.create("other")
    root.mkdir("sub")
    for inode in (root.inode, *root.inode.children.values()):
        inode.atime_ns = inode.mtime_ns = inode.ctime_ns = OLD
    action(root)
    assert (of_file, of_root, of_sub) == (times(root, "f"), times(root, None), times(root, "sub"))


def test_utime_keeps_nanoseconds() -> None:
    root = MemoryStore().root()
    root.create("f")
    root.utime("f", (1, 1_700_000_000_123_456_789))
    assert (1, 1_700_000_000_123_456_789) == (root.stat("f").st_atime_ns, root.stat("f").st_mtime_ns)
    root.utime("f")
    assert root.stat("f").st_atime_ns == root.stat("f").st_mtime_ns == root.stat("f").st_ctime_ns
    root.utime(None, (3, 4))
    assert (3, 4) == (root.status().st_atime_ns, root.status().st_mtime_ns)


# Files.


def test_a_writer_keeps_the_promises_of_io() -> None:
    root = MemoryStore().root()
    root.create("f", b"0123456789")
    with root.open_writable("f", "rb+") as file:
        assert (True, True, True) == (file.readable(), file.writable(), file.seekable())
        assert "rb+" == getattr(file, "mode", None)
        with io.BufferedRandom(file) as buffered:
            assert b"01" == buffered.read(2)
            buffered.write(b"AB")
            buffered.seek(-1, io.SEEK_END)
            buffered.write(bytearray(b"XYZ"))
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.write(b"")
    assert b"01AB45678XYZ" == root.read("f")


def test_a_gap_reads_as_zeros() -> None:
    root = MemoryStore().root()
    root.create("f", b"a")
    with root.open_writable("f", "rb+") as file:
        file.seek(3)
        assert b"" == file.read(1)
        file.write(memoryview(b"b"))
        assert 6 == file.truncate(6)
        assert 4 == file.tell()
    assert b"a\0\0b\0\0" == root.read("f")


def test_seeking_before_the_start_is_einval() -> None:
    root = MemoryStore().root()
    root.create("f", b"abc")
    with root.open_writable("f", "rb+") as file:
        for offset, whence in ((-1, io.SEEK_SET), (-1, io.SEEK_CUR), (-4, io.SEEK_END), (0, 9)):
            assert errno.EINVAL == errno_of(file.seek, offset, whence)
        assert errno.EINVAL == errno_of(file.truncate, -1)


def test_a_reader_is_no_writer() -> None:
    root = MemoryStore().root()
    root.create("f", b"abc")
    with root.open("f") as file:
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")
        with pytest.raises(io.UnsupportedOperation):
            file.truncate(0)
    assert b"abc" == root.read("f")


@pytest.mark.parametrize(("name", "number"), [("d", errno.EISDIR), ("l", errno.ELOOP), ("p", errno.ENXIO)])
def test_only_files_are_opened_for_writing(name: str, number: int) -> None:
    root = MemoryStore().root()
    root.mkdir("d")
    root.symlink("l", "d")
    root.mknod("p", Kind.FIFO, 0o600)
    assert number == errno_of(root.open_writable, name, "rb+")


def test_data_given_out_is_not_shared() -> None:
    root = MemoryStore().root()
    root.create("f", b"before")
    read = root.read("f")
    root.open_writable("f", "rb+").write(b"AFTER")
    assert b"before" == read


# Threads.


def _make(makers: list[Callable[[str], object]], name: str, index: int) -> object:
    return outcome(makers[index % len(makers)], name)


def in_threads(number: int, work: Callable[[int], object]) -> list[object]:
    barrier = Barrier(number)

    def begin(index: int) -> object:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(begin, range(number)))


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("busy_switching")
class TestThreads:
    def test_exclusive_creation_has_one_winner(self) -> None:
        root = MemoryStore().root()
        makers: list[Callable[[str], object]] = [
            root.create,
            root.mkdir,
            lambda name: root.symlink(name, "x"),
        ]
        for number in range(50):
            results = in_threads(6, partial(_make, makers, str(number)))
            assert 5 == results.count("EEXIST")

    def test_appends_all_arrive_once(self) -> None:
        root = MemoryStore().root()
        root.create("log")

        def append(index: int) -> None:
            with root.open_writable("log", "ab") as file:
                for number in range(200):
                    file.write(f"{index} {number}\n".encode())

        in_threads(8, append)
        lines = root.read("log").decode().splitlines()
        assert 1600 == len(lines) == len(set(lines))

    def test_a_replaced_file_is_never_half_there(self) -> None:
        root = MemoryStore().root()
        root.create("f", b"0" * 5000)
        done = Event()

        def replace(_: int) -> None:
            for number in range(300):
                root.create("new", str(number % 10).encode() * 5000)
                root.rename("new", root, "f")
            done.set()

        def read(_: int) -> None:
            while not done.is_set():
                found = {root.read("f"), root.open("f").readall()}
                assert {(5000, 1)} == {(len(data), len(set(data))) for data in found}
                assert 5000 == root.stat("f").st_size
                assert "f" in root.scan(KINDS)

        in_threads(4, lambda index: read(index) if index else replace(index))

    def test_a_write_is_never_half_seen(self) -> None:
        root = MemoryStore().root()
        root.create("f", b"0" * 5000)
        done = Event()

        def write(_: int) -> None:
            with root.open_writable("f", "rb+") as file:
                for number in range(300):
                    file.seek(0)
                    file.write(str(number % 10).encode() * 5000)
            done.set()

        def read(_: int) -> None:
            while not done.is_set():
                with root.open("f") as file:
                    assert 1 == len(set(file.read(5000) or b""))

        in_threads(4, lambda index: read(index) if index else write(index))

    def test_a_tree_stays_sound(self) -> None:
        store = MemoryStore()
        for name in WORDS:
            store.root().mkdir(name)

        def shuffle(index: int) -> None:
            chance = random.Random(index)
            for _ in range(400):
                source = outcome(lambda: store.root().child(chance.choice(WORDS)))
                target = outcome(lambda: store.root().child(chance.choice(WORDS)))
                if isinstance(source, MemoryDirectory) and isinstance(target, MemoryDirectory):
                    outcome(source.mkdir, chance.choice(WORDS))
                    outcome(source.create, chance.choice(WORDS))
                    outcome(source.rename, chance.choice(WORDS), target, chance.choice(WORDS))
                    outcome(target.link, chance.choice(WORDS), source, chance.choice(WORDS))
                    outcome(target.unlink, chance.choice(WORDS))

        in_threads(6, shuffle)
        # A copy counts links anew: what was counted step by step must be the same.
        again = MemoryStore.from_state(store.__getstate__())
        assert links(store) == links(again)


def links(store: MemoryStore) -> dict[int, int]:
    """Count of links of each inode."""
    found = {1: store.root().status().st_nlink}
    waiting = [store.root()]
    while waiting:
        directory = waiting.pop()
        for name, kind in directory.scan(KINDS).items():
            found[directory.stat(name).st_ino] = directory.stat(name).st_nlink
            if kind == Kind.DIRECTORY:
                waiting.append(directory.child(name))
    return found


# Watches.


class Asker:
    """A listener that asks the store while it is told."""

    def __init__(self, directory: MemoryDirectory) -> None:
        self.directory = directory
        self.seen: list[tuple[str | None, list[str]]] = []

    def changed(self, name: str | None) -> None:
        with ThreadPoolExecutor(1) as pool:  # another thread too: no lock may be held
            self.seen.append((name, list(pool.submit(self.directory.scan, KINDS).result(timeout=10))))

    altered = changed


class Hearer:
    def __init__(self) -> None:
        self.heard: list[str | None] = []

    def changed(self, name: str | None) -> None:
        self.heard.append(name)

    altered = changed


def test_a_listener_is_told_before_the_call_returns_and_sees_the_change() -> None:
    root = MemoryStore().root()
    asker = Asker(root)
    root.watch(asker)
    root.create("a")
    assert [("a", ["a"])] == asker.seen
    root.rename("a", root, "b")
    assert [("a", ["b"]), ("b", ["b"])] == asker.seen[1:3]
    root.unlink("b")
    assert ("b", []) == asker.seen[-1]


def test_a_refused_change_is_not_told() -> None:
    root = MemoryStore().root()
    hearer = Hearer()
    root.mkdir("d").create("x")
    root.watch(hearer, contents=True)
    for action in (
        lambda: root.rmdir("d"),
        lambda: root.create("d"),
        lambda: root.unlink("nothing"),
        lambda: root.rename("d", root.child("d"), "e"),
        lambda: root.rename("d", root, "d"),
    ):
        outcome(action)
    assert [] == hearer.heard


def test_all_names_of_an_object_are_told() -> None:
    root = MemoryStore().root()
    elsewhere = root.mkdir("d")
    root.create("one")
    elsewhere.link("two", root, "one")
    names, contents = Hearer(), Hearer()
    elsewhere.watch(names)
    elsewhere.watch(contents, contents=True)
    root.chmod("one", 0o600)
    assert ["two"] == names.heard
    with root.open_writable("one", "rb+") as file:
        root.rename("one", root, "other")
        names.heard.clear()
        contents.heard.clear()
        file.write(b"x")
    assert ([], ["two"]) == (names.heard, contents.heard)
    root.unlink("other")
    assert ["two"] == names.heard
    assert 1 == elsewhere.stat("two").st_nlink


class _Unsearchable(dict[str, Inode]):
    """The names of a directory that is too large to be searched."""

    def items(self) -> NoReturn:
        raise AssertionError("every name was looked at")


@pytest.mark.parametrize("contents", [False, True])
def test_hard_links_are_told_of_without_searching(contents: bool) -> None:
    store = MemoryStore()
    root = store.root()
    root.create("one")
    sub = root.mkdir("sub")
    sub.link("two", root, "one")
    root.link("three", sub, "two")
    sub.rename("two", root, "TWO")
    root.unlink("three")
    again = MemoryStore.from_state(store.__getstate__()).root()
    for top in (root, again):
        hearer = Hearer()
        top.watch(hearer, contents=contents)
        top.inode.children = _Unsearchable(top.inode.children)
        with top.open_writable("one", "rb+") as file:
            file.write(b"x")
            assert ({"one", "TWO"} if contents else set()) == {*hearer.heard}
            hearer.heard.clear()
            top.chmod("one", 0o600)
            top.unlink("one")
            assert ["TWO", "TWO"] == [name for name in hearer.heard if name != "one"]
            hearer.heard.clear()
            file.write(b"x")
            assert (["TWO"] if contents else []) == hearer.heard
            top.unlink("TWO")
            hearer.heard.clear()
            file.write(b"x")
            assert [] == hearer.heard


def test_a_file_renamed_while_open_is_searched_for_only_where_contents_are_watched() -> None:
    root = MemoryStore().root()
    names, contents = Hearer(), Hearer()
    sub = root.mkdir("sub")
    root.create("f")
    root.watch(names)
    sub.watch(contents, contents=True)
    root.inode.children = _Unsearchable(root.inode.children)
    with root.open_writable("f", "rb+") as file:
        root.rename("f", sub, "g")
        contents.heard.clear()
        names.heard.clear()
        file.write(b"x")
    assert ([], ["g"]) == (names.heard, contents.heard)


class _Raiser(Hearer):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def changed(self, name: str | None) -> None:
        super().changed(name)
        raise self.error

    altered = changed


def test_a_listener_that_raises_keeps_nobody_from_being_told() -> None:
    root = MemoryStore().root()
    first, second, last = _Raiser(KeyboardInterrupt()), _Raiser(ValueError("second")), Hearer()
    for hearer in (first, second, last):
        root.watch(hearer)
    with pytest.raises(KeyboardInterrupt):
        root.create("a")
    assert [["a"]] * 3 == [first.heard, second.heard, last.heard]
    assert "a" in root.scan(KINDS)
    with ThreadPoolExecutor(1) as pool:  # the lock was let go
        assert b"" == pool.submit(root.read, "a").result(timeout=10)
    with pytest.raises(KeyboardInterrupt):
        root.unlink("a")
    assert ["a", "a"] == last.heard


def test_a_replaced_directory_is_told() -> None:
    root = MemoryStore().root()
    root.mkdir("new")
    hearer = Hearer()
    root.mkdir("old").watch(hearer)
    root.rename("new", root, "old")
    assert [None] == hearer.heard


def test_a_forgotten_watch_leaves_nothing() -> None:
    root = MemoryStore().root()
    watch = root.watch(Hearer())
    assert watch is not None
    watch.close()
    watch.close()
    assert () == root.inode.watches


# Forks.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_holds_the_lock() -> None:
    store, sent = MemoryStore(), MemoryStore.from_state(MemoryStore().__getstate__())
    roots = store.root(), sent.root()
    held, done = Event(), Event()

    def hold(_: int) -> None:
        with roots[0]._volume.lock, roots[1]._volume.lock:
            held.set()
            done.wait(30)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold, 0)
        held.wait(30)
        child = os.fork()
        if child == 0:  # pragma: no cover  # another process
            status = 1
            try:
                signal.alarm(10)  # a child that hangs is killed, and found out
                for root in roots:
                    root.create("x", b"in the child")
                    status = int(root.read("x") != b"in the child")
            finally:
                os._exit(status)
        try:
            assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        finally:
            done.set()
        holding.result()
    assert [{}, {}] == [root.scan(KINDS) for root in roots]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_in_the_middle_of_a_change() -> None:
    """As a signal handler may do it: both processes let go of the lock that they had taken."""
    root = MemoryStore().root()
    with Change(root._volume):
        child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        status = 1
        try:
            root.create("x")
            status = 0
        finally:
            os._exit(status)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Sending the content.


def filled() -> MemoryStore:
    store = MemoryStore(permissions=0o711)
    root = store.root()
    root.create("f", b"data", 0o640)
    sub = root.mkdir("sub")
    sub.link("hard", root, "f")
    sub.symlink("l", "../f")
    sub.mknod("null", Kind.CHAR_DEVICE, 0o666, os.makedev(1, 3))
    sub.mknod("fifo", Kind.FIFO, 0o600)
    root.setxattr("f", "user.x", b"1")
    root.utime("f", (5, 6))
    root.chown("sub", 3, 4)
    return store


def test_a_store_does_not_pickle_by_itself() -> None:
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="immutable"):
            action(MemoryStore())


def test_the_content_is_sent_whole() -> None:
    store = filled()
    again = MemoryStore.from_state(pickle.loads(pickle.dumps(store.__getstate__())))
    assert memory_tree(store.root()) == memory_tree(again.root())
    for name in ("f", "sub"):
        ours, theirs = store.root().stat(name), again.root().stat(name)
        fields = [field for field in dir(ours) if field.startswith("st_") and field != "st_dev"]
        assert [getattr(ours, field) for field in fields] == [getattr(theirs, field) for field in fields]
    assert b"1" == again.root().child("sub").getxattr("hard", "user.x")
    assert os.makedev(1, 3) == again.root().child("sub").stat("null").st_rdev
    assert store.identity != again.identity


def test_a_copy_is_independent() -> None:
    store = filled()
    again = MemoryStore.from_state(store.__getstate__())
    again.root().open_writable("f", "rb+").write(b"DATA")
    again.root().create("more")
    again.root().setxattr("f", "user.y", b"")
    assert b"data" == store.root().read("f")
    assert {"f", "sub"} == store.root().scan(KINDS).keys()
    assert ["user.x"] == store.root().listxattr("f")
    inos = {again.root().stat(name).st_ino for name in again.root().scan(KINDS)}
    assert 3 == len(inos)
    assert store.root().status().st_dev != again.root().status().st_dev


@pytest.mark.rule("L10")
def test_depth_is_not_limited_by_recursion() -> None:
    """Depth is not limited by recursion (3 000 levels work)."""
    store = MemoryStore()
    directory = store.root()
    for _ in range(3000):
        directory = directory.mkdir("d")
    directory.create("end", b"!")
    again = MemoryStore.from_state(pickle.loads(pickle.dumps(store.__getstate__())))
    assert b"!" == at(again, ("d",) * 3000).read("end")
    assert errno.EINVAL == errno_of(store.root().rename, "d", directory, "up")


def test_an_inode_is_small() -> None:
    store = MemoryStore()
    store.root().create("f")
    inode = store.root().inode.children["f"]
    assert not hasattr(inode, "__dict__")
    assert sys.getsizeof(inode) <= 150


# Beside the tree.


def test_a_neighbour_is_of_the_same_volume() -> None:
    store = MemoryStore()
    assert store.neighbour("work", make=False) is None
    neighbour = store.neighbour("work")
    assert neighbour is not None
    assert neighbour is store.neighbour("work") is neighbour.neighbour("work", make=False)
    assert neighbour is not store.neighbour("other")
    assert neighbour.identity != store.identity
    assert store.root().status().st_dev == neighbour.root().status().st_dev
    assert f"{store.place.removesuffix('/')}[work]/f" == neighbour.root().place("f")
    store.root().create("f")
    neighbour.root().link("g", store.root(), "f")
    assert 2 == neighbour.root().stat("g").st_nlink
    assert MemoryStore.from_state(store.__getstate__()).neighbour("work", make=False) is None


# Locks.


def test_a_lock_that_is_forgotten_is_free() -> None:
    root = MemoryStore().root()
    root.create("x")
    other = root.lock("x")
    assert root.lock("x").acquire()
    gc.collect()
    assert other.acquire(wait=False)
    other.release()
    other.release()
    assert other.acquire(wait=False)


def test_a_lock_is_on_the_object_and_not_on_its_name() -> None:
    root = MemoryStore().root()
    root.create("x")
    root.link("hard", root, "x")
    first, again = root.lock("x"), root.lock("hard")
    assert first.acquire()
    root.rename("x", root, "y")
    root.create("x")
    assert root.lock("x").acquire(wait=False)
    assert not again.acquire(wait=False)
    assert not root.lock("y").acquire(wait=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_child_of_a_fork_has_a_tree_and_locks_of_its_own() -> None:
    root = MemoryStore().root()
    root.create("x")
    lock, other = root.lock("x"), root.lock("x")
    assert lock.acquire()
    child = os.fork()
    if child == 0:  # pragma: no cover  # another process
        status = 1
        try:
            lock.close()
            status = int(not other.acquire(wait=False) or lock.acquire(wait=False))
        finally:
            os._exit(status)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert not other.acquire(wait=False)


# The umask.


@pytest.mark.parametrize("ask", [current_umask, _asked_by_setting])
def test_the_umask_is_asked_and_stays(ask: Callable[[], int]) -> None:
    before = os.umask(0o027)
    try:
        assert [0o027, 0o027] == [ask(), ask()]
        assert 0o027 == os.umask(0o077)
        assert 0o077 == ask()
    finally:
        os.umask(before)
