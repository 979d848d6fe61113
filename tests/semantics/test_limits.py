"""Family E for unions that are written to: errors, limits of stores, faults, and uppers that go away."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import guard
import raw
from changes import CREATORS, SOURCES, Change, Creator, write
from faults import CHANGES, FaultyStore
from grounds import BY_ID
from trees import Dir, File, Link, Whiteout
from unions import Builder
from views import Row, UnionView, refusal

if TYPE_CHECKING:
    from unionpath import UnionPath
    from unionpath.model.store import Store

LOWER = Dir(
    {
        "f": File(b"f", 0o640),
        "g": File(b"g"),
        "d": Dir({"x": File(b"x"), "sub": Dir({"y": File(b"y")})}, mode=0o750),
        "e": Dir({"w": File(b"w")}),
        "empty": Dir(),
        "gone": Dir({"old": File(b"old")}),
        "l": Link("f"),
    }
)
UPPER = Dir(
    {"own": File(b"own"), "mine": Dir({"m": File(b"m")}), "gone": Whiteout(), "e": Dir({"v": File(b"v")})}
)

OPERATIONS: dict[str, Change] = {
    "create": lambda root: (root / "new").write_bytes(b"new"),
    "create in a lower directory": lambda root: (root / "d/sub/new").write_bytes(b"new"),
    "create over a whiteout": lambda root: (root / "gone").write_bytes(b"new"),
    "open x": lambda root: write(root / "d/new", "xb"),
    "append": lambda root: write(root / "d/x", "ab"),
    "append in the upper": lambda root: write(root / "own", "ab"),
    "overwrite": lambda root: (root / "d/x").write_bytes(b"new"),
    "overwrite in the upper": lambda root: (root / "own").write_bytes(b"new"),
    "mkdir": lambda root: (root / "d/new").mkdir(),
    "mkdir over a whiteout": lambda root: (root / "gone").mkdir(),
    "symlink": lambda root: (root / "d/link").symlink_to("x"),
    "link": lambda root: (root / "d/linked").hardlink_to(root / "f"),
    "chmod": lambda root: (root / "d/x").chmod(0o600),
    "chmod a directory": lambda root: (root / "d").chmod(0o700),
    "utime": lambda root: (root / "d/x").utime(ns=(1, 2)),
    "touch": lambda root: (root / "d/x").touch(),
    "unlink": lambda root: (root / "d/x").unlink(),
    "unlink in the upper": lambda root: (root / "mine/m").unlink(),
    "rmdir": lambda root: (root / "empty").rmdir(),
    "rmtree": lambda root: (root / "d").rmtree(),
    "rmtree of a merged one": lambda root: (root / "e").rmtree(),
    "rmtree in the upper": lambda root: (root / "mine").rmtree(),
    "rename": lambda root: (root / "f").rename(root / "d/f"),
    "rename in the upper": lambda root: (root / "own").rename(root / "mine/own"),
    "replace": lambda root: (root / "f").replace(root / "g"),
    "rename onto a whiteout": lambda root: (root / "own").rename(root / "gone"),
    "rename a directory": lambda root: (root / "d").rename(root / "moved"),
    "rename a merged directory": lambda root: (root / "e").rename(root / "gone"),
    "rename a directory of the upper": lambda root: (root / "mine").rename(root / "empty"),
    "copy_up": lambda root: (root / "d/sub/y").copy_up(),
}
MIDDLE: dict[str, Change] = {
    "open x": lambda root: (root / "d/new").touch(),
    "append": lambda root: None,
    "append in the upper": lambda root: None,
}
"""What `open`, `write` and `close`, which are three operations, may leave when the second or third fails."""


class Sight(NamedTuple):
    """What a union shows, and what its upper holds."""

    rows: list[Row]
    names: list[str]
    whiteouts: list[str]
    opaques: list[str]


def sight(builder: Builder, root: UnionPath) -> Sight:
    """
    Look at all of it; times aside, as an attempt may leave a new time on a directory.

    What was copied up for something that then failed is left aside, too: it looks as before.
    """
    rows = [(*row[:5], 0, row[6]) for row in UnionView(root).whole()]
    site = builder.upper
    plain = [name for name in site.names() if name not in ("/d", "/d/sub", "/e", "/f")]
    return Sight(rows, plain, site.whiteouts(), site.opaques())


class Faulty:
    """A union whose upper fails on demand."""

    def __init__(self, kind: str, directory: Path) -> None:
        directory.mkdir()
        self.builder = Builder(BY_ID[kind], directory)
        self._stores: list[FaultyStore] = []
        self.root = self.builder.over(LOWER, upper=UPPER, wrap=self._around)
        (self.root / "warm").touch()  # the work area is there from now on
        (self.root / "warm").unlink()

    @property
    def store(self) -> FaultyStore:
        return self._stores[0]

    def _around(self, store: Store) -> Store:
        self._stores.append(FaultyStore(store))
        return self._stores[0]

    def staged(self) -> list[str]:
        """List what lies in the work area of an upper that has it inside, but for the sessions themselves."""
        stage = f"/{raw.WORK}/stage/"
        return [
            path
            for path in raw.tree(self.builder.upper.store)
            if path.startswith(stage) and "/" in path.removeprefix(stage) and not path.endswith("/volatile")
        ]


class TestFaults:
    """E6: a store that fails at any step."""

    @pytest.mark.rule("E6", "E5")
    @pytest.mark.parametrize("kind", ["memory-oci", "memory-overlayfs", "memory-table"])
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_failed_operation_leaves_nothing(self, tmp_path: Path, kind: str, operation: str) -> None:
        """After ENOSPC at any step the state is that before the operation, without litter."""
        change = OPERATIONS[operation]
        after = self.done(kind, tmp_path / "after", change)
        middle = self.done(kind, tmp_path / "middle", MIDDLE.get(operation, change))
        before = self.done(kind, tmp_path / "before", lambda root: None)
        for call in range(1, 80):
            faulty = Faulty(kind, tmp_path / f"{call}")
            faulty.store.fail(errno.ENOSPC, call=call)
            failed = refusal_or_none(change, faulty.root)
            reached, where = faulty.store.failed, (call, *faulty.store.seen[call - 1 : call], failed)
            faulty.store.heal()
            found = sight(faulty.builder, faulty.root)
            assert failed in (None, "ENOSPC")
            assert (where, []) == (where, faulty.staged() if failed else [])
            if failed and operation in MIDDLE:
                assert (where, True) == (where, found.rows in (before.rows, middle.rows, after.rows))
            elif failed:
                assert (where, "before") == (where, _which(found, before=before, after=after))
                change(faulty.root)  # it can be repeated
                found = sight(faulty.builder, faulty.root)
            if not failed or operation not in MIDDLE:
                # Where it went on all the same, it went on to the end; a mark without meaning may stay.
                assert (where, True) == (where, after.rows == found.rows)
                again = sight(faulty.builder, faulty.builder.reopened())
                assert (where, True) == (where, after.rows == again.rows)
                assert (where, []) == (where, faulty.staged())
            faulty.builder.close()
            if not reached:
                return
        raise AssertionError("eighty steps and no end")

    @pytest.mark.rule("E6", "E5")
    @pytest.mark.parametrize("kind", ["memory-oci", "memory-overlayfs", "memory-table"])
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_store_that_is_gone_for_good(self, tmp_path: Path, kind: str, operation: str) -> None:
        """If nothing can be undone either, the state is the one before or the one after all the same."""
        change = OPERATIONS[operation]
        before = self.done(kind, tmp_path / "before", lambda root: None).rows
        after = self.done(kind, tmp_path / "after", change).rows
        middle = self.done(kind, tmp_path / "middle", MIDDLE.get(operation, change)).rows
        allowed = [before, middle, after]
        if operation.startswith("rename"):
            # A rename that can't be one step may show both names, never neither.
            allowed.append(sorted({*before, *after}))
        for call in range(1, 80):
            faulty = Faulty(kind, tmp_path / f"{call}")
            faulty.store.fail(errno.EIO, call=call, onwards=True)
            failed = refusal_or_none(change, faulty.root)
            reached, seen = faulty.store.failed, faulty.store.seen[call - 1 : call]
            faulty.store.heal()
            assert failed in (None, "EIO")
            now = sight(faulty.builder, faulty.root).rows
            assert (call, seen, True) == (call, seen, now in allowed)
            root = faulty.builder.reopened()
            now = sight(faulty.builder, root).rows
            assert (call, seen, True) == (call, seen, now in allowed)
            assert (call, seen, []) == (call, seen, faulty.staged())
            faulty.builder.close()
            if not reached:
                return
        raise AssertionError("eighty steps and no end")

    @staticmethod
    def done(kind: str, directory: Path, change: Change) -> Sight:
        """Look at a union after a change to which nothing happens."""
        faulty = Faulty(kind, directory)
        change(faulty.root)
        seen = sight(faulty.builder, faulty.root)
        faulty.builder.close()
        return seen

    @pytest.mark.rule("E6", "E2")
    @pytest.mark.parametrize(
        "number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EACCES, errno.EMFILE, errno.EROFS]
    )
    @pytest.mark.parametrize("operation", ["create", "append", "unlink", "rename", "mkdir over a whiteout"])
    def test_the_errno_is_the_stores(self, tmp_path: Path, number: int, operation: str) -> None:
        """Whatever the store says is raised, with the union's path, and the store's own error as cause."""
        faulty = Faulty("memory-oci", tmp_path / "one")
        faulty.store.fail(number, CHANGES - {"sync"})
        with pytest.raises(OSError) as caught:
            OPERATIONS[operation](faulty.root)
        assert errno.errorcode[number] == errno.errorcode[caught.value.errno or 0]
        assert caught.value.filename in ("/new", "/d/x", "/f", "/gone", "/d")
        assert isinstance(caught.value.__cause__, OSError)
        faulty.store.heal()
        faulty.builder.close()


def refusal_or_none(call: Callable[..., object], *arguments: object) -> str | None:
    """Name the errno of a refusal; None if there is none."""
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return None


def _which(found: Sight, **known: Sight) -> str:
    """Name the known state that was found, or say how it differs from the first."""
    for name, state in known.items():
        if state == found:
            return name
    state = next(iter(known.values()))
    wrong = []
    for part in Sight._fields:
        old, new = {*getattr(state, part)}, {*getattr(found, part)}
        if old != new:
            wrong.append(f"{part}: less {sorted(old - new)}, more {sorted(new - old)}")
    return f"not {next(iter(known))}: {'; '.join(wrong)}"


class TestErrors:
    """E2: one kind of error."""

    @pytest.mark.rule("E2")
    @pytest.mark.parametrize(
        ("call", "path", "kind", "number"),
        [
            (lambda p: p.unlink(), "missing", FileNotFoundError, errno.ENOENT),
            (lambda p: p.unlink(), "d", IsADirectoryError, errno.EISDIR),
            (lambda p: p.rmdir(), "d", OSError, errno.ENOTEMPTY),
            (lambda p: p.rmdir(), "f", NotADirectoryError, errno.ENOTDIR),
            (lambda p: p.mkdir(), "d", FileExistsError, errno.EEXIST),
            (lambda p: p.mkdir(), "missing/x", FileNotFoundError, errno.ENOENT),
            (lambda p: p.mkdir(), "f/x", NotADirectoryError, errno.ENOTDIR),
            (lambda p: p.mkdir(parents=True), "f/x/y", NotADirectoryError, errno.ENOTDIR),
            (lambda p: p.mkdir(exist_ok=True), "f", FileExistsError, errno.EEXIST),
            (lambda p: p.touch(exist_ok=False), "f", FileExistsError, errno.EEXIST),
            (lambda p: p.touch(), "missing/x", FileNotFoundError, errno.ENOENT),
            (lambda p: p.write_bytes(b""), "d", IsADirectoryError, errno.EISDIR),
            (lambda p: p.write_text(""), "f/x", NotADirectoryError, errno.ENOTDIR),
            (lambda p: p.open("x"), "f", FileExistsError, errno.EEXIST),
            (lambda p: p.open("r+"), "missing", FileNotFoundError, errno.ENOENT),
            (lambda p: p.rmtree(), "missing", FileNotFoundError, errno.ENOENT),
            (lambda p: p.copy_up(), "missing", FileNotFoundError, errno.ENOENT),
        ],
    )
    def test_errors_carry_errno_and_path(
        self,
        writable: Builder,
        call: Change,
        path: str,
        kind: type[OSError],
        number: int,
    ) -> None:
        """Errors are `OSError` with errno and the union's path."""
        root = writable.over(LOWER if writable.ground.links else Dir({**LOWER.entries, "l": File()}))
        before = writable.upper.names()
        at = root / path
        with pytest.raises(kind) as caught:
            call(at)
        assert (errno.errorcode[number], str(at)) == (
            errno.errorcode[caught.value.errno or 0],
            caught.value.filename,
        )
        assert before == writable.upper.names()

    @pytest.mark.rule("E2", "L10")
    @pytest.mark.parametrize("make", ["write_bytes", "mkdir", "rename", "touch", "x", "symlink"])
    @pytest.mark.parametrize("name", ["n" * 256, "d/" + "ü" * 128])
    def test_names_that_are_too_long(self, writing: Builder, make: str, name: str) -> None:
        """ENAMETOOLONG where the upper can't hold the name."""
        writing.needs(links=True)
        root = writing.over(LOWER)
        before = writing.upper.names()
        at = root / name
        calls: dict[str, Callable[[], object]] = {
            "write_bytes": lambda: at.write_bytes(b""),
            "mkdir": at.mkdir,
            "rename": lambda: (root / "f").rename(at),
            "touch": at.touch,
            "x": lambda: at.open("x"),
            "symlink": lambda: at.symlink_to("f"),
        }
        assert "ENAMETOOLONG" == refusal(calls[make])
        assert before == writing.upper.names()

    @pytest.mark.rule("E2")
    @pytest.mark.parametrize("method", ["rename", "replace"])
    def test_rename_names_both(self, memory: Builder, method: str) -> None:
        """Both paths for rename."""
        root = memory.over(LOWER)
        with pytest.raises(OSError) as caught:
            getattr(root / "missing", method)(root / "d/new")
        assert ("/missing", "/d/new") == (caught.value.filename, caught.value.filename2)
        assert "'/missing' -> '/d/new'" in str(caught.value)

    @pytest.mark.rule("E1")
    def test_a_readonly_view_of_a_writable_stack(self, memory: Builder) -> None:
        """`readonly()` shows what the stack shows, and changes nothing."""
        root = memory.over(LOWER)
        (root / "f").write_bytes(b"new")
        assert memory.stack is not None
        with memory.stack.readonly() as view:
            assert b"new" == (view / "f").read_bytes()
            for operation in ("create", "append", "unlink", "rename", "mkdir"):
                assert "EROFS" == refusal(OPERATIONS[operation], view.root)
            (root / "f").write_bytes(b"newer")
            assert b"newer" == (view / "f").read_bytes()


