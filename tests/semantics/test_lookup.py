"""Family L: which layer decides what a path shows."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faults import FaultyStore
from trees import Alone, Dir, File, Link, Whiteout
from unions import Builder
from views import refusal

if TYPE_CHECKING:
    from unionpath import LayerStack, UnionPath

LEVELS = 3_000


def names(path: UnionPath) -> list[str]:
    """List a directory."""
    return [child.name for child in path.iterdir()]


@pytest.mark.rule("L1")
def test_the_topmost_layer_that_has_the_name_decides(union: Builder) -> None:
    """Resolve component by component; the topmost layer that has the name decides what it is."""
    root = union(
        Dir({"d": Dir({"top": File(b"0")})}),
        Dir({"d": Dir({"top": File(b"1"), "middle": File(b"1")})}),
        Dir({"d": Dir({"top": File(b"2"), "middle": File(b"2"), "bottom": File(b"2")})}),
    )
    assert b"0" == (root / "d/top").read_bytes()
    assert b"1" == (root / "d/middle").read_bytes()
    assert b"2" == (root / "d/bottom").read_bytes()


@pytest.mark.rule("L1")
def test_contributors_are_kept_in_order_from_the_root(union: Builder) -> None:
    """The ordered list of layer directories that still contribute is kept from the root."""
    # The middle layer's d ends at its own whiteout of d/e, the bottom's d/e never comes back deeper down.
    root = union(
        Dir({"d": Dir({"e": Dir({"f": Dir({"x": File()})})})}),
        Dir({"d": Dir({"e": Whiteout()})}),
        Dir({"d": Dir({"e": Dir({"f": Dir({"y": File()})})})}),
    )
    assert ["x"] == names(root / "d/e/f")
    assert "ENOENT" == refusal((root / "d/e/f/y").stat)


@pytest.mark.rule("L2")
@pytest.mark.parametrize("hidden", [File(b"1"), Dir({"x": File()})], ids=["file", "dir"])
def test_a_topmost_file_alone_is_the_object(union: Builder, hidden: File | Dir) -> None:
    """Topmost is not a directory: it alone is the object, everything of that name below is hidden."""
    root = union(Dir({"n": File(b"0")}), Dir({"n": hidden}))
    assert b"0" == (root / "n").read_bytes()
    assert "ENOTDIR" == refusal((root / "n/x").stat)
    assert "ENOTDIR" == refusal((root / "n/x/y").lstat)
    assert "ENOTDIR" == refusal(lambda: names(root / "n"))
    assert not (root / "n/x").exists()
    assert [("/", [], ["n"])] == [(str(top), folders, files) for top, folders, files in root.walk()]


@pytest.mark.rule("L3")
@pytest.mark.parametrize(
    ("stopping", "shown"),
    [
        (File(), ["a", "b"]),
        (Whiteout(), ["a", "b"]),
        (Dir({"c": File()}, opaque=True), ["a", "b", "c"]),
        (Alone(Dir({"c": File()})), ["a", "b", "c"]),
        (Dir({"c": File()}), ["a", "b", "c", "d"]),
    ],
    ids=["file", "whiteout", "opaque", "alone", "plain"],
)
def test_directories_merge_down_to_what_stops_them(
    union: Builder, stopping: File | Whiteout | Dir | Alone, shown: list[str]
) -> None:
    """The merge stops at the first non-directory, whiteout or opaque directory, which itself contributes."""
    root = union(
        Dir({"n": Dir({"a": File()})}),
        Dir({"n": Dir({"b": File()})}),
        Dir({"n": stopping}),
        Dir({"n": Dir({"d": File()})}),
    )
    assert shown == names(root / "n")
    assert [*shown] == [name for name in "abcd" if (root / "n" / name).exists()]
    assert shown == [found.name for found in root.glob("n/*")]


@pytest.mark.rule("L4")
def test_a_directory_over_a_file_shows_only_the_directory(union: Builder) -> None:
    """An upper directory over a lower file shows only the directory."""
    root = union(Dir({"n": Dir({"a": File()})}), Dir({"n": File()}), Dir({"n": Dir({"b": File()})}))
    assert (root / "n").is_dir()
    assert ["a"] == names(root / "n")
    assert "EISDIR" == refusal((root / "n").read_bytes)
    assert "ENOENT" == refusal((root / "n/b").stat)


@pytest.mark.rule("L5")
@pytest.mark.parametrize("below", ["", "/b", "/b/c"])
def test_a_whiteout_hides_the_name_and_all_below_it(union: Builder, below: str) -> None:
    """W(p) hides p and every descendant of p in all layers below it, in every operation."""
    deep = Dir({"a": Dir({"b": Dir({"c": File(b"secret")})}), "kept": File()})
    root = union(Dir({"a": Whiteout()}), deep, deep)
    hidden = root / f"a{below}"
    assert not hidden.exists()
    assert not hidden.is_file()
    assert not hidden.is_dir()
    for ask in (hidden.stat, hidden.lstat, hidden.read_bytes, hidden.readlink):
        assert "ENOENT" == refusal(ask)
    assert "ENOENT" == refusal(lambda: names(hidden))
    assert "ENOENT" == refusal(lambda: hidden.resolve(strict=True))
    assert ["kept"] == names(root)
    assert ["/kept"] == [str(found) for found in root.glob("**/*")]
    assert [] == list(root.glob("a/*"))


@pytest.mark.rule("L5")
def test_a_whiteout_spares_the_layers_above(union: Builder) -> None:
    """W(p) hides p in all layers below it, and in none above."""
    root = union(
        Dir({"f": File(b"0"), "d": Dir({"x": File()})}),
        Dir({"f": Whiteout(), "d": Whiteout()}),
        Dir({"f": File(b"2"), "d": Dir({"y": File()})}),
    )
    assert b"0" == (root / "f").read_bytes()
    assert ["x"] == names(root / "d")


@pytest.mark.rule("L6")
def test_a_whiteout_never_acts_on_its_own_layer(union: Builder) -> None:
    """If a layer has both x and W(x), x is visible and does not merge with what lies below."""
    root = union(
        Dir({"f": Alone(File(b"0")), "d": Alone(Dir({"x": File()}))}),
        Dir({"f": File(b"1"), "d": Dir({"y": File()})}),
    )
    assert b"0" == (root / "f").read_bytes()
    assert ["d", "f"] == names(root)
    assert ["x"] == names(root / "d")
    assert "ENOENT" == refusal((root / "d/y").stat)


@pytest.mark.rule("L6")
def test_such_a_directory_still_merges_with_what_is_above(union: Builder) -> None:
    """A whiteout beside a directory ends the merge below the directory, not above it."""
    root = union(
        Dir({"d": Dir({"x": File()})}),
        Dir({"d": Alone(Dir({"y": Dir({"deep": File()})}))}),
        Dir({"d": Dir({"z": File(), "y": Dir({"hidden": File()})})}),
    )
    assert ["x", "y"] == names(root / "d")
    assert ["deep"] == names(root / "d/y")


@pytest.mark.rule("L7")
def test_a_merged_directory_has_the_mode_of_its_top(union: Builder) -> None:
    """A merged directory's own metadata is that of its topmost contributor."""
    if not union.ground.modes:
        pytest.skip(f"a {union.ground.id} layer keeps no modes")
    root = union(Dir(mode=0o701), Dir({"d": Dir(mode=0o710)}), Dir({"d": Dir(mode=0o777)}, mode=0o777))
    assert 0o710 == stat.S_IMODE((root / "d").stat().st_mode)
    expected = 0o755 if len(union.stack.layers) > 3 else 0o701  # type: ignore[union-attr]  # a union was built
    assert expected == stat.S_IMODE(root.stat().st_mode)


