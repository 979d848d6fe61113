"""Family N: names, listings, and how soon they follow the layers."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grounds import BY_ID
from trees import Alone, Dir, File, Link, Whiteout
from unions import Builder
from views import refusal

if TYPE_CHECKING:
    from unionpath import UnionPath


def names(path: UnionPath) -> list[str]:
    """List a directory."""
    return [child.name for child in path.iterdir()]


@pytest.mark.rule("N1")
def test_each_name_once_sorted_by_code_points(union: Builder) -> None:
    """Each name once, sorted by name (code points), deterministic."""
    root = union(
        Dir({"b": File(b"0"), "é": File(), "Z": File()}),
        Dir({"a": File(), "b": File(b"1"), "_": File(), "10": File()}),
        Dir({"b": File(b"2"), "9": File(), "\U0001f600": File(), "ｱ": File()}),
    )
    assert sorted(["10", "9", "Z", "_", "a", "b", "é", "ｱ", "\U0001f600"]) == names(root)
    assert names(root) == names(root)
    assert names(root) == [found.name for found in root.glob("*")]
    assert [names(root)] == [files for _, _, files in root.walk()]


@pytest.mark.rule("N1")
def test_with_the_kind_and_metadata_of_the_winner(union: Builder) -> None:
    """A listed name has the type and metadata of the winner."""
    root = union(
        Dir({"x": File(b"long"), "y": Dir()}),
        Dir({"x": Dir(), "y": File(), "z": File(b"1")}),
    )
    listed = {child.name: child for child in root.iterdir()}
    assert listed["x"].info.is_file()
    assert listed["y"].info.is_dir()
    assert 4 == listed["x"].stat().st_size
    assert listed["z"].info.is_file()


@pytest.mark.rule("N2")
def test_a_listing_is_a_snapshot(union: Builder) -> None:
    """Changes during iteration don't alter it."""
    root = union(Dir({"a": File(), "b": File(), "c": File()}), Dir({"d": File()}))
    seen = []
    for child in root.iterdir():
        seen.append(child.name)
        if child.name == "a":
            union.sites[0].drop(("b",))
            union.sites[0].put(("aa",), File())
            union.sites[0].put(("d",), Whiteout())
    assert ["a", "b", "c", "d"] == seen
    assert ["a", "aa", "c"] == names(root)


@pytest.mark.rule("N3")
def test_listed_is_what_stats(union: Builder) -> None:
    """Every listed name stats, every name that stats is listed."""
    every = [f"{kind}{at}" for kind in ("file", "dir", "gone", "alone") for at in range(3)]
    layers = [
        Dir({f"file{at}": File(), f"dir{at}": Dir(), f"gone{at}": Whiteout(), f"alone{at}": Alone(File())})
        for at in range(3)
    ]
    root = union(*layers, Dir({name: File() for name in every}))
    assert sorted(every) != names(root)
    for _ in range(2):
        assert names(root) == [name for name in sorted(every) if (root / name).exists()]


