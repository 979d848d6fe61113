"""Family R: one object under another name."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest

from changes import write
from grounds import BY_ID
from trees import Dir, File, Link, Node, Object, Whiteout
from unions import Builder
from views import UnionView, refusal

if TYPE_CHECKING:
    from unionpath import UnionPath

Mode: TypeAlias = Literal["copy", "exdev", "redirect"]
LOWER = Dir(
    {
        "f": File(b"f"),
        "g": File(b"g"),
        "d": Dir({"x": File(b"x"), "sub": Dir({"y": File(b"y"), "deep": Dir({"z": File(b"z")})})}),
        "e": Dir({"w": File(b"w")}),
        "empty": Dir(),
    }
)
INSIDE_D = ["/sub", "/sub/deep", "/sub/deep/z", "/sub/y", "/x"]


def names(path: UnionPath) -> list[str]:
    """List a directory."""
    return [child.name for child in path.iterdir()]


def below(path: UnionPath) -> list[str]:
    """List all paths below a directory, from there."""
    return sorted(f"/{each.relative_to(path)}" for each in path.glob("**/*"))


class TestFiles:
    """R1 and R2: what isn't a directory."""

    @pytest.mark.rule("R1")
    @pytest.mark.parametrize("rename", ["rename", "replace"])
    @pytest.mark.parametrize("target", ["new", "d/new", "d/sub/deep/new"])
    def test_from_a_lower_to_a_new_name(self, writing: Builder, rename: str, target: str) -> None:
        """It is copied up and the source whited out; both give the new path."""
        root = writing.over(LOWER)
        assert root / target == getattr(root / "f", rename)(root / target)
        assert b"f" == (root / target).read_bytes()
        assert not (root / "f").exists()
        assert ["/f"] == writing.upper.whiteouts()
        root = writing.reopened()
        assert (b"f", False) == ((root / target).read_bytes(), (root / "f").exists())

    @pytest.mark.rule("R1")
    def test_from_the_upper(self, writing: Builder) -> None:
        """Where no lower has the name, no whiteout stays."""
        root = writing.over(LOWER)
        (root / "d/own").write_bytes(b"own")
        (root / "d/own").rename(root / "e/own")
        assert b"own" == (root / "e/own").read_bytes()
        assert [] == writing.upper.whiteouts()

    @pytest.mark.rule("R1")
    def test_from_both(self, writing: Builder) -> None:
        """The lower's file doesn't come back at the old name."""
        root = writing.over(LOWER)
        write(root / "f", "ab", b"+")
        (root / "f").rename(root / "new")
        assert b"f+" == (root / "new").read_bytes()
        assert ["/f"] == writing.upper.whiteouts()
        assert not (writing.reopened() / "f").exists()

    @pytest.mark.rule("R1")
    def test_there_and_back(self, writing: Builder) -> None:
        """Renaming it back leaves no stray marker."""
        root = writing.over(LOWER)
        for _ in range(3):
            (root / "f").rename(root / "new")
            assert ["/f"] == writing.upper.whiteouts()
            (root / "new").rename(root / "f")
            assert [] == writing.upper.whiteouts()
        assert b"f" == (root / "f").read_bytes()
        assert "new" not in names(root)

    @pytest.mark.rule("R1")
    @pytest.mark.parametrize("target", ["g", "e/w", "d/sub/deep/z"])
    def test_onto_a_visible_file(self, writing: Builder, target: str) -> None:
        """It replaces that; the target's own whiteout isn't needed, as the name is taken."""
        root = writing.over(LOWER)
        (root / "f").rename(root / target)
        assert b"f" == (root / target).read_bytes()
        assert ["/f"] == writing.upper.whiteouts()
        (root / target).unlink()
        assert sorted(["/f", f"/{target}"]) == writing.upper.whiteouts()

    @pytest.mark.rule("R1", "D5")
    def test_onto_a_whited_out_name(self, writing: Builder) -> None:
        """The marker is consumed."""
        root = writing.over(LOWER, upper=Dir({"g": Whiteout()}))
        (root / "f").rename(root / "g")
        assert ["/f"] == writing.upper.whiteouts()
        assert b"f" == (root / "g").read_bytes()

    @pytest.mark.rule("R1")
    @pytest.mark.parametrize("name", ["f", "d", "d/sub", "own"])
    def test_onto_itself(self, writing: Builder, name: str) -> None:
        """Nothing happens."""
        root = writing.over(LOWER, upper=Dir({"own": File(b"own")}))
        before = writing.upper.names()
        for spelled in (name, f"./{name}", f"d/../{name}"):
            (root / name).rename(root / spelled)
        assert before == writing.upper.names()
        assert (root / name).exists()

    @pytest.mark.rule("R1", "C8")
    def test_onto_another_name_of_itself(self, writing: Builder) -> None:
        """Two names of one object stay as they are, as rename(2) says."""
        writing.needs(links=True)
        root = writing.over(LOWER)
        (root / "linked").hardlink_to(root / "f")
        (root / "f").rename(root / "linked")
        assert [b"f", b"f"] == [(root / name).read_bytes() for name in ("f", "linked")]

    @pytest.mark.rule("R1")
    @pytest.mark.parametrize("kind", ["local-oci", "local-overlayfs", "memory-table"])
    @pytest.mark.parametrize("target", ["lower", "upper"])
    def test_replacing_is_never_seen_half_done(self, tmp_path: Path, kind: str, target: str) -> None:
        """Onto a visible file it replaces that atomically: whoever looks finds one or the other."""
        builder = Builder(BY_ID[kind], tmp_path)
        many = {f"s{number}": File(b"%d" % number) for number in range(30)}
        there = Dir({"t": File(b"old")})
        root = builder.over(
            Dir({**many, **(there.entries if target == "lower" else {})}),
            upper=there if target == "upper" else Dir(),
        )
        seen: set[bytes] = set()
        faults: list[Exception] = []
        done = threading.Event()

        def look() -> None:
            while not done.is_set():
                try:
                    seen.add((root / "t").read_bytes())
                except OSError as error:
                    faults.append(error)

        looking = threading.Thread(target=look)
        looking.start()
        for name in many:
            (root / name).replace(root / "t")
        done.set()
        looking.join()
        assert [] == faults
        assert seen <= {b"old", *(b"%d" % number for number in range(30))}
        builder.close()