@pytest.mark.rule("L7")
@pytest.mark.changes_lowers("to see the union follow")
def test_a_merged_directory_has_owner_and_times_of_its_top(local: Builder) -> None:
    """Mode, owner and times are those of the topmost contributor."""
    root = local(Dir({"d": Dir()}), Dir({"d": Dir({"x": File()})}))
    top = local.sites[0].writer.source
    assert isinstance(top, Path)
    os.utime(top / "d", ns=(1_000_000_001, 2_000_000_002))
    assert 2_000_000_002 == (root / "d").stat().st_mtime_ns
    assert os.lstat(top / "d") == (root / "d").lstat()


class TestFaults:
    """L8: what becomes of a layer's errors."""

    BROKEN = Dir({"d": Dir({"f": File(b"broken")}), "sound": File(b"1")})
    SOUND = Dir({"d": Dir({"f": File(b"sound"), "g": File()})})

    @pytest.fixture
    def stack(self, request: pytest.FixtureRequest) -> Iterator[LayerStack]:
        order, place, number, policy = request.param
        trees = {"broken": self.BROKEN, "sound": self.SOUND, "empty": Dir()}
        stack = _stack([(word, trees[word]) for word in order], place, number, policy)
        yield stack
        stack.close()

    @pytest.mark.rule("L8", "E2")
    @pytest.mark.parametrize(
        "stack",
        [
            (["empty", "broken", "sound"], ("d", "f"), number, "raise")
            for number in (errno.EIO, errno.EACCES, errno.ETIMEDOUT)
        ],
        ids=["EIO", "EACCES", "ETIMEDOUT"],
        indirect=True,
    )
    def test_are_raised_with_the_layer_named(self, stack: LayerStack) -> None:
        """Every other error of a layer is raised, with the layer named, when its answer is needed."""
        at = stack / "d/f"
        for ask in (at.stat, at.lstat, at.read_bytes):
            with pytest.raises(OSError, match="broken") as caught:
                ask()
            cause = caught.value.__cause__
            assert isinstance(cause, OSError)
            assert (caught.value.errno, str(at)) == (cause.errno, caught.value.filename)
            assert str(cause.filename).endswith("/d/f")

    @pytest.mark.rule("L8")
    @pytest.mark.parametrize(
        "stack", [(["broken", "sound"], ("d",), errno.EIO, "raise")], ids=[""], indirect=True
    )
    def test_are_raised_for_a_directory_that_fails(self, stack: LayerStack) -> None:
        """Never a silent skip: the merged directory needs the failing layer's answer."""
        assert "EIO" == refusal(lambda: names(stack / "d"))
        assert "EIO" == refusal((stack / "d/g").stat)
        assert "EIO" == refusal((stack / "d/g").exists)
        assert "EIO" == refusal((stack / "d/g").is_file)
        assert b"1" == (stack / "sound").read_bytes()

    @pytest.mark.rule("L8")
    @pytest.mark.parametrize(
        "stack", [(["sound", "broken"], ("d", "f"), errno.EIO, "raise")], ids=[""], indirect=True
    )
    def test_below_the_deciding_layer_are_masked(self, stack: LayerStack) -> None:
        """A layer below the deciding one is never asked, so its faults are masked."""
        assert b"sound" == (stack / "d/f").read_bytes()
        assert (stack / "d/f").is_file()

    @pytest.mark.rule("L8")
    @pytest.mark.parametrize(
        "stack", [(["broken", "sound"], ("d",), errno.EIO, "skip")], ids=[""], indirect=True
    )
    def test_are_skipped_by_choice(self, stack: LayerStack) -> None:
        """`on_layer_error="skip"` exists as an explicit choice per stack."""
        assert b"sound" == (stack / "d/f").read_bytes()
        assert ["f", "g"] == names(stack / "d")
        assert b"1" == (stack / "sound").read_bytes()

    @pytest.mark.rule("L8")
    @pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR])
    def test_of_absence_are_absence(self, number: int) -> None:
        """ENOENT and ENOTDIR from a layer mean "absent here"."""
        trees = [("broken", self.BROKEN), ("sound", self.SOUND)]
        with _stack(trees, ("d", "f"), number, "raise") as stack:
            assert b"sound" == (stack / "d/f").read_bytes()