class TestConstruction:
    """E3: an upper that doesn't fit."""

    @pytest.mark.rule("E3")
    @pytest.mark.parametrize("kind", ["local-oci", "local-overlayfs", "local-table", "memory-oci"])
    def test_an_upper_of_other_lowers(self, tmp_path: Path, kind: str) -> None:
        """An upper that was in use with other lowers is refused, with a message that says what to do."""
        from unionpath import LayerStack

        ground = BY_ID[kind]
        ground.require()
        one, two, upper = ground.sites(tmp_path, [LOWER, LOWER, Dir()])
        with LayerStack([one.layer()], upper=upper.layer()) as stack:
            (stack / "f").unlink()
        with pytest.raises(ValueError, match="adopt"):
            LayerStack([two.layer()], upper=upper.layer())
        with pytest.raises(ValueError, match="adopt"):
            LayerStack([two.layer(), one.layer()], upper=upper.layer())
        with LayerStack([one.layer()], upper=upper.layer()) as stack:  # it still is its own
            assert not (stack / "f").exists()
        with LayerStack([two.layer()], upper=upper.layer(), adopt=True) as stack:
            (stack / "g").unlink()
        with LayerStack([two.layer()], upper=upper.layer()) as stack:
            assert ["d", "e", "empty", "gone", "l"] == [child.name for child in stack.root.iterdir()]

    @pytest.mark.rule("E3")
    def test_an_upper_that_was_never_written(self, tmp_path: Path) -> None:
        """Looking binds an upper to nothing."""
        from unionpath import LayerStack

        one, two, upper = BY_ID["local-oci"].sites(tmp_path, [LOWER, LOWER, Dir()])
        with LayerStack([one.layer()], upper=upper.layer()) as stack:
            assert b"f" == (stack / "f").read_bytes()
        with LayerStack([two.layer()], upper=upper.layer()) as stack:
            assert b"f" == (stack / "f").read_bytes()
        assert ["/"] == [*raw.tree(upper.store)]

    @pytest.mark.rule("E4", "E3")
    def test_an_upper_that_can_not_be_written(self, tmp_path: Path) -> None:
        """A store that takes no changes is UnsupportedOperation at construction, not at the first change."""
        from unionpath import Layer, LayerStack, UnsupportedOperation
        from unionpath.stores.readonly import ReadOnlyStore

        one, upper = BY_ID["memory-oci"].sites(tmp_path, [LOWER, Dir()])
        with pytest.raises(UnsupportedOperation):
            LayerStack([one.layer()], upper=Layer(ReadOnlyStore(upper.store)))