REFUSALS = [
    ("f", "d", "EISDIR"),
    ("f", "empty", "EISDIR"),
    ("d", "f", "ENOTDIR"),
    ("empty", "f", "ENOTDIR"),
    ("d", "e", "ENOTEMPTY"),
    ("empty", "d", "ENOTEMPTY"),
    ("d", "d/new", "EINVAL"),
    ("d", "d/sub", "EINVAL"),
    ("d", "d/sub/deep/new", "EINVAL"),
    ("missing", "new", "ENOENT"),
    ("missing", "d", "ENOENT"),
    ("missing", "f", "ENOENT"),
    ("missing/x", "new", "ENOENT"),
    ("f", "missing/new", "ENOENT"),
    ("f", "g/new", "ENOTDIR"),
    ("f/x", "new", "ENOTDIR"),
    ("missing", "g/new", "ENOTDIR"),
    ("d/sub", "d", "ENOTEMPTY"),
    ("d/x", "d", "ENOTEMPTY"),
]
"""Source, target, errno; what the kernel says on a mount and on any disk."""


class TestRefusals:
    """R2: what can't be renamed to what."""

    @pytest.mark.rule("R2", "E2")
    @pytest.mark.parametrize(("source", "target", "expected"), REFUSALS)
    @pytest.mark.parametrize("copied", [False, True], ids=["lower", "merged"])
    def test_refusals(self, writable: Builder, source: str, target: str, expected: str, copied: bool) -> None:
        """The kind, emptiness and place of both decide; errors have both paths; nothing changes."""
        mine = Dir({"d": Dir({"sub": Dir({"deep": Dir()})}), "e": Dir(), "empty": Dir(), "f": File(b"f")})
        root = writable.over(LOWER, upper=mine if copied else Dir())
        before = writable.upper.names()
        with pytest.raises(OSError) as caught:
            (root / source).rename(root / target)
        assert expected == refusal(lambda: (root / source).rename(root / target))
        assert (str(root / source), str(root / target)) == (caught.value.filename, caught.value.filename2)
        assert before == writable.upper.names()

    @pytest.mark.rule("R2")
    @pytest.mark.parametrize("mine", [Dir({"x": File()}), Dir({"w": Whiteout(), "x": File()})])
    def test_not_empty_counts_the_merged_view(self, writing: Builder, mine: Dir) -> None:
        """A target that is empty in the upper and not in a lower isn't empty."""
        root = writing.over(LOWER, upper=Dir({"e": mine, "own": Dir()}))
        assert "ENOTEMPTY" == refusal(lambda: (root / "own").rename(root / "e"))
        assert "ENOTEMPTY" == refusal(lambda: (root / "own").rename(root / "d"))
        assert "own" in names(root)


