"""A table upper's own file: removals begun by the dead, torn lines, parts, prefixes, what a change costs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from places import Place, fail, in_child
from unionpath import Layer, LayerStack, UnionPath
from unionpath.mutate.work import PRIVATE
from unionpath.stores.local import LocalDirectory

HEADER = b"unionpath whiteouts 1\n"


def log_of(upper: Path) -> Path:
    return upper / PRIVATE / "whiteouts"


def begin_removal(upper: Path, path: str) -> None:
    """Write what a writer writes that dies right after."""
    with log_of(upper).open("ab") as log:
        log.write(json.dumps(["r", path]).encode() + b"\n")


@pytest.fixture
def stack(tables: Place) -> LayerStack:
    """Give a stack that has written already: its session was begun before another writer died."""
    tables.fill({"d/f": "low", "q": "q"})
    made = tables.stack()
    (made / "file").write_text("important")
    (made / "dir").mkdir()
    (made / "dir/x").write_text("important")
    (made / "q").unlink()
    return made


class TestRemovalsBegunByTheDead:
    """A writer of another process died while it removed something; this session goes on."""

    @pytest.mark.rule("E5")
    @pytest.mark.parametrize("source", ["file", "dir"])
    def test_a_rename_onto_the_name(self, stack: LayerStack, tables: Place, source: str) -> None:
        """What is moved there shows, now and after the next open."""
        (tables.upper / "d").mkdir()
        begin_removal(tables.upper, "/d")
        (stack / source).rename("/d")
        for each in (stack, tables.stack()):
            (each / "write").touch()
            assert "important" == (each / ("d" if source == "file" else "d/x")).read_text()
            assert not (each / source).exists()

    @pytest.mark.rule("E5")
    def test_a_rename_of_its_parent(self, stack: LayerStack, tables: Place) -> None:
        """What was deleted doesn't show up again under the new name."""
        (stack / "dir/sub").mkdir()
        (stack / "dir/sub/secret").write_text("deleted")
        begin_removal(tables.upper, "/dir/sub")
        assert not (stack / "dir/sub").exists()
        (stack / "dir").rename("/t")
        assert ["/t/x"] == [str(path) for path in (stack / "t").iterdir()]
        assert not (tables.stack() / "t/sub").exists()

    @pytest.mark.rule("E5", "D5")
    @pytest.mark.parametrize(
        "make",
        [
            UnionPath.touch,
            UnionPath.mkdir,
            lambda path: path.symlink_to("x"),
            lambda path: path.write_text(""),
        ],
    )
    def test_the_name_made_anew(
        self, stack: LayerStack, tables: Place, make: Callable[[UnionPath], object]
    ) -> None:
        """A new object there is shown, and not removed by the next session."""
        (tables.upper / "old").mkdir()
        begin_removal(tables.upper, "/old")
        make(stack / "old")
        (tables.stack() / "write").touch()
        assert os.path.lexists(tables.upper / "old")
        assert (tables.stack() / "old").exists(follow_symlinks=False)

    def test_a_copy_of_its_parent(self, stack: LayerStack, tables: Place) -> None:
        """It isn't copied along."""
        (tables.upper / "dir/gone").write_text("deleted")
        begin_removal(tables.upper, "/dir/gone")
        (stack / "dir").copy(stack / "copied")
        assert ["/copied/x"] == [str(path) for path in (stack / "copied").iterdir()]


class TestTornTables:
    @pytest.mark.rule("E5", "D1")
    @pytest.mark.parametrize(
        "left", [b"", b"unionpath whi", HEADER, HEADER + b'["w",', HEADER + b'["w","/a"]\n["w']
    )
    def test_the_next_record_is_kept(self, tables: Place, left: bytes) -> None:
        """Power was lost while the table was written; what is deleted after that stays deleted."""
        tables.fill({"a": "1", "b": "1", "c": "1"})
        stack = tables.stack()
        (stack / "a").unlink()
        log_of(tables.upper).write_bytes(left)
        (stack / "b").unlink()
        (stack / "c").unlink()
        fresh = tables.stack()
        for each in (stack, fresh):
            shown = {path.name for path in each.root.iterdir()}
            assert not {"b", "c"} & shown
        assert log_of(tables.upper).read_bytes().startswith(HEADER)

    def test_another_file_in_its_place_is_left_alone(self, tables: Place) -> None:
        """What isn't a table isn't deleted for being none."""
        tables.fill({"a": "1"})
        with tables.stack() as stack:
            (stack / "a").unlink()
        log_of(tables.upper).write_bytes(b"garbage\n")
        with pytest.raises(OSError):
            (tables.stack() / "b").touch()
        assert b"garbage\n" == log_of(tables.upper).read_bytes()