class TestCapabilities:
    """E4: what a store can't do."""

    @pytest.mark.rule("E4")
    @pytest.mark.parametrize("kind", ["upath-oci", "upath-table"])
    @pytest.mark.parametrize(
        "change",
        [
            lambda root: (root / "d/link").symlink_to("x"),
            lambda root: (root / "gone").symlink_to("x"),
            lambda root: (root / "d/x").chmod(0o600),
            lambda root: (root / "own").chmod(0o600),
            lambda root: (root / "d").chmod(0o700),
            lambda root: (root / "d/x").chown(1, 1),
            lambda root: (root / "d/x").utime(ns=(1, 2)),
            lambda root: (root / "d/linked").hardlink_to(root / "f"),
            lambda root: (root / "d/x").setxattr("user.note", b"1"),
        ],
        ids=[
            "symlink",
            "over a whiteout",
            "chmod",
            "chmod upper",
            "chmod dir",
            "chown",
            "utime",
            "link",
            "setxattr",
        ],
    )
    def test_are_found_before_the_first_change(self, tmp_path: Path, kind: str, change: Change) -> None:
        """Links or modes on an object store are UnsupportedOperation, and not even a parent is copied up."""
        from unionpath import UnsupportedOperation

        builder = Builder(BY_ID[kind], tmp_path)
        plain = Dir({name: node for name, node in LOWER.entries.items() if name != "l"})
        root = builder.over(plain, upper=UPPER)
        before = builder.upper.names()
        with pytest.raises(UnsupportedOperation):
            change(root)
        assert before == builder.upper.names()
        builder.close()

    @pytest.mark.rule("E4")
    @pytest.mark.parametrize("kind", ["upath-oci", "upath-table"])
    def test_what_it_can_do_it_does(self, tmp_path: Path, kind: str) -> None:
        """Files and directories come, change and go; lowers with links may lie below."""
        from unionpath import LayerStack

        (tmp_path / "lower").mkdir()
        lower = BY_ID["memory-oci"].site(tmp_path / "lower").build(LOWER)
        upper = BY_ID[kind].site(tmp_path).build(UPPER)
        with LayerStack([lower.layer()], upper=upper.layer()) as stack:
            root = stack.root
            for name in ("create", "append", "unlink", "mkdir", "rmtree", "create over a whiteout", "rename"):
                if name == "rename":
                    (root / "d").mkdir()
                OPERATIONS[name](root)
            assert ["f"] == [child.name for child in (root / "d").iterdir()]
            write(root / "l", "wb", b"through the link")
            assert b"through the link" == (root / "f").read_bytes()
            shown = ["d", "e", "empty", "f", "g", "gone", "l", "mine", "new", "own"]
            assert shown == [child.name for child in root.iterdir()]


