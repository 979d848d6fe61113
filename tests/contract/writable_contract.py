"""
What every store that can be written to must do: the promises of `unionpath.model.writable`, tried one by one.

A new store passes it with a subclass that says how an empty one is made. See `test_writable_memory.py`.
What the store's `capabilities` leave out is tried too: it is EOPNOTSUPP, and nothing changes.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event
from typing import ClassVar, TypeAlias, cast, get_args

import pytest

from contract.store_contract import Hearer, errno_of
from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.model.store import Capability, Directory
from unionpath.model.writable import Lock, Move, RawMode, WritableDirectory, WritableStore
from unionpath.stores.memory import MemoryStore

KINDS = tuple(Kind)
MODES: tuple[RawMode, ...] = get_args(RawMode)
OLD = 1_000_000_007_000_000_001
BIG = bytes(range(256)) * 8192

Shown: TypeAlias = tuple[Kind, object]
Tree: TypeAlias = dict[tuple[str, ...], tuple[int, object]]
Made = {
    "file": Kind.FILE,
    "link": Kind.SYMLINK,
    "fifo": Kind.FIFO,
    "dir": Kind.DIRECTORY,
    "full": Kind.DIRECTORY,
}
"""Words for what `make` makes: `dir` is empty, `full` is not."""
NEEDS = {"link": Capability.SYMLINKS, "fifo": Capability.SPECIALS}

MAKERS: dict[str, Callable[[WritableDirectory, str], object]] = {
    "create": lambda directory, name: directory.create(name, b"made"),
    "open_new": lambda directory, name: directory.open_new(name, "xb").close(),
    "mkdir": lambda directory, name: directory.mkdir(name),
    "symlink": lambda directory, name: directory.symlink(name, "target"),
    "mknod": lambda directory, name: directory.mknod(name, Kind.FIFO, 0o600),
}
"""The ways of making a new name, but `link`, which needs an object."""
MAKERS_NEED = {"symlink": Capability.SYMLINKS, "mknod": Capability.SPECIALS}

NAMING: dict[str, Callable[[WritableDirectory, str], object]] = {
    "open_writable": lambda directory, name: directory.open_writable(name, "rb+"),
    "link": lambda directory, name: directory.link("new", directory, name),
    "unlink": lambda directory, name: directory.unlink(name),
    "rmdir": lambda directory, name: directory.rmdir(name),
    "rename": lambda directory, name: directory.rename(name, directory, "new"),
    "chmod": lambda directory, name: directory.chmod(name, 0o600),
    "chown": lambda directory, name: directory.chown(name),
    "utime": lambda directory, name: directory.utime(name),
    "setxattr": lambda directory, name: directory.setxattr(name, "user.x", b""),
    "removexattr": lambda directory, name: directory.removexattr(name, "user.x"),
    "sync": lambda directory, name: directory.sync(name),
    "lock": lambda directory, name: directory.lock(name),
}
"""The methods that name an object that must be there."""
NAMING_NEEDS = {
    "link": Capability.HARDLINKS,
    "rename": Capability.RENAMES,
    "chmod": Capability.MODES,
    "chown": Capability.OWNERS,
    "utime": Capability.TIMES,
    "setxattr": Capability.XATTRS,
    "removexattr": Capability.XATTRS,
}

UNABLE: dict[str, tuple[Capability, Callable[[WritableDirectory], object]]] = {
    "symlink": (Capability.SYMLINKS, lambda top: top.symlink("new", "x")),
    "link": (Capability.HARDLINKS, lambda top: top.link("new", top, "file")),
    "fifo": (Capability.SPECIALS, lambda top: top.mknod("new", Kind.FIFO, 0o600)),
    "socket": (Capability.SPECIALS, lambda top: top.mknod("new", Kind.SOCKET, 0o600)),
    "device": (Capability.SPECIALS, lambda top: top.mknod("new", Kind.CHAR_DEVICE, 0o600, 0)),
    "chmod": (Capability.MODES, lambda top: top.chmod("file", 0o600)),
    "chmod of itself": (Capability.MODES, lambda top: top.chmod(None, 0o700)),
    "chown": (Capability.OWNERS, lambda top: top.chown("file", os.geteuid())),
    "utime": (Capability.TIMES, lambda top: top.utime("file", (1, 2))),
    "setxattr": (Capability.XATTRS, lambda top: top.setxattr("file", "user.x", b"")),
    "setxattr of itself": (Capability.XATTRS, lambda top: top.setxattr(None, "user.x", b"")),
    "exchange": (Capability.RENAMES, lambda top: top.rename("file", top, "other", Move.EXCHANGE)),
    "whiteout": (Capability.RENAMES, lambda top: top.rename("file", top, "other", Move.WHITEOUT)),
    "rename of a directory": (Capability.RENAMES, lambda top: top.rename("full", top, "new")),
}
"""What a store without a capability is asked for."""


def make(directory: WritableDirectory, name: str, what: str) -> None:
    """Make one object."""
    if what == "file":
        directory.create(name, name.encode())
    elif what == "link":
        directory.symlink(name, f"to {name}")
    elif what == "fifo":
        directory.mknod(name, Kind.FIFO, 0o600)
    else:
        inside = directory.mkdir(name)
        if what == "full":
            inside.create("in " + name)


def shown(directory: Directory, name: str) -> Shown:
    """What stands at a name."""
    kind = kind_of(directory.stat(name).st_mode)
    if kind is Kind.FILE:
        return kind, directory.read(name)
    if kind is Kind.SYMLINK:
        return kind, directory.readlink(name)
    return kind, set(directory.child(name).scan(KINDS)) if kind is Kind.DIRECTORY else None


def whole(directory: Directory) -> Tree:
    """The whole tree below, to see that nothing changed."""
    found: Tree = {}
    for name, kind in directory.scan(KINDS).items():
        found[(*directory.parts, name)] = directory.stat(name).st_mode, shown(directory, name)[1]
        if kind == Kind.DIRECTORY:
            found.update(whole(directory.child(name)))
    return found


def replacing(source: str, target: str | None) -> int | None:
    """The errno that a rename with REPLACE is refused with (R2)."""
    if source in ("dir", "full"):
        return {
            "file": errno.ENOTDIR,
            "link": errno.ENOTDIR,
            "fifo": errno.ENOTDIR,
            "full": errno.ENOTEMPTY,
        }.get(target or "")
    return errno.EISDIR if target in ("dir", "full") else None


def in_threads(number: int, work: Callable[[int], object]) -> list[object]:
    """Let threads begin together; give their results."""
    barrier = Barrier(number)

    def begin(index: int) -> object:
        barrier.wait(20)
        return work(index)

    with ThreadPoolExecutor(number) as pool:
        return [each.result(60) for each in [pool.submit(begin, index) for index in range(number)]]


def outcome(action: Callable[[], object]) -> object:
    """What an action gives, or the errno that it is refused with."""
    try:
        return action()
    except OSError as error:
        # The number has two names on Linux.
        return "EOPNOTSUPP" if error.errno == errno.EOPNOTSUPP else errno.errorcode[error.errno or 0]


def in_child(work: Callable[[], bool]) -> bool:
    """Do something in the child of a fork; False also if it raised."""
    child = os.fork()
    if not child:  # pragma: no cover  # another process
        right = False
        try:
            right = work()
        finally:
            os._exit(0 if right else 1)
    return not os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Have a umask for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def permissions(found: Stat) -> int:
    return stat.S_IMODE(found.st_mode)


def shown_by_fileio(mode: RawMode, tmp_path: Path) -> tuple[str, bool, bool]:
    """What `io.FileIO` says of a file opened so."""
    path = tmp_path / f"as FileIO {mode}"
    if "x" not in mode:
        path.touch()
    with io.FileIO(path, mode) as file:
        return file.mode, file.readable(), file.writable()


class _Slow(io.RawIOBase):
    """A source that gives a little at a time, and may fail or do something in the middle."""

    def __init__(self, data: bytes, *, step: int = 1000, error: OSError | None = None) -> None:
        super().__init__()
        self._rest = memoryview(data)
        self._step = step
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]  # of what it is called with
        if not self._rest and self._error is not None:
            raise self._error
        count = min(len(self._rest), len(buffer), self._step)
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


every_maker = pytest.mark.parametrize("maker", MAKERS)
every_mode = pytest.mark.parametrize("mode", MODES)
every_move = pytest.mark.parametrize("how", Move, ids=lambda move: move.value)
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


class WritableContract:
    """The promises."""

    processes: ClassVar[bool] = False
    """Other processes reach the same tree: locks hold between them."""

    def new_store(self, tmp_path: Path) -> WritableStore:
        """Make a store that shows an empty tree."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[WritableStore]:
        (tmp_path / "store").mkdir()
        store = self.new_store(tmp_path / "store")
        yield store
        store.close()

    @pytest.fixture
    def top(self, store: WritableStore) -> WritableDirectory:
        return store.home()

    @pytest.fixture
    def kinds(self, store: WritableStore) -> list[str]:
        """What the store can hold, in the words of `make`."""
        return [what for what in Made if NEEDS.get(what, Capability.NONE) in store.capabilities]

    def need(self, store: WritableStore, *wanted: Capability) -> None:
        """Skip what the store doesn't claim to do; `UNABLE` sees to it that it says so."""
        for each in wanted:
            if each not in store.capabilities:
                pytest.skip(f"the store has no {each.name}")

    # The store.

    def test_it_says_that_it_can_be_written_to(self, store: WritableStore) -> None:
        assert Capability.WRITABLE in store.capabilities

    def test_home_is_where_names_can_be_made(self, store: WritableStore, top: WritableDirectory) -> None:
        above: Directory = store.root()
        for name in top.parts:
            above = above.child(name)
        top.create("new")
        assert {"new": Kind.FILE} == above.scan(KINDS)

    def test_the_tree_is_where_it_was(self, store: WritableStore, top: WritableDirectory) -> None:
        store.confirm()
        top.mkdir("d")
        store.confirm()

    def test_a_neighbour_is_beside_the_tree(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.RENAMES)
        assert store.neighbour(".n.unionpath", make=False) is None
        neighbour = store.neighbour(".n.unionpath")
        if neighbour is None:
            pytest.skip("the store has no neighbours")
        assert {} == top.scan(KINDS)
        beside = neighbour.root()
        make(beside, "full", "full")
        beside.create("f", b"new")
        top.create("f", b"old")
        beside.rename("f", top, "f")
        beside.rename("full", top, "moved")
        assert (b"new", {"in full"}) == (top.read("f"), shown(top, "moved")[1])
        assert {} == beside.scan(KINDS)
        top.rename("moved", beside, "back", Move.EXCLUSIVE)
        again = store.neighbour(".n.unionpath", make=False)
        assert again is not None
        assert {"back": Kind.DIRECTORY} == again.root().scan(KINDS)
        assert again.identity == neighbour.identity
        if Capability.MODES in store.capabilities:
            assert not permissions(beside.status()) & 0o077

    def test_what_it_cannot_do_is_refused_before_anything_changes(
        self, store: WritableStore, top: WritableDirectory
    ) -> None:
        for what in ("file", "full", "other"):
            make(top, what, what if what in Made else "file")
        before = whole(top)
        refused = [name for name, (flag, _) in UNABLE.items() if flag not in store.capabilities]
        found = {name: outcome(lambda name=name: UNABLE[name][1](top)) for name in refused}  # type: ignore[misc]
        assert dict.fromkeys(refused, "EOPNOTSUPP") == found
        assert before == whole(top)

    # Making.

    @every_maker
    def test_a_new_name_is_shown_by_every_handle(
        self, store: WritableStore, top: WritableDirectory, maker: str
    ) -> None:
        self.need(store, MAKERS_NEED.get(maker, Capability.NONE))
        other = store.home()
        MAKERS[maker](top, "new")
        assert ["new"] == list(other.scan(KINDS))
        assert kind_of(other.stat("new").st_mode) == other.scan(KINDS)["new"]

    @every_maker
    @pytest.mark.parametrize("what", Made)
    def test_a_taken_name_is_eexist(
        self, store: WritableStore, top: WritableDirectory, maker: str, what: str
    ) -> None:
        self.need(store, MAKERS_NEED.get(maker, Capability.NONE), NEEDS.get(what, Capability.NONE))
        make(top, "new", what)
        before = whole(top)
        with pytest.raises(FileExistsError) as caught:
            MAKERS[maker](top, "new")
        assert errno.EEXIST == caught.value.errno
        assert before == whole(top)

    @every_maker
    def test_a_removed_directory_takes_no_names(
        self, store: WritableStore, top: WritableDirectory, maker: str
    ) -> None:
        self.need(store, MAKERS_NEED.get(maker, Capability.NONE))
        gone = top.mkdir("gone")
        top.rmdir("gone")
        with pytest.raises(FileNotFoundError) as caught:
            MAKERS[maker](gone, "new")
        assert errno.ENOENT == caught.value.errno
        assert {} == top.scan(KINDS)

    @every_maker
    @pytest.mark.parametrize("character", ["n", "é"])
    def test_a_name_too_long_is_enametoolong(
        self, store: WritableStore, top: WritableDirectory, maker: str, character: str
    ) -> None:
        self.need(store, MAKERS_NEED.get(maker, Capability.NONE))
        name = character * (store.name_max // len(character.encode()) + 1)
        assert errno.ENAMETOOLONG == errno_of(MAKERS[maker], top, name)
        assert {} == top.scan(KINDS)

    @every_maker
    def test_odd_names_are_names(self, store: WritableStore, top: WritableDirectory, maker: str) -> None:
        self.need(store, MAKERS_NEED.get(maker, Capability.NONE))
        names = {"ünï …", " \n\\'\"", "%41*[a]?#~;=&+", "...", "n" * store.name_max}
        for name in names:
            MAKERS[maker](top, name)
        assert names == set(top.scan(KINDS))

    @every_maker
    def test_exactly_one_of_many_makers_wins(
        self, store: WritableStore, top: WritableDirectory, maker: str
    ) -> None:
        self.need(store, MAKERS_NEED.get(maker, Capability.NONE))
        for number in range(10):
            results = in_threads(8, lambda _, name=str(number): outcome(lambda: MAKERS[maker](top, name)))  # type: ignore[misc]
            assert 7 == results.count("EEXIST")

    def test_makers_of_different_kinds_have_one_winner(
        self, store: WritableStore, top: WritableDirectory
    ) -> None:
        makers = [
            each
            for name, each in MAKERS.items()
            if MAKERS_NEED.get(name, Capability.NONE) in store.capabilities
        ]
        for number in range(10):
            results = in_threads(
                8,
                lambda index, name=str(number): outcome(lambda: makers[index % len(makers)](top, name)),  # type: ignore[misc]
            )
            assert 7 == results.count("EEXIST")

    @pytest.mark.rule("C10")
    def test_the_umask_is_taken_off_new_objects(self, store: WritableStore, top: WritableDirectory) -> None:
        """`umask` applies to new entries as the operating system does it."""
        self.need(store, Capability.MODES)
        with umask(0o027):
            top.create("create", b"", 0o666)
            top.create("synced", b"", 0o666, sync=True)
            top.open_new("open_new", "wb", 0o666).close()
            top.put("put", io.BytesIO(b"x"), 0o666)
            top.mkdir("mkdir", 0o777)
            if Capability.SPECIALS in store.capabilities:
                top.mknod("mknod", Kind.FIFO, 0o666)
        found = {name: permissions(top.stat(name)) for name in top.scan(KINDS)}
        assert {name: 0o750 if name == "mkdir" else 0o640 for name in found} == found

    @pytest.mark.rule("C10")
    def test_a_setgid_directory_gives_its_group(self, store: WritableStore, top: WritableDirectory) -> None:
        """A new entry in a setgid directory takes its group, a subdirectory the bit too."""
        self.need(store, Capability.MODES, Capability.OWNERS)
        shared = top.mkdir("shared")
        try:
            top.chown("shared", gid=4321)
        except PermissionError:
            pytest.skip("only root may give a directory any group")
        top.chmod("shared", 0o2775)
        shared.create("create")
        shared.open_new("open_new", "wb").close()
        shared.put("put", io.BytesIO())
        shared.mkdir("mkdir", 0o700)
        assert {4321} == {shared.stat(name).st_gid for name in shared.scan(KINDS)}
        assert 0o2700 == permissions(shared.stat("mkdir"))

    def test_a_new_directory_is_empty_and_its_handle_works(self, top: WritableDirectory) -> None:
        inside = top.mkdir("d")
        assert ({}, (*top.parts, "d")) == (inside.scan(KINDS), inside.parts)
        inside.mkdir("e").create("f", b"f")
        assert b"f" == top.child("d").child("e").read("f")

    @pytest.mark.rule("S2")
    def test_targets_of_links(self, store: WritableStore, top: WritableDirectory) -> None:
        """A target of 4 095 bytes is held, a longer one ENAMETOOLONG, an empty one ENOENT."""
        self.need(store, Capability.SYMLINKS)
        targets = ["x", "/abs/…", "../..", "a//b/./c/", " \n", "\udcff", "t" * 4095]
        for number, target in enumerate(targets):
            top.symlink(str(number), target)
        assert targets == [top.readlink(str(number)) for number in range(len(targets))]
        assert errno.ENAMETOOLONG == errno_of(top.symlink, "new", "t" * 4096)
        assert errno.ENOENT == errno_of(top.symlink, "new", "")
        with pytest.raises(ValueError, match="null"):
            top.symlink("new", "a\0b")
        assert len(targets) == len(top.scan(KINDS))

    def test_nodes_keep_kind_and_device(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.SPECIALS)
        for kind in (Kind.FIFO, Kind.SOCKET, Kind.FILE):
            top.mknod(kind.name, kind, 0o640)
            assert kind == kind_of(top.stat(kind.name).st_mode)
        assert b"" == top.read("FILE")
        try:
            top.mknod("null", Kind.CHAR_DEVICE, 0o600, os.makedev(1, 3))
        except PermissionError as error:
            assert errno.EPERM == error.errno
            pytest.skip("this process may not make device nodes")
        assert (Kind.CHAR_DEVICE, os.makedev(1, 3)) == (shown(top, "null")[0], top.stat("null").st_rdev)

    def test_directories_and_links_are_no_nodes(self, store: WritableStore, top: WritableDirectory) -> None:
        for kind in (Kind.DIRECTORY, Kind.SYMLINK):
            assert errno.EINVAL == errno_of(top.mknod, "new", kind, 0o600)
        assert {} == top.scan(KINDS)

    # Hard links.

    @pytest.mark.rule("C8")
    def test_a_link_is_another_name(
        self, store: WritableStore, top: WritableDirectory, kinds: list[str]
    ) -> None:
        """link of a directory is EPERM (EEXIST if the target exists); of a link, it links the link itself."""
        self.need(store, Capability.HARDLINKS)
        sub = top.mkdir("sub")
        for what in kinds:
            make(top, what, what)
            if Made[what] == Kind.DIRECTORY:
                assert errno.EPERM == errno_of(sub.link, what, top, what)
            else:
                sub.link(what, top, what)
                ours, theirs = top.stat(what), sub.stat(what)
                assert (2, ours.st_ino, ours.st_dev) == (theirs.st_nlink, theirs.st_ino, theirs.st_dev)
                assert shown(top, what) == shown(sub, what)
        assert errno.EEXIST == errno_of(sub.link, "file", top, "dir")
        assert errno.EEXIST == errno_of(sub.link, "file", top, "file")
        assert errno.EXDEV == errno_of(top.link, "new", MemoryStore().root(), "file")
        gone = top.mkdir("gone")
        top.rmdir("gone")
        assert errno.ENOENT == errno_of(gone.link, "new", top, "file")

    # Opened files.

    @every_mode
    def test_a_new_file_is_opened_as_fileio_does(
        self, store: WritableStore, top: WritableDirectory, mode: RawMode, tmp_path: Path
    ) -> None:
        with top.open_new("new", mode) as file:
            self.check_opened(file, mode, tmp_path)
            assert 5 == file.write(b"12345")
            if file.readable():
                file.seek(1)
                assert b"2345" == file.readall()
            elif Capability.RENAMES in store.capabilities:
                assert 5 == top.stat("new").st_size
        assert b"12345" == top.read("new")
        assert errno.EEXIST == errno_of(lambda: top.open_new("new", mode).close())
        assert b"12345" == top.read("new")

    @every_mode
    @pytest.mark.parametrize("truncate", [False, True])
    def test_a_file_that_is_there_is_opened_as_fileio_does(
        self, top: WritableDirectory, mode: RawMode, truncate: bool, tmp_path: Path
    ) -> None:
        top.create("f", b"12345")
        with top.open_writable("f", mode, truncate=truncate) as file:
            self.check_opened(file, mode, tmp_path)
            assert 2 == file.write(b"ab")
        kept = b"" if truncate else b"12345"
        assert (kept + b"ab" if "a" in mode else b"ab" + kept[2:]) == top.read("f")

    def check_opened(self, file: io.RawIOBase, mode: RawMode, tmp_path: Path) -> None:
        assert isinstance(file, io.RawIOBase)
        found = (getattr(file, "mode", None), file.readable(), file.writable())
        assert shown_by_fileio(mode, tmp_path) == found
        assert file.seekable()
        if not file.readable():
            with pytest.raises(io.UnsupportedOperation):
                file.read(1)

    def test_opening_and_closing_changes_nothing(self, top: WritableDirectory) -> None:
        top.create("f", b"12345")
        before = top.stat("f")
        for mode in MODES:
            top.open_writable("f", mode).close()
        after = top.stat("f")
        assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        top.open_writable("f", "rb+", truncate=True).close()
        assert b"" == top.read("f")

    @every_mode
    @pytest.mark.parametrize(
        ("what", "number"),
        [("dir", errno.EISDIR), ("full", errno.EISDIR), ("link", errno.ELOOP), ("fifo", errno.ENXIO)],
    )
    def test_only_files_are_opened_for_writing(
        self, store: WritableStore, top: WritableDirectory, mode: RawMode, what: str, number: int
    ) -> None:
        self.need(store, NEEDS.get(what, Capability.NONE))
        make(top, "x", what)
        for truncate in (False, True):
            assert number == errno_of(lambda cut=truncate: top.open_writable("x", mode, truncate=cut))

    def test_nodes_are_not_opened_for_writing(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.SPECIALS)
        top.mknod("socket", Kind.SOCKET, 0o600)
        assert errno.ENXIO == errno_of(top.open_writable, "socket", "wb")
        try:
            top.mknod("null", Kind.CHAR_DEVICE, 0o600, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("this process may not make device nodes")
        assert errno.EACCES == errno_of(top.open_writable, "null", "wb")

    def test_a_link_is_never_followed(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.SYMLINKS)
        top.create("f", b"kept")
        top.mkdir("d").create("f", b"kept")
        top.symlink("to f", "f")
        top.symlink("to d", "d")
        assert errno.ELOOP == errno_of(lambda: top.open_writable("to f", "wb", truncate=True))
        assert errno.ENOTDIR == errno_of(top.child, "to d")
        assert errno.ENOTDIR == errno_of(top.rmdir, "to d")
        top.put("to f", io.BytesIO(b"new"))
        assert ((Kind.FILE, b"new"), b"kept") == (shown(top, "to f"), top.read("f"))
        top.unlink("to d")
        assert {"f"} == shown(top, "d")[1]

    def test_an_opened_file_keeps_the_promises_of_io(self, top: WritableDirectory) -> None:
        with top.open_new("f", "xb+") as file:
            assert 3 == file.write(memoryview(b"abc"))
            assert 6 == file.seek(3, io.SEEK_CUR)
            assert b"" == file.read(1)
            assert 1 == file.write(bytearray(b"z"))
            assert 7 == file.tell()
            assert 2 == file.truncate(2)
            assert 7 == file.tell()
            assert 9 == file.truncate(9)
            file.seek(0)
            assert b"ab\0\0\0\0\0\0\0" == file.readall()
            assert 8 == file.seek(-1, io.SEEK_END)
            assert 8 == file.truncate()
            assert errno.EINVAL == errno_of(file.seek, -1)
        file.close()
        assert file.closed
        for refused in (lambda: file.write(b"x"), file.tell, file.truncate, lambda: file.read(1)):
            with pytest.raises(ValueError, match="closed"):
                refused()
        assert b"ab\0\0\0\0\0\0" == top.read("f")

    def test_an_opened_file_can_be_buffered_and_decoded(self, top: WritableDirectory) -> None:
        with io.TextIOWrapper(io.BufferedWriter(top.open_new("text", "wb")), encoding="utf-8") as text:
            text.write("zwölf\n" * 10_000)
        assert ("zwölf\n" * 10_000).encode() == top.read("text")
        with io.BufferedRandom(top.open_writable("text", "rb+"), 100) as both:
            assert b"zw" == both.read(2)
            both.write(b"XX")
            both.seek(-1, io.SEEK_END)
            both.write(b"end")
        assert top.read("text").startswith("zwXXlf\nzwölf".encode())
        assert top.read("text").endswith("zwölfend".encode())

    def test_a_file_has_a_descriptor_where_it_is_said(
        self, store: WritableStore, top: WritableDirectory
    ) -> None:
        self.need(store, Capability.DESCRIPTORS)
        with top.open_new("f", "wb") as file:
            os.write(file.fileno(), b"by number")
        assert b"by number" == top.read("f")

    def test_appends_go_to_the_end_of_that_moment(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.RENAMES)
        top.create("log", b"0")
        with top.open_writable("log", "ab") as one, top.open_writable("log", "ab+") as other:
            assert (1, 1) == (one.tell(), other.tell())
            one.write(b"1")
            other.write(b"2")
            one.seek(0)
            one.write(b"3")
            assert 4 == one.tell()
            other.seek(1)
            assert b"123" == other.readall()
        assert b"0123" == top.read("log")

    def test_no_append_is_lost(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.RENAMES)
        top.create("log")

        def append(index: int) -> None:
            with top.open_writable("log", "ab") as file:
                for number in range(100):
                    file.write(f"{index} {number}\n".encode())

        in_threads(8, append)
        lines = top.read("log").decode().splitlines()
        assert (800, 800) == (len(lines), len(set(lines)))

    @pytest.mark.rule("C9")
    def test_opened_files_outlive_their_name(self, store: WritableStore, top: WritableDirectory) -> None:
        """A reader keeps reading the object it opened, whole and unmixed."""
        top.create("f", b"12345")
        with top.open("f") as reader, top.open_writable("f", "rb+") as file:
            top.unlink("f")
            top.create("f", b"other")
            assert 1 == file.write(b"X")
            file.seek(0)
            assert b"X2345" == file.readall()
            expected = b"X2345" if Capability.RENAMES in store.capabilities else b"12345"
            assert expected == reader.readall()
        assert b"other" == top.read("f")

    def test_opened_files_follow_a_rename(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.RENAMES)
        top.create("f", b"12345")
        with top.open_writable("f", "rb+") as file:
            top.rename("f", top, "g")
            file.write(b"X")
        assert {"g": Kind.FILE} == top.scan(KINDS)
        assert b"X2345" == top.read("g")

    # Whole files.

    def test_created_files_hold_all_of_it(self, top: WritableDirectory) -> None:
        top.create("empty")
        top.create("big", BIG)
        top.create("synced", b"data", sync=True)
        found = [top.read(name) for name in ("empty", "big", "synced")]
        assert [b"", BIG, b"data"] == found

    @pytest.mark.parametrize("sync", [False, True])
    def test_a_file_is_put_new_or_in_the_place_of_another(self, top: WritableDirectory, sync: bool) -> None:
        top.put("f", io.BytesIO(b"first"), sync=sync)
        with top.open("f") as reader:
            top.put("f", _Slow(BIG, step=100_000), sync=sync)
            assert b"first" == reader.readall()
        assert BIG == top.read("f")
        top.put("f", io.BytesIO())
        assert b"" == top.read("f")
        assert ["f"] == list(top.scan(KINDS))

    def test_permissions_of_files_put(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.MODES)
        top.create("f", b"", 0o600)
        top.put("f", io.BytesIO(b"x"), 0o640)
        top.put("g", io.BytesIO(b"x"), 0o400)
        assert [0o640, 0o400] == [permissions(top.stat(name)) for name in ("f", "g")]

    def test_a_file_is_not_put_over_a_directory(self, top: WritableDirectory) -> None:
        for what in ("dir", "full"):
            make(top, what, what)
            before = whole(top)
            assert errno.EISDIR == errno_of(top.put, what, io.BytesIO(b"x"))
            assert before == whole(top)

    def test_putting_into_a_removed_directory(self, top: WritableDirectory) -> None:
        gone = top.mkdir("gone")
        top.rmdir("gone")
        assert errno.ENOENT == errno_of(gone.put, "new", io.BytesIO(b"x"))
        assert {} == top.scan(KINDS)

    @pytest.mark.rule("E6")
    def test_a_source_that_fails_leaves_nothing(self, top: WritableDirectory) -> None:
        """The state is that before the operation, without litter."""
        top.create("f", b"kept")
        before = whole(top)
        for name in ("f", "new"):
            source = _Slow(b"x" * 5000, error=OSError(errno.EIO, "broken source"))
            assert errno.EIO == errno_of(top.put, name, source)
        assert before == whole(top)

    def test_nobody_sees_less_than_a_whole_file(self, top: WritableDirectory) -> None:
        top.create("f", b"0" * 50_000)
        done = Event()

        def write(_: int) -> None:
            try:
                for number in range(60):
                    data = str(number % 10).encode() * 50_000
                    top.put("f", io.BytesIO(data))
                    top.create(f"new {number}", data)
            finally:
                done.set()

        def read(_: int) -> None:
            while not done.is_set():
                assert (50_000, 1) == _length_and_variety(top.read("f"))
                for name in [name for name in top.scan(KINDS) if name.startswith("new")][-3:]:
                    assert (50_000, 1) == _length_and_variety(top.read(name))

        in_threads(4, lambda index: read(index) if index else write(index))

    # Removing.

    def test_names_are_removed(self, store: WritableStore, top: WritableDirectory, kinds: list[str]) -> None:
        for what in kinds:
            make(top, what, what)
        for what in kinds:
            if Made[what] == Kind.DIRECTORY:
                assert errno.EISDIR == errno_of(top.unlink, what)
            else:
                assert errno.ENOTDIR == errno_of(top.rmdir, what)
                top.unlink(what)
                assert errno.ENOENT == errno_of(top.unlink, what)
        assert {"dir", "full"} == set(top.scan(KINDS))
        assert errno.ENOTEMPTY == errno_of(top.rmdir, "full")
        top.child("full").unlink("in full")
        top.rmdir("full")
        top.rmdir("dir")
        assert errno.ENOENT == errno_of(top.rmdir, "dir")
        assert {} == top.scan(KINDS)

    def test_a_handle_is_not_of_what_takes_the_place(
        self, store: WritableStore, top: WritableDirectory
    ) -> None:
        self.need(store, Capability.RENAMES)
        old = top.mkdir("d")
        top.rmdir("d")
        top.mkdir("d")
        assert errno.ENOENT == errno_of(old.create, "new")
        assert {} == top.child("d").scan(KINDS)

    # Renaming.

    def move(self, action: Callable[[], object]) -> object:
        """Rename; skip if the file system or process here can't do what the store can elsewhere."""
        found = outcome(action)
        if found in ("EOPNOTSUPP", "EPERM"):
            pytest.skip(f"{found}: the file system or process here can't")
        return found

    @pytest.mark.rule("R2")
    @pytest.mark.parametrize("target", [None, *Made])
    @pytest.mark.parametrize("source", Made)
    @pytest.mark.parametrize("how", [Move.REPLACE, Move.WHITEOUT], ids=["replace", "whiteout"])
    def test_renames_replace_as_the_system_call(
        self, store: WritableStore, top: WritableDirectory, source: str, target: str | None, how: Move
    ) -> None:
        """File to directory is EISDIR, directory to file ENOTDIR, directory to non-empty one ENOTEMPTY."""
        self.need(store, Capability.RENAMES, NEEDS.get(source, Capability.NONE))
        sub = top.mkdir("sub")
        make(top, "s", source)
        if target is not None:
            self.need(store, NEEDS.get(target, Capability.NONE))
            make(sub, "t", target)
        before, moved = whole(top), shown(top, "s")
        number = replacing(source, target)
        found = self.move(lambda: top.rename("s", sub, "t", how))
        if number is not None:
            assert (errno.errorcode[number], before) == (found, whole(top))
            return
        assert (None, moved) == (found, shown(sub, "t"))
        if how is Move.WHITEOUT:
            assert (Kind.CHAR_DEVICE, 0) == (shown(top, "s")[0], top.stat("s").st_rdev)
        assert ({"sub", "s"} if how is Move.WHITEOUT else {"sub"}) == set(top.scan(KINDS))
        assert ["t"] == list(sub.scan(KINDS))

    @pytest.mark.parametrize("target", Made)
    @pytest.mark.parametrize("source", Made)
    def test_any_two_objects_are_exchanged(
        self, store: WritableStore, top: WritableDirectory, source: str, target: str
    ) -> None:
        self.need(store, Capability.RENAMES, *(NEEDS.get(what, Capability.NONE) for what in (source, target)))
        sub = top.mkdir("sub")
        make(top, "s", source)
        make(sub, "t", target)
        ours, theirs = shown(top, "s"), shown(sub, "t")
        assert self.move(lambda: top.rename("s", sub, "t", Move.EXCHANGE)) is None
        assert (theirs, ours) == (shown(top, "s"), shown(sub, "t"))
        if Made[source] == Kind.DIRECTORY and Capability.HARDLINKS in store.capabilities:
            links = 3 + (Made[target] == Kind.DIRECTORY), 3
            assert links == (top.status().st_nlink, sub.status().st_nlink) or 1 in links

    @pytest.mark.parametrize("target", [None, *Made])
    @pytest.mark.parametrize("source", Made)
    def test_an_exclusive_rename_replaces_nothing(
        self, store: WritableStore, top: WritableDirectory, source: str, target: str | None
    ) -> None:
        self.need(store, Capability.RENAMES, NEEDS.get(source, Capability.NONE))
        sub = top.mkdir("sub")
        make(top, "s", source)
        if target is None:
            moved = shown(top, "s")
            top.rename("s", sub, "t", Move.EXCLUSIVE)
            assert ({"sub"}, moved) == (set(top.scan(KINDS)), shown(sub, "t"))
            return
        self.need(store, NEEDS.get(target, Capability.NONE))
        make(sub, "t", target)
        before = whole(top)
        assert errno.EEXIST == errno_of(top.rename, "s", sub, "t", Move.EXCLUSIVE)
        assert before == whole(top)

    @every_move
    def test_a_rename_of_what_is_not_there(
        self, store: WritableStore, top: WritableDirectory, how: Move
    ) -> None:
        self.need(store, Capability.RENAMES)
        make(top, "full", "full")
        before = whole(top)
        for target in ("new", "full"):
            assert "ENOENT" == self.move(lambda name=target: top.rename("missing", top, name, how))  # type: ignore[misc]
        if how is Move.EXCHANGE:
            assert "ENOENT" == self.move(lambda: top.rename("full", top, "new", how))
        gone = top.mkdir("gone")
        top.rmdir("gone")
        assert "ENOENT" == self.move(lambda: top.rename("full", gone, "new", how))
        assert errno.ENAMETOOLONG == errno_of(top.rename, "full", top, "n" * (store.name_max + 1), how)
        assert before == whole(top)

    @every_move
    def test_no_directory_goes_into_itself(
        self, store: WritableStore, top: WritableDirectory, how: Move
    ) -> None:
        self.need(store, Capability.RENAMES)
        inner = top.mkdir("d").mkdir("e")
        make(inner, "f", "file")
        before = whole(top)
        if how is not Move.EXCHANGE:
            assert "EINVAL" == self.move(lambda: top.rename("d", inner, "new", how))
            assert "EINVAL" == self.move(lambda: top.rename("d", top.child("d"), "new", how))
        if how is not Move.EXCLUSIVE:
            assert "EINVAL" == self.move(lambda: top.rename("d", inner, "f", how))
            above = "EINVAL" if how is Move.EXCHANGE else "ENOTEMPTY"
            assert above == self.move(lambda: inner.rename("f", top, "d", how))
        assert before == whole(top)

    @every_move
    def test_two_names_of_one_object_stay(
        self, store: WritableStore, top: WritableDirectory, how: Move
    ) -> None:
        self.need(store, Capability.RENAMES, Capability.HARDLINKS)
        top.create("one", b"1")
        top.link("two", top, "one")
        make(top, "full", "full")
        before = whole(top)
        for name, other in (("one", "two"), ("one", "one"), ("full", "full")):
            expected = "EEXIST" if how is Move.EXCLUSIVE else None
            assert expected == self.move(lambda a=name, b=other: top.rename(a, top, b, how))  # type: ignore[misc]
            assert before == whole(top)

    @every_move
    def test_a_rename_to_another_store_is_exdev(
        self, store: WritableStore, top: WritableDirectory, how: Move
    ) -> None:
        self.need(store, Capability.RENAMES)
        top.create("f")
        other = MemoryStore().root()
        other.create("g")
        assert errno.EXDEV == errno_of(top.rename, "f", other, "g", how)
        assert ({"f"}, {"g"}) == (set(top.scan(KINDS)), set(other.scan(KINDS)))

    def test_handles_follow_a_rename(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.RENAMES)
        inside = top.mkdir("old")
        inside.mkdir("deep")
        top.rename("old", top, "new")
        top.mkdir("old")
        inside.create("x")
        inside.child("deep").create("y")
        assert ({"deep", "x"}, {"y"}) == (shown(top, "new")[1], shown(top.child("new"), "deep")[1])
        assert set() == shown(top, "old")[1]

    @pytest.mark.rule("R1")
    def test_a_replaced_name_is_never_missing(self, store: WritableStore, top: WritableDirectory) -> None:
        """Onto a visible file it replaces that atomically."""
        self.need(store, Capability.RENAMES)
        top.create("f", b"0" * 5000)
        done = Event()

        def replace(_: int) -> None:
            try:
                for number in range(200):
                    top.create("new", str(number % 10).encode() * 5000)
                    top.rename("new", top, "f")
            finally:
                done.set()

        def read(_: int) -> None:
            while not done.is_set():
                assert (5000, 1) == _length_and_variety(top.read("f"))

        in_threads(4, lambda index: read(index) if index else replace(index))

    def test_one_of_many_exclusive_renames_wins(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.RENAMES)
        for number in range(10):
            for index in range(8):
                top.create(f"{number} {index}", str(index).encode())
            results = in_threads(
                8,
                lambda index, at=number: outcome(  # type: ignore[misc]
                    lambda: top.rename(f"{at} {index}", top, f"{at}", Move.EXCLUSIVE)
                ),
            )
            assert 7 == results.count("EEXIST")
            assert results.index(None) == int(top.read(str(number)))

    # Metadata.

    @pytest.mark.parametrize("method", NAMING)
    def test_what_is_not_there_is_enoent(
        self, store: WritableStore, top: WritableDirectory, method: str
    ) -> None:
        self.need(store, NAMING_NEEDS.get(method, Capability.NONE))
        with pytest.raises(FileNotFoundError) as caught:
            NAMING[method](top, "missing")
        assert errno.ENOENT == caught.value.errno
        assert {} == top.scan(KINDS)

    def test_permission_bits_are_set(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.MODES)
        top.create("f")
        inside = top.mkdir("d")
        for mode in (0o600, 0o755, 0o4711, 0o1700):
            top.chmod("f", mode)
            inside.chmod(None, mode)
            assert [mode, mode] == [permissions(top.stat(name)) for name in ("f", "d")]
        top.chmod("d", 0o700)
        assert 0o700 == permissions(inside.status())

    def test_permission_bits_of_a_link_are_its_own(
        self, store: WritableStore, top: WritableDirectory
    ) -> None:
        self.need(store, Capability.MODES, Capability.SYMLINKS)
        top.create("f", b"", 0o640)
        top.symlink("l", "f")
        assert outcome(lambda: top.chmod("l", 0o600)) in (None, "EOPNOTSUPP")
        assert 0o640 == permissions(top.stat("f"))

    def test_owners_are_set(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.OWNERS)
        top.create("f")
        inside = top.mkdir("d")
        mine = top.stat("f").st_uid, top.stat("f").st_gid
        top.chown("f")
        top.chown("f", *mine)
        assert mine == (top.stat("f").st_uid, top.stat("f").st_gid)
        try:
            top.chown("f", 1234)
            top.chown("f", gid=4321)
            inside.chown(None, 1234, 4321)
        except PermissionError as error:
            assert errno.EPERM == error.errno
            pytest.skip("only root may give files away")
        assert {(1234, 4321)} == {(top.stat(name).st_uid, top.stat(name).st_gid) for name in ("f", "d")}
        if Capability.SYMLINKS in store.capabilities:
            top.symlink("l", "f")
            top.chown("l", 7, 8)
            assert [(7, 8), (1234, 4321)] == [
                (top.stat(name).st_uid, top.stat(name).st_gid) for name in ("l", "f")
            ]

    def test_times_are_set_to_the_nanosecond(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.TIMES)
        names = ["f", "d"]
        top.create("f")
        inside = top.mkdir("d")
        if Capability.SYMLINKS in store.capabilities:
            top.symlink("l", "f")
            names.append("l")
        for number, name in enumerate(names):
            top.utime(name, (OLD + number, OLD + 10 + number))
        found = [(top.stat(name).st_atime_ns, top.stat(name).st_mtime_ns) for name in names]
        assert [(OLD + number, OLD + 10 + number) for number in range(len(names))] == found
        inside.utime(None, (OLD, OLD))
        assert OLD == top.stat("d").st_mtime_ns
        before = time.time_ns() - 2_000_000_000  # file systems have coarse clocks
        top.utime("f")
        assert before < top.stat("f").st_mtime_ns
        assert before < top.stat("f").st_atime_ns

    def test_changes_of_names_change_the_directorys_times(
        self, store: WritableStore, top: WritableDirectory
    ) -> None:
        self.need(store, Capability.TIMES)
        sub = top.mkdir("sub")
        changes: list[Callable[[], object]] = [
            lambda: sub.create("f"),
            lambda: sub.put("f", io.BytesIO(b"x")),
            lambda: sub.mkdir("d"),
            lambda: sub.rmdir("d"),
            lambda: sub.open_new("g", "wb").close(),
            lambda: sub.unlink("g"),
        ]
        if Capability.RENAMES in store.capabilities:
            changes.append(lambda: sub.rename("f", top, "f"))
            changes.append(lambda: top.rename("f", sub, "f"))
        for number, change in enumerate(changes):
            sub.utime(None, (OLD, OLD))
            change()
            assert OLD != sub.status().st_mtime_ns, number
        sub.utime(None, (OLD, OLD))
        with sub.open_writable("f", "wb") as file:
            file.write(b"y")
        assert (b"y", OLD) == (sub.read("f"), sub.status().st_mtime_ns)

    def test_attributes_are_set_and_removed(self, store: WritableStore, top: WritableDirectory) -> None:
        self.need(store, Capability.XATTRS)
        top.create("f")
        top.mkdir("d")
        inside = top.child("d")
        if outcome(lambda: top.setxattr("f", "user.one", b"")) == "EOPNOTSUPP":
            pytest.skip("the file system here holds no user attributes")
        for directory, name in ((top, "f"), (top, "d"), (inside, None)):
            directory.setxattr(name, "user.one", b"1\0")
            directory.setxattr(name, "user.two", b"")
            directory.setxattr(name, "user.one", b"2")
            assert (b"2", b"") == (directory.getxattr(name, "user.one"), directory.getxattr(name, "user.two"))
            assert {"user.one", "user.two"} <= set(directory.listxattr(name))
            directory.removexattr(name, "user.one")
            assert errno.ENODATA == errno_of(directory.removexattr, name, "user.one")
            assert (None, b"") == (directory.getxattr(name, "user.one"), directory.getxattr(name, "user.two"))

    def test_syncing(self, store: WritableStore, top: WritableDirectory, kinds: list[str]) -> None:
        for what in ("file", "dir"):
            make(top, what, what)
            top.sync(what)
        top.sync(None)
        top.child("dir").sync(None)

    # Locks.

    @pytest.mark.parametrize("what", ["file", "dir"])
    def test_one_lock_at_a_time_is_held(self, top: WritableDirectory, what: str) -> None:
        make(top, "x", what)
        make(top, "y", what)
        with _locks(top, "x", "x", "y") as (one, other, elsewhere):
            assert one.acquire()
            assert (False, True) == (other.acquire(wait=False), elsewhere.acquire(wait=False))
            one.release()
            assert (True, False) == (other.acquire(wait=False), one.acquire(wait=False))
            other.close()
            assert one.acquire(wait=False)

    def test_a_lock_is_waited_for(self, top: WritableDirectory) -> None:
        top.create("x")
        with _locks(top, "x", "x") as (one, other), ThreadPoolExecutor(1) as pool:
            one.acquire()
            waiting = pool.submit(other.acquire)
            time.sleep(0.02)
            assert not waiting.done()
            one.release()
            assert waiting.result(20)

    def test_locks_hold_between_threads(self, top: WritableDirectory) -> None:
        top.create("x", b"0")

        def count(_: int) -> None:
            lock = top.lock("x")
            for _ in range(25):
                lock.acquire()
                try:
                    number = int(top.read("x"))
                    time.sleep(0)
                    top.put("count", io.BytesIO(str(number + 1).encode()))
                    with top.open_writable("x", "wb", truncate=True) as file:
                        file.write(top.read("count"))
                finally:
                    lock.release()
            lock.close()

        in_threads(4, count)
        assert b"100" == top.read("x")

    @forks
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
    def test_locks_hold_between_processes(self, top: WritableDirectory) -> None:
        if not self.processes:
            pytest.skip("the store is of one process")
        top.create("x")
        with _locks(top, "x", "x") as (one, other):
            assert one.acquire()
            assert in_child(lambda: not top.lock("x").acquire(wait=False))
            assert in_child(lambda: _closed(one))
            assert not other.acquire(wait=False)
            one.release()
            assert in_child(lambda: top.lock("x").acquire(wait=False))
            assert other.acquire(wait=False)

    # Watches.

    @pytest.fixture
    def told(self, store: WritableStore) -> Callable[[Directory, Callable[[], object]], set[str | None]]:
        """Do something, and give what a watch on a directory was told of it."""
        self.need(store, Capability.WATCHABLE)

        def told(
            directory: Directory, change: Callable[[], object], contents: bool = False
        ) -> set[str | None]:
            hearer = Hearer()
            watch = directory.watch(hearer, contents=contents)
            if watch is None:
                pytest.skip("no watch to be had here")
            change()
            if store.notifier is not None:
                store.notifier.poll()
            watch.close()
            return set(hearer.heard)

        return told

    def test_every_change_is_told(
        self,
        store: WritableStore,
        top: WritableDirectory,
        told: Callable[[Directory, Callable[[], object]], set[str | None]],
    ) -> None:
        sub = top.mkdir("sub")
        sub.create("other")
        flags = store.capabilities
        changes: list[tuple[Capability, Callable[[], object], set[str | None]]] = [
            (Capability.NONE, lambda: top.create("f"), {"f"}),
            (Capability.NONE, lambda: top.put("f", io.BytesIO(b"f")), {"f"}),
            (Capability.NONE, lambda: top.open_new("g", "wb").close(), {"g"}),
            (Capability.NONE, lambda: top.mkdir("d"), {"d"}),
            (Capability.SYMLINKS, lambda: top.symlink("l", "x"), {"l"}),
            (Capability.SPECIALS, lambda: top.mknod("p", Kind.FIFO, 0o600), {"p"}),
            (Capability.HARDLINKS, lambda: top.link("h", top, "g"), {"h"}),
            (Capability.MODES, lambda: top.chmod("f", 0o600), {"f"}),
            (Capability.MODES, lambda: top.chmod(None, 0o700), {None}),
            (Capability.TIMES, lambda: top.utime("f", (1, 2)), {"f"}),
            (Capability.RENAMES, lambda: top.rename("f", top, "f2"), {"f", "f2"}),
            (Capability.RENAMES, lambda: top.rename("f2", sub, "f2"), {"f2"}),
            (Capability.RENAMES, lambda: sub.rename("f2", top, "g"), {"g"}),
            (Capability.RENAMES, lambda: top.rename("d", top, "g", Move.EXCHANGE), {"d", "g"}),
            (Capability.RENAMES, lambda: top.rename("g", sub, "other", Move.EXCHANGE), {"g"}),
            (Capability.NONE, lambda: top.create("last"), {"last"}),
            (Capability.NONE, lambda: top.unlink("last"), {"last"}),
            (Capability.NONE, lambda: top.mkdir("empty"), {"empty"}),
            (Capability.NONE, lambda: top.rmdir("empty"), {"empty"}),
        ]
        for number, (flag, change, expected) in enumerate(changes):
            if flag in flags:
                assert expected <= told(top, change), number
        whiteout = outcome(lambda: told(top, lambda: top.rename("sub", top, "s2", Move.WHITEOUT)))
        assert whiteout in ("EOPNOTSUPP", "EPERM") or {"sub", "s2"} <= cast("set[str]", whiteout)

    def test_writing_is_told_where_contents_are_asked_for(
        self, store: WritableStore, top: WritableDirectory, told: Callable[..., set[str | None]]
    ) -> None:
        top.create("f", b"12345")
        with top.open_writable("f", "rb+") as file:
            for change in (lambda: file.write(b"x"), lambda: file.truncate(2)):
                assert {"f"} == told(top, change, contents=True)
        assert {"f"} == told(top, lambda: top.open_writable("f", "wb", truncate=True).close(), contents=True)

    def test_the_end_of_a_directory_is_told(
        self,
        store: WritableStore,
        top: WritableDirectory,
        told: Callable[[Directory, Callable[[], object]], set[str | None]],
    ) -> None:
        self.need(store, Capability.RENAMES)
        one, other = top.mkdir("one"), top.mkdir("other")
        assert None in told(one, lambda: top.rename("one", top, "two"))
        assert None in told(one, lambda: top.rename("two", top, "other", Move.EXCHANGE))
        assert None in told(other, lambda: top.rename("other", top, "two"))
        del one, other  # a system tells it when the last handle of the directory is gone
        hearer = Hearer()
        watch = top.child("two").watch(hearer)
        assert watch is not None
        top.rmdir("two")
        if store.notifier is not None:
            store.notifier.poll()
        assert None in hearer.heard
        watch.close()


def _closed(lock: Lock) -> bool:
    lock.close()
    return True


def _length_and_variety(data: bytes) -> tuple[int, int]:
    return len(data), len(set(data))


@contextmanager
def _locks(directory: WritableDirectory, *names: str) -> Iterator[list[Lock]]:
    """Locks, closed at the end."""
    locks = [directory.lock(name) for name in names]
    try:
        yield locks
    finally:
        for lock in locks:
            lock.close()
