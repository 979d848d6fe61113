"""Family C: what brings an object of a lower to the upper, how, and what is kept."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

import raw
from changes import Change, write
from grounds import BY_ID, GROUNDS, Ground, no_trusted_xattrs
from trees import Device, Dir, Fifo, File, Link
from unions import Builder
from views import UnionView, refusal
from writers import DiskWriter

if TYPE_CHECKING:
    from unionpath import UnionPath
    from unionpath.model.parts import Parts
    from unionpath.model.store import Store

LONG_AGO = 1_000_000_000_123_456_789
LOWER = Dir(
    {
        "f": File(b"lower", 0o640),
        "d": Dir({"e": Dir({"f": File(b"deep", 0o604), "other": File(b"other")}, mode=0o750)}, mode=0o711),
        "plain": Dir({"f": File(b"plain")}),
    }
)
DISKS = [ground for ground in GROUNDS if ground.writer is DiskWriter]


@pytest.fixture(params=DISKS, ids=lambda ground: ground.id)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Builder]:
    """Build unions to write to, of local layers in every format."""
    builder = Builder(request.param, tmp_path)
    yield builder
    builder.close()


def holds(builder: Builder, path: str) -> bool:
    """Tell whether the upper has an object at a path."""
    return path in builder.upper.names()


def truncate(at: UnionPath, size: int) -> None:
    """Cut a file as truncate(2) does."""
    with at.open("r+b") as file:
        file.truncate(size)


TRIGGERS: dict[str, Change] = {
    "write": lambda at: write(at, "r+b", b"L"),
    "append": lambda at: write(at, "ab"),
    "overwrite": lambda at: write(at, "wb"),
    "overwrite with nothing": lambda at: at.open("wb").close(),
    "write_bytes": lambda at: at.write_bytes(b"new"),
    "write_text": lambda at: at.write_text("new"),
    "truncate": lambda at: truncate(at, 2),
    "touch": lambda at: at.touch(),
    "utime": lambda at: at.utime(ns=(1, 2)),
    "copy_up": lambda at: at.copy_up(),
}
WITH_MODES: dict[str, Change] = {
    "chmod": lambda at: at.chmod(0o600),
    "chown": lambda at: at.chown(os.getuid(), os.getgid()),
    "link": lambda at: (at.parent / "linked").hardlink_to(at),
}


def _needs_times(builder: Builder, change: Change) -> None:
    """Skip, with a reason, a change of times where the upper's store can't set any (E4)."""
    builder.needs(modes=change in (TRIGGERS["touch"], TRIGGERS["utime"]))


def _opened(mode: str) -> Change:
    def look(at: UnionPath) -> None:
        with at.open(mode) as file:
            if file.readable():
                file.read()
            file.seek(0, io.SEEK_END)
            file.flush()

    return look


HARMLESS: dict[str, Change] = {
    "read": lambda at: at.read_bytes(),
    "stat": lambda at: (at.stat(), at.lstat(), at.exists(), at.is_file(), at.info.is_file()),
    "listing": lambda at: list(at.parent.iterdir()),
    "glob": lambda at: list(at.parent.glob("**/*")),
    "explain": lambda at: str(at.explain()),
    "open x": lambda at: refusal(lambda: at.open("x")),
    "mkdir": lambda at: refusal(at.mkdir),
    "rmdir": lambda at: refusal(at.rmdir),
    "link onto it": lambda at: refusal(lambda: at.hardlink_to(at.parent / "other")),
    "rename onto a directory": lambda at: refusal(lambda: at.rename(at.parent)),
    "open r+": _opened("r+b"),
    "open a": _opened("ab"),
    "open a+": _opened("a+b"),
    "open r+ as text": _opened("r+"),
    "write no bytes": lambda at: write(at, "r+b", b""),
    "copy from it": lambda at: at.copy(at.with_segments("/plain/copy")),
    "rename onto itself": lambda at: at.rename(at),
}


class TestTriggers:
    """C1: what copies up, and what doesn't."""

    @pytest.mark.rule("C1")
    @pytest.mark.parametrize("change", TRIGGERS.values(), ids=TRIGGERS)
    def test_what_changes_copies_up(self, writable: Builder, change: Change) -> None:
        """First write, truncate, utime: the file and its parents come to the upper, nothing else does."""
        _needs_times(writable, change)
        root = writable.over(LOWER)
        change(root / "d/e/f")
        assert holds(writable, "/d/e/f")
        assert not holds(writable, "/d/e/other")
        assert not holds(writable, "/f")

    @pytest.mark.rule("C1")
    @pytest.mark.parametrize("change", WITH_MODES.values(), ids=WITH_MODES)
    def test_what_changes_metadata_copies_up(self, writable: Builder, change: Change) -> None:
        """chmod, chown and link, where the store knows of them."""
        writable.needs(modes=True)
        root = writable.over(LOWER)
        change(root / "d/e/f")
        assert holds(writable, "/d/e/f")
        assert b"deep" == (root / "d/e/f").read_bytes()

    @pytest.mark.rule("C1", "R1")
    def test_a_renames_source_is_copied_up(self, writing: Builder) -> None:
        """Being a rename's source."""
        root = writing.over(LOWER)
        (root / "d/e/f").rename(root / "moved")
        assert b"deep" == (root / "moved").read_bytes()
        assert holds(writing, "/moved")
        assert ["/d/e/f"] == writing.upper.whiteouts()

    @pytest.mark.rule("C1")
    @pytest.mark.parametrize("attribute", ["user.note", "user.other"])
    def test_attributes(self, disk: Builder, attribute: str) -> None:
        """setxattr and removexattr copy up; asking doesn't."""
        root = disk.over(LOWER, prepare=lambda b: b.lower.stamp("d/e/f", note=b"old"))
        at = root / "d/e/f"
        assert b"old" == at.getxattr("user.note")
        assert ["user.note"] == at.listxattr()
        assert not holds(disk, "/d")
        at.setxattr(attribute, b"new")
        assert holds(disk, "/d/e/f")
        assert b"new" == at.getxattr(attribute)
        at.removexattr(attribute)
        assert attribute not in at.listxattr()
        assert b"deep" == at.read_bytes()

    @pytest.mark.rule("C1")
    @pytest.mark.parametrize("look", HARMLESS.values(), ids=HARMLESS)
    def test_looking_and_failing_copy_nothing_up(self, memory: Builder, look: Change) -> None:
        """Never by read, stat, iterdir, a failed `x`, or by opening for writing and writing nothing."""
        root = memory.over(LOWER)
        look(root / "d/e/f")
        assert not holds(memory, "/d")
        assert b"deep" == (root / "d/e/f").read_bytes()

    @pytest.mark.rule("C1")
    @pytest.mark.parametrize("mode", ["r+b", "ab"])
    def test_opening_alone_copies_nothing(self, writing: Builder, mode: str) -> None:
        """On every store: the copy is made when the first byte is written."""
        root = writing.over(LOWER)
        with (root / "d/e/f").open(mode) as file:
            assert not holds(writing, "/d")
            file.write(b"D")
            file.flush()
            assert holds(writing, "/d/e/f")
        assert (b"Deep" if mode == "r+b" else b"deepD") == (root / "d/e/f").read_bytes()

    @pytest.mark.rule("C1")
    def test_what_is_in_the_upper_is_not_copied_again(self, writing: Builder) -> None:
        """Twice the same change, once the copy."""
        root = writing.over(LOWER)
        for byte in (b"1", b"2"):
            write(root / "f", "ab", byte)
        assert b"lower12" == (root / "f").read_bytes()