class TestDurability:
    """E7: what is synced."""

    @pytest.fixture
    def synced(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Collect what kinds of things are synced to disk, by whatever call."""
        kinds: list[str] = []
        for name in ("fsync", "fdatasync"):
            real = getattr(os, name)

            def sync(descriptor: int, real: Callable[[int], None] = real) -> None:
                kinds.append("dir" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
                real(descriptor)

            monkeypatch.setattr(os, name, sync)
        return kinds

    @pytest.mark.rule("E7")
    @pytest.mark.parametrize(
        ("durability", "expected"),
        [("auto", {"file"}), ("strict", {"file", "dir"}), ("volatile", set[str]())],
    )
    @pytest.mark.parametrize("kind", ["local-oci", "local-overlayfs", "local-table"])
    def test_of_a_copy(
        self, tmp_path: Path, synced: list[str], kind: str, durability: str, expected: set[str]
    ) -> None:
        """`auto` syncs data before it is published, `strict` directories too, `volatile` nothing."""
        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(LOWER, durability=durability)  # type: ignore[arg-type]  # one of three words
        synced.clear()
        (root / "d/x").chmod(0o600)
        assert expected == {*synced}
        builder.close()

    @pytest.mark.rule("E7")
    @pytest.mark.parametrize(
        ("durability", "files", "directories"), [("auto", 1, 0), ("strict", 1, 1), ("volatile", 0, 0)]
    )
    @pytest.mark.parametrize("where", ["new", "own", "f"])
    def test_of_write_bytes(
        self, tmp_path: Path, synced: list[str], durability: str, files: int, directories: int, where: str
    ) -> None:
        """At least so often for write_bytes, which is all or nothing after a power loss, too (C11)."""
        builder = Builder(BY_ID["local-oci"], tmp_path)
        root = builder.over(LOWER, upper=UPPER, durability=durability)  # type: ignore[arg-type]  # one of three words
        (root / "warm").touch()
        synced.clear()
        (root / where).write_bytes(b"data")
        assert (files > 0, directories > 0) == ("file" in synced, "dir" in synced)
        builder.close()

    @pytest.mark.rule("E7")
    @pytest.mark.parametrize("operation", ["unlink", "mkdir", "rename", "rmtree", "mkdir over a whiteout"])
    def test_strict_syncs_names(self, tmp_path: Path, synced: list[str], operation: str) -> None:
        """`strict`: what is deleted or renamed stays so after a power loss."""
        builder = Builder(BY_ID["local-oci"], tmp_path)
        root = builder.over(LOWER, upper=UPPER, durability="strict")
        (root / "warm").touch()
        synced.clear()
        OPERATIONS[operation](root)
        assert "dir" in synced
        builder.close()

    @pytest.mark.rule("E7", "C2")
    @pytest.mark.parametrize("durability", ["auto", "strict"])
    @pytest.mark.parametrize("name", ["d/x", "new"])
    def test_the_sync_comes_before_the_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: str, name: str
    ) -> None:
        """Data is synced before it is published: a name never shows what a power loss may take away."""
        builder = Builder(BY_ID["local-oci"], tmp_path)
        root = builder.over(LOWER, durability=durability)  # type: ignore[arg-type]  # one of two words
        (root / "warm").touch()
        published: list[bool] = []
        for function in ("fsync", "fdatasync"):
            real = getattr(os, function)

            def sync(descriptor: int, real: Callable[[int], None] = real) -> None:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    published.append((tmp_path / "0" / name).exists())
                real(descriptor)

            monkeypatch.setattr(os, function, sync)
        (root / name).write_bytes(b"new") if name == "new" else (root / name).chmod(0o600)
        assert published
        assert not published[0]
        builder.close()

    @pytest.mark.rule("E7", "E3")
    @pytest.mark.parametrize("kind", ["local-oci", "local-overlayfs", "local-table"])
    def test_a_volatile_writer_that_died(self, tmp_path: Path, kind: str) -> None:
        """A crashed volatile upper is recognised and refused until accepted."""
        from unionpath import LayerStack

        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(LOWER)
        builder.close()
        assert builder.stack is not None
        lowers, upper = builder.stack.lowers, builder.stack.upper
        if (pid := os.fork()) == 0:
            writer = LayerStack(lowers, upper=upper, durability="volatile")
            (writer / "f").unlink()
            os._exit(0)
        os.waitpid(pid, 0)
        for _ in range(2):
            with pytest.raises(ValueError, match="adopt"):
                LayerStack(lowers, upper=upper)
        with LayerStack(lowers, upper=upper, adopt=True) as stack:
            assert not (stack / "f").exists()
            (stack / "g").unlink()
        with LayerStack(lowers, upper=upper) as stack:
            assert not (stack / "g").exists()
        assert not (root / "g").exists()
        builder.close()

    @pytest.mark.rule("E5", "E7")
    @pytest.mark.parametrize("how", ["open", "recover"])
    def test_what_a_dead_writer_left(self, tmp_path: Path, how: str) -> None:
        """The next open cleans the work area, and so does `recover`."""
        builder = Builder(BY_ID["local-oci"], tmp_path)
        root = builder.over(LOWER, durability="auto")
        if (pid := os.fork()) == 0:
            root.joinpath("f").unlink()
            stage = next((tmp_path / "0" / raw.WORK / "stage").iterdir())
            (stage / "leftover").mkdir()
            (stage / "leftover/file").write_bytes(b"half")
            os._exit(0)
        os.waitpid(pid, 0)
        stage = tmp_path / "0" / raw.WORK / "stage"
        assert 1 == len([*stage.glob("*/leftover")])
        if how == "open":
            root = builder.reopened()
        elif builder.stack is not None:
            builder.stack.recover()
        assert [] == [*stage.glob("*/leftover")]
        assert ["d", "e", "empty", "g", "gone", "l"] == [child.name for child in root.iterdir()]
        builder.close()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


class TestUppersThatGo:
    """E9: an upper that is replaced, unmounted or removed under an open stack."""

    CHANGED = ("create", "append in the upper", "unlink", "mkdir", "rename", "rmtree", "overwrite", "chmod")

    @pytest.mark.rule("E9")
    @pytest.mark.parametrize("operation", CHANGED)
    @pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
    def test_replaced(self, tmp_path: Path, operation: str, used: bool) -> None:
        """It is noticed and raises; nothing lands in what took its place."""
        builder = Builder(BY_ID["local-oci"], tmp_path)
        root = builder.over(LOWER, upper=UPPER)
        if used:
            (root / "warm").touch()
            assert b"own" == (root / "own").read_bytes()
        shutil.move(tmp_path / "0", tmp_path / "away")
        shutil.copytree(tmp_path / "away", tmp_path / "0", symlinks=True)
        before = raw.tree(str(tmp_path / "0"))
        with pytest.raises(OSError) as caught:
            OPERATIONS[operation](root)
        assert "ESTALE" == errno.errorcode[caught.value.errno or 0]
        assert before == raw.tree(str(tmp_path / "0"))
        builder.close()

    @pytest.mark.rule("E9")
    @pytest.mark.parametrize("operation", CHANGED)
    @pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
    def test_removed(self, tmp_path: Path, operation: str, used: bool) -> None:
        """Removed, it isn't made again."""
        builder = Builder(BY_ID["local-oci"], tmp_path)
        root = builder.over(LOWER, upper=UPPER)
        if used:
            (root / "warm").touch()
        shutil.rmtree(tmp_path / "0")
        with pytest.raises(OSError):
            OPERATIONS[operation](root)
        assert not (tmp_path / "0").exists()
        builder.close()

    @pytest.mark.rule("E9")
    @pytest.mark.parametrize("operation", CHANGED)
    def test_a_link_in_its_place(self, tmp_path: Path, operation: str) -> None:
        """Nor is a symbolic link followed that took its place."""
        builder = Builder(BY_ID["local-oci"], tmp_path)
        root = builder.over(LOWER, upper=UPPER)
        (root / "warm").touch()
        (tmp_path / "0").rename(tmp_path / "away")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "0").symlink_to("elsewhere")
        with pytest.raises(OSError):
            OPERATIONS[operation](root)
        assert [] == [*(tmp_path / "elsewhere").iterdir()]
        builder.close()

    @pytest.mark.rule("E9", "L11")
    @pytest.mark.parametrize(
        "operation", ["create in a lower directory", "append", "unlink", "mkdir", "chmod"]
    )
    def test_a_link_in_the_place_of_a_directory_in_it(self, tmp_path: Path, operation: str) -> None:
        """A directory of the upper that someone swaps for a link leads nowhere but inside the union."""
        builder = Builder(BY_ID["local-oci"], tmp_path)
        root = builder.over(LOWER)
        (root / "d/sub").chmod(0o700)
        outside = _made(tmp_path / "outside")
        (outside / "x").write_bytes(b"outside")
        shutil.rmtree(tmp_path / "0/d")
        (tmp_path / "0/d").symlink_to(outside)
        before = raw.tree(str(outside))
        refusal_or_none(lambda: OPERATIONS[operation](root))
        assert before == raw.tree(str(outside))
        builder.close()