class TestChangesMadeElsewhere:
    """N4: what is done directly in a layer shows at the next look."""

    TOP = Dir({"d": Dir({"t": File(b"0")})})
    BELOW = Dir({"d": Dir({"b": File(b"1"), "sub": Dir({"deep": File(b"1")})}), "f": File(b"1")})

    @pytest.fixture
    def root(self, union: Builder) -> UnionPath:
        root = union(self.TOP, self.BELOW)
        for _ in range(3):  # whatever is remembered is remembered now
            assert ["/d", "/d/b", "/d/sub", "/d/sub/deep", "/d/t", "/f"] == sorted(map(str, root.rglob("*")))
            assert b"1" == (root / "d/sub/deep").read_bytes()
            assert not (root / "d/new").exists()
            assert not (root / "d/sub/new").exists()
        return root

    @pytest.mark.rule("N4")
    @pytest.mark.parametrize("layer", [0, 1])
    def test_creation(self, union: Builder, root: UnionPath, layer: int) -> None:
        """A name made elsewhere shows up at the next look."""
        union.sites[layer].put(("d", "new"), File(b"new"))
        assert b"new" == (root / "d/new").read_bytes()
        assert ["b", "new", "sub", "t"] == names(root / "d")

    @pytest.mark.rule("N4")
    def test_removal(self, union: Builder, root: UnionPath) -> None:
        """A name removed elsewhere is gone at the next look."""
        union.sites[1].drop(("d", "sub"))
        assert "ENOENT" == refusal((root / "d/sub/deep").stat)
        assert ["b", "t"] == names(root / "d")

    @pytest.mark.rule("N4")
    def test_covering(self, union: Builder, root: UnionPath) -> None:
        """A name made above covers what was seen below."""
        union.sites[0].put(("d", "b"), File(b"above"))
        union.sites[0].put(("d", "sub"), File(b"a file now"))
        assert b"above" == (root / "d/b").read_bytes()
        assert "ENOTDIR" == refusal((root / "d/sub/deep").stat)
        union.sites[0].drop(("d", "b"))
        union.sites[0].drop(("d", "sub"))
        assert b"1" == (root / "d/b").read_bytes()
        assert b"1" == (root / "d/sub/deep").read_bytes()

    @pytest.mark.rule("N4")
    def test_whiteout_of_an_ancestor_and_back(self, union: Builder, root: UnionPath) -> None:
        """A whiteout far above what is asked for counts at once, and so does its removal."""
        for _ in range(3):
            union.sites[0].put(("d",), Whiteout())
            assert "ENOENT" == refusal((root / "d/sub/deep").stat)
            assert ["f"] == names(root)
            union.sites[0].put(("d",), Dir({"sub": Dir({"new": File()})}))
            assert ["deep", "new"] == names(root / "d/sub")
            assert b"1" == (root / "d/sub/deep").read_bytes()

    @pytest.mark.rule("N4")
    def test_opaque_and_back(self, union: Builder, root: UnionPath) -> None:
        """So does a directory's becoming opaque."""
        for _ in range(3):
            union.sites[0].set_opaque(("d",), True)
            assert "ENOENT" == refusal((root / "d/b").stat)
            assert ["t"] == names(root / "d")
            union.sites[0].set_opaque(("d",), False)
            assert b"1" == (root / "d/b").read_bytes()
            assert ["b", "sub", "t"] == names(root / "d")

    @pytest.mark.rule("N4")
    def test_renaming_an_ancestor_and_back(self, union: Builder, root: UnionPath) -> None:
        """What was below a renamed directory is found at its new place and not at the old one."""
        union.sites[1].move(("d",), ("e",))
        assert "ENOENT" == refusal((root / "d/sub/deep").stat)
        assert b"1" == (root / "e/sub/deep").read_bytes()
        assert ["t"] == names(root / "d")
        union.sites[1].put(("e", "sub", "new"), File(b"new"))
        union.sites[1].move(("e",), ("d",))
        assert b"new" == (root / "d/sub/new").read_bytes()
        assert ["d", "f"] == names(root)

    @pytest.mark.rule("N4")
    def test_a_directory_swapped_for_a_link(self, union: Builder, root: UnionPath) -> None:
        """A directory that became a link is one at the next look."""
        union.ground.require(Dir({"l": Link("x")}))
        union.sites[1].put(("other",), Dir({"deep": File(b"other")}))
        union.sites[1].move(("d", "sub"), ("aside",))
        union.sites[1].put(("d", "sub"), Link("/other"))
        assert b"other" == (root / "d/sub/deep").read_bytes()
        union.sites[1].put(("d", "sub"), Link("/nowhere"))
        assert "ENOENT" == refusal((root / "d/sub/deep").stat)
        union.sites[1].move(("aside",), ("d", "sub"))
        assert b"1" == (root / "d/sub/deep").read_bytes()

    @pytest.mark.rule("N4")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_content_and_mode(self, union: Builder, root: UnionPath) -> None:
        """What a file holds, and how it may be used, is never remembered."""
        assert 1 == (root / "f").stat().st_size
        union.sites[1].put(("f",), File(b"longer", 0o600))
        assert (b"longer", 6) == ((root / "f").read_bytes(), (root / "f").stat().st_size)
        if union.ground.modes:
            union.sites[1].writer.chmod(("f",), 0o640)
            union.sites[0].writer.chmod(("d",), 0o711)
            assert 0o100640 == (root / "f").stat().st_mode
            assert 0o40711 == (root / "d").stat().st_mode

    @pytest.mark.rule("N4")
    def test_by_another_thread(self, union: Builder, root: UnionPath) -> None:
        """Whoever makes the change."""
        for number in range(20):
            change = threading.Thread(target=union.sites[0].put, args=(("d", f"n{number}"), File()))
            change.start()
            change.join()
            assert (root / f"d/n{number}").exists()
        assert 23 == len(names(root / "d"))


@pytest.mark.rule("N4")
def test_an_immutable_layer_is_trusted_until_refresh(union: Builder) -> None:
    """Unless the layer was declared immutable: then after `stack.refresh()`."""
    root = union(Dir({"d": Dir({"f": File()})}), Dir({"d": Dir({"g": File()})}), immutable=True)
    assert ["f", "g"] == names(root / "d") == names(root / "d")
    union.sites[1].put(("d", "h"), File())
    assert ["f", "g"] == names(root / "d")
    assert union.stack is not None
    union.stack.refresh()
    assert ["f", "g", "h"] == names(root / "d")