class TestDirectories:
    """R3: directories of the upper, which every mode moves alike."""

    @pytest.mark.rule("R3")
    @pytest.mark.parametrize("how", ["emptied", "removed", "rmtree", "empty in a lower"])
    def test_over_one_emptied_or_removed(self, writing: Builder, how: str) -> None:
        """It is opaque and lists only its own entries."""
        root = writing.over(LOWER)
        (root / "own/sub").mkdir(parents=True)
        (root / "own/f").write_bytes(b"own")
        target = root / ("empty" if how == "empty in a lower" else "e")
        if how == "emptied":
            (target / "w").unlink()
        elif how == "removed":
            (target / "w").unlink()
            target.rmdir()
        elif how == "rmtree":
            target.rmtree()
        (root / "own").rename(target)
        assert ["f", "sub"] == names(target)
        assert not (root / "own").exists()
        assert [] == writing.upper.whiteouts()
        root = writing.reopened()
        assert ["f", "sub"] == names(root / target.name)
        (root / target.name / "sub").rmdir()
        assert [] == writing.upper.whiteouts()

    @pytest.mark.rule("R3", "D4")
    def test_namesakes_below_do_not_return(self, writing: Builder) -> None:
        """Nor does what a lower has deeper down, where the moved directory has directories of that name."""
        root = writing.over(LOWER)
        (root / "own/sub/deep").mkdir(parents=True)
        (root / "d").rmtree()
        (root / "own").rename(root / "d")
        for _ in range(2):
            assert ["/sub", "/sub/deep"] == below(root / "d")
            root = writing.reopened()

    @pytest.mark.rule("R3", "D4")
    def test_over_a_deleted_file(self, writing: Builder) -> None:
        """Where a file was, a directory may come; it merges with nothing."""
        root = writing.over(Dir({"n": File()}), Dir({"n": Dir({"hidden": File()})}))
        (root / "own").mkdir()
        (root / "n").unlink()
        (root / "own").rename(root / "n")
        assert [] == names(root / "n")
        assert [] == names(writing.reopened() / "n")

    @pytest.mark.rule("R3")
    def test_away_and_back(self, writing: Builder) -> None:
        """A new directory may go from name to name, and leaves nothing behind."""
        root = writing.over(LOWER)
        (root / "a").mkdir()
        (root / "a/f").write_bytes(b"1")
        for target in ("b", "d/b", "d/sub/b", "a"):
            here = next(path for path in root.glob("**/f") if path.read_bytes() == b"1").parent
            here.rename(root / target)
            assert ["f"] == names(root / target)
        assert [] == writing.upper.whiteouts()