class TestParents:
    """C2 and C12: in which order, and with which metadata."""

    @staticmethod
    def prepare(builder: Builder) -> None:
        for number, path in enumerate(("d", "d/e", "d/e/f")):
            uid, gid = (1200 + number, 1300 + number) if os.getuid() == 0 else (-1, -1)
            builder.lower.stamp(path, uid=uid, gid=gid, mtime_ns=LONG_AGO + number, note=path.encode())

    @pytest.mark.rule("C2", "C12", "C10")
    @pytest.mark.parametrize(
        "change", [*TRIGGERS.values(), *WITH_MODES.values()], ids=[*TRIGGERS, *WITH_MODES]
    )
    def test_parents_keep_what_they_have(self, writable: Builder, change: Change) -> None:
        """Each with its own mode, owner, times and xattrs; its times unchanged by the copy-up itself."""
        writable.needs(modes=True)
        root = writable.over(LOWER, prepare=self.prepare)
        before = [self.look(root / path) for path in ("d", "d/e")]
        change(root / "d/e/f")
        after = [self.look(root / path) for path in ("d", "d/e")]
        if change is WITH_MODES["link"]:  # a new name in d/e, so its time is new
            assert before[0] == after[0]
            assert before[1][:3] == after[1][:3]
        else:
            assert before == after
        assert holds(writable, "/d/e")

    @pytest.mark.rule("C2", "C12")
    @pytest.mark.parametrize(
        "change",
        [
            lambda at: (at / "new").write_bytes(b""),
            lambda at: (at / "new").mkdir(),
            lambda at: (at / "f").unlink(),
            lambda at: (at / "f").rename(at / "g"),
            lambda at: (at / "new").symlink_to("f"),
        ],
        ids=["create", "mkdir", "unlink", "rename", "symlink"],
    )
    def test_parents_of_new_and_deleted_names(self, writing: Builder, change: Change) -> None:
        """The directory that gets or loses a name has a new time; those above it stay as they are."""
        writing.needs(modes=True)
        root = writing.over(LOWER, prepare=self.prepare)
        above, directory = self.look(root / "d"), self.look(root / "d/e")
        change(root / "d/e")
        assert above == self.look(root / "d")
        assert directory[:3] == self.look(root / "d/e")[:3]
        assert directory[3] < self.look(root / "d/e")[3]

    @pytest.mark.rule("C10", "C2")
    def test_the_object_keeps_what_it_has(self, writing: Builder) -> None:
        """Owner, mode, times and xattrs of the copy are the source's."""
        writing.needs(modes=True)
        root = writing.over(LOWER, prepare=self.prepare)
        before = self.look(root / "d/e/f")
        (root / "d/e/f").copy_up()
        assert before == self.look(root / "d/e/f")
        assert b"deep" == (root / "d/e/f").read_bytes()
        assert 0 == writing.stack.layers.index((root / "d/e/f").layer)  # type: ignore[union-attr]  # it was built

    @staticmethod
    def look(at: UnionPath) -> tuple[int, tuple[int, int], bytes | None, int]:
        status = at.stat()
        return (
            stat.S_IMODE(status.st_mode),
            (status.st_uid, status.st_gid),
            at.getxattr("user.note"),
            status.st_mtime_ns,
        )


MOMENTS: dict[str, Change] = {
    "append": lambda at: write(at, "ab"),
    "overwrite": lambda at: write(at, "wb", b"deep, but new"),
    "write_bytes": lambda at: at.write_bytes(b"deep, but new"),
    "chmod": lambda at: at.chmod(0o600),
    "utime": lambda at: at.utime(ns=(1, 2)),
    "rename": lambda at: at.rename(at.with_name("new")),
    "link": lambda at: at.with_name("new").hardlink_to(at),
    "create": lambda at: at.with_name("new").write_bytes(b"deep, but new"),
    "mkdir": lambda at: at.with_name("new").mkdir(0o700),
    "rename the directory": lambda at: at.parent.rename(at.with_segments("/new")),
    "rmtree": lambda at: at.parent.rmtree(),
}


class TestMoments:
    """C2 and C12: what can be seen in between."""

    @pytest.mark.rule("C2", "C12")
    @pytest.mark.parametrize(
        "kind", ["memory-oci", "memory-overlayfs", "memory-table", "local-oci", "local-overlayfs"]
    )
    @pytest.mark.parametrize("change", MOMENTS.values(), ids=MOMENTS)
    def test_nothing_is_seen_unfinished_or_wider(self, tmp_path: Path, kind: str, change: Change) -> None:
        """
        A partial file is never visible under its name; a mode is never wider than the source's, not even for
        a moment; parents have mode and owner before they are visible.
        """
        builder = Builder(BY_ID[kind], tmp_path)
        watch = Moments()
        root = builder.over(LOWER, prepare=TestParents.prepare, wrap=watch.around)
        watch.begin()
        watch.more = ("",) if change is MOMENTS["overwrite"] else ()  # open(2) with O_TRUNC, then write(2)
        change(root / "d/e/f")
        watch.look()
        builder.close()
        assert watch.moments > 1
        assert [] == watch.faults


class Moments:
    """Looks at a store from outside whenever something is about to be done to it."""

    MODES: ClassVar = {"/d": 0o711, "/d/e": 0o750, "/d/e/f": 0o604, "/d/e/new": 0o755, "/new": 0o750}
    WHOLE = ("deep", "deepnew", "deep, but new")

    def __init__(self) -> None:
        self.moments = 0
        self.faults: list[str] = []
        self.more: tuple[str, ...] = ()
        """What else may be seen."""
        self._store: Store | None = None
        self._began = False

    def around(self, store: Store) -> Store:
        from unionpath.stores.wrapping import WrappingStore

        watch = self

        class Watched(WrappingStore):
            def before(self, method: str, parts: Parts) -> None:
                watch.look()

        self._store = store
        return Watched(store)

    def begin(self) -> None:
        self._began = True

    def look(self) -> None:
        if not self._began or self._store is None:
            return
        self.moments += 1
        digests = {raw.digest(text.encode()) for text in (*self.WHOLE, *self.more)}
        for path, held in raw.tree(self._store).items():
            if path in self.MODES and held.kind in ("dir", "file"):
                if held.mode & ~self.MODES[path]:
                    self.faults.append(f"moment {self.moments}: {path} has mode {held.mode:04o}")
                owner = {"/d": 1200, "/d/e": 1201}.get(path)
                if owner not in (None, held.uid) and os.getuid() == 0:
                    self.faults.append(f"moment {self.moments}: {path} belongs to {held.uid}")
            if path == "/d/e/f" and held.kind == "file" and held.content not in digests:
                self.faults.append(f"moment {self.moments}: {path} is not whole")


