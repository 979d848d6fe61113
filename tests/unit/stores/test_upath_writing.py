"""Writing over fsspec: in its memory, on a disk, and on a server that speaks S3."""

from __future__ import annotations

import errno
import io
import itertools
import os
import pickle
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from upath import UPath

from servers import S3Server, s3_server
from unionpath.model.entry import Kind
from unionpath.model.store import Capability
from unionpath.model.writable import RawMode, WritableDirectory, WritableStore
from unionpath.stores import spooled
from unionpath.stores.fsspec_details import TEMPORARY
from unionpath.stores.upath import UPathStore, open_path
from unionpath.stores.upath_writing import WritableUPathStore

KINDS = tuple(Kind)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["memory", "file", "s3"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> UPath:
    """An empty directory."""
    if request.param == "memory":
        path = UPath(f"memory:///unionpath-writing-{next(_numbers)}")
    elif request.param == "file":
        path = UPath(f"file://{tmp_path}/root")
    else:
        server: S3Server = request.getfixturevalue("s3")
        return server.bucket()
    path.mkdir(parents=True)
    return path


@pytest.fixture
def store(path: UPath) -> WritableUPathStore:
    return WritableUPathStore(path)


@pytest.fixture
def root(store: WritableStore) -> WritableDirectory:
    return store.root()


def errno_of(action: Callable[..., object], *arguments: object) -> int | None:
    with pytest.raises(OSError) as caught:
        action(*arguments)
    return caught.value.errno


def names(directory: WritableDirectory) -> set[str]:
    return set(directory.scan(KINDS))


# What is claimed.


@pytest.mark.rule("E4")
def test_a_file_system_that_can_write_says_so_and_nothing_more(path: UPath) -> None:
    """What a store can't do is found before the first change."""
    store = open_path(path)
    assert isinstance(store, WritableUPathStore)
    assert Capability.WRITABLE == store.capabilities


@pytest.mark.filterwarnings("ignore:.*(not explicitly implemented|default for known protocol).*:UserWarning")
@pytest.mark.rule("E4")
def test_file_systems_that_only_read_do_not_say_so(tmp_path: Path) -> None:
    """What a store can't do is found before the first change."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file", b"")
    (tmp_path / "tree").mkdir()
    for url in (f"zip://::{tmp_path}/a.zip", f"simplecache::file://{tmp_path}/tree"):
        store = open_path(UPath(url))
        assert isinstance(store, UPathStore)
        assert Capability.WRITABLE not in store.capabilities
        assert not hasattr(store.root(), "create")


@pytest.mark.rule("E4")
def test_what_is_not_claimed_is_refused_and_changes_nothing(root: WritableDirectory) -> None:
    """What a store can't do is UnsupportedOperation, found before the first change."""
    root.create("file", b"data")
    refused: list[tuple[Callable[..., object], *tuple[object, ...]]] = [
        (root.rename, "file", root, "other"),
        (root.symlink, "link", "file"),
        (root.link, "link", root, "file"),
        (root.mknod, "fifo", Kind.FIFO, 0o600),
        (root.chmod, "file", 0o600),
        (root.chown, None, 1, 1),
        (root.utime, "file", (1, 1)),
        (root.setxattr, "file", "user.x", b""),
        (root.removexattr, "file", "user.x"),
    ]
    for action, *arguments in refused:
        assert errno.EOPNOTSUPP == errno_of(action, *arguments), action
    assert {"file"} == names(root)


def test_a_writable_store_pickles(store: WritableUPathStore) -> None:
    store.root().create("file", b"data")
    again = pickle.loads(pickle.dumps(store))
    assert isinstance(again, WritableUPathStore)
    assert b"data" == again.root().read("file")
    assert store.identity == again.identity


# Files.


def test_create_shows_a_whole_file_and_never_replaces(root: WritableDirectory) -> None:
    root.create("file", b"data")
    assert b"data" == root.read("file")
    assert errno.EEXIST == errno_of(root.create, "file", b"other")
    root.mkdir("dir")
    assert errno.EEXIST == errno_of(root.create, "dir")
    assert b"data" == root.read("file")
    root.create("empty")
    assert (b"", 0) == (root.read("empty"), root.stat("empty").st_size)
    assert {"dir", "empty", "file"} == names(root)


def test_names_with_signs_are_names(root: WritableDirectory) -> None:
    odd = ["a b", "%41*[a]?#~;=&+", "ünï …", "...", "a::b", "x://y".replace("/", "_"), "-rf", ".hidden"]
    for name in odd:
        root.create(name, name.encode())
        root.create(f"{name} other", b"stays")
    assert names(root) == {*odd, *(f"{name} other" for name in odd)}
    for name in odd:
        assert name.encode() == root.read(name)
        root.unlink(name)
    assert names(root) == {f"{name} other" for name in odd}


def test_put_replaces_in_one_step(root: WritableDirectory) -> None:
    root.put("file", io.BytesIO(b"one"))
    assert b"one" == root.read("file")
    root.put("file", io.BytesIO(b"two!"))
    assert b"two!" == root.read("file")
    root.mkdir("dir")
    assert errno.EISDIR == errno_of(root.put, "dir", io.BytesIO(b""))
    assert {"dir", "file"} == names(root)


@pytest.mark.rule("C6")
def test_large_content_waits_on_the_disk(root: WritableDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded whatever the file's size."""
    monkeypatch.setattr(spooled, "IN_MEMORY", 1000)
    monkeypatch.setattr(spooled, "CHUNK", 333)
    data = os.urandom(5000)
    root.put("put", io.BytesIO(data))
    assert data == root.read("put")
    root.put("put", io.BytesIO(data[::-1]))
    assert data[::-1] == root.read("put")
    with root.open_new("new", "xb") as file:
        assert len(data) == file.write(data)
    assert data == root.read("new")
    with root.open_writable("new", "rb+") as file:
        file.seek(4990)
        file.write(b"0123456789")
    assert data[:4990] + b"0123456789" == root.read("new")
    with root.open_writable("new", "ab") as file:
        file.write(data)
    assert 10_000 == root.stat("new").st_size


def test_a_source_that_fails_changes_nothing(root: WritableDirectory) -> None:
    root.create("file", b"old")

    class Broken(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise OSError(errno.EIO, "broken")

    assert errno.EIO == errno_of(root.put, "file", Broken())
    assert errno.EIO == errno_of(root.put, "new", Broken())
    assert {"file"} == names(root)
    assert b"old" == root.read("file")


MODES: list[tuple[RawMode, bool]] = [
    ("wb", False), ("xb", False), ("ab", False), ("wb+", True), ("xb+", True), ("ab+", True), ("rb+", True),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "readable"), MODES)
def test_opened_files_say_what_io_says(
    root: WritableDirectory, tmp_path: Path, mode: RawMode, *, readable: bool
) -> None:
    (tmp_path / "real").mkdir()
    if "x" not in mode:
        (tmp_path / "real" / "f").write_bytes(b"")
        root.create("f", b"")
    with io.FileIO(tmp_path / "real" / "f", mode.replace("b", "")) as real:
        file = root.open_new("f", mode) if "x" in mode else root.open_writable("f", mode)
        with file:
            assert real.mode == getattr(file, "mode", None)
            assert (real.readable(), real.writable()) == (file.readable(), file.writable())
            assert (readable, True, True) == (file.readable(), file.writable(), file.seekable())
            assert root.place("f") == getattr(file, "name", None)
            if not readable:
                with pytest.raises(io.UnsupportedOperation):
                    file.read(1)
    with pytest.raises(ValueError, match="closed"):
        file.write(b"")


def test_a_new_file_is_shown_whole_when_it_is_closed(root: WritableDirectory) -> None:
    file = root.open_new("file", "xb")
    file.write(b"data")
    assert set() == names(root)
    file.close()
    file.close()
    assert b"data" == root.read("file")
    root.open_new("empty", "wb").close()
    assert b"" == root.read("empty")
    assert errno.EEXIST == errno_of(root.open_new, "file", "wb")


def test_of_two_makers_one_wins(root: WritableDirectory) -> None:
    one, other = root.open_new("file", "xb"), root.open_new("file", "xb")
    one.write(b"one")
    other.write(b"other")
    other.close()
    assert errno.EEXIST == errno_of(one.close)
    assert one.closed
    assert b"other" == root.read("file")


def test_what_was_written_is_shown_when_it_is_flushed(root: WritableDirectory) -> None:
    root.create("file", b"old content")
    with root.open_writable("file", "wb", truncate=True) as file:
        file.write(b"ne")
        assert b"old content" == root.read("file")
        file.flush()
        assert b"ne" == root.read("file")
        file.write(b"w")
        assert b"ne" == root.read("file")
    assert b"new" == root.read("file")


def test_a_file_cut_and_not_written_to_is_empty(root: WritableDirectory) -> None:
    root.create("file", b"old")
    root.open_writable("file", "wb", truncate=True).close()
    assert b"" == root.read("file")


def test_opening_and_writing_nothing_changes_nothing(
    root: WritableDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.create("file", b"old")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    for method in ("pipe_file", "put_file", "cat_file"):
        monkeypatch.setattr(cast("WritableUPathStore", root).volume.fs, method, refuse)  # type: ignore[attr-defined]  # the directory's
    modes: list[RawMode] = ["wb", "ab", "rb+", "ab+"]
    for mode in modes:
        with root.open_writable("file", mode) as file:
            file.write(b"")
            file.flush()


def test_reading_and_writing_in_the_middle(root: WritableDirectory) -> None:
    root.create("file", b"0123456789")
    with root.open_writable("file", "rb+") as file:
        assert 0 == file.tell()
        assert b"012" == file.read(3)
        assert 3 == file.seek(0, io.SEEK_CUR)
        file.write(b"abc")
        assert b"6789" == file.readall()
        assert 12 == file.seek(2, io.SEEK_END)
        file.write(b"end")
        assert 0 == file.seek(0)
        assert b"012abc6789\0\0end" == file.readall()
        with pytest.raises(OSError, match="Invalid"):
            file.seek(-1)
        with pytest.raises(OSError, match="Invalid"):
            file.truncate(-1)
    assert b"012abc6789\0\0end" == root.read("file")


def test_truncate(root: WritableDirectory) -> None:
    root.create("file", b"0123456789")
    with root.open_writable("file", "rb+") as file:
        file.seek(4)
        assert 4 == file.truncate()
        assert 4 == file.tell()
        assert 6 == file.truncate(6)
        assert 0 == file.seek(0)
        assert b"0123\0\0" == file.readall()
    assert b"0123\0\0" == root.read("file")
    with root.open_writable("file", "ab") as file:
        file.write(b"x")
        file.truncate(2)
        file.write(b"y")
    assert b"01y" == root.read("file")


def test_appending(root: WritableDirectory) -> None:
    root.create("file", b"old")
    with root.open_writable("file", "ab+") as file:
        assert 3 == file.tell()
        file.seek(0)
        file.write(b"-new")
        assert 7 == file.tell()
        file.seek(0)
        assert b"old-new" == file.readall()
        file.seek(1)
        file.write(b"!")
        assert 8 == file.tell()
    assert b"old-new!" == root.read("file")


def test_no_append_is_lost(root: WritableDirectory) -> None:
    root.create("file", b"start\n")
    files = [root.open_writable("file", "ab") for _ in range(3)]
    for turn in range(3):
        for number, file in enumerate(files):
            file.write(f"{turn}{number}\n".encode())
            file.flush()
    for file in files:
        file.close()
    expected = "start\n" + "".join(f"{turn}{number}\n" for turn in range(3) for number in range(3))
    assert expected.encode() == root.read("file")


def test_threads_append(root: WritableDirectory) -> None:
    root.create("log")

    def append(number: int) -> None:
        with root.open_writable("log", "ab") as file:
            file.write(f"{number}\n".encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(40)))
    assert sorted(range(40)) == sorted(int(line) for line in root.read("log").split())


def test_threads_make_one_name(root: WritableDirectory) -> None:
    def make(number: int) -> bool:
        try:
            root.create("name", b"%d" % number)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(make, range(16)))
    assert 1 == sum(won)
    assert b"%d" % won.index(True) == root.read("name")


def test_what_can_not_be_opened(root: WritableDirectory) -> None:
    root.mkdir("dir")
    assert errno.EISDIR == errno_of(root.open_writable, "dir", "rb+")
    assert errno.ENOENT == errno_of(root.open_writable, "missing", "rb+")


# Files that are open while their name goes.


def test_files_that_are_open_outlive_their_name(root: WritableDirectory) -> None:
    root.create("file", b"old content")
    reader, writer = root.open("file"), root.open_writable("file", "rb+")
    assert b"old" == reader.read(3)
    root.unlink("file")
    root.create("file", b"another")
    assert b" content" == reader.readall()
    writer.write(b"mine")
    writer.flush()
    writer.seek(0)
    assert b"mine" == writer.read(4)
    writer.close()
    reader.close()
    assert b"another" == root.read("file")


@pytest.mark.rule("C9")
@pytest.mark.parametrize("how", ["put", "write"])
def test_a_reader_keeps_what_it_opened(root: WritableDirectory, how: str) -> None:
    """A reader keeps reading the object it opened, whole and unmixed."""
    old, new = b"a" * 300_000, b"b" * 300_000
    root.create("file", old)
    with root.open("file") as reader:
        assert b"a" == reader.read(1)
        if how == "put":
            root.put("file", io.BytesIO(new))
            assert old[1:] == reader.readall()
        else:
            with root.open_writable("file", "wb", truncate=True) as writer:
                writer.write(new)
            assert set(reader.readall()) in ({ord("a")}, {ord("b")})
    assert new == root.read("file")


def test_a_writer_does_not_bring_back_what_others_removed(root: WritableDirectory, path: UPath) -> None:
    modes: list[RawMode] = ["rb+", "ab+"]
    for mode in modes:
        root.create("file", b"old")
        with root.open_writable("file", mode) as file:
            file.read(1)
            path.joinpath("file").unlink()
            file.write(b"lost")
        assert set() == names(root)


def test_what_others_removed_can_not_be_read_any_more(root: WritableDirectory, path: UPath) -> None:
    root.create("file", b"old")
    with root.open_writable("file", "rb+") as file:
        path.joinpath("file").unlink()
        assert errno.ESTALE == errno_of(file.write, b"x")
    assert set() == names(root)


# Directories.


def test_an_empty_directory_is_there(root: WritableDirectory, path: UPath) -> None:
    inner = root.mkdir("dir").mkdir("inner")
    assert ("dir", "inner") == inner.parts
    assert {"dir": Kind.DIRECTORY} == root.scan(KINDS)
    assert {"inner": Kind.DIRECTORY} == root.child("dir").scan(KINDS)
    assert {} == inner.scan(KINDS)
    assert stat.S_ISDIR(inner.status().st_mode)
    assert path.joinpath("dir/inner").is_dir()
    assert errno.EEXIST == errno_of(root.mkdir, "dir")
    root.create("file")
    assert errno.EEXIST == errno_of(root.mkdir, "file")


def test_a_directory_stays_when_its_last_name_goes(root: WritableDirectory, path: UPath) -> None:
    path.joinpath("dir").mkdir(exist_ok=True)
    path.joinpath("dir/file").write_bytes(b"made without us: the directory may only be implied")
    directory = root.child("dir")
    directory.unlink("file")
    assert {"dir": Kind.DIRECTORY} == root.scan(KINDS)
    assert {} == directory.scan(KINDS)
    directory.mkdir("inner")
    directory.rmdir("inner")
    assert {} == directory.scan(KINDS)
    root.rmdir("dir")
    assert {} == root.scan(KINDS)
    assert stat.S_ISDIR(root.status().st_mode)


def test_rmdir(root: WritableDirectory) -> None:
    directory = root.mkdir("dir")
    directory.create("file")
    assert errno.ENOTEMPTY == errno_of(root.rmdir, "dir")
    directory.unlink("file")
    root.rmdir("dir")
    assert errno.ENOENT == errno_of(root.rmdir, "dir")
    root.create("file")
    assert errno.ENOTDIR == errno_of(root.rmdir, "file")


@pytest.mark.rule("D2")
def test_unlink(root: WritableDirectory) -> None:
    """unlink of a directory EISDIR; a second unlink ENOENT."""
    root.mkdir("dir")
    root.create("file")
    assert errno.EISDIR == errno_of(root.unlink, "dir")
    root.unlink("file")
    assert errno.ENOENT == errno_of(root.unlink, "file")
    assert {"dir"} == names(root)


def test_in_a_directory_that_was_removed_nothing_can_be_made(root: WritableDirectory) -> None:
    gone = root.mkdir("dir")
    root.rmdir("dir")
    makers: list[tuple[Callable[..., object], *tuple[object, ...]]] = [
        (gone.create, "x"), (gone.mkdir, "x"), (gone.put, "x", io.BytesIO(b"")), (gone.open_new, "x", "xb"),
    ]  # fmt: skip
    for make, *arguments in makers:
        assert errno.ENOENT == errno_of(make, *arguments)
    assert set() == names(root)
    late = root.mkdir("late").open_new("x", "xb")
    root.rmdir("late")
    assert errno.ENOENT == errno_of(late.close)
    assert set() == names(root)


# Names, errors, caches.


@pytest.mark.rule("L10")
def test_names_that_are_too_long(store: WritableUPathStore) -> None:
    """A path it can't hold is ENAMETOOLONG."""
    root, name = store.root(), "n" * (store.name_max + 1)
    makers: list[Callable[..., object]] = [root.create, root.mkdir]
    for make in makers:
        assert errno.ENAMETOOLONG == errno_of(make, name)
    assert errno.ENAMETOOLONG == errno_of(root.put, name, io.BytesIO(b""))
    root.create(name[:-1], b"long")
    assert b"long" == root.read(name[:-1])


def test_our_own_temporary_names_can_not_be_made(root: WritableDirectory) -> None:
    assert errno.EINVAL == errno_of(root.create, f"{TEMPORARY}x")


def test_errors_carry_the_place(root: WritableDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = root.mkdir("dir")
    with pytest.raises(FileNotFoundError) as caught:
        directory.unlink("missing")
    assert directory.place("missing") == caught.value.filename


@pytest.mark.rule("N4")
def test_other_users_of_the_file_system_see_changes_at_once(root: WritableDirectory, path: UPath) -> None:
    """A name made elsewhere shows up at the next look."""
    assert [] == [*path.iterdir()]
    root.create("file", b"data")
    assert ["file"] == [each.name for each in path.iterdir()]
    assert b"data" == path.joinpath("file").read_bytes()
    root.mkdir("dir")
    assert ["dir", "file"] == sorted(each.name for each in path.iterdir())
    root.unlink("file")
    assert ["dir"] == [each.name for each in path.iterdir()]
    root.rmdir("dir")
    assert [] == [*path.iterdir()]


# The store.


@pytest.mark.rule("E9")
def test_a_tree_that_went_is_noticed(store: WritableUPathStore, path: UPath) -> None:
    """An upper that is removed is noticed."""
    store.confirm()
    assert store.neighbour("work") is None
    assert () == store.home().parts
    path.fs.rm(path.path, recursive=True)
    path.fs.invalidate_cache()
    assert errno.ESTALE == errno_of(store.confirm)


@pytest.mark.rule("E9")
def test_another_tree_in_its_place_is_noticed_on_a_disk(tmp_path: Path) -> None:
    """An upper that is replaced is noticed, device and inode."""
    (tmp_path / "root").mkdir()
    store = WritableUPathStore(UPath(f"file://{tmp_path}/root"))
    (tmp_path / "root").rename(tmp_path / "old")
    (tmp_path / "root").mkdir()
    assert errno.ESTALE == errno_of(store.confirm)


def test_locks_keep_threads_apart(root: WritableDirectory) -> None:
    root.create("file")
    root.create("other")
    one, other, elsewhere = root.lock("file"), root.lock("file"), root.lock("other")
    assert one.acquire()
    assert not other.acquire(wait=False)
    assert elsewhere.acquire(wait=False)
    taken = threading.Event()

    def wait() -> None:
        assert other.acquire()
        taken.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not taken.wait(0.05)
    one.release()
    assert taken.wait(10)
    waiting.join()
    other.close()
    assert one.acquire(wait=False)
    one.close()
    elsewhere.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_give_back_its_parents_lock(tmp_path: Path) -> None:
    root = WritableUPathStore(UPath(f"file://{tmp_path}")).root()
    root.create("file")
    lock = root.lock("file")
    assert lock.acquire()
    import multiprocessing

    def close_and_take() -> None:
        lock.close()
        assert root.lock("file").acquire(wait=False), "the child has threads of its own"

    child = multiprocessing.get_context("fork").Process(target=close_and_take)
    child.start()
    child.join()
    assert 0 == child.exitcode
    assert not root.lock("file").acquire(wait=False)
    lock.close()


# One kind of file system.


@pytest.mark.rule("E7")
def test_content_is_brought_to_the_disk_where_asked(root: WritableDirectory) -> None:
    """Data synced before publish."""
    root.create("file", b"data", sync=True)
    root.put("file", io.BytesIO(b"more"), sync=True)
    root.sync("file")
    root.sync(None)
    assert b"more" == root.read("file")


def test_a_disk_is_left_without_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = WritableUPathStore(UPath(f"file://{tmp_path}")).root()
    root.create("file", b"old")
    assert errno.EEXIST == errno_of(root.create, "file")
    for call in ("replace", "link"):

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(os, call, fail)
    assert errno.ENOSPC == errno_of(root.put, "file", io.BytesIO(b"new"))
    assert errno.ENOSPC == errno_of(root.create, "new", b"new")
    assert ["file"] == os.listdir(tmp_path)
    assert b"old" == root.read("file")


def test_a_disk_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    root = WritableUPathStore(UPath(f"file://{tmp_path}")).root()
    root.create("file", b"data")
    assert errno.EEXIST == errno_of(root.create, "file")
    assert (["file"], b"data") == (os.listdir(tmp_path), root.read("file"))


def test_what_a_dead_writer_left_is_not_shown_and_goes_with_its_directory(tmp_path: Path) -> None:
    root = WritableUPathStore(UPath(f"file://{tmp_path}")).root()
    root.mkdir("dir")
    (tmp_path / "dir" / f"{TEMPORARY}0123").write_bytes(b"half")
    assert set() == names(root.child("dir"))
    assert errno.ENOENT == errno_of(root.child("dir").stat, f"{TEMPORARY}0123")
    root.rmdir("dir")
    assert [] == os.listdir(tmp_path)


@pytest.mark.rule("C10")
def test_a_disk_takes_the_umask_off_and_gives_no_more_than_asked(tmp_path: Path) -> None:
    """umask applies to new entries as the operating system does it."""
    root = WritableUPathStore(UPath(f"file://{tmp_path}")).root()
    old = os.umask(0o027)
    try:
        root.create("file", b"", 0o666)
        root.put("put", io.BytesIO(b""), 0o600)
        root.mkdir("dir", 0o777)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "put", "dir")]
    assert [0o640, 0o600, 0o750] == modes