def _as_nobody(work: Callable[[], None]) -> None:
    """Do something in a child process that isn't root; what it raises is raised here."""
    warnings.simplefilter("ignore")  # that an owner isn't kept; one test looks for it
    if os.getuid() != 0:
        work()
        return
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            work()
            status = 0
        except BaseException:  # noqa: BLE001  # shown, then told by the exit status
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class TestUnprivileged:
    """E10: a user with an own upper over lowers owned by others."""

    @pytest.fixture
    def place(self) -> Iterator[Path]:
        """A directory that everyone can reach, with a lower of root's and an upper of nobody's."""
        import tempfile

        place = Path(tempfile.mkdtemp(prefix="unionpath-tests-"))
        place.chmod(0o755)
        for name in ("lower", "upper"):
            (place / name).mkdir()
        BY_ID["local-oci"].site(place / "lower").build(
            Dir(
                {
                    "open": File(b"open", 0o644),
                    "tool": File(b"tool", 0o4755),
                    "secret": File(b"secret", 0o600),
                    "d": Dir({"x": File(b"x", 0o664)}, mode=0o775),
                    "closed": Dir({"y": File(b"y")}, mode=0o700),
                    "l": Link("open"),
                }
            )
        )
        if os.getuid() == 0:
            os.chown(place / "upper", 65534, 65534)
        yield place
        guard.check(place)
        guard.forget(place)
        shutil.rmtree(place)

    @staticmethod
    def stack_in(place: Path) -> UnionPath:
        from unionpath import LayerStack

        return LayerStack([place / "lower"], upper=place / "upper", durability="volatile").root

    @pytest.mark.rule("E10")
    def test_what_may_be_read_may_be_changed(self, place: Path) -> None:
        """Success: reading is all that a lower has to allow; the copy is the user's own."""

        def work() -> None:
            root = self.stack_in(place)
            write(root / "d/x", "ab", b"+")
            assert b"x+" == (root / "d/x").read_bytes()
            (root / "open").unlink()
            (root / "d").rename(root / "moved")
            assert b"x+" == (root / "moved/x").read_bytes()
            (root / "new").mkdir()
            (root / "l").unlink()
            (root / "l").symlink_to("new")
            assert os.getuid() == (root / "moved/x").stat().st_uid

        _as_nobody(work)
        assert b"x" == (place / "lower/d/x").read_bytes()

    @pytest.mark.rule("E10")
    def test_what_may_not_be_read(self, place: Path) -> None:
        """EACCES or EPERM, with nothing changed."""
        if os.getuid() != 0:
            pytest.skip("making files of others needs root")

        def work() -> None:
            root = self.stack_in(place)
            (root / "warm").touch()
            before = sorted(path for path in raw.tree(str(place / "upper")) if "/stage/" not in path)
            for change in (
                lambda: write(root / "secret", "ab"),
                lambda: write(root / "secret", "r+b"),
                lambda: (root / "secret").chmod(0o666),
                lambda: (root / "secret").rename(root / "mine"),
                lambda: (root / "copy").hardlink_to(root / "secret"),
                (root / "closed/y").unlink,
                lambda: (root / "closed/new").write_bytes(b""),
                lambda: (root / "closed").rename(root / "mine"),
            ):
                assert refusal(change) in ("EACCES", "EPERM")
            after = sorted(path for path in raw.tree(str(place / "upper")) if "/stage/" not in path)
            assert before == after

        _as_nobody(work)

    @pytest.mark.rule("E10", "C10")
    def test_a_copy_is_never_wider(self, place: Path) -> None:
        """A set-user-ID program whose owner can't be kept loses the bit, or isn't copied."""
        if os.getuid() != 0:
            pytest.skip("making files of others needs root")

        def work() -> None:
            root = self.stack_in(place)
            refusal_or_none(lambda: (root / "tool").utime(ns=(1, 2)))
            for path, held in raw.tree(str(place / "upper")).items():
                assert (path, 0) == (path, held.mode & (stat.S_ISUID | stat.S_ISGID))
            if "/tool" in raw.tree(str(place / "upper")):
                assert 0 == stat.S_IMODE((root / "tool").stat().st_mode) & ~0o755

        _as_nobody(work)

    @pytest.mark.rule("E10")
    def test_it_says_when_the_owner_can_not_be_kept(self, place: Path) -> None:
        """A warning names the path, once."""
        if os.getuid() != 0:
            pytest.skip("making files of others needs root")

        def work() -> None:
            root = self.stack_in(place)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                write(root / "open", "ab")
            assert [True] == ["/open" in str(warning.message) for warning in caught]

        _as_nobody(work)

    @pytest.mark.rule("E10", "E6")
    def test_an_upper_that_may_not_be_written(self, place: Path) -> None:
        """EACCES, and nothing else happens."""
        if os.getuid() != 0:
            pytest.skip("making files of others needs root")
        os.chown(place / "upper", 0, 0)

        def work() -> None:
            try:
                root = self.stack_in(place)
            except (PermissionError, NotImplementedError):
                return
            for operation in ((root / "n").mkdir, (root / "open").unlink):
                assert refusal(operation) in ("EACCES", "EPERM")

        _as_nobody(work)
        assert [] == os.listdir(place / "upper")