@pytest.mark.rule("C2")
@pytest.mark.parametrize("kind", ["local-oci", "local-unionfs", "local-table"])
def test_the_work_area_lets_nobody_in(tmp_path: Path, kind: str) -> None:
    """What is staged is seen by its owner only, whatever the mode it will have."""
    builder = Builder(BY_ID[kind], tmp_path)
    root = builder.over(LOWER)
    (root / "d/e/f").write_bytes(b"")
    sessions = [*(tmp_path / "0" / raw.WORK / "stage").iterdir()]
    assert [0o700] * len(sessions) == [stat.S_IMODE(session.stat().st_mode) for session in sessions]
    assert sessions
    builder.close()


@pytest.mark.rule("C3")
@pytest.mark.parametrize("change", [*TRIGGERS.values(), *WITH_MODES.values()], ids=[*TRIGGERS, *WITH_MODES])
def test_lowers_never_change(writable: Builder, change: Change) -> None:
    """A lower's bytes and metadata never change."""
    writable.needs(modes=True)
    root = writable.over(LOWER)
    before = raw.tree(writable.lower.store)
    change(root / "d/e/f")
    (root / "d/e").rename(root / "away")
    (root / "plain").rmtree()
    (root / "d").chmod(0o700)
    assert before == raw.tree(writable.lower.store)


class TestOpening:
    """C4: the modes of open."""

    @pytest.mark.rule("C4")
    @pytest.mark.parametrize("mode", ["wb", "w+b"])
    def test_w_keeps_mode_and_owner(self, writing: Builder, mode: str) -> None:
        """`w` keeps mode and owner."""
        root = writing.over(LOWER, prepare=_give_away)
        before = root.joinpath("f").stat()
        write(root / "f", mode)
        after = root.joinpath("f").stat()
        assert b"new" == (root / "f").read_bytes()
        assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)

    @pytest.mark.rule("C4")
    @pytest.mark.parametrize(
        "change",
        [lambda at: write(at, "wb"), lambda at: at.open("w").close(), lambda at: at.write_bytes(b"new")],
        ids=["open w", "open w, nothing written", "write_bytes"],
    )
    def test_w_copies_no_data(self, tmp_path: Path, change: Change) -> None:
        """The lower's file isn't even opened."""
        from unionpath import Layer, LayerStack, memory_layer
        from unionpath.stores.recording import RecordingStore

        site = BY_ID["memory-oci"].site(tmp_path).build(LOWER)
        lower = RecordingStore(site.store)
        with LayerStack([Layer(lower)], upper=memory_layer()) as stack:
            change(stack / "f")
            assert (0, 0) == (lower.counts["open"], lower.counts["read"])
            assert (stack / "f").read_bytes() in (b"new", b"")

    @pytest.mark.rule("C4")
    @pytest.mark.parametrize(
        ("mode", "expected"),
        [
            ("r+b", b"NEWer"),
            ("ab", b"lowerNEW"),
            ("a+b", b"lowerNEW"),
            ("wb", b"NEW"),
            ("w+b", b"NEW"),
        ],
    )
    def test_what_each_mode_leaves(self, writing: Builder, mode: str, expected: bytes) -> None:
        """`a` copies all, then appends; `r+` writes where it stands."""
        root = writing.over(LOWER)
        write(root / "f", mode, b"NEW")
        assert expected == (root / "f").read_bytes()
        assert expected == (writing.reopened() / "f").read_bytes()

    @pytest.mark.rule("C4")
    @pytest.mark.parametrize(
        ("mode", "path", "expected"),
        [
            ("r+b", "missing", "ENOENT"),
            ("r+b", "d/missing", "ENOENT"),
            ("wb", "missing/f", "ENOENT"),
            ("ab", "missing/f", "ENOENT"),
            ("xb", "missing/f", "ENOENT"),
            ("wb", "f/x", "ENOTDIR"),
            ("xb", "f", "EEXIST"),
            ("xb", "d", "EEXIST"),
            ("wb", "d", "EISDIR"),
            ("ab", "d", "EISDIR"),
            ("r+b", "d", "EISDIR"),
        ],
    )
    def test_refusals(self, writable: Builder, mode: str, path: str, expected: str) -> None:
        """`r+` on a missing name is ENOENT; no parent is made; a directory is no file."""
        root = writable.over(LOWER)
        before = writable.upper.names()
        assert expected == refusal(lambda: (root / path).open(mode))
        assert before == writable.upper.names()

    @pytest.mark.rule("C4", "S1")
    @pytest.mark.parametrize("mode", ["wb", "ab", "w+b"])
    @pytest.mark.parametrize("target", ["new", "d/new", "./d/e/../e/new", "l2"])
    def test_through_a_dangling_link(self, writing: Builder, mode: str, target: str) -> None:
        """Writing through a dangling symbolic link creates its target."""
        links = {"l": Link(target), "l2": Link("d/last")}
        root = writing.over(Dir({**LOWER.entries, **links}))
        write(root / "l", mode)
        assert (root / "l").is_symlink()
        made = {"l2": "d/last", "./d/e/../e/new": "d/e/new"}.get(target, target)
        assert b"new" == (root / made).read_bytes()
        assert holds(writing, f"/{made}")
        assert not holds(writing, "/l")

    @pytest.mark.rule("C4")
    def test_through_a_link_to_a_file(self, writing: Builder) -> None:
        """The target is copied up, never the link."""
        root = writing.over(Dir({**LOWER.entries, "l": Link("d/e/f"), "m": Link("d")}))
        write(root / "l", "ab")
        assert b"deepnew" == (root / "d/e/f").read_bytes()
        write(root / "m/e/other", "ab")
        assert b"othernew" == (root / "d/e/other").read_bytes()
        assert [False, False] == [holds(writing, path) for path in ("/l", "/m")]

    @pytest.mark.rule("C4")
    @pytest.mark.parametrize("mode", ["r+", "w+", "a+"])
    def test_text(self, memory: Builder, mode: str) -> None:
        """The text layers on top read back what they wrote."""
        root = memory.over(Dir({"t": File("zwölf\r\nBoxkämpfer\n".encode())}))
        with (root / "t").open(mode, encoding="utf-8") as file:
            file.seek(0, io.SEEK_END)
            file.write("jagen\n")
            file.seek(0)
            kept = [] if mode == "w+" else ["zwölf\n", "Boxkämpfer\n"]
            assert [*kept, "jagen\n"] == file.readlines()
        assert (root / "t").read_bytes().endswith(b"jagen\n")

    @pytest.mark.rule("C4", "C9")
    @pytest.mark.parametrize("mode", ["r+b", "a+b"])
    @pytest.mark.parametrize("buffering", [-1, 0, 16])
    def test_reading_and_writing_in_turns(
        self, writable: Builder, tmp_path: Path, mode: str, buffering: int
    ) -> None:
        """One file object sees its own writes as on any disk, before and after the copy-up."""
        data = bytes(range(256)) * 64
        root = writable.over(Dir({"f": File(data)}))
        plain = tmp_path / "plain"
        plain.write_bytes(data)
        assert _turns(plain, mode, buffering) == _turns(root / "f", mode, buffering)
        assert plain.read_bytes() == (root / "f").read_bytes()