def _stack(trees: list[tuple[str, Dir]], place: tuple[str, ...], number: int, policy: str) -> LayerStack:
    """Stack memory layers by name; the one named "broken" fails at `place`."""
    from grounds import BY_ID, Site
    from unionpath import Layer, LayerStack
    from unionpath.stores.memory import MemoryStore
    from writers import MemoryWriter

    layers = []
    for name, tree in trees:
        store = MemoryStore()
        Site(MemoryWriter(store), BY_ID["memory-oci"].marking(), "oci", False).build(tree)
        faulty = FaultyStore(store, {place}, number)
        layers.append(Layer(faulty if name == "broken" else store, name=name))
    return LayerStack(layers, on_layer_error="skip" if policy == "skip" else "raise")


@pytest.mark.rule("L9")
def test_dot_dot_is_physical(union: Builder) -> None:
    """`..` is relative to where symlinks led; at the root it is the root."""
    root = union(
        Dir({"link": Link("/d/e"), "x": File(b"wrong")}),
        Dir({"d": Dir({"e": Dir(), "x": File(b"right")})}),
    )
    assert b"right" == (root / "link/../x").read_bytes()
    assert "/d/x" == str((root / "link/../x").resolve())
    assert b"wrong" == (root / "../../x").read_bytes()
    assert "/" == str((root / "d/e/../../..").resolve())
    assert ["d", "link", "x"] == names(root / "d/..")


@pytest.mark.rule("L9")
def test_dot_dot_after_what_is_no_directory(union: Builder) -> None:
    """`missing/../f` is ENOENT, `file/../f` is ENOTDIR."""
    root = union(Dir({"f": File(b"0")}), Dir({"d": Dir()}))
    assert "ENOENT" == refusal((root / "missing/../f").stat)
    assert "ENOTDIR" == refusal((root / "f/../f").stat)
    assert b"0" == (root / "d/../f").read_bytes()