class TestPartsAndPrefixes:
    def test_two_tenants_of_one_upper(self, tables: Place) -> None:
        """Each part of a source has lowers of its own, and remembers them."""
        for name in ("t1", "t2"):
            tables.fill({"f": name, "g": name}, tables.directory / f"lower-{name}")
            (tables.upper / name).mkdir()

        def tenant(name: str) -> LayerStack:
            part = Layer(tables.upper, root=f"/{name}", whiteouts="table")
            return tables.stack(tables.directory / f"lower-{name}", upper=part)

        for name in ("t1", "t2"):
            with tenant(name) as stack:
                (stack / "f").unlink()
        for name in ("t1", "t2"):
            with tenant(name) as stack:
                assert ["/g"] == [str(path) for path in stack.root.iterdir()]
                (stack / "f").write_text("new")

    @pytest.mark.parametrize("whiteouts", ["oci", "table"])
    def test_under_a_prefix(self, tables: Place, whiteouts: str) -> None:
        """Copies and whiteouts work below it."""
        tables.fill({"mnt/up/g": "g", "mnt/up/h": "h", "mnt/up/d/x": "x", "mnt/o": "o"})
        layer = Layer(tables.upper, at="/mnt/up", whiteouts="oci" if whiteouts == "oci" else "table")
        stack = tables.stack(upper=layer)
        (stack / "mnt/up/g").write_text("G")
        (stack / "mnt/up/h").unlink()
        (stack / "mnt/up/d").rename("/mnt/up/e")
        names = sorted(str(path) for path in (stack / "mnt/up").rglob("*"))
        assert ["/mnt/up/e", "/mnt/up/e/x", "/mnt/up/g"] == names
        assert "G" == (stack / "mnt/up/g").read_text()

    @pytest.mark.parametrize("whiteouts", ["oci", "table"])
    def test_at_a_prefix(self, tables: Place, whiteouts: str) -> None:
        """Where the upper begins is the upper's own root, which has metadata to change."""
        tables.fill({"mnt/up/g": "g"})
        layer = Layer(tables.upper, at="/mnt/up", whiteouts="oci" if whiteouts == "oci" else "table")
        stack = tables.stack(upper=layer)
        (stack / "mnt/up").chmod(0o710)
        (stack / "mnt/up").utime(ns=(5, 7))
        found = (stack / "mnt/up").stat()
        assert (0o40710, 7) == (found.st_mode, found.st_mtime_ns)

    @pytest.mark.rule("E1")
    @pytest.mark.parametrize("whiteouts", ["oci", "table"])
    @pytest.mark.parametrize(
        "change",
        [
            lambda root: (root / "mnt/o").unlink(),
            lambda root: (root / "mnt/o").chmod(0o600),
            lambda root: (root / "mnt/o").write_text("x"),
            lambda root: (root / "mnt/o").rename(root / "mnt/p"),
            lambda root: (root / "new").mkdir(),
            lambda root: (root / "dir").rmtree(),
            lambda root: (root / "mnt").rename("/n"),
        ],
    )
    def test_outside_a_prefix(
        self, tables: Place, whiteouts: str, change: Callable[[UnionPath], object]
    ) -> None:
        """The union is read-only there: EROFS, whatever the change."""
        tables.fill({"mnt/up/g": "g", "mnt/o": "o", "dir/x": "x"})
        layer = Layer(tables.upper, at="/mnt/up", whiteouts="oci" if whiteouts == "oci" else "table")
        with pytest.raises(OSError, match="Read-only"):
            change(tables.stack(upper=layer).root)