@pytest.mark.rule("N4")
@pytest.mark.parametrize("kind", ["upath-oci", "upath-table"])
def test_a_cache_time(tmp_path: Path, kind: str) -> None:
    """Where a cache time was set: within that time, or after `stack.refresh()`."""
    from unionpath import Cache

    builder = Builder(BY_ID[kind], tmp_path, 0)
    root = builder(Dir({"d": Dir({"f": File()})}), cache=Cache(ttl=0.5))
    stack = builder.stack
    assert stack is not None
    assert ["f"] == names(root / "d") == names(root / "d")
    builder.sites[0].put(("d", "g"), File())
    stack.refresh()
    assert ["f", "g"] == names(root / "d")
    builder.sites[0].put(("d", "h"), File())
    time.sleep(0.6)
    assert ["f", "g", "h"] == names(root / "d")
    assert (root / "d/h").is_file()
    builder.close()


@pytest.mark.rule("N4")
@pytest.mark.changes_lowers("to see the union follow")
def test_changes_by_another_process(local: Builder) -> None:
    """A name made by another process shows up at the next look."""
    root = local(Dir({"d": Dir({"f": File()})}), Dir({"d": Dir({"g": File()})}))
    assert ["f", "g"] == names(root / "d") == names(root / "d")
    child = os.fork()
    if child == 0:
        local.sites[0].put(("d", "g"), Whiteout())
        local.sites[1].put(("d", "h"), File())
        os._exit(0)
    os.waitpid(child, 0)
    assert ["f", "h"] == names(root / "d")


@pytest.mark.rule("N4")
def test_a_fork_sees_and_misses_nothing(local: Builder) -> None:
    """A child of a fork has its own watches: both processes see every later change."""
    root = local(Dir({"d": Dir({"f": File()})}), Dir({"d": Dir({"g": File()})}))
    assert ["f", "g"] == names(root / "d") == names(root / "d")
    there, back = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert ["f", "g"] == names(root / "d") == names(root / "d")
            os.write(back[1], b"!")
            os.read(there[0], 1)
            status = 0 if ["f", "g", "h"] == names(root / "d") else 2
        finally:
            os._exit(status)
    os.read(back[0], 1)
    local.sites[1].put(("d", "h"), File())
    os.write(there[1], b"!")
    assert ["f", "g", "h"] == names(root / "d")
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for end in (*there, *back):
        os.close(end)


@pytest.mark.rule("N5")
def test_names_compare_as_bytes(union: Builder) -> None:
    """Names compare as bytes: case counts, and no two spellings of a letter are one."""
    root = union(Dir({"readme": Whiteout(), "é": File(b"0")}), Dir({"README": File(), "e\u0301": File(b"1")}))
    assert sorted(["README", "é", "e\u0301"]) == names(root)
    assert not (root / "readme").exists()
    assert b"1" == (root / "e\u0301").read_bytes()


@pytest.mark.rule("N5")
def test_a_stack_over_case_insensitive_stores(tmp_path: Path) -> None:
    """A stack over case-insensitive stores declares it, and whiteouts fold the same way."""
    from unionpath import LayerStack

    trees = [
        Dir({"README": Whiteout(), "Dir": Dir({"a": File(b"0")})}),
        Dir({"readme": File(), "dir": Dir({"A": File(b"1"), "B": File(b"1")}), "Other": File(b"1")}),
    ]
    sites = BY_ID["memory-oci"].sites(tmp_path, trees)
    with LayerStack([site.layer() for site in sites], case="insensitive") as stack:
        for _ in range(3):
            assert ["Dir", "Other"] == names(stack.root)
            assert ["B", "a"] == names(stack / "DIR")
            assert b"0" == (stack / "dir/A").read_bytes()
            assert b"1" == (stack / "dIR/b").read_bytes()
            assert b"1" == (stack / "other").read_bytes()
            assert not (stack / "ReadMe").exists()


@pytest.mark.rule("N1")
def test_undecodable_names(local: Builder) -> None:
    """A name is bytes to the system: what is no UTF-8 is shown, listed and opened like any other."""
    name = os.fsdecode(b"caf\xe9")
    root = local(Dir({name: File(b"0"), "d": Dir({name: Whiteout()})}), Dir({"d": Dir({name: File()})}))
    assert sorted([name, "d"]) == names(root)
    assert b"0" == (root / name).read_bytes()
    assert [] == names(root / "d")