@pytest.mark.rule("L9")
def test_relative_paths_start_at_the_root(local: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A union has no working directory; `.` vanishes."""
    from unionpath import UnionPath

    root = local(Dir({"d": Dir({"f": File(b"0")})}))
    monkeypatch.chdir("/")
    stack = local.stack
    assert stack is not None
    for text in ("d/f", "./d/./f", "/d/f", "d//f", "../d/f"):
        assert b"0" == UnionPath(stack, text).read_bytes()
    assert "/d/f" == str(UnionPath(stack, "d/f").absolute())
    assert ["d"] == names(UnionPath(stack)) == names(UnionPath(stack, ".")) == names(root)


@pytest.mark.rule("L10")
def test_nul_is_a_value_error(local: Builder) -> None:
    """A path with NUL is ValueError."""
    root = local(Dir({"f": File()}))
    for ask in ((root / "f\0").stat, (root / "f\0").read_bytes, (root / "a\0b/c").lstat):
        with pytest.raises(ValueError, match="null"):
            ask()


@pytest.mark.rule("L10")
def test_too_long_a_name(union: Builder) -> None:
    """A component over the layer's NAME_MAX is ENAMETOOLONG."""
    longest = "n" * 255 if union.ground.links else "n" * 100
    root = union(Dir({longest: File(b"0")}))
    assert b"0" == (root / longest).read_bytes()
    assert [longest] == names(root)
    if union.ground.links:  # an object store holds longer ones
        assert "ENAMETOOLONG" == refusal((root / ("n" * 256)).stat)
        assert "ENAMETOOLONG" == refusal((root / ("ä" * 128)).stat)
        assert "ENAMETOOLONG" == refusal(lambda: names(root / ("n" * 256) / "x"))
        assert "ENOENT" == refusal((root / "missing" / ("n" * 256)).stat)
        assert "ENOENT" == refusal((root / ("ä" * 127)).stat)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A directory with 3 000 levels and a file at the end, taken down without recursion."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(LEVELS):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("end", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


@pytest.mark.rule("L10")
def test_three_thousand_levels_on_disk(deep: Path) -> None:
    """Depth is not limited by recursion: 3 000 levels work, also beyond the system's PATH_MAX."""
    from unionpath import LayerStack

    with LayerStack([deep]) as stack:
        _check_deep(stack.root)


@pytest.mark.rule("L10")
def test_three_thousand_levels_in_memory() -> None:
    """Depth is not limited by recursion: 3 000 levels work."""
    from unionpath import Layer, LayerStack
    from unionpath.stores.memory import MemoryStore

    store = MemoryStore()
    at = store.root()
    for _ in range(LEVELS):
        at = at.mkdir("d")
    at.create("end")
    with LayerStack([Layer(store)]) as stack:
        _check_deep(stack.root)


def _check_deep(root: UnionPath) -> None:
    end = root.joinpath(*["d"] * LEVELS, "end")
    assert end.is_file()
    assert end.read_bytes() == b""
    assert ["end"] == names(end.parent)
    assert end == end.resolve(strict=True)
    assert "ENOENT" == refusal((end.parent / "missing").stat)
    assert LEVELS + 1 == sum(1 for _ in root.walk())
    assert LEVELS + 1 == sum(1 for _ in root.rglob("*"))


@pytest.mark.rule("L11")
@pytest.mark.parametrize("outside", ["absolute", "climbing"])
def test_links_never_lead_out_of_a_layer(local: Builder, tmp_path: Path, outside: str) -> None:
    """Nothing outside a layer's root can be reached through it: a layer never follows symlinks itself."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "f").write_bytes(b"secret")
    target = str(secret) if outside == "absolute" else "../../../../../../../.." + str(secret)
    root = local(Dir({"file": Link(f"{target}/f"), "dir": Link(target)}))
    for path in ("file", "dir", "dir/f"):
        assert not (root / path).exists()
        assert "ENOENT" == refusal((root / path).read_bytes)
    assert "ENOENT" == refusal(lambda: names(root / "dir"))
    assert target == str((root / "dir").readlink())


@pytest.mark.rule("L11")
def test_a_root_behind_a_link_is_fine(tmp_path: Path) -> None:
    """The layer's own path may lead through links: they are the caller's, outside the tree."""
    from unionpath import LayerStack

    (tmp_path / "real").mkdir()
    (tmp_path / "real/f").write_bytes(b"0")
    (tmp_path / "link").symlink_to("real")
    with LayerStack([tmp_path / "link"]) as stack:
        assert b"0" == (stack / "f").read_bytes()