class TestCosts:
    def test_a_record_makes_nobody_forget(self, tables: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """Deleting a name of a large directory doesn't make every directory be read anew."""
        tables.fill({f"d/f{number}": "" for number in range(60)})
        tables.fill({f"e{number}/f": "" for number in range(20)})
        stack = tables.stack()
        scans = []
        real = LocalDirectory.scan

        def scan(self: LocalDirectory, tags: list[int]) -> dict[str, int]:
            scans.append(self.place())
            return real(self, tags)

        (stack / "d/f0").unlink()
        assert 59 == len([*(stack / "d").iterdir()])
        monkeypatch.setattr(LocalDirectory, "scan", scan)
        for number in range(1, 51):
            (stack / f"d/f{number}").unlink()
            assert not (stack / f"d/f{number}").exists()
            assert (stack / "d/f55").exists()
        assert len(scans) < 25

    def test_a_table_written_by_many_short_sessions_is_shortened(self, tables: Place) -> None:
        """Whoever changes little at a time keeps it short as well."""
        tables.fill({"a": "1"})
        (tables.upper / PRIVATE).mkdir()
        lines = ['["w","/a"]', '["-w","/a"]'] * 4_000
        log_of(tables.upper).write_bytes(HEADER + "".join(f"{line}\n" for line in lines).encode())
        before = log_of(tables.upper).stat().st_size
        with tables.stack() as stack:
            (stack / "a").unlink()
        assert log_of(tables.upper).stat().st_size < before / 2
        assert not (tables.stack() / "a").exists()

    @pytest.mark.rule("E5")
    def test_a_table_is_shortened_without_losing_a_line(self, tables: Place) -> None:
        """More changes than fit, of few names, by two writers in turns."""
        tables.fill({"a": "1", "b": "1", "keep": "1"})
        first, second = tables.stack(), tables.stack()
        (first / "keep").unlink()
        for number in range(300):
            for stack, name in ((first, "a"), (second, "b")):
                (stack / name).unlink()
                if number != 299:
                    (stack / name).touch()
        assert [] == [*tables.stack().root.iterdir()]
        assert log_of(tables.upper).stat().st_size < 40_000


@pytest.mark.rule("E6")
def test_a_rename_that_fails_leaves_the_targets_whiteout(
    tables: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whiteouts that were there before are no part of what is taken back."""
    tables.fill({"x/old": "deleted", "z/k": "1"})
    stack = tables.stack()
    (stack / "x").rmtree()
    (stack / "x").mkdir()
    (stack / "x/mine").touch()
    (stack / "z").rmtree()
    with monkeypatch.context() as patch:
        fail(patch, "rename", 5, lambda _self, _name, _to, name, *_: name in ("y", "z"))
        for target in ("y", "z"):
            with pytest.raises(OSError):
                (stack / "x").rename(f"/{target}")
    for each in (stack, tables.stack()):
        assert ["/x", "/x/mine"] == sorted(map(str, each.root.rglob("*")))


@pytest.mark.rule("E7")
def test_the_record_is_on_disk_before_the_name_goes(tables: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the lower's content would be back after a loss of power."""
    tables.fill({"f": "low", "d/x": "low"})
    stack = tables.stack(durability="auto")
    (stack / "f").write_text("up")
    (stack / "d/x").write_text("up")
    order: list[str] = []
    real_fsync, real_unlink = os.fsync, os.unlink

    def fsync(fd: int) -> None:
        order.append("fsync")
        real_fsync(fd)

    def unlink(at: str, *, dir_fd: int | None = None) -> None:
        order.append(f"unlink {os.path.basename(at)}")
        real_unlink(at, dir_fd=dir_fd)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "unlink", unlink)
    (stack / "f").unlink()
    assert "fsync" in order
    assert order.index("fsync") < order.index("unlink f")


def test_other_processes_hear_of_each_record(tables: Place) -> None:
    """A table that grows and is replaced by another process is read as it is."""
    tables.fill({f"f{number}": "" for number in range(30)})
    stack = tables.stack()
    assert 30 == len([*stack.root.iterdir()])

    def work() -> None:
        fresh = tables.stack()
        for number in range(20):
            (fresh / f"f{number}").unlink()

    assert 0 == in_child(work)
    assert {f"f{number}" for number in range(20, 30)} == {path.name for path in stack.root.iterdir()}
