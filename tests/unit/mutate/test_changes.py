from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from grounds import BY_ID, GROUNDS, Ground, no_trusted_xattrs, no_user_xattrs, scratch
from kernel import Kernel, no_mounts
from shell import put
from trees import Alone, Dir, File, Link, Node, Whiteout
from unionpath import Layer, LayerStack, memory_layer
from unionpath.model.entry import Kind
from unionpath.model.errors import UnsupportedOperation
from unionpath.mutate import changes as module
from unionpath.mutate.changes import Change, changes

if TYPE_CHECKING:
    from unionpath import UnionPath


def said(*layers: Layer) -> list[str]:
    """Give the changes of the first layer as lines."""
    return [str(change) for change in changes(layers)]


def disk(directory: Path, *trees: Dir, ground: str = "local-oci") -> list[Layer]:
    """Put layers down in `0`, `1` …, top first; all their times are alike."""
    sites = BY_ID[ground].sites(directory, trees)
    for at, names, files in os.walk(directory):
        for name in (*names, *files):
            os.utime(os.path.join(at, name), ns=(10, 10), follow_symlinks=False)
    return [site.layer() for site in sites]


@pytest.fixture(params=GROUNDS, ids=lambda ground: ground.id)
def ground(request: pytest.FixtureRequest) -> Ground:
    chosen: Ground = request.param
    return chosen


# --- every format ----------------------------------------------------------------------------------


@pytest.mark.rule("M3", "D1", "D7")
def test_every_format_says_the_same(ground: Ground, tmp_path: Path) -> None:
    lower = Dir(
        {
            "etc": Dir({"gone": File(b"1"), "kept": File(b"2"), "other": File(b"3")}),
            "tree": Dir({"a": File(b"4"), "b": Dir({"c": File(b"5")})}),
            "fresh": Dir({"old": File(b"6")}),
            "thing": File(b"7"),
            "place": Dir({"x": File(b"8")}),
        }
    )
    upper = Dir(
        {
            "etc": Dir({"gone": Whiteout(), "other": File(b"new bytes"), "made": File(b"9")}),
            "tree": Whiteout(),
            "fresh": Dir({"new": File(b"10"), "sub": Dir({"deep": File(b"11")})}, opaque=True),
            "thing": Dir({"in": File(b"12")}),
            "place": File(b"13"),
            "ghost": Whiteout(),
        }
    )
    ground.require(upper, lower)
    layers = [site.layer() for site in ground.sites(tmp_path, [upper, Dir(), lower])]
    assert [
        "D /etc/gone",
        "A /etc/made",
        "M /etc/other",
        "O /fresh",
        "A /fresh/new",
        "A /fresh/sub",
        "A /fresh/sub/deep",
        "M /place",
        "M /thing",
        "A /thing/in",
        "D /tree",
    ] == said(*layers)


@pytest.mark.rule("L6")
def test_a_directory_beside_its_own_whiteout_hides_the_lowers(ground: Ground, tmp_path: Path) -> None:
    trees = [Dir({"d": Alone(Dir({"new": File(b"n")}))}), Dir({"d": Dir({"old": File(b"o")})})]
    ground.require(*trees)
    layers = [site.layer() for site in ground.sites(tmp_path, trees)]
    assert ["O /d", "A /d/new"] == said(*layers)


@pytest.mark.rule("M8")
def test_an_opaque_root_hides_all(ground: Ground, tmp_path: Path) -> None:
    trees = [Dir({"new": File(b"n")}, opaque=True), Dir({"old": File(b"o")})]
    ground.require(*trees)
    layers = [site.layer() for site in ground.sites(tmp_path, trees)]
    assert (["O /", "A /new"] if ground.opaque_roots else ["A /new"]) == said(*layers)


# --- values ----------------------------------------------------------------------------------------


def test_a_change_tells_what_shows_and_what_showed(tmp_path: Path) -> None:
    layers = disk(
        tmp_path,
        Dir({"a": Link("x"), "b": Whiteout(), "c": Dir({}, opaque=True), "n": File(b"")}),
        Dir({"a": Dir({"in": File()}), "b": Link("y"), "c": Dir({"in": File()})}),
    )
    assert [
        Change("/a", "modified", Kind.SYMLINK, Kind.DIRECTORY),
        Change("/b", "deleted", Kind.SYMLINK, Kind.SYMLINK),
        Change("/c", "opaque", Kind.DIRECTORY, Kind.DIRECTORY),
        Change("/n", "added", Kind.FILE, None),
    ] == list(changes(layers))