def _turns(at: UnionPath | Path, mode: str, buffering: int) -> list[object]:
    """Read, write and look in turns."""
    with at.open(mode, buffering) as file:
        seen: list[object] = [file.tell(), file.seek(0), file.read(100), file.tell()]
        seen += [file.seek(200), file.read(10), file.seek(50), file.write(b"changed"), file.tell()]
        seen += [file.seek(40), file.read(27), file.seek(0, io.SEEK_END), file.read()]
        seen += [
            file.write(b"end"),
            file.flush(),
            file.truncate(16_000),
            file.tell(),
            file.seek(-5, io.SEEK_END),
        ]
        return [*seen, file.read(), file.readable(), file.writable(), file.seekable()]


def _give_away(builder: Builder) -> None:
    """Make another user the owner of lower files, where that can be done."""
    if builder.ground.modes and os.getuid() == 0:
        builder.lower.stamp("f", uid=1234, gid=4321)


class TestMetadata:
    """C5: metadata changes."""

    @pytest.mark.rule("C5")
    def test_chmod_of_a_file(self, writing: Builder) -> None:
        """Keeps content, size and times."""
        writing.needs(modes=True)
        root = writing.over(LOWER, prepare=lambda b: b.lower.stamp("f", mtime_ns=LONG_AGO))
        (root / "f").chmod(0o4711)
        status = (root / "f").stat()
        assert (0o4711, 5, LONG_AGO) == (stat.S_IMODE(status.st_mode), status.st_size, status.st_mtime_ns)
        assert b"lower" == (root / "f").read_bytes()

    @pytest.mark.rule("C5")
    @pytest.mark.parametrize("path", ["f", "d"])
    def test_utime(self, writing: Builder, path: str) -> None:
        """utime keeps content, size and mode; given in seconds, in nanoseconds, or as now."""
        writing.needs(modes=True)
        root = writing.over(LOWER)
        mode = (root / path).stat().st_mode
        (root / path).utime(ns=(LONG_AGO, LONG_AGO + 1))
        status = (root / path).stat()
        assert (LONG_AGO + 1, mode) == (status.st_mtime_ns, status.st_mode)
        (root / path).utime((5, 7.5))
        assert 7.5 == (root / path).stat().st_mtime
        (root / path).utime()
        assert (root / path).stat().st_mtime_ns > LONG_AGO + 1
        assert b"lower" == (root / "f").read_bytes()
        assert ["e"] == [child.name for child in (root / "d").iterdir()]

    @pytest.mark.rule("C5")
    @pytest.mark.parametrize("change", ["chmod", "utime", "chown"])
    def test_of_a_directory_alone(self, writing: Builder, change: str) -> None:
        """chmod of a lower directory copies up that directory alone."""
        writing.needs(modes=True)
        root = writing.over(LOWER)
        at = root / "d/e"
        if change == "chmod":
            at.chmod(0o701)
        elif change == "utime":
            at.utime(ns=(1, 2))
        else:
            at.chown(os.getuid(), os.getgid())
        assert ["/", "/d", "/d/e"] == writing.upper.names()
        assert ["f", "other"] == [child.name for child in at.iterdir()]

    @pytest.mark.rule("C5", "S1")
    def test_through_a_link(self, writing: Builder) -> None:
        """Through a symbolic link the target is copied up."""
        writing.needs(modes=True)
        root = writing.over(Dir({**LOWER.entries, "l": Link("d/e/f")}))
        (root / "l").chmod(0o600)
        (root / "l").utime(ns=(1, 2))
        status = (root / "d/e/f").stat()
        assert (0o600, 2) == (stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        assert not holds(writing, "/l")
        assert (root / "l").is_symlink()

    @pytest.mark.rule("C5")
    @pytest.mark.parametrize("target", ["d/e/f", "missing", "d"])
    def test_of_a_link_itself(self, writing: Builder, target: str) -> None:
        """lutime and lchown act on the link itself; lchmod too, where links have modes."""
        root = writing.over(Dir({**LOWER.entries, "l": Link(target)}))
        (root / "l").utime(ns=(1, LONG_AGO), follow_symlinks=False)
        assert LONG_AGO == (root / "l").lstat().st_mtime_ns
        if os.getuid() == 0:
            (root / "l").chown(1234, 4321, follow_symlinks=False)
            status = (root / "l").lstat()
            assert (1234, 4321) == (status.st_uid, status.st_gid)
        assert (root / "l").is_symlink()
        assert target == str((root / "l").readlink())
        assert ["/l"] == [path for path in writing.upper.names() if path != "/"]

    @pytest.mark.rule("C5")
    def test_lchmod(self, writing: Builder) -> None:
        """lchmod of a link changes the link or is refused; the target stays as it is."""
        root = writing.over(Dir({**LOWER.entries, "l": Link("f")}))
        try:
            (root / "l").lchmod(0o600)
        except (OSError, NotImplementedError):
            assert not holds(writing, "/l")
        assert 0o640 == stat.S_IMODE((root / "f").stat().st_mode)
        assert not holds(writing, "/f")

    @pytest.mark.rule("C5")
    @pytest.mark.parametrize("change", ["chmod", "utime", "chown", "touch"])
    def test_of_a_missing_name(self, writable: Builder, change: str) -> None:
        """ENOENT, but touch, which makes it."""
        writable.needs(modes=True)
        root = writable.over(LOWER)
        at = root / "d/missing"
        if change == "touch":
            at.touch(mode=0o600)
            assert 0o600 == stat.S_IMODE(at.stat().st_mode)
            return
        calls = {
            "chmod": lambda: at.chmod(0o600),
            "utime": at.utime,
            "chown": lambda: at.chown(0, 0),
        }
        assert "ENOENT" == refusal(calls[change])
        assert not holds(writable, "/d")


MIB = 1 << 20


class TestLargeFiles:
    """C6: holes, clones and memory; on real disks."""

    @pytest.fixture
    def large(self, tmp_path: Path) -> Iterator[Builder]:
        builder = Builder(BY_ID["local-oci"], tmp_path)
        yield builder
        builder.close()

    @pytest.mark.rule("C6")
    @pytest.mark.parametrize("ends", ["data", "hole"])
    def test_holes_stay_holes(self, large: Builder, tmp_path: Path, ends: str) -> None:
        """A sparse file of 64 MiB with a few blocks of data takes a few blocks when copied up."""

        def make(builder: Builder) -> None:
            with (tmp_path / "1/sparse").open("wb") as file:
                for place in (3 * MIB, 40 * MIB):
                    file.seek(place)
                    file.write(b"data" * 1024)
                file.truncate(64 * MIB)
                if ends == "data":
                    file.seek(64 * MIB - 4)
                    file.write(b"last")

        root = large.over(Dir(), prepare=make)
        write(root / "sparse", "r+b", b"x")
        status = os.stat(tmp_path / "0/sparse")
        assert 64 * MIB == status.st_size
        if os.stat(tmp_path / "1/sparse").st_blocks * 512 < MIB:  # else this file system has no holes
            assert status.st_blocks * 512 < MIB
        data = bytearray((tmp_path / "1/sparse").read_bytes())
        data[0:1] = b"x"
        assert bytes(data) == (tmp_path / "0/sparse").read_bytes()

    @pytest.mark.rule("C6")
    @pytest.mark.parametrize("kind", ["local-oci", "memory-oci"])
    def test_memory_stays_bounded(self, tmp_path: Path, kind: str) -> None:
        """Whatever the file's size; between stores of two kinds bytes pass through a buffer of 1 MiB."""
        from unionpath import LayerStack

        (tmp_path / "upper").mkdir()
        (tmp_path / "lower").mkdir()
        site = BY_ID[kind].site(tmp_path / "lower").build(Dir({"f": File(os.urandom(MIB) * 24)}))
        with LayerStack([site.layer()], upper=tmp_path / "upper") as stack:
            tracemalloc.start()
            write(stack / "f", "ab", b"x")
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert 24 * MIB + 1 == os.stat(tmp_path / "upper/f").st_size
        # From disk to disk they don't pass through Python at all; a buffer would be seen here.
        assert peak < (MIB if kind == "local-oci" else 4 * MIB)


class TestSpecialFiles:
    """C7: FIFOs, sockets and devices."""

    @pytest.mark.rule("C7")
    @pytest.mark.parametrize("node", [Fifo(0o640), Device(1, 3, 0o640)], ids=["fifo", "device"])
    @pytest.mark.parametrize(
        "change",
        [
            lambda at: at.chmod(0o600),
            lambda at: at.rename(at.with_name("moved")),
            lambda at: at.utime(ns=(1, 2)),
            lambda at: at.with_name("linked").hardlink_to(at),
            lambda at: at.copy_up(),
        ],
        ids=["chmod", "rename", "utime", "link", "copy_up"],
    )
    def test_copy_up_keeps_the_type(self, writable: Builder, node: Fifo | Device, change: Change) -> None:
        """Copy-up keeps the type or is refused; never an empty regular file in its place."""
        root = writable.over(Dir({"s": node}))
        try:
            change(root / "s")
        except OSError as error:
            assert error.errno in (errno.EOPNOTSUPP, errno.EPERM)
        kinds = {UnionView(root).lkind(f"/{child.name}") for child in root.iterdir()}
        assert {"fifo" if isinstance(node, Fifo) else "device"} == kinds

    @pytest.mark.rule("C7")
    def test_they_can_be_deleted(self, writing: Builder) -> None:
        """unlink needs no copy."""
        root = writing.over(Dir({"s": Fifo()}))
        (root / "s").unlink()
        assert ["/s"] == writing.upper.whiteouts()
        (root / "s").write_bytes(b"a file now")
        assert b"a file now" == (root / "s").read_bytes()

    @pytest.mark.rule("C7")
    @pytest.mark.parametrize("kind", ["memory-oci", "local-oci"])
    def test_a_device_0_0_is_none_to_make(self, tmp_path: Path, kind: str) -> None:
        """A device 0:0 in a layer of another format is copied up as one, or refused; never in overlayfs."""
        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(Dir({"s": Device(0, 0)}))
        if (root / "s").exists():
            try:
                (root / "s").chmod(0o600)
            except OSError as error:
                assert error.errno in (errno.EOPNOTSUPP, errno.EPERM)
            assert "device" == UnionView(root).lkind("/s")
        builder.close()


class TestHardLinks:
    """C8: several names of one object."""

    @staticmethod
    def linked(builder: Builder) -> None:
        """Give the lower's `f` a second name, `g`."""
        if builder.ground.writer is DiskWriter:
            at = builder.lower.writer.source
            assert isinstance(at, Path)
            os.link(at / "f", at / "g")
            return
        from unionpath.stores.memory import MemoryStore

        store = builder.lower.store
        assert isinstance(store, MemoryStore)
        store.root().link("g", store.root(), "f")

    @pytest.mark.rule("C8")
    def test_copy_up_breaks_the_link(self, writing: Builder) -> None:
        """The other name keeps the old bytes."""
        writing.needs(links=True)
        root = writing.over(LOWER, prepare=self.linked)
        write(root / "f", "ab")
        assert (b"lowernew", b"lower") == ((root / "f").read_bytes(), (root / "g").read_bytes())
        assert not holds(writing, "/g")

    @pytest.mark.rule("C8")
    def test_linking_a_lower_file(self, writing: Builder) -> None:
        """Copies it up first, and both names share it."""
        writing.needs(links=True)
        root = writing.over(LOWER)
        (root / "plain/l").hardlink_to(root / "f")
        assert (root / "plain/l").samefile(root / "f")
        write(root / "plain/l", "ab")
        assert b"lowernew" == (root / "f").read_bytes()
        assert 2 == (root / "f").stat().st_nlink
        (root / "f").unlink()
        assert ["/f"] == writing.upper.whiteouts()
        assert b"lowernew" == (writing.reopened() / "plain/l").read_bytes()

    @pytest.mark.rule("C8")
    def test_linking_a_link(self, writing: Builder) -> None:
        """Links the symbolic link itself."""
        root = writing.over(Dir({**LOWER.entries, "l": Link("f"), "broken": Link("nowhere")}))
        for name, target in (("l", "f"), ("broken", "nowhere")):
            (root / f"{name}2").hardlink_to(root / name)
            assert target == str((root / f"{name}2").readlink())

    @pytest.mark.rule("C8")
    @pytest.mark.parametrize(
        ("source", "target", "expected"),
        [
            ("d", "new", "EPERM"),
            ("d", "f", "EEXIST"),
            ("f", "plain/f", "EEXIST"),
            ("f", "d", "EEXIST"),
            ("f", "f", "EEXIST"),
            ("f", "missing/x", "ENOENT"),
            ("f", "plain/f/x", "ENOTDIR"),
            ("missing", "new", "ENOENT"),
            ("missing", "f", "ENOENT"),
            ("d", "missing/x", "ENOENT"),
        ],
    )
    def test_refusals(self, writing: Builder, source: str, target: str, expected: str) -> None:
        """link of a directory is EPERM (EEXIST if the target exists)."""
        writing.needs(links=True)
        root = writing.over(LOWER)
        before = writing.upper.names()
        assert expected == refusal(lambda: (root / target).hardlink_to(root / source))
        assert before == writing.upper.names()


class TestReadersAndWriters:
    """C9: those who came earlier."""

    @pytest.mark.rule("C9")
    @pytest.mark.parametrize("change", TRIGGERS.values(), ids=TRIGGERS)
    def test_a_reader_reads_on(self, writable: Builder, change: Change) -> None:
        """A reader opened before a copy-up keeps reading the object that it opened, whole and unmixed."""
        _needs_times(writable, change)
        data = b"".join(b"%06d" % number for number in range(10_000))
        root = writable.over(Dir({"d": Dir({"f": File(data)})}))
        with (root / "d/f").open("rb") as file:
            start = file.read(100)
            change(root / "d/f")
            assert data == start + file.read()
            file.seek(0)
            assert data == file.read()

    @pytest.mark.rule("C9")
    def test_two_who_opened_before_the_copy_write_to_one_file(self, writable: Builder) -> None:
        """The file is copied once, and no write is lost."""
        if not writable.ground.modes:
            pytest.skip("an object store shows what was written when the file is closed, all of it at once")
        root = writable.over(Dir({"f": File(b"." * 30)}))
        with (root / "f").open("r+b", 0) as one, (root / "f").open("r+b", 0) as two:
            one.write(b"one")
            two.seek(10)
            two.write(b"two")
            one.seek(20)
            one.write(b"three")
            two.seek(0)
            assert b"one" == two.read(3)
        assert b"one......." + b"two......." + b"three....." == (root / "f").read_bytes()

    @pytest.mark.rule("C9", "D1")
    def test_a_name_deleted_under_a_writer_stays_gone(self, writable: Builder) -> None:
        """A write to what was deleted meanwhile doesn't bring the name back."""
        root = writable.over(LOWER)
        with _closing_may_fail((root / "d/e/f").open("r+b", 0)) as file:
            (root / "d/e/f").unlink()
            _try(lambda: file.write(b"D"))
        assert not (root / "d/e/f").exists()
        assert ["/d/e/f"] == writable.upper.whiteouts()
        with _closing_may_fail((root / "plain/f").open("ab", 0)) as file:
            (root / "plain").rmtree()
            _try(lambda: file.write(b"D"))
        assert not (root / "plain").exists()

    @pytest.mark.rule("C9", "R1")
    def test_a_name_moved_under_a_writer(self, writable: Builder) -> None:
        """The write follows the object or fails; the old name isn't made again."""
        root = writable.over(LOWER)
        failed = True
        with _closing_may_fail((root / "d/e/f").open("r+b", 0)) as file:
            (root / "d/e/f").rename(root / "moved")
            failed = not _try(lambda: file.write(b"D"))
        assert not (root / "d/e/f").exists()
        if not failed and writable.ground.modes:
            assert b"Deep" == (root / "moved").read_bytes()

    @pytest.mark.rule("C9", "C11")
    def test_a_name_replaced_under_a_writer(self, writable: Builder) -> None:
        """The writer's bytes and the replacement's don't mix with the old file's."""
        root = writable.over(LOWER)
        with _closing_may_fail((root / "f").open("r+b", 0)) as file:
            (root / "other").write_bytes(b"REPLACED")
            (root / "other").replace(root / "f")
            _try(lambda: file.write(b"L"))
        if writable.ground.modes:
            assert b"REPLACED" == (root / "f").read_bytes()

    @pytest.mark.rule("C9")
    @pytest.mark.parametrize("kind", ["local-oci", "local-overlayfs", "memory-oci", "memory-table"])
    def test_threads_that_race_to_copy_up(self, tmp_path: Path, kind: str) -> None:
        """Each line that someone appended is there, once, behind the lower's."""
        builder = Builder(BY_ID[kind], tmp_path)
        for attempt in range(5):
            (tmp_path / f"{attempt}").mkdir()
            union = Builder(BY_ID[kind], tmp_path / f"{attempt}")
            root = union.over(Dir({"d": Dir({"log": File(b"first\n")})}))
            lines = [f"thread {number}\n".encode() for number in range(8)]
            _at_once([partial(write, root / "d/log", "ab", line) for line in lines])
            found = (root / "d/log").read_bytes().splitlines(keepends=True)
            assert b"first\n" == found[0]
            assert sorted(lines) == sorted(found[1:])
            union.close()
        builder.close()

    @pytest.mark.rule("C9", "D6")
    @pytest.mark.parametrize("kind", ["local-oci", "local-overlayfs", "memory-oci", "memory-table"])
    @pytest.mark.parametrize("over", ["nothing", "whiteout"])
    def test_exclusive_creation_has_one_winner(self, tmp_path: Path, kind: str, over: str) -> None:
        """Of many who create a name exclusively, one succeeds, and the others hear EEXIST."""
        for attempt in range(5):
            (tmp_path / f"{attempt}").mkdir()
            union = Builder(BY_ID[kind], tmp_path / f"{attempt}")
            root = union.over(Dir({"d": Dir({"n": File()})}))
            name = "n" if over == "whiteout" else "m"
            if over == "whiteout":
                (root / "d/n").unlink()
            won: list[int] = []

            def create(number: int, at: UnionPath = root / "d" / name, won: list[int] = won) -> None:
                try:
                    write(at, "xb", b"%d" % number)
                except FileExistsError:
                    return
                won.append(number)

            _at_once([partial(create, number) for number in range(8)])
            assert 1 == len(won)
            assert b"%d" % won[0] == (root / "d" / name).read_bytes()
            union.close()


def _try(call: Callable[[], object]) -> bool:
    """Tell whether a call succeeds."""
    try:
        call()
    except OSError:
        return False
    return True


@contextmanager
def _closing_may_fail(file: io.IOBase) -> Iterator[io.RawIOBase]:
    try:
        yield file  # type: ignore[misc]  # opened unbuffered
    finally:
        _try(file.close)


def _at_once(calls: list[Callable[[], object]]) -> None:
    """Make calls from as many threads, starting together; their errors are raised."""
    barrier = threading.Barrier(len(calls))
    errors: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            call()
        except BaseException as error:  # noqa: BLE001  # for the main thread to raise
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class TestOwnersAndModes:
    """C10: what is kept, and what new entries get."""

    @pytest.mark.rule("C10")
    @pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711, 0o1644])
    @pytest.mark.parametrize("how", ["utime", "rename", "copy_up", "link"])
    def test_special_bits_are_kept(self, disk: Builder, mode: int, how: str) -> None:
        """Copy-up keeps owner, setuid and setgid bits and times."""

        def prepare(builder: Builder) -> None:
            if os.getuid() == 0:
                builder.lower.stamp("tool", uid=1234, gid=4321)
            builder.lower.writer.chmod(("tool",), mode)
            builder.lower.stamp("tool", mtime_ns=LONG_AGO)

        root = disk.over(Dir({"tool": File(b"run")}), prepare=prepare)
        at = root / "tool"
        before = at.stat()
        changes: dict[str, Callable[[], object]] = {
            "utime": lambda: at.utime(ns=(1, LONG_AGO)),
            "rename": lambda: at.rename(root / "moved"),
            "copy_up": at.copy_up,
            "link": lambda: (root / "moved").hardlink_to(at),
        }
        changes[how]()
        after = (root / ("moved" if how == "rename" else "tool")).stat()
        assert mode == stat.S_IMODE(after.st_mode)
        assert (before.st_uid, before.st_gid, LONG_AGO) == (after.st_uid, after.st_gid, after.st_mtime_ns)

    @pytest.mark.rule("C10")
    def test_a_setgid_directory_gives_its_group(self, writing: Builder) -> None:
        """A new entry in a setgid directory takes its group, a subdirectory the bit too."""
        writing.needs(modes=True)
        if os.getuid() != 0:
            pytest.skip("giving files to other groups needs root")

        def prepare(builder: Builder) -> None:
            builder.lower.stamp("d", gid=4321)
            builder.lower.writer.chmod(("d",), 0o2775)

        root = writing.over(Dir({"d": Dir({"f": File(), "sub": Dir()})}), prepare=prepare)
        assert 0o2775 == stat.S_IMODE((root / "d").stat().st_mode)
        (root / "d/f").unlink()
        (root / "d/sub").rmdir()
        made: dict[str, Callable[[UnionPath], object]] = {
            "f": lambda at: at.write_bytes(b""),  # over a whiteout
            "g": lambda at: at.open("x").close(),
            "t": lambda at: at.touch(),
            "sub": lambda at: at.mkdir(),  # over a whiteout
            "new": lambda at: at.mkdir(0o700),
        }
        for name, make in made.items():
            make(root / "d" / name)
            assert (name, 4321) == (name, (root / "d" / name).stat().st_gid)
        assert 0o2775 == stat.S_IMODE((root / "d").stat().st_mode)
        for name in ("sub", "new"):
            assert (root / "d" / name).stat().st_mode & stat.S_ISGID
        (root / "d/new/deep").mkdir()
        assert 4321 == (root / "d/new/deep").stat().st_gid

    @pytest.mark.rule("C10")
    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077])
    @pytest.mark.parametrize("whited_out", [False, True], ids=["new", "over-whiteout"])
    def test_umask(self, disk: Builder, mask: int, whited_out: bool) -> None:
        """`umask` applies to new entries as the operating system does it, and to nothing else."""
        root = disk.over(Dir({"d": Dir({"f": File(), "x": File(), "t": File(), "s": Dir(), "m": Dir()})}))
        if not whited_out:
            disk.close()
            root = disk.reopened()
        names = [("f", 0o666), ("x", 0o666), ("t", 0o640), ("b", 0o666), ("s", 0o777), ("m", 0o751)]
        suffix = "" if whited_out else "new"
        if whited_out:
            for child in list((root / "d").iterdir()):
                child.rmdir() if child.is_dir() else child.unlink()
        d = root / "d"
        old = os.umask(mask)
        try:
            (d / f"f{suffix}").open("w").close()
            (d / f"x{suffix}").open("x").close()
            (d / f"t{suffix}").touch(0o640)
            (d / f"b{suffix}").write_bytes(b"")
            (d / f"s{suffix}").mkdir()
            (d / f"m{suffix}").mkdir(0o751)
        finally:
            os.umask(old)
        for name, asked in names:
            found = stat.S_IMODE((d / f"{name}{suffix}").stat().st_mode)
            assert (name, f"{asked & ~mask:04o}") == (name, f"{found:04o}")
        assert 0o755 == stat.S_IMODE(d.stat().st_mode)

    @pytest.mark.rule("C10")
    @pytest.mark.parametrize("mask", [0o000, 0o077])
    def test_umask_does_not_touch_copies(self, disk: Builder, mask: int) -> None:
        """A copy has the mode of what it was copied from."""
        root = disk.over(LOWER)
        old = os.umask(mask)
        try:
            write(root / "d/e/f", "ab")
            (root / "f").write_bytes(b"new")
        finally:
            os.umask(old)
        modes = [stat.S_IMODE((root / path).stat().st_mode) for path in ("d", "d/e", "d/e/f", "f")]
        assert [0o711, 0o750, 0o604, 0o640] == modes

    @pytest.mark.rule("C10", "M3")
    def test_foreign_kernel_marks_are_not_copied(self, tmp_path: Path) -> None:
        """Attributes that are a format's own stay where they are; others come along."""
        if (reason := no_trusted_xattrs()) is not None:
            pytest.skip(reason)
        builder = Builder(BY_ID["local-overlayfs"], tmp_path)

        def prepare(builder: Builder) -> None:
            at = builder.lower.writer
            at.set_xattr(("d",), "trusted.overlay.origin", b"kernel")
            at.set_xattr(("d",), "trusted.overlay.impure", b"y")
            at.set_xattr(("d", "f"), "trusted.overlay.origin", b"kernel")
            at.set_xattr(("d", "f"), "trusted.note", b"kept")

        builder.ground.require()
        root = builder.over(Dir({"d": Dir({"f": File()})}), prepare=prepare)
        assert ["trusted.note"] == (root / "d/f").listxattr()
        (root / "d/f").chmod(0o600)
        assert ["trusted.note"] == (root / "d/f").listxattr()
        held = raw.tree(builder.upper.store)
        for path in ("/d", "/d/f"):
            assert b"kernel" not in [value for _, value in held[path].attributes]
        builder.close()