@pytest.fixture(params=["copy", "exdev", "redirect"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Each way of renaming directories of lowers."""
    chosen: Mode = request.param
    return chosen


@pytest.fixture
def refused(mode: Mode, writable: Builder) -> bool:
    """Whether directories of lowers can't be renamed."""
    if mode == "redirect" and (writable.ground.whiteouts != "overlayfs" or writable.ground.userxattr):
        pytest.skip(f"{writable.ground.id} layers hold no redirects that count")
    return mode == "exdev"


class TestModes:
    """R4: directories of lowers, and merged ones; the same tests on all modes."""

    @pytest.mark.rule("R4")
    @pytest.mark.parametrize("target", ["new", "e/new", "empty", "gone"])
    @pytest.mark.parametrize(
        "mine",
        [
            Dir(),
            Dir({"d": Dir({"own": File(b"own")})}),
            Dir({"d": Dir({"x": Whiteout(), "sub": Dir({"y": Whiteout(), "own": File(b"own")})})}),
        ],
        ids=["lower", "merged", "half-deleted"],
    )
    def test_all_or_nothing(
        self, writable: Builder, mode: Mode, refused: bool, target: str, mine: Dir
    ) -> None:
        """
        `copy` stages a copy, all or nothing, then leaves one whiteout; `exdev` refuses as the kernel does by
        default; `redirect` does it without a copy.
        """
        root = writable.over(
            Dir({**LOWER.entries, "gone": Dir({"old": File()})}),
            Dir({"d": Dir({"bottom": File(b"bottom")})}),
            upper=Dir({**mine.entries, "gone": Whiteout()}),
            rename_dir=mode,
        )
        before, whole = UnionView(root).whole(), below(root / "d")
        if refused:
            assert "EXDEV" == refusal(lambda: (root / "d").rename(root / target))
            assert before == UnionView(root).whole()
            return
        contents = [_content(root / f"d{path}") for path in whole]
        modes = [_mode(root / f"d{path}") for path in whole]
        (root / "d").rename(root / target)
        for _ in range(2):
            assert whole == below(root / target)
            assert contents == [_content(root / f"{target}{path}") for path in whole]
            assert modes == [_mode(root / f"{target}{path}") for path in whole]
            assert not (root / "d").exists()
            assert "ENOENT" == refusal((root / "d/sub/deep/z").stat)
            root = writable.reopened()
        assert "/d" in writable.upper.whiteouts()
        assert [] == [path for path in writable.upper.whiteouts() if path.startswith("/d/")]

    @pytest.mark.rule("R4")
    def test_over_many_lowers(self, writing: Builder) -> None:
        """Whatever the depth of the stack: what was moved is whole, and nothing of it stays."""
        trees = [
            Dir({"d": Dir({f"x{number}": File(), "sub": Dir({f"y{number}": File()})})}) for number in range(4)
        ]
        root = writing.over(*trees, upper=Dir({"d": Dir({"x2": Whiteout(), "own": File()})}))
        (root / "d").rename(root / "moved")
        sub = [f"/sub/y{number}" for number in range(4)]
        for _ in range(2):
            assert ["/own", "/sub", *sub, "/x0", "/x1", "/x3"] == below(root / "moved")
            assert ["moved"] == names(root)
            root = writing.reopened()

    @pytest.mark.rule("R4", "R3")
    def test_the_old_name_is_free(self, writable: Builder, mode: Mode, refused: bool) -> None:
        """A directory made there is empty, and stays apart from what was moved."""
        root = writable.over(LOWER, rename_dir=mode)
        if refused:
            return
        (root / "d").rename(root / "moved")
        (root / "d").mkdir()
        (root / "d/sub").mkdir()
        (root / "d/sub/own").write_bytes(b"own")
        (root / "moved/sub/deep/z").write_bytes(b"changed")
        for _ in range(2):
            assert ["/sub", "/sub/own"] == below(root / "d")
            assert INSIDE_D == below(root / "moved")
            assert b"changed" == (root / "moved/sub/deep/z").read_bytes()
            root = writable.reopened()

    @pytest.mark.rule("R4", "R1")
    def test_there_and_back(self, writable: Builder, mode: Mode, refused: bool) -> None:
        """Back under the old name it holds what it held, and no whiteout stays."""
        root = writable.over(LOWER, rename_dir=mode)
        if refused:
            return
        for _ in range(2):
            (root / "d").rename(root / "e/moved")
            (root / "e/moved").rename(root / "d")
        assert INSIDE_D == below(root / "d")
        assert [] == writable.upper.whiteouts()
        assert INSIDE_D == below(writable.reopened() / "d")

    @pytest.mark.rule("R4")
    def test_parent_and_child(self, writable: Builder, mode: Mode, refused: bool) -> None:
        """A directory, and then one that it holds, may both go elsewhere, in either order."""
        root = writable.over(LOWER, rename_dir=mode)
        if refused:
            return
        (root / "d").rename(root / "first")
        (root / "first/sub").rename(root / "second")
        (root / "second/deep").rename(root / "e/third")
        (root / "e").rename(root / "fourth")
        for _ in range(2):
            assert ["/x"] == below(root / "first")
            assert ["/y"] == below(root / "second")
            assert ["/third", "/third/z", "/w"] == below(root / "fourth")
            assert ["empty", "f", "first", "fourth", "g", "second"] == names(root)
            root = writable.reopened()

    @pytest.mark.rule("R4", "D7")
    def test_deleted_after_the_move(self, writable: Builder, mode: Mode, refused: bool) -> None:
        """What was moved and then removed is gone under both names."""
        root = writable.over(LOWER, rename_dir=mode)
        if refused:
            return
        (root / "d").rename(root / "moved")
        (root / "moved/x").unlink()
        (root / "moved").rmtree()
        for _ in range(2):
            assert ["e", "empty", "f", "g"] == names(root)
            root = writable.reopened()
        assert ["/d"] == writable.upper.whiteouts()

    @pytest.mark.rule("R4")
    def test_with_links_and_modes(self, writable: Builder, mode: Mode, refused: bool) -> None:
        """Links keep their targets to the letter, directories and files their modes."""
        writable.needs(links=True, modes=True)
        tree = Dir(
            {
                "l": Link("../f"),
                "abs": Link("/d/x"),
                "broken": Link("no/where"),
                "x": File(b"x", 0o600),
                "sub": Dir({"y": File(b"y", 0o751)}, mode=0o711),
            },
            mode=0o750,
        )
        root = writable.over(Dir({"d": tree, "f": File()}), rename_dir=mode)
        if refused:
            return
        rows = [
            (row[0][2:], *row[1:5], row[6]) for row in UnionView(root).whole() if row[0].startswith("/d/")
        ]
        times = [row[5] for row in UnionView(root).whole() if row[0].startswith("/d")]
        (root / "d").rename(root / "m")
        assert rows == [
            (row[0][2:], *row[1:5], row[6]) for row in UnionView(root).whole() if row[0].startswith("/m/")
        ]
        assert times == [row[5] for row in UnionView(root).whole() if row[0].startswith("/m")]
        assert 0o750 == _mode(root / "m")

    @pytest.mark.rule("R4", "R2")
    def test_into_itself(self, writable: Builder, mode: Mode) -> None:
        """Into its own subtree: EINVAL in every mode, and nothing is staged before."""
        root = writable.over(LOWER, rename_dir="copy" if mode == "redirect" else mode)
        before = writable.upper.names()
        assert "EINVAL" == refusal(lambda: (root / "d").rename(root / "d/sub/new"))
        assert before == writable.upper.names()

    @pytest.mark.rule("R4")
    def test_one_mode_per_stack(self, tmp_path: Path) -> None:
        """The mode is a property of the stack; `redirect` is refused for a format without redirects."""
        from unionpath import Layer, LayerStack

        (tmp_path / "upper").mkdir()
        (tmp_path / "lower").mkdir()
        with LayerStack([tmp_path / "lower"], upper=Layer(tmp_path / "upper"), rename_dir="exdev") as stack:
            assert "exdev" == stack.rename_dir
        with pytest.raises((ValueError, NotImplementedError), match="redirect"):
            LayerStack([tmp_path / "lower"], upper=Layer(tmp_path / "upper"), rename_dir="redirect")


def _content(at: UnionPath) -> bytes | None:
    return at.read_bytes() if at.is_file() else None


def _mode(at: UnionPath) -> int:
    return stat.S_IMODE(at.lstat().st_mode)


class TestLinks:
    """R5: symbolic links, other stacks, other kinds of paths."""

    @pytest.mark.rule("R5")
    @pytest.mark.parametrize("target", ["f", "d", "nowhere", "l"])
    @pytest.mark.parametrize("where", ["lower", "upper"])
    def test_the_link_is_renamed(self, writing: Builder, target: str, where: str) -> None:
        """Renaming a symbolic link renames the link."""
        writing.needs(links=True)
        link = {"l": Link(target)}
        lower = where == "lower"
        root = writing.over(
            Dir({**LOWER.entries, **(link if lower else {})}), upper=Dir({} if lower else link)
        )
        (root / "l").rename(root / "e/m")
        assert target == str((root / "e/m").readlink())
        assert not (root / "l").is_symlink()
        assert (["/l"] if lower else []) == writing.upper.whiteouts()
        assert ["d", "e", "empty", "f", "g"] == names(root)

    @pytest.mark.rule("R5", "R2")
    @pytest.mark.parametrize(
        ("source", "target", "expected"),
        [("l", "d", "EISDIR"), ("d", "l", "ENOTDIR"), ("empty", "l", "ENOTDIR"), ("l", "empty", "EISDIR")],
    )
    def test_a_link_is_no_directory(self, writing: Builder, source: str, target: str, expected: str) -> None:
        """Whatever it points to."""
        root = writing.over(Dir({**LOWER.entries, "l": Link("d")}))
        assert expected == refusal(lambda: (root / source).rename(root / target))

    @pytest.mark.rule("R5")
    def test_onto_a_link(self, writing: Builder) -> None:
        """A file takes the link's place; what the link pointed to stays."""
        root = writing.over(Dir({**LOWER.entries, "l": Link("g")}))
        (root / "f").rename(root / "l")
        assert (b"f", b"g") == ((root / "l").read_bytes(), (root / "g").read_bytes())
        assert not (root / "l").is_symlink()

    @pytest.mark.rule("R5", "S1")
    def test_through_links_to_directories(self, writing: Builder) -> None:
        """Links on the way are followed, on both sides."""
        root = writing.over(Dir({**LOWER.entries, "to": Link("d/sub"), "from": Link("e")}))
        (root / "from/w").rename(root / "to/w")
        assert b"w" == (root / "d/sub/w").read_bytes()
        assert ["/e/w"] == writing.upper.whiteouts()

    @pytest.mark.rule("R5")
    @pytest.mark.parametrize("rename", ["rename", "replace"])
    def test_to_another_stack(self, memory: Builder, tmp_path: Path, rename: str) -> None:
        """EXDEV, with both paths; `move` crosses."""
        from unionpath import LayerStack, memory_layer

        root = memory.over(LOWER)
        with LayerStack([], upper=memory_layer()) as other:
            with pytest.raises(OSError) as caught:
                getattr(root / "f", rename)(other / "f")
            assert "EXDEV" == refusal(lambda: (root / "f").rename(other / "f"))
            assert ("/f", "/f") == (caught.value.filename, caught.value.filename2)
            assert not (other / "f").exists()
            (root / "f").move(other / "f")
            (root / "d").move(other / "d")
            assert (b"f", INSIDE_D) == ((other / "f").read_bytes(), below(other / "d"))
            assert ["/d", "/f"] == memory.upper.whiteouts()
            (root / "g").copy(other / "g")
            assert b"g" == (other / "g").read_bytes() == (root / "g").read_bytes()

    @pytest.mark.rule("R5")
    def test_to_another_kind_of_path(self, memory: Builder, tmp_path: Path) -> None:
        """EXDEV for a path of the host; `move` and `copy` cross, in both directions."""
        root = memory.over(LOWER)
        assert "EXDEV" == refusal(lambda: (root / "f").rename(tmp_path / "f"))
        (root / "g").copy(tmp_path / "g")
        (root / "d").copy(tmp_path / "d")
        assert b"g" == (tmp_path / "g").read_bytes()
        assert b"z" == (tmp_path / "d/sub/deep/z").read_bytes()
        (root / "f").move(tmp_path / "f")
        assert (b"f", False) == ((tmp_path / "f").read_bytes(), (root / "f").exists())

    @pytest.mark.rule("R5")
    def test_to_a_text(self, memory: Builder) -> None:
        """A str is a path of the same stack, from its root."""
        root = memory.over(LOWER)
        assert root / "e/new" == (root / "f").rename("/e/new")
        assert b"f" == (root / "e/new").read_bytes()


ROOT: dict[str, tuple[Callable[[UnionPath], object], str]] = {
    "rmdir": (lambda at: at.rmdir(), "EBUSY"),
    "rename from": (lambda at: at.rename(at / "new"), "EBUSY"),
    "rename to": (lambda at: (at / "d").rename(at), "EBUSY"),
    "rename a file to": (lambda at: (at / "f").rename(at), "EBUSY"),
    "replace": (lambda at: (at / "d").replace(at), "EBUSY"),
    "unlink": (lambda at: at.unlink(), "EISDIR"),
    "mkdir": (lambda at: at.mkdir(), "EEXIST"),
    "symlink": (lambda at: at.symlink_to("f"), "EEXIST"),
    "link": (lambda at: at.hardlink_to(at / "f"), "EEXIST"),
    "open x": (lambda at: at.open("x"), "EEXIST"),
    "open w": (lambda at: at.open("w"), "EISDIR"),
}
DOTDOT: dict[str, tuple[Callable[[UnionPath], object], str]] = {
    "rename": (lambda at: at.rename(at.with_segments("/new")), "EBUSY"),
    "rename to": (lambda at: at.with_segments("/f").rename(at), "EBUSY"),
    "unlink": (lambda at: at.unlink(), "EISDIR"),
    "rmdir": (lambda at: at.rmdir(), "ENOTEMPTY"),
    "mkdir": (lambda at: at.mkdir(), "EEXIST"),
    "symlink": (lambda at: at.symlink_to("f"), "EEXIST"),
    "open w": (lambda at: at.open("w"), "EISDIR"),
}


@pytest.mark.rule("R6")
@pytest.mark.parametrize(("change", "expected"), ROOT.values(), ids=ROOT)
def test_the_root(writable: Builder, change: Callable[[UnionPath], object], expected: str) -> None:
    """rmdir, rename from or to it EBUSY; unlink EISDIR; mkdir EEXIST."""
    if change is ROOT["symlink"][0] or change is ROOT["link"][0]:
        writable.needs(links=True)
    root = writable.over(LOWER)
    before = writable.upper.names()
    assert expected == refusal(lambda: change(root))
    assert before == writable.upper.names()


@pytest.mark.rule("R6", "L9")
@pytest.mark.parametrize(("change", "expected"), DOTDOT.values(), ids=DOTDOT)
@pytest.mark.parametrize("path", ["d/..", "d/sub/..", ".."])
def test_dotdot(writable: Builder, change: Callable[[UnionPath], object], expected: str, path: str) -> None:
    """Of `d/..`: rename EBUSY, unlink EISDIR, rmdir ENOTEMPTY, mkdir EEXIST."""
    if change is DOTDOT["symlink"][0]:
        writable.needs(links=True)
    root = writable.over(LOWER)
    assert expected == refusal(lambda: change(root / path))
    assert ["d", "e", "empty", "f", "g"] == names(root)


KINDS: dict[str, Object] = {
    "file": File(b"1"),
    "empty dir": Dir(),
    "full dir": Dir({"in": File()}),
    "link": Link("nowhere"),
}
OUTCOMES = {
    ("file", "empty dir"): "EISDIR",
    ("file", "full dir"): "EISDIR",
    ("link", "empty dir"): "EISDIR",
    ("link", "full dir"): "EISDIR",
    ("empty dir", "file"): "ENOTDIR",
    ("empty dir", "link"): "ENOTDIR",
    ("full dir", "file"): "ENOTDIR",
    ("full dir", "link"): "ENOTDIR",
    ("empty dir", "full dir"): "ENOTEMPTY",
    ("full dir", "full dir"): "ENOTEMPTY",
}
"""What is refused; everything else succeeds."""


@pytest.mark.rule("R1", "R2", "R3")
@pytest.mark.parametrize("target", [*KINDS, "nothing", "whiteout"])
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("layers", ["lower-lower", "lower-upper", "upper-lower", "upper-upper"])
@pytest.mark.parametrize("kind", ["memory-oci", "memory-table", "local-overlayfs"])
def test_every_kind_onto_every_kind(tmp_path: Path, kind: str, layers: str, source: str, target: str) -> None:
    """Who is where makes no difference to the outcome, and what was moved is all that is there."""
    builder = Builder(BY_ID[kind], tmp_path)
    of_source, of_target = layers.split("-")
    trees: dict[str, dict[str, Node]] = {"lower": {}, "upper": {}}
    trees[of_source]["s"] = KINDS[source]
    if target == "whiteout":
        trees["lower"]["t"] = Dir({"old": File()})
        trees["upper"]["t"] = Whiteout()
    elif target != "nothing":
        trees[of_target]["t"] = KINDS[target]
    root = builder.over(Dir(trees["lower"]), upper=Dir(trees["upper"]))
    before = [(row[0], row[1], row[6]) for row in UnionView(root).whole()]
    moved = [(f"/t{path[2:]}", *others) for path, *others in before if path.startswith("/s")]
    expected = OUTCOMES.get((source, target))
    if expected is None:
        (root / "s").rename(root / "t")
    else:
        assert expected == refusal(lambda: (root / "s").rename(root / "t"))
    after = [(row[0], row[1], row[6]) for row in UnionView(root).whole()]
    assert (moved if expected is None else before) == after
    again = [(row[0], row[1], row[6]) for row in UnionView(builder.reopened()).whole()]
    assert after == again
    builder.close()