def test_paths_come_in_order_each_directory_before_what_is_in_it(tmp_path: Path) -> None:
    names: dict[str, Node] = {
        "b": Dir({"z": File(), "a": File()}),
        "b.c": File(),
        "a": File(),
        "é": File(),
        "Z": File(),
    }
    layers = disk(tmp_path, Dir(names), Dir())
    assert ["A /Z", "A /a", "A /b", "A /b/a", "A /b/z", "A /b.c", "A /é"] == said(*layers)


def test_an_upper_over_nothing_has_added_all(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir({"d": Dir({"f": File()}), "w": Whiteout()}))
    assert ["A /d", "A /d/f"] == said(*layers)


def test_the_walk_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory is read when its turn comes."""
    layers = disk(tmp_path, Dir({"a": File(), "b": Dir({"c": File()})}), Dir())
    walk = changes(layers)
    assert "A /a" == str(next(walk))
    (tmp_path / "0" / "b" / "late").touch()
    assert ["A /b", "A /b/c", "A /b/late"] == [str(change) for change in walk]


def test_what_vanishes_meanwhile_is_left_out(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir({"a": File(), "b": Dir({"c": File()}), "d": File()}), Dir({"d": File()}))
    walk = changes(layers)
    next(walk)
    (tmp_path / "0" / "b" / "c").unlink()
    (tmp_path / "0" / "b").rmdir()
    (tmp_path / "0" / "d").unlink()
    assert [] == list(walk)


def test_a_walk_left_early_lets_go(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir({"a": File(), "b": File()}), Dir({"a": File(b"x")}))
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    for _ in range(20):
        walk = iter(changes(layers))
        next(walk)
        del walk
    if before:
        assert len(os.listdir("/proc/self/fd")) <= len(before) + 8


# --- modified or metadata --------------------------------------------------------------------------


@pytest.mark.rule("C1", "C2")
def test_what_was_only_copied_up_is_no_change(tmp_path: Path) -> None:
    tree = Dir({"d": Dir({"f": File(b"same"), "l": Link("t"), "empty": File()})})
    assert [] == said(*disk(tmp_path, tree, tree))


@pytest.mark.rule("C5")
@pytest.mark.parametrize("name", ["d", "d/f"])
def test_a_mode_is_metadata(tmp_path: Path, name: str) -> None:
    tree = Dir({"d": Dir({"f": File(b"same")})})
    layers = disk(tmp_path, tree, tree)
    (tmp_path / "0" / name).chmod(0o700)
    assert [f"m /{name}"] == said(*layers)


def test_times_count_but_for_directories(tmp_path: Path) -> None:
    tree = Dir({"d": Dir({"f": File(b"same"), "l": Link("t")})})
    layers = disk(tmp_path, tree, tree)
    for name in ("d/f", "d/l", "d"):
        os.utime(tmp_path / "0" / name, ns=(10, 11), follow_symlinks=False)
    assert ["m /d/f", "m /d/l"] == said(*layers)
    os.utime(tmp_path / "0" / "d" / "f", ns=(99, 10))
    assert ["m /d/l"] == said(*layers), "access times don't count"


def test_bytes_decide_and_not_times(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir({"f": File(b"abc")}), Dir({"f": File(b"abd")}))
    assert ["M /f"] == said(*layers), "the times are alike, the bytes aren't"


def test_large_files_are_compared_a_block_at_a_time(tmp_path: Path) -> None:
    size = 2 * module._BLOCK + 17  # the border between two blocks is what may go wrong
    data = bytearray(size)
    layers = disk(tmp_path, Dir({"f": File(bytes(data))}), Dir({"f": File(bytes(data))}))
    assert [] == said(*layers)
    data[-1] = 1
    (tmp_path / "0" / "f").write_bytes(data)
    assert ["M /f"] == said(*layers)


def test_a_link_is_its_target(tmp_path: Path) -> None:
    assert ["M /l"] == said(*disk(tmp_path, Dir({"l": Link("a")}), Dir({"l": Link("b")})))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="takes root")
def test_owners_are_metadata(tmp_path: Path) -> None:
    tree = Dir({"d": Dir({"f": File(b"same"), "l": Link("t")})})
    layers = disk(tmp_path, tree, tree)
    for name in ("d", "d/f", "d/l"):
        os.chown(tmp_path / "0" / name, 1, -1, follow_symlinks=False)
    assert ["m /d", "m /d/f", "m /d/l"] == said(*layers)


@pytest.mark.rule("M3")
@pytest.mark.skipif(no_user_xattrs() is not None, reason=str(no_user_xattrs()))
def test_attributes_are_metadata_but_for_private_ones(tmp_path: Path) -> None:
    tree = Dir({"f": File(b"same"), "g": File(b"same")})
    layers = disk(tmp_path, tree, tree, ground="local-userxattr")
    os.setxattr(tmp_path / "0" / "f", "user.overlay.origin", b"private")
    os.setxattr(tmp_path / "0" / "g", "user.mine", b"1")
    assert ["m /g"] == said(*layers)
    os.setxattr(tmp_path / "1" / "g", "user.mine", b"1")
    assert [] == said(*layers)


def test_devices_are_their_numbers() -> None:
    upper, lower = memory_layer(), memory_layer()
    for layer, minor in ((upper, 3), (lower, 5)):
        root = layer.store.root()
        root.mknod("null", Kind.CHAR_DEVICE, 0o600, os.makedev(1, minor))  # type: ignore[attr-defined]  # writable
        root.mknod("pipe", Kind.FIFO, 0o600)  # type: ignore[attr-defined]  # the same
        root.utime("pipe", (0, 0))  # type: ignore[attr-defined]  # the same
    assert ["M /null"] == said(upper, lower)


def test_the_roots_own_metadata_do_not_count(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir(), Dir({"f": File()}))
    (tmp_path / "0").chmod(0o700)
    assert [] == said(*layers)


def test_an_opaque_directory_over_an_empty_one_hides_nothing(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir({"d": Dir({"n": File()}, opaque=True)}), Dir({"d": Dir()}))
    assert ["A /d/n"] == said(*layers)
    (tmp_path / "0" / "d").chmod(0o711)
    assert ["m /d", "A /d/n"] == said(*layers)


def test_made_up_directories_of_a_prefix_are_no_change(tmp_path: Path) -> None:
    disk(
        tmp_path,
        Dir({"f": File(b"new")}),
        Dir({"a": Dir({"b": Dir({"f": File(b"old")}, mode=0o700)}, mode=0o711)}),
    )
    upper = Layer(tmp_path / "0", at="/a/b")
    assert ["M /a/b/f"] == said(upper, Layer(tmp_path / "1"))


# --- what kernels write ----------------------------------------------------------------------------


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    if (reason := no_trusted_xattrs()) is not None:
        pytest.skip(reason)
    return tmp_path


def overlays(directory: Path, *names: str) -> list[Layer]:
    return [Layer(directory / name, whiteouts="overlayfs") for name in names]


@pytest.mark.rule("M7", "R4")
def test_a_moved_directory_is_deleted_and_added(kernels: Path) -> None:
    disk(
        kernels,
        Dir({"old": Whiteout(), "new": Dir({"extra": File(b"x")})}),
        Dir({"old": Dir({"f": File(b"1"), "sub": Dir({"g": File(b"2")})})}),
        ground="local-overlayfs",
    )
    os.setxattr(kernels / "0" / "new", "trusted.overlay.redirect", b"/old")
    assert [
        "A /new",
        "A /new/extra",
        "A /new/f",
        "A /new/sub",
        "A /new/sub/g",
        "D /old",
    ] == said(*overlays(kernels, "0", "1"))


@pytest.mark.rule("M7", "R4")
def test_a_directory_moved_onto_another_hides_that(kernels: Path) -> None:
    disk(
        kernels,
        Dir({"old": Whiteout(), "new": Dir()}),
        Dir({"old": Dir({"f": File(b"1")}), "new": Dir({"hidden": File(b"2")})}),
        ground="local-overlayfs",
    )
    os.setxattr(kernels / "0" / "new", "trusted.overlay.redirect", b"old")
    assert ["O /new", "A /new/f", "D /old"] == said(*overlays(kernels, "0", "1"))


@pytest.mark.rule("M7")
def test_a_metadata_only_copy_is_metadata(kernels: Path) -> None:
    disk(kernels, Dir({"f": File(bytes(8))}), Dir({"f": File(b"the data")}), ground="local-overlayfs")
    os.setxattr(kernels / "0" / "f", "trusted.overlay.metacopy", b"")
    assert [] == said(*overlays(kernels, "0", "1"))
    (kernels / "0" / "f").chmod(0o600)
    assert ["m /f"] == said(*overlays(kernels, "0", "1"))


@pytest.mark.rule("M7", "E2")
@pytest.mark.skipif(no_user_xattrs() is not None, reason=str(no_user_xattrs()))
def test_a_redirect_that_anyone_may_have_set_is_refused(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir({"d": Dir()}), Dir({"d": Dir()}), ground="local-userxattr")
    os.setxattr(tmp_path / "0" / "d", "user.overlay.redirect", b"/other")
    with pytest.raises(PermissionError) as caught:
        said(*layers)
    assert (errno.EPERM, "/d") == (caught.value.errno, caught.value.filename)


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.rule("M6", "L8")
def test_a_malformed_upper_is_an_error_with_the_unions_path(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir({"d": Dir()}), Dir())
    (tmp_path / "0" / "d" / ".wh.").touch()
    with pytest.raises(OSError) as caught:
        said(*layers)
    assert (errno.EIO, "/d") == (caught.value.errno, caught.value.filename)
    assert str(tmp_path / "0") in "".join(caught.value.__notes__)


@pytest.mark.rule("E9")
def test_an_upper_that_is_gone_is_an_error(tmp_path: Path) -> None:
    layers = disk(tmp_path, Dir(), Dir())
    (tmp_path / "0").rmdir()
    with pytest.raises(OSError) as caught:
        said(*layers)
    assert (errno.ESTALE, "/") == (caught.value.errno, caught.value.filename)


@pytest.mark.rule("L10", "M10")
def test_names_too_long_for_the_lowers_are_added() -> None:
    upper, lower = memory_layer(), memory_layer()
    upper.store.root().create("n" * 255, b"")  # type: ignore[attr-defined]  # memory stores are writable
    assert [f"A /{'n' * 255}"] == said(upper, lower)


@pytest.mark.rule("N5")
def test_names_that_differ_in_case_are_one_where_that_is_said(tmp_path: Path) -> None:
    layers = disk(
        tmp_path,
        Dir({"README": File(b"new"), "Docs": Dir({"B": Whiteout()})}),
        Dir({"readme": File(b"old one"), "docs": Dir({"a": File(), "b": File()})}),
    )
    assert ["D /Docs/b", "M /README"] == [str(each) for each in changes(layers, fold=str.casefold)]


# --- the law ---------------------------------------------------------------------------------------

Seen: TypeAlias = dict[str, tuple[int, object, int]]
"""Paths to file type, content, permissions."""
ROOT = (stat.S_IFDIR, None, 0)
AVAILABLE = [ground for ground in GROUNDS if ground.missing() is None]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Ground, list[Dir]]:
    ground = draw(st.sampled_from(AVAILABLE))
    return ground, draw(oracle.stacks(depth=3, layers=4, specials=ground.specials, symlinks=ground.links))


@pytest.mark.property
@pytest.mark.rule("M3")
@given(worlds())
def test_lowers_with_the_changes_made_are_the_union(case: tuple[Ground, list[Dir]]) -> None:
    """Whoever carries the changes out on what the lowers show, gets what the union shows."""
    ground, trees = case
    with scratch() as directory:
        layers = [site.layer() for site in ground.sites(directory, trees)]
        with LayerStack(layers) as union:
            after = seen(union.root)
            before: Seen = {"/": ROOT}
            if len(layers) > 1:
                with LayerStack(layers[1:]) as lowers:
                    before = seen(lowers.root)
            made = list(changes(layers))
            assert [change.path for change in made] == sorted((c.path for c in made), key=components)
            assert after == carried_out(made, before, after)


@pytest.mark.rule("D1", "D4", "R1", "C2")
def test_whatever_a_union_did_is_said(ground: Ground, tmp_path: Path, seed: int) -> None:
    """The law again, of uppers that unionpath itself wrote: for each kind of upper, over two lowers."""
    lower = Dir(
        {
            name: Dir(
                {inner: File(inner.encode()) for inner in ("f", "g")} | {"sub": Dir({"deep": File(b"x")})}
            )
            for name in ("a", "b", "c")
        }
    )
    trees = [Dir(), Dir({"b": Dir({"f": File(b"nearer"), "only": File()})}), lower]
    ground.require(*trees)
    draw = random.Random(seed)
    layers = [site.layer() for site in ground.sites(tmp_path, trees)]
    with (
        LayerStack(layers[1:], upper=layers[0], durability="volatile") as union,
        LayerStack(layers[1:]) as lowers,
    ):
        for _ in range(60):
            with contextlib.suppress(OSError, UnsupportedOperation):
                act_at_random(union.root, draw)
        before, after = seen(lowers.root), seen(union.root)
        assert after == carried_out(list(union.changes()), before, after)


@pytest.mark.kernel
@pytest.mark.rule("M7", "R4")
def test_whatever_a_kernel_did_is_said(tmp_path: Path, seed: int) -> None:
    """The law again, of uppers that the kernel wrote with redirects and metadata-only copies."""
    options = "redirect_dir=on,index=off,metacopy=on"
    if (reason := no_mounts(options)) is not None:
        pytest.skip(reason)
    draw = random.Random(seed)
    with Kernel() as kernel:
        for number in range(8):
            base = tmp_path / str(number)
            base.mkdir()
            names = ("f", "g", "sub/f")
            for lower in ("1", "2"):
                for place in (f"{top}/{name}" for top in "abc" for name in names if draw.random() < 0.7):
                    put(base / lower, {place: draw.randbytes(5)})
            (base / "0").mkdir()
            kernel.mount(base, ["1", "2"], upper="0", options=options)
            for _ in range(40):
                with contextlib.suppress(OSError):
                    kernel.system(*kernels_act(draw))
            kernel.unmount()
            layers = overlays(base, "0", "1", "2")
            with LayerStack(layers[1:]) as lowers, LayerStack(layers) as union:
                before, after = seen(lowers.root), seen(union.root)
                assert after == carried_out(list(changes(layers)), before, after)


def kernels_act(draw: random.Random) -> tuple[str, *tuple[object, ...]]:
    """Choose a function of `os`, and its arguments."""

    def any_path() -> str:
        return "/" + "/".join(draw.choices(("a", "b", "c", "f", "sub"), k=draw.randint(1, 3)))

    path = any_path()
    acts: list[tuple[str, *tuple[object, ...]]] = [
        ("rename", path, any_path()),
        ("rename", path, any_path()),
        ("unlink", path),
        ("rmdir", path),
        ("mkdir", path),
        ("chmod", path, draw.choice((0o700, 0o755))),
        ("truncate", path, 2),
        ("symlink", "f", path),
    ]
    return draw.choice(acts)


def act_at_random(root: UnionPath, draw: random.Random) -> None:
    """Change something, or try to."""

    def any_path() -> UnionPath:
        return root.joinpath(*draw.choices(("a", "b", "c", "f", "sub"), k=draw.randint(1, 3)))

    path = any_path()
    match draw.randrange(8):
        case 0:
            path.write_bytes(draw.randbytes(3))
        case 1:
            path.unlink()
        case 2:
            path.mkdir()
        case 3:
            path.rmtree()
        case 4:
            path.rename(any_path())
        case 5:
            path.chmod(draw.choice((0o700, 0o755)))
        case 6:
            path.symlink_to(draw.choice(("f", "a/f")))
        case _:
            path.hardlink_to(any_path())


def components(path: str) -> list[str]:
    return path.split("/")


def seen(root: UnionPath) -> Seen:
    """Give all paths below a root with what shows there; times aside."""
    found: Seen = {"/": ROOT}
    pending = [root]
    while pending:
        for path in pending.pop().iterdir():
            status = path.lstat()
            mode = status.st_mode
            content: object = status.st_rdev
            if stat.S_ISDIR(mode):
                pending.append(path)
            elif stat.S_ISREG(mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(mode):
                mode, content = stat.S_IFLNK, str(path.readlink())
            found[str(path)] = (stat.S_IFMT(mode), content, stat.S_IMODE(mode))
    return found


def carried_out(made: Sequence[Change], before: Seen, after: Seen) -> Seen:
    """Make the changes; each must have a reason."""
    tree = dict(before)
    for path, what, _kind, was in made:
        inside = path.rstrip("/") + "/"
        if what == "added":
            assert path not in tree, (path, "was there")
            assert was is None
        elif what in ("modified", "deleted"):
            assert path in tree, (path, "was not there")
            assert what == "deleted" or tree[path][:2] != after[path][:2], (path, "is the same as before")
            tree = {each: node for each, node in tree.items() if not each.startswith(inside)}
        elif what == "opaque":
            assert any(each.startswith(inside) and each != "/" for each in tree), (path, "hid nothing")
            tree = {each: node for each, node in tree.items() if not each.startswith(inside) or each == "/"}
        if what == "deleted":
            del tree[path]
        else:
            tree[path] = after[path]
    return tree