class TestAllOrNothing:
    """C11: write_text and write_bytes."""

    @pytest.mark.rule("C11")
    @pytest.mark.parametrize("where", ["lower", "upper"])
    def test_metadata_is_kept(self, writing: Builder, where: str) -> None:
        """A lower's or singly linked upper file is published complete, keeping owner, mode and xattrs."""
        writing.needs(modes=True)
        tree = Dir({"f": File(b"old", 0o606)})
        uid, gid = (1234, 4321) if os.getuid() == 0 else (-1, -1)

        def prepare(builder: Builder) -> None:
            site = builder.lower if where == "lower" else builder.upper
            site.stamp("f", uid=uid, gid=gid, note=b"kept")

        lower, upper = (tree, Dir()) if where == "lower" else (Dir(), tree)
        root = writing.over(lower, upper=upper, prepare=prepare)
        before = (root / "f").stat()
        assert 3 == (root / "f").write_bytes(b"new")
        assert 4 == (root / "f").write_text("text")
        after = (root / "f").stat()
        assert b"text" == (root / "f").read_bytes()
        assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
        assert b"kept" == (root / "f").getxattr("user.note")

    @pytest.mark.rule("C11", "C8")
    def test_a_file_with_several_names_is_written_in_place(self, writing: Builder) -> None:
        """A multiply linked upper file is written in place, as the operating system does."""
        writing.needs(links=True)
        root = writing.over(LOWER)
        (root / "new").write_bytes(b"old and long")
        (root / "other").hardlink_to(root / "new")
        (root / "new").write_bytes(b"short")
        assert b"short" == (root / "other").read_bytes()
        assert (root / "new").samefile(root / "other")
        (root / "other").write_text("longer than before")
        assert "longer than before" == (root / "new").read_text()

    @pytest.mark.rule("C11")
    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            (lambda at: at.write_text(b"bytes"), TypeError),
            (lambda at: at.write_text(None), TypeError),
            (lambda at: at.write_bytes("text"), TypeError),
            (lambda at: at.write_bytes(None), TypeError),
            (lambda at: at.write_text("ß", encoding="ascii"), UnicodeEncodeError),
            (lambda at: at.write_text("\udc80", encoding="utf-8"), UnicodeEncodeError),
            (lambda at: at.write_text("x", encoding="no-such"), LookupError),
            (lambda at: at.write_text("x", newline="?"), ValueError),
            (lambda at: at.open("q"), ValueError),
            (lambda at: at.open("wb", encoding="utf-8"), ValueError),
            (lambda at: at.open("w", encoding="no-such"), LookupError),
            (lambda at: at.open("w", newline="?"), ValueError),
            (lambda at: at.open("w", buffering=0), ValueError),
            (lambda at: at.chmod("0644"), TypeError),
            (lambda at: at.utime((1, 2), ns=(1, 2)), ValueError),
            (lambda at: at.utime((1,)), TypeError),
        ],
    )
    @pytest.mark.parametrize("name", ["f", "new"])
    def test_wrong_arguments_change_nothing(
        self, memory: Builder, change: Change, kind: type[Exception], name: str
    ) -> None:
        """Wrong argument types are refused before anything changes."""
        root = memory.over(LOWER)
        before = memory.upper.names()
        with pytest.raises(kind):
            change(root / name)
        assert before == memory.upper.names()
        assert b"lower" == (root / "f").read_bytes()

    @pytest.mark.rule("C11")
    @pytest.mark.parametrize("kind", ["local-oci", "local-overlayfs", "memory-oci"])
    def test_readers_see_one_or_the_other(self, tmp_path: Path, kind: str) -> None:
        """Whoever reads meanwhile sees the old content or the new, whole."""
        builder = Builder(BY_ID[kind], tmp_path)
        contents = [bytes([number]) * 300_000 for number in b"ABC"]
        root = builder.over(Dir({"f": File(contents[0])}))
        seen: set[bytes] = set()
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                seen.add((root / "f").read_bytes())

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(30):
            (root / "f").write_bytes(contents[number % 3])
        done.set()
        reader.join()
        assert seen <= {*contents}
        builder.close()

    @pytest.mark.rule("C11", "E6")
    @pytest.mark.parametrize("where", ["lower", "upper", "new", "whiteout"])
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
    def test_a_fault_leaves_the_old_content(self, tmp_path: Path, where: str, number: int) -> None:
        """All or nothing at every instant: a store that fails at any step leaves old or new."""
        from faults import FaultyStore

        for call in range(1, 40):
            made: list[FaultyStore] = []

            def around(store: Store, made: list[FaultyStore] = made) -> Store:
                made.append(FaultyStore(store))
                return made[0]

            (tmp_path / f"{call}").mkdir()
            builder = Builder(BY_ID["memory-oci"], tmp_path / f"{call}")
            there = {"f": File(b"old")}
            root = builder.over(
                Dir(there if where in ("lower", "whiteout") else {}),
                upper=Dir(there if where == "upper" else {}),
                wrap=around,
            )
            if where == "whiteout":
                (root / "f").unlink()
            before = _content(root / "f")
            made[0].fail(number, call=call)
            failed = not _try(partial((root / "f").write_bytes, b"new"))
            reached = made[0].failed
            made[0].heal()
            assert _content(root / "f") == (before if failed else b"new")
            (root / "f").write_bytes(b"again")
            assert b"again" == _content(root / "f")
            builder.close()
            if not reached:
                return
        raise AssertionError("write_bytes takes forty steps and more")