class TestReservedNames:
    """M3 and M4: what can't be made through a union."""

    @pytest.mark.rule("M4")
    @pytest.mark.parametrize("name", [".wh.x", ".wh.", ".wh..wh..opq", ".wh..wh.other", "d/.wh.y"])
    @pytest.mark.parametrize("creator", CREATORS.values(), ids=CREATORS)
    @pytest.mark.parametrize("kind", ["memory-oci", "memory-unionfs"])
    def test_creating_one_is_refused(self, tmp_path: Path, kind: str, name: str, creator: Creator) -> None:
        """Creating, renaming or linking to a name that begins with `.wh.` is EINVAL, with a message."""
        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(Dir({**LOWER.entries, **SOURCES}))
        before = builder.upper.names()
        with pytest.raises(OSError, match=r"\.wh\.") as caught:
            creator.make(root / name)
        assert "EINVAL" == errno.errorcode[caught.value.errno or 0]
        assert before == builder.upper.names()
        builder.close()

    @pytest.mark.rule("M4")
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda at: at.unlink(), "ENOENT"),
            (lambda at: at.rmdir(), "ENOENT"),
            (lambda at: at.read_bytes(), "ENOENT"),
            (lambda at: at.chmod(0o600), "ENOENT"),
            (lambda at: at.open("r+"), "ENOENT"),
            (lambda at: at.rename(at.with_name("y")), "ENOENT"),
            (lambda at: (at / "below").mkdir(), "ENOENT"),
        ],
        ids=["unlink", "rmdir", "read", "chmod", "r+", "rename", "below"],
    )
    def test_looking_one_up_is_enoent(self, memory: Builder, change: Change, expected: str) -> None:
        """Markers that are there can't be touched either."""
        root = memory.over(LOWER)
        (root / "g").unlink()
        assert expected == refusal(lambda: change(root / ".wh.g"))
        assert ["/g"] == memory.upper.whiteouts()

    @pytest.mark.rule("M4")
    @pytest.mark.parametrize("kind", ["memory-overlayfs", "memory-table", "upath-table", "local-overlayfs"])
    def test_other_formats_allow_them(self, tmp_path: Path, kind: str) -> None:
        """`table` and `overlayfs` allow such names, and mean nothing by them."""
        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(Dir({"f": File(b"f"), "d": Dir({"x": File()})}))
        (root / ".wh.f").write_bytes(b"an ordinary file")
        (root / "d/.wh..wh..opq").write_bytes(b"")
        (root / "d/.wh.").mkdir()
        for _ in range(2):
            assert [".wh.f", "d", "f"] == [child.name for child in root.iterdir()]
            assert [".wh.", ".wh..wh..opq", "x"] == [child.name for child in (root / "d").iterdir()]
            root = builder.reopened()
        (root / ".wh.f").rename(root / "f")
        assert b"an ordinary file" == (root / "f").read_bytes()
        builder.close()

    @pytest.mark.rule("M4", "M3")
    @pytest.mark.parametrize("kind", ["memory-oci", "memory-table", "local-table", "upath-oci"])
    def test_the_work_area_is_out_of_reach(self, tmp_path: Path, kind: str) -> None:
        """Never listed, never visible, not to be changed through the union."""
        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(Dir({"f": File(b"f")}))
        write(root / "f", "ab")
        (root / "f").unlink()
        assert raw.WORK in {path.split("/")[1] for path in raw.tree(builder.upper.store)}
        assert [] == [child.name for child in root.iterdir()]
        assert [] == [*root.glob("**/*")]
        for change in (
            (root / raw.WORK).stat,
            (root / raw.WORK / "whiteouts").read_bytes,
            (root / raw.WORK).rmdir,
            (root / raw.WORK).rmtree,
            lambda: (root / raw.WORK / "new").write_bytes(b""),
        ):
            assert refusal(change) in ("ENOENT", "EINVAL")
        assert "EINVAL" == refusal((root / raw.WORK).mkdir)
        builder.close()

    @pytest.mark.rule("M3")
    @pytest.mark.parametrize("kind", ["local-overlayfs", "local-userxattr", "memory-overlayfs"])
    @pytest.mark.parametrize("attribute", ["opaque", "whiteout", "redirect", "metacopy", "origin"])
    def test_private_attributes(self, tmp_path: Path, kind: str, attribute: str) -> None:
        """Never listed, never visible, can't be set or removed through the union."""
        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(Dir({"d": Dir({"x": File()}), "f": File()}))
        space = "user" if builder.ground.userxattr else "trusted"
        name = f"{space}.overlay.{attribute}"
        (root / "d").rmtree()
        (root / "d").mkdir()
        assert [] == (root / "d").listxattr()
        assert ["/d"] == builder.upper.opaques()
        for path in ("d", "f"):
            refused = ("EPERM", "EOPNOTSUPP", "EINVAL")
            assert refusal((root / path).setxattr, name, b"y") in refused
            assert refusal((root / path).removexattr, name) in (*refused, "ENODATA")
        assert ["/d"] == builder.upper.opaques()
        assert [] == [child.name for child in (root / "d").iterdir()]
        builder.close()

    @pytest.mark.rule("M3")
    def test_what_looks_like_a_kernel_mark_elsewhere(self, tmp_path: Path) -> None:
        """In a format without such marks the attribute is data like any other."""
        builder = Builder(BY_ID["memory-oci"], tmp_path)
        root = builder.over(Dir({"d": Dir({"x": File()})}))
        (root / "d").setxattr("user.overlay.opaque", b"y")
        assert ["user.overlay.opaque"] == (root / "d").listxattr()
        assert ["x"] == [child.name for child in (root / "d").iterdir()]
        builder.close()


