"""What the contract can't ask of the store over fsspec: faults, caches, odd archives, numbers of calls."""

from __future__ import annotations

import errno
import io
import os
import pickle
import stat
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from upath import UPath

from contract.tree_path import TreePath
from trees import Dir, File
from unionpath.model.entry import Kind
from unionpath.model.errors import is_absence
from unionpath.model.parts import Parts
from unionpath.stores.foreign import translate
from unionpath.stores.fsspec_details import Details, kind_from, stat_from
from unionpath.stores.readable_path import ReadablePathStore
from unionpath.stores.upath import UPathDirectory, UPathStore, open_path
from writers import UPathWriter

KINDS = tuple(Kind)


@pytest.fixture
def path() -> UPath:
    """A tree in fsspec's memory file system."""
    writer = UPathWriter()
    writer.mkdir(("dir",), 0o755)
    writer.make(("dir", "inner"), File(b"inner"))
    writer.make(("file",), File(b"data"))
    assert isinstance(writer.source, UPath)
    return writer.source


def errno_of(action: Callable[..., object], *arguments: object) -> int | None:
    with pytest.raises(OSError) as caught:
        action(*arguments)
    return caught.value.errno


# Opening.


def test_a_upath_and_a_readable_path_are_told_apart(path: UPath) -> None:
    assert isinstance(open_path(path), UPathStore)
    assert isinstance(open_path(TreePath(Dir())), ReadablePathStore)
    for other in ("text", 3, None, object()):
        with pytest.raises(TypeError, match="not a path"):
            open_path(other)


def test_what_is_no_directory_is_refused(path: UPath, tmp_path: Path) -> None:
    assert errno.ENOENT == errno_of(UPathStore, path / "missing")
    assert errno.ENOTDIR == errno_of(UPathStore, path / "file")
    assert errno.ENOENT == errno_of(UPathStore, UPath(f"zip://::{tmp_path}/missing.zip"))
    assert errno.ENOENT == errno_of(ReadablePathStore, TreePath(Dir(), "missing"))
    assert errno.ENOTDIR == errno_of(ReadablePathStore, TreePath(Dir({"f": File()}), "f"))


@pytest.mark.rule("L8")
def test_a_broken_archive_is_a_fault(tmp_path: Path) -> None:
    """Every other error of a layer (a broken archive) is raised."""
    (tmp_path / "broken.zip").write_bytes(b"not a zip archive")
    assert errno.EIO == errno_of(UPathStore, UPath(f"zip://::{tmp_path}/broken.zip"))