def _content(at: UnionPath) -> bytes | None:
    return at.read_bytes() if at.exists() else None


@pytest.mark.rule("C12")
@pytest.mark.parametrize("number", [errno.EPERM, errno.EIO])
def test_touch_raises_when_times_cannot_be_set(tmp_path: Path, number: int) -> None:
    """touch raises when setting the times fails."""
    from faults import FaultyStore

    made: list[FaultyStore] = []

    def around(store: Store) -> Store:
        made.append(FaultyStore(store))
        return made[0]

    builder = Builder(BY_ID["memory-oci"], tmp_path)
    root = builder.over(Dir(), upper=Dir({"f": File(b"data")}), wrap=around)
    made[0].fail(number, {"utime"})
    assert errno.errorcode[number] == refusal((root / "f").touch)
    made[0].heal()
    (root / "f").touch()
    builder.close()


@pytest.mark.rule("C3", "C1")
@pytest.mark.parametrize("upper", ["local-oci", "local-overlayfs", "memory-table", "upath-oci"])
@pytest.mark.parametrize("lower", ["local-table", "local-overlayfs", "memory-unionfs", "upath-table"])
def test_across_kinds_of_stores(tmp_path: Path, upper: str, lower: str) -> None:
    """Upper and lower may be of different stores and formats: what both can hold comes up unchanged."""
    from unionpath import LayerStack

    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
    top, below = BY_ID[upper], BY_ID[lower]
    tree = Dir({"d": Dir({"f": File(b"data", 0o640), "g": File(b"g")}), "h": File(b"h")})
    top.require(Dir())
    below.require(tree)
    site = below.site(tmp_path / "lower").build(tree)
    own = top.site(tmp_path / "upper")
    with LayerStack([site.layer()], upper=own.layer()) as stack:
        write(stack / "d/f", "ab", b"!")
        (stack / "d/g").unlink()
        (stack / "h").rename(stack / "d/h")
        assert b"data!" == (stack / "d/f").read_bytes()
        assert ["f", "h"] == [child.name for child in (stack / "d").iterdir()]
        assert ["d"] == [child.name for child in stack.root.iterdir()]
        if top.modes and below.modes:
            assert 0o640 == stat.S_IMODE((stack / "d/f").stat().st_mode)
        assert ["/d/g", "/h"] == own.whiteouts()


def test_the_grounds_have_disks() -> None:
    """Those that can only be tried on disks are."""
    assert "local-overlayfs" in [ground.id for ground in DISKS]
    assert all(isinstance(ground, Ground) for ground in DISKS)