class TestLongNames:
    """M10: `.wh.` takes four bytes."""

    @pytest.mark.rule("M10")
    @pytest.mark.parametrize("length", [251, 252, 255])
    @pytest.mark.parametrize("letter", ["n", "ü"])
    def test_deleting(self, writable: Builder, length: int, letter: str) -> None:
        """In a name-based format a lower name over 251 bytes can't be deleted; nothing changes."""
        name = letter * (length // len(letter.encode()))
        name += "x" * (length - len(name.encode()))
        root = writable.over(Dir({"d": Dir({name: File(b"long")})}))
        at = root / "d" / name
        if not writable.ground.name_based or length + 4 <= writable.upper.store.name_max:
            at.unlink()
            assert [f"/d/{name}"] == writable.upper.whiteouts()
            at.write_bytes(b"new")
            at.rename(root / name)
            assert [f"/d/{name}"] == writable.upper.whiteouts()
            return
        before = writable.upper.names()
        calls: list[Callable[[], object]] = [at.unlink, lambda: at.rename(root / "short")]
        for call in calls:
            with pytest.raises(OSError, match="table") as caught:
                call()
            assert "ENAMETOOLONG" == errno.errorcode[caught.value.errno or 0]
        assert before == writable.upper.names()
        assert b"long" == at.read_bytes()

    @pytest.mark.rule("M10")
    def test_what_needs_no_whiteout(self, writable: Builder) -> None:
        """A long name may be changed, and one of the upper's own may be deleted."""
        name = "n" * 255
        root = writable.over(Dir({name: File(b"long")}))
        write(root / name, "ab")
        assert b"longnew" == (root / name).read_bytes()
        (root / "own").mkdir()
        own = root / "own" / name
        own.write_bytes(b"own")
        own.rename(root / "own" / ("m" * 255))
        (root / "own" / ("m" * 255)).unlink()
        (root / "own").rmdir()
        assert [] == writable.upper.whiteouts()

    @pytest.mark.rule("M10", "D7")
    def test_a_tree_with_long_names(self, writable: Builder) -> None:
        """One whiteout hides them all, so rmtree can do what unlink can't."""
        root = writable.over(Dir({"d": Dir({"n" * 255: File(), "m" * 254: Dir({"x": File()})})}))
        (root / "d").rmtree()
        assert ["/d"] == writable.upper.whiteouts()


class TestKernelUppers:
    """M9: what an upper in `overlayfs` format holds."""

    @pytest.mark.rule("M9")
    @pytest.mark.parametrize("kind", ["local-overlayfs", "memory-overlayfs", "memory-userxattr"])
    def test_no_whiteout_where_nothing_merges(self, tmp_path: Path, kind: str) -> None:
        """In a directory that merges with nothing the kernel would list a ghost."""
        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(LOWER)
        (root / "d").rmtree()
        (root / "d").mkdir()
        (root / "d/x").write_bytes(b"")
        (root / "d/x").unlink()
        (root / "n/m").mkdir(parents=True)
        (root / "n/m/f").touch()
        (root / "n/m/f").rename(root / "n/f")
        (root / "n/m").rmdir()
        (root / "n/f").unlink()
        assert [] == builder.upper.whiteouts()
        builder.close()

    @pytest.mark.rule("M9", "M5")
    @pytest.mark.parametrize("kind", ["memory-overlayfs", "memory-oci", "memory-table", "local-overlayfs"])
    def test_a_copied_tree_has_no_whiteouts(self, tmp_path: Path, kind: str) -> None:
        """A directory that was moved with all it shows is opaque: the whiteouts in it aren't taken along."""
        builder = Builder(BY_ID[kind], tmp_path)
        root = builder.over(LOWER)
        (root / "d/x").unlink()
        (root / "d/sub/y").unlink()
        assert ["/d/sub/y", "/d/x"] == builder.upper.whiteouts()
        (root / "d").rename(root / "moved")
        assert ["/d"] == builder.upper.whiteouts()
        assert ["sub"] == [child.name for child in (root / "moved").iterdir()]
        builder.close()

    @pytest.mark.rule("M9", "R4")
    def test_a_moved_directory_carries_a_redirect(self, tmp_path: Path) -> None:
        """Its old name where it stayed in its parent, its old path elsewhere."""
        builder = Builder(BY_ID["memory-overlayfs"], tmp_path)
        root = builder.over(LOWER, rename_dir="redirect")
        (root / "d").rename(root / "beside")
        (root / "e").rename(root / "beside/inside")
        held = raw.tree(builder.upper.store)
        found = {path: dict(held[path].attributes).get("trusted.overlay.redirect") for path in held}
        assert b"d" == found["/beside"]
        assert b"/e" == found["/beside/inside"]
        assert not any(held[path].kind == "file" for path in held if path.startswith("/beside"))
        builder.close()