def test_a_root_that_is_a_link_is_the_callers_own(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_bytes(b"f")
    (tmp_path / "link").symlink_to("real")
    store = UPathStore(UPath(f"file://{tmp_path}/link"))
    assert stat.S_ISDIR(store.root().status().st_mode)
    assert b"f" == store.root().read("f")


def test_stores_of_one_tree_are_equal_and_pickle(path: UPath) -> None:
    store = UPathStore(path)
    again = pickle.loads(pickle.dumps(store))
    assert isinstance(again, UPathStore)
    assert store.identity == again.identity == UPathStore(UPath(str(path))).identity
    assert b"data" == again.root().read("file")
    ours, theirs = store.root().stat("file"), again.root().stat("file")
    assert (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


@pytest.mark.parametrize(
    ("url", "parts", "place"),
    [
        ("memory://a", (), "memory://a"),
        ("memory://a", ("x", "y"), "memory://a/x/y"),
        ("memory://", ("x",), "memory://x"),
        ("zip://::/t/a.zip", ("x",), "zip://x::/t/a.zip"),
        ("zip://d::/t/a.zip", ("x",), "zip://d/x::/t/a.zip"),
        ("simplecache::file:///d", ("x",), "simplecache::file:///d/x"),
    ],
)
def test_places_are_urls(url: str, parts: Parts, place: str) -> None:
    volume = SimpleNamespace(place=url)
    assert place == UPathDirectory(volume, "", parts).place()  # type: ignore[arg-type]  # only its place is asked


# Faults.


class BotocoreError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class AiohttpError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@pytest.mark.rule("L8")
@pytest.mark.parametrize(
    ("error", "number"),
    [
        (FileNotFoundError("a/key"), errno.ENOENT),
        (NotADirectoryError("a/key"), errno.ENOTDIR),
        (IsADirectoryError(), errno.EISDIR),
        (PermissionError("Access Denied"), errno.EACCES),
        (TimeoutError(), errno.ETIMEDOUT),
        (ConnectionResetError(), errno.ECONNRESET),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (OSError("nobody knows"), errno.EIO),
        (ValueError("bad"), errno.EIO),
        (KeyError("name"), errno.EIO),
        (RuntimeError("encrypted"), errno.EIO),
        (zipfile.BadZipFile("bad"), errno.EIO),
        (NotImplementedError(), errno.EOPNOTSUPP),
        (BotocoreError(403), errno.EACCES),
        (BotocoreError(404), errno.ENOENT),
        (BotocoreError(500), errno.EIO),
        (AiohttpError(401), errno.EACCES),
        (AiohttpError(410), errno.ENOENT),
        (AiohttpError(504), errno.ETIMEDOUT),
    ],
    ids=repr,
)
def test_errors_get_an_errno(
    path: UPath, monkeypatch: pytest.MonkeyPatch, error: Exception, number: int
) -> None:
    """ENOENT and ENOTDIR from a layer mean "absent here"; every other error is raised."""
    root = UPathStore(path).root()

    def fail(*_: object, **__: object) -> None:
        raise error

    for method in ("ls", "info", "open", "cat_file"):
        monkeypatch.setattr(root.volume.fs, method, fail)
    for ask in (root.stat, root.child, root.open, root.read):
        with pytest.raises(OSError) as caught:
            ask("dir")
        assert number == caught.value.errno
        assert root.place("dir") == caught.value.filename
        assert is_absence(caught.value) == (number in (errno.ENOENT, errno.ENOTDIR))
        assert error in (caught.value.__cause__, caught.value.__context__)
    assert number == errno_of(root.scan, KINDS)


def test_running_out_of_memory_stays_what_it_is(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    root = UPathStore(path).root()

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(root.volume.fs, "cat_file", fail)
    with pytest.raises(MemoryError):
        root.read("file")


def test_the_message_says_what_the_other_side_said() -> None:
    error = translate(PermissionError("Access Denied by policy"), "s3://b/k")
    assert isinstance(error, PermissionError)
    assert "Access Denied by policy" in str(error)
    assert "s3://b/k" in str(error)


def test_a_fault_while_reading_is_an_oserror(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    root = UPathStore(path).root()

    class Broken(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise BotocoreError(403)

    monkeypatch.setattr(root.volume.fs, "open", lambda *_: Broken())
    with root.open("file") as file:
        assert errno.EACCES == errno_of(file.read, 1)
        assert errno.EACCES == errno_of(file.readall)
        assert not file.seekable()
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0)


def test_a_directory_opened_as_a_file_is_noticed(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened(io.BytesIO):
        details: ClassVar[Details] = {"name": "x", "type": "directory"}

    root = UPathStore(path).root()
    monkeypatch.setattr(root.volume.fs, "open", lambda *_: Opened())
    assert errno.EISDIR == errno_of(root.open, "dir")


# Caches.


@pytest.mark.rule("N4")
def test_kept_listings_are_forgotten_first(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name made elsewhere shows up at the next look."""
    root = UPathStore(path).root()
    fs = root.volume.fs
    kept: dict[tuple[str, str], object] = {}

    def keeping(method: str) -> Callable[..., object]:
        ask = getattr(fs, method)

        def kept_or_asked(at: str, **how: object) -> object:
            return kept.setdefault((method, at), ask(at, **how))

        return kept_or_asked

    def forget(at: str | None = None) -> None:
        for method, place in list(kept):
            if place == at:
                del kept[method, place]

    for method in ("ls", "info", "cat_file"):
        monkeypatch.setattr(fs, method, keeping(method))
    monkeypatch.setattr(fs, "invalidate_cache", forget)
    for content in (b"1", b"22", b"333"):
        (path / "file").write_bytes(content)
        assert (len(content), content) == (root.stat("file").st_size, root.read("file"))
        (path / f"new{len(content)}").write_bytes(b"")
        assert 2 + len(content) == len(root.scan(KINDS))


def count_calls(root: UPathDirectory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what is called of the file system, but not what it calls of itself."""
    calls: list[str] = []
    inside: list[str] = []

    def counting(method: str) -> Callable[..., object]:
        ask = getattr(root.volume.fs, method)

        def counted(*place: object, **how: object) -> object:
            calls.extend([] if inside else [method])
            inside.append(method)
            try:
                return ask(*place, **how)
            finally:
                inside.pop()

        return counted

    for method in ("ls", "info", "open", "cat_file"):
        monkeypatch.setattr(root.volume.fs, method, counting(method))
    return calls


def test_every_question_is_one_call(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    root = UPathStore(path).root()
    calls = count_calls(root, monkeypatch)
    for ask, expected in (
        (lambda: root.scan(KINDS), ["ls"]),
        (lambda: root.stat("file"), ["info"]),
        (lambda: root.child("dir"), ["info"]),
        (lambda: root.read("file"), ["cat_file"]),
        (lambda: root.open("file"), ["open"]),
        (lambda: root.getxattr("file", "user.x"), []),
    ):
        calls.clear()
        ask()
        assert expected == calls


# Archives.


def zipped(tmp_path: Path, entries: dict[str, bytes]) -> UPathDirectory:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            entry = zipfile.ZipInfo("x", (2020, 2, 3, 4, 5, 6))
            entry.filename = name
            entry.external_attr = 0o640 << 16
            archive.writestr(entry, data)
    return UPathStore(UPath(f"zip://::{tmp_path}/a.zip")).root()


@pytest.mark.rule("L11")
def test_hostile_names_are_not_shown(tmp_path: Path) -> None:
    """Nothing outside a layer's root can be reached through it."""
    root = zipped(
        tmp_path, {"../up": b"", "/abs": b"", "d/../../up": b"", "./dot": b"", "d/f": b"f", "e//g": b""}
    )
    pending, seen = [root], set[str]()
    while pending:
        directory = pending.pop()
        for name, kind in directory.scan(KINDS).items():
            seen.add(name)
            if kind == Kind.DIRECTORY:
                pending.append(directory.child(name))
    assert not {"", ".", ".."} & seen
    assert {"d", "f"} <= seen


def test_zip_entries_have_modes_and_times(tmp_path: Path) -> None:
    found = zipped(tmp_path, {"f": b"123"}).stat("f")
    assert (0o640, 3) == (stat.S_IMODE(found.st_mode), found.st_size)
    assert datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp() == found.st_mtime


def test_an_empty_archive_is_an_empty_directory(tmp_path: Path) -> None:
    root = zipped(tmp_path, {})
    assert {} == root.scan(KINDS)
    assert stat.S_ISDIR(root.status().st_mode)


def test_threads_read_one_tar_stream(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(10):
            member = tarfile.TarInfo(f"d/{number}")
            member.size = 20_000
            archive.addfile(member, io.BytesIO(bytes([number]) * member.size))
    directory = UPathStore(UPath(f"tar://d::{tmp_path}/a.tar")).root()

    def read(number: int) -> bool:
        name = str(number % 10)
        with directory.open(name) as file:
            parts = b"".join(iter(lambda: file.read(333) or b"", b""))
        return parts == directory.read(name) == bytes([number % 10]) * 20_000

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(80)))


def test_a_name_listed_twice_is_what_stat_says(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    root = UPathStore(path).root()
    at = path.path
    monkeypatch.setattr(
        root.volume.fs,
        "ls",
        lambda *_, **__: [{"name": f"{at}/dir", "type": "file"}, {"name": f"{at}/dir/", "type": "directory"}],
    )
    assert {"dir": Kind.DIRECTORY} == root.scan(KINDS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.rule("C7")
def test_a_fifo_is_shown_and_not_waited_for(tmp_path: Path) -> None:
    """FIFOs are shown by stat and listing; opening one for reading never blocks for ever."""
    os.mkfifo(tmp_path / "fifo")
    root = UPathStore(UPath(f"file://{tmp_path}")).root()
    assert {"fifo": Kind.FIFO} == root.scan(KINDS)
    assert [errno.ENXIO] * 2 == [errno_of(root.open, "fifo"), errno_of(root.read, "fifo")]


# Details.


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ({"type": "file"}, Kind.FILE),
        ({"type": "directory"}, Kind.DIRECTORY),
        ({"type": "link"}, Kind.SYMLINK),
        ({"type": "file", "islink": True}, Kind.SYMLINK),
        ({"type": "directory", "islink": True}, Kind.SYMLINK),
        ({"type": "directory", "islink": False}, Kind.DIRECTORY),
        ({"type": "other", "mode": 0o010644}, Kind.FIFO),
        ({"type": "other", "mode": 0o020644}, Kind.CHAR_DEVICE),
        ({"type": "other"}, Kind.SOCKET),
        ({"type": "file", "create_system": 3, "external_attr": 0o120777 << 16}, Kind.SYMLINK),
        ({"type": "file", "create_system": 0, "external_attr": 0o120777 << 16}, Kind.FILE),
    ],
    ids=repr,
)
def test_kinds(details: Details, kind: Kind) -> None:
    assert kind is kind_from(details)


SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("details", "mtime_ns"),
    [
        ({}, 0),
        ({"mtime": 5}, 5 * SECOND),
        ({"mtime": 1.5}, 1_500_000_000),
        ({"LastModified": datetime(1970, 1, 2, tzinfo=UTC)}, 86_400 * SECOND),
        ({"last_modified": datetime(1970, 1, 2, 1, tzinfo=timezone(timedelta(hours=1)))}, 86_400 * SECOND),
        ({"mtime": datetime(1970, 1, 1, 0, 0, 1, 5)}, SECOND + 5000),  # noqa: DTZ001 (smb and others give such)
        ({"updated": "1970-01-01T00:00:02.500Z"}, 2_500_000_000),
        ({"modify": "19700101000003"}, 3 * SECOND),
        ({"modificationTime": 4000}, 4 * SECOND),
        ({"date_time": (1980, 1, 1, 0, 0, 0)}, 315_532_800 * SECOND),
        ({"date_time": (1980, 0, 0, 0, 0, 0)}, 0),
        ({"mtime": "yesterday"}, 0),
        ({"created": 7, "mtime": 6}, 6 * SECOND),
    ],
    ids=repr,
)
def test_times(details: Details, mtime_ns: int) -> None:
    found = stat_from({"type": "file", **details}, Kind.FILE, ino=1, dev=2)
    assert mtime_ns == found.st_mtime_ns


def test_unknown_values_are_plain() -> None:
    found = stat_from({"type": "file", "size": None}, Kind.FILE, ino=1, dev=2)
    assert (0o100644, 1, 2, 1, 0) == (*found[:4], found.st_size)
    assert 0o40755 == stat_from({"type": "directory"}, Kind.DIRECTORY, ino=1, dev=2).st_mode
    assert 0o100644 == stat_from({"type": "file", "mode": "100644"}, Kind.FILE, ino=1, dev=2).st_mode