def test_a_link_on_a_disk_is_replaced_itself(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to("../outside")
    root = WritableUPathStore(UPath(f"file://{tmp_path}/root")).root()
    assert errno.EEXIST == errno_of(root.create, "link")
    assert errno.ELOOP == errno_of(root.open_writable, "link", "wb")
    root.put("link", io.BytesIO(b"data"))
    assert [] == os.listdir(tmp_path / "outside")
    assert b"data" == (tmp_path / "root" / "link").read_bytes()
    (tmp_path / "root" / "again").symlink_to("../outside")
    root.unlink("again")
    assert (tmp_path / "outside").is_dir()


def test_the_server_decides_who_makes_an_object(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    path = s3.bucket()
    root = WritableUPathStore(path).root()
    checked = type(root)._check_free

    def too_late(self: object, name: str) -> None:
        checked(root, name)
        path.joinpath(name).write_bytes(b"another process")

    monkeypatch.setattr(type(root), "_check_free", too_late)
    assert errno.EEXIST == errno_of(root.create, "name", b"ours")
    assert b"another process" == root.read("name")


def test_no_append_of_another_machine_is_lost(s3: S3Server) -> None:
    path = s3.bucket()
    # A file system object of its own each: as little is shared as between two machines.
    others = [
        UPath(str(path), **path.storage_options, config_kwargs={"user_agent": f"{n}"}) for n in range(4)
    ]
    roots = [WritableUPathStore(other).root() for other in others]
    roots[0].create("log")

    def append(number: int) -> None:
        for turn in range(5):
            with roots[number].open_writable("log", "ab") as file:
                file.write(b"%d %d\n" % (number, turn))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(4)))
    expected = {b"%d %d" % (number, turn) for number in range(4) for turn in range(5)}
    assert expected == set(roots[0].read("log").splitlines())


def test_a_name_that_s3fs_would_cut_is_refused(s3: S3Server) -> None:
    root = WritableUPathStore(s3.bucket()).root()
    root.create("x", b"x")
    for action in (root.create, root.stat, root.read, root.unlink):
        assert errno.ENAMETOOLONG == errno_of(action, "x?versionId=null")
    assert b"x" == root.read("x")


def test_a_prefix_in_a_bucket_stays(s3: S3Server) -> None:
    bucket = s3.bucket()
    bucket.joinpath("a/b/file").write_bytes(b"")
    store = WritableUPathStore(bucket / "a" / "b")
    store.root().unlink("file")
    assert set() == names(store.root())
    store.confirm()
    assert 1024 - len("a/b/") == store.name_max


def test_a_missing_permission_is_told(s3: S3Server) -> None:
    path = s3.bucket()
    root = WritableUPathStore(path).root()
    fs = path.fs
    fs.rm(path.path, recursive=True)  # the bucket itself
    assert errno.ENOENT == errno_of(root.create, "x", b"")


def test_sources_may_be_binary_files(root: WritableDirectory, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from a file")
    with (tmp_path / "source").open("rb") as source:
        root.put("copy", cast("BinaryIO", source))
    assert b"from a file" == root.read("copy")
