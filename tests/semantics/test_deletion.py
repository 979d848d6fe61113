"""Family D: what deleting leaves behind, and what creating finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from changes import CREATORS, SOURCES, Creator
from grounds import BY_ID
from trees import Dir, File, Link, Node, Whiteout
from unions import Builder
from views import UnionView, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from unionpath import UnionPath

LOWER = Dir(
    {
        "f": File(b"lower"),
        "d": Dir({"x": File(b"x"), "e": Dir({"y": File(b"y"), "g": Dir({"z": File(b"z")})})}),
        "empty": Dir(),
    }
)


def names(path: UnionPath) -> list[str]:
    """List a directory."""
    return [child.name for child in path.iterdir()]


def everything(root: UnionPath) -> list[str]:
    """List all paths of a union."""
    return [f"/{path.relative_to(root)}" for path in root.glob("**/*")]


class TestUnlink:
    """D1 and D2: one name that isn't a directory's."""

    @pytest.mark.rule("D1")
    @pytest.mark.parametrize("path", ["new", "d/new", "d/e/g/new"])
    def test_of_an_upper_only_name_leaves_nothing(self, writing: Builder, path: str) -> None:
        """unlink of a name that only the upper has leaves no whiteout."""
        root = writing.over(LOWER)
        (root / path).write_bytes(b"new")
        (root / path).unlink()
        assert not (root / path).exists()
        assert [] == writing.upper.whiteouts()

    @pytest.mark.rule("D1")
    @pytest.mark.parametrize("path", ["f", "d/x", "d/e/g/z"])
    @pytest.mark.parametrize("copied", [False, True], ids=["lower", "copied-up"])
    def test_of_a_lower_name_leaves_one_whiteout(self, writing: Builder, path: str, copied: bool) -> None:
        """Of a name visible in some lower, exactly one; nothing of a copy stays in the upper."""
        root = writing.over(LOWER)
        if copied:
            (root / path).write_bytes(b"copied")
        (root / path).unlink()
        assert "ENOENT" == refusal((root / path).lstat)
        assert [f"/{path}"] == writing.upper.whiteouts()
        root = writing.reopened()
        assert f"/{path}" not in everything(root)
        assert "ENOENT" == refusal((root / path).unlink)

    @pytest.mark.rule("D1")
    def test_of_a_name_that_several_lowers_have(self, writing: Builder) -> None:
        """However many lowers have it, one whiteout hides them all."""
        root = writing.over(Dir({"f": File(b"0")}), Dir({"f": File(b"1")}), upper=Dir({"f": File()}))
        (root / "f").unlink()
        assert ["/f"] == writing.upper.whiteouts()
        assert [] == names(root)

    @pytest.mark.rule("D1")
    @pytest.mark.parametrize(
        ("hiding", "hidden"),
        [(Dir({"f": Whiteout()}), LOWER), (Dir({"d": Dir(opaque=True)}), LOWER)],
        ids=["whiteout", "opaque"],
    )
    def test_of_a_name_that_lowers_hide_among_themselves(
        self, writing: Builder, hiding: Dir, hidden: Dir
    ) -> None:
        """What one lower hides of another isn't visible in any: no whiteout is needed."""
        root = writing.over(hiding, hidden)
        path = root / ("f" if "f" in hiding.entries else "d/x")
        assert not path.exists()
        path.write_bytes(b"new")
        path.unlink()
        assert not path.exists()
        assert [] == writing.upper.whiteouts()
        assert not (writing.reopened() / str(path)).exists()

    @pytest.mark.rule("D1")
    def test_of_a_file_that_hides_a_lower_directory(self, writing: Builder) -> None:
        """A whiteout stays: else the directory that the file hid would come back."""
        root = writing.over(LOWER, upper=Dir({"d": File(b"hides")}))
        (root / "d").unlink()
        assert ["/d"] == writing.upper.whiteouts()
        assert ["empty", "f"] == names(root)

    @pytest.mark.rule("D1", "M5")
    def test_in_an_opaque_directory_leaves_nothing(self, writing: Builder) -> None:
        """Where the parent is opaque, none."""
        root = writing.over(LOWER, upper=Dir({"d": Dir({"x": File(b"upper")}, opaque=True)}))
        (root / "d/x").unlink()
        assert [] == names(root / "d")
        assert [] == writing.upper.whiteouts()
        assert [] == names(writing.reopened() / "d")

    @pytest.mark.rule("D1")
    def test_in_a_directory_that_the_union_made(self, writing: Builder) -> None:
        """Nothing below a directory that no lower has needs a whiteout, however often it comes and goes."""
        root = writing.over(LOWER)
        (root / "n/m").mkdir(parents=True)
        for _ in range(3):
            (root / "n/m/f").write_bytes(b"")
            (root / "n/m/f").unlink()
        assert [] == writing.upper.whiteouts()

    @pytest.mark.rule("D1", "D5")
    def test_again_and_again(self, writing: Builder) -> None:
        """Delete and create a lower's name in turns: one whiteout or none."""
        root = writing.over(LOWER)
        for number in range(3):
            (root / "f").unlink()
            assert ["/f"] == writing.upper.whiteouts()
            (root / "f").write_bytes(b"%d" % number)
            assert [] == writing.upper.whiteouts()
            assert b"%d" % number == (root / "f").read_bytes()

    @pytest.mark.rule("D1")
    @pytest.mark.parametrize("target", ["f", "d", "missing"])
    def test_of_a_link_spares_what_it_points_to(self, writing: Builder, target: str) -> None:
        """The link goes, its target stays."""
        root = writing.over(Dir({**LOWER.entries, "l": Link(target)}))
        (root / "l").unlink()
        assert ["d", "empty", "f"] == names(root)
        assert ["/l"] == writing.upper.whiteouts()

    @pytest.mark.rule("D1")
    def test_removes_what_was_open(self, writing: Builder) -> None:
        """A file that is open for reading is read to its end."""
        root = writing.over(LOWER)
        with (root / "f").open("rb") as file:
            (root / "f").unlink()
            assert b"lower" == file.read()

    @pytest.mark.rule("D2")
    @pytest.mark.parametrize(
        ("change", "path", "expected"),
        [
            ("unlink", "d", "EISDIR"),
            ("unlink", "empty", "EISDIR"),
            ("unlink", "new", "EISDIR"),
            ("unlink", "missing", "ENOENT"),
            ("unlink", "missing/x", "ENOENT"),
            ("unlink", "f/x", "ENOTDIR"),
            ("rmdir", "f", "ENOTDIR"),
            ("rmdir", "upper", "ENOTDIR"),
            ("rmdir", "missing", "ENOENT"),
            ("rmdir", "f/x", "ENOTDIR"),
            ("rmdir", "d", "ENOTEMPTY"),
            ("rmdir", "d/e", "ENOTEMPTY"),
        ],
    )
    def test_refuses_the_wrong_kind(self, writing: Builder, change: str, path: str, expected: str) -> None:
        """unlink of a directory is EISDIR; rmdir of a file ENOTDIR; of what isn't there, ENOENT."""
        root = writing.over(LOWER, upper=Dir({"new": Dir(), "upper": File()}))
        before = everything(root)
        assert expected == refusal(getattr(root / path, change))
        assert before == everything(root)
        assert [] == writing.upper.whiteouts()

    @pytest.mark.rule("D2")
    @pytest.mark.parametrize("target", ["d", "empty", "f"])
    def test_rmdir_of_a_link_is_refused(self, writing: Builder, target: str) -> None:
        """rmdir of a symbolic link to a directory is ENOTDIR, in a lower as in the upper."""
        link = {"l": Link(target)}
        root = writing.over(Dir({**LOWER.entries, **link}), upper=Dir({"m": Link(target)}))
        assert ["ENOTDIR", "ENOTDIR"] == [refusal((root / name).rmdir) for name in "lm"]

    @pytest.mark.rule("D2")
    def test_a_second_time_is_refused(self, writing: Builder) -> None:
        """A second unlink is ENOENT, `missing_ok` or not, as in pathlib."""
        root = writing.over(LOWER)
        for path in ("f", "d/x"):
            (root / path).unlink()
            assert "ENOENT" == refusal((root / path).unlink)
            (root / path).unlink(missing_ok=True)
        (root / "empty").rmdir()
        assert "ENOENT" == refusal((root / "empty").rmdir)
        assert ["/d/x", "/empty", "/f"] == writing.upper.whiteouts()


class TestRmdir:
    """D3: a directory without names."""

    @pytest.mark.rule("D3")
    @pytest.mark.parametrize(
        ("upper", "lower"),
        [
            (Dir(), Dir({"d": Dir({"x": File()})})),
            (Dir({"d": Dir()}), Dir({"d": Dir({"x": File()})})),
            (Dir({"d": Dir({"x": File()})}), Dir({"d": Dir()})),
            (Dir({"d": Dir({"x": Whiteout()})}), Dir({"d": Dir({"x": File(), "y": File()})})),
            (Dir({"d": Dir({"x": File()}, opaque=True)}), Dir({"d": Dir()})),
        ],
        ids=["lower", "merged", "upper", "half-deleted", "opaque"],
    )
    def test_needs_an_empty_merged_view(self, writing: Builder, upper: Dir, lower: Dir) -> None:
        """Otherwise it is ENOTEMPTY, and nothing changes."""
        root = writing.over(lower, upper=upper)
        before = everything(root)
        assert "ENOTEMPTY" == refusal((root / "d").rmdir)
        assert before == everything(root)

    @pytest.mark.rule("D3")
    @pytest.mark.parametrize(
        ("upper", "lower", "left"),
        [
            (Dir(), Dir({"d": Dir()}), ["/d"]),
            (Dir({"d": Dir()}), Dir({"d": Dir()}), ["/d"]),
            (Dir({"d": Dir()}), Dir(), []),
            (Dir({"d": Dir({"x": Whiteout()})}), Dir({"d": Dir({"x": File()})}), ["/d"]),
            (Dir({"d": Dir(opaque=True)}), Dir({"d": Dir({"x": File()})}), ["/d"]),
            (Dir({"d": Dir(opaque=True)}), Dir(), []),
        ],
        ids=["lower", "merged", "upper", "whiteouts", "opaque", "opaque-only"],
    )
    def test_collapses_into_one_whiteout(
        self, writing: Builder, upper: Dir, lower: Dir, left: list[str]
    ) -> None:
        """An upper directory that holds only whiteouts collapses into one whiteout, if it needs any."""
        root = writing.over(lower, upper=upper)
        (root / "d").rmdir()
        assert [] == names(root)
        assert left == writing.upper.whiteouts()
        assert [] == writing.upper.opaques()
        assert [] == names(writing.reopened())

    @pytest.mark.rule("D3")
    def test_after_everything_in_it_went(self, writing: Builder) -> None:
        """A populated directory of lowers, emptied name by name and then removed, costs one whiteout."""
        root = writing.over(LOWER, Dir({"d": Dir({"more": File()})}))
        (root / "d/own").write_bytes(b"")
        for top, folders, files in (root / "d").walk(top_down=False):
            for name in files:
                (top / name).unlink()
            for name in folders:
                (top / name).rmdir()
        assert [] == names(root / "d")
        (root / "d").rmdir()
        assert ["empty", "f"] == names(root)
        assert ["/d"] == writing.upper.whiteouts()

    @pytest.mark.rule("D3", "S4")
    def test_of_what_a_link_points_to_leaves_the_link(self, writing: Builder) -> None:
        """`link/..` is physical; the directory goes, the link dangles."""
        root = writing.over(Dir({"a": Dir({"empty": Dir()}), "l": Link("a")}))
        (root / "l/empty").rmdir()
        assert ["/a/empty"] == writing.upper.whiteouts()
        (root / "a").rmdir()
        assert ["l"] == names(root)


class TestMkdir:
    """D4: a directory where something was."""

    @pytest.mark.rule("D4", "D5")
    @pytest.mark.parametrize("name", ["f", "d", "d/x", "d/e"])
    def test_over_a_whiteout_is_opaque(self, writing: Builder, name: str) -> None:
        """A directory made over a whiteout is born opaque, also when the whiteout hid a file."""
        root = writing.over(LOWER)
        at = root / name
        at.rmtree() if at.is_dir() else at.unlink()
        assert [f"/{name}"] == writing.upper.whiteouts()
        at.mkdir()
        assert [] == names(at)
        assert [] == writing.upper.whiteouts()
        assert [f"/{name}"] == writing.upper.opaques()
        assert [] == names(writing.reopened() / name)

    @pytest.mark.rule("D4")
    def test_old_children_never_return(self, writing: Builder) -> None:
        """At no depth, also after reopening, whatever is made again in their place."""
        root = writing.over(LOWER)
        (root / "d").rmtree()
        for path in ("d", "d/e", "d/e/g"):
            (root / path).mkdir()
            assert [] == names(root / path)
        assert "ENOENT" == refusal((root / "d/e/g/z").stat)
        (root / "d/e/own").write_bytes(b"own")
        below = ["/d", "/d/e", "/d/e/g", "/d/e/own", "/empty", "/f"]
        assert below == sorted(everything(root))
        assert below == sorted(everything(writing.reopened()))

    @pytest.mark.rule("D4")
    @pytest.mark.parametrize("times", [1, 3])
    def test_removed_and_made_again(self, writing: Builder, times: int) -> None:
        """However often: one whiteout when gone, none and empty when there."""
        root = writing.over(LOWER)
        (root / "d").rmtree()
        for _ in range(times):
            (root / "d").mkdir()
            (root / "d/x").write_bytes(b"new")
            assert ["x"] == names(root / "d")
            (root / "d/x").unlink()
            (root / "d").rmdir()
            assert ["/d"] == writing.upper.whiteouts()
            assert not (root / "d").exists()

    @pytest.mark.rule("D4", "L3")
    def test_over_a_whiteout_of_another_lower(self, writing: Builder) -> None:
        """What a lower's whiteout hides stays hidden."""
        root = writing.over(Dir({"d": Whiteout()}), LOWER)
        (root / "d").mkdir()
        assert [] == names(root / "d")
        (root / "d/e").mkdir()
        assert [] == names(root / "d/e")
        assert ["e"] == names(writing.reopened() / "d")

    @pytest.mark.rule("D4")
    def test_a_new_directory_hides_nothing_else(self, writing: Builder) -> None:
        """A directory made where nothing was needs no mark but what its format wants (M9)."""
        root = writing.over(LOWER)
        (root / "d/new").mkdir()
        assert ["e", "new", "x"] == names(root / "d")
        assert {"/d/new"} >= {*writing.upper.opaques()}
        assert [] == writing.upper.whiteouts()


@pytest.mark.rule("D5")
@pytest.mark.parametrize("creator", CREATORS.values(), ids=CREATORS)
@pytest.mark.parametrize("was", [File(b"old"), Dir({"x": File(b"old")})], ids=["file", "dir"])
def test_creating_clears_the_whiteout(writable: Builder, creator: Creator, was: Node) -> None:
    """Every creator clears the whiteout of its name in the same operation."""
    writing = writable
    writing.needs(links=creator.links)
    root = writing.over(Dir({"d": Dir({"n": was}), **SOURCES}), upper=Dir({"d": Dir({"n": Whiteout()})}))
    assert ["/d/n"] == writing.upper.whiteouts()
    creator.make(root / "d/n")
    assert "/d/n" not in writing.upper.whiteouts()
    for view in (root, writing.reopened()):
        assert creator.kind == UnionView(view).lkind("/d/n")
        assert ["n"] == names(view / "d")
        if creator.kind == "dir":
            assert "x" not in names(view / "d/n")


@pytest.mark.rule("D6")
@pytest.mark.parametrize(
    "creator", [each for each in CREATORS.values() if each.exclusive],
    ids=[name for name, each in CREATORS.items() if each.exclusive],
)  # fmt: skip
@pytest.mark.parametrize("where", ["lower", "upper", "both"])
@pytest.mark.parametrize(
    "there", [File(b"old"), Dir({"x": File()}), Link("nowhere"), Link("source")],
    ids=["file", "dir", "dangling", "link"],
)  # fmt: skip
def test_creating_over_something_visible(memory: Builder, creator: Creator, where: str, there: Node) -> None:
    """mkdir, `x`, symlink and link over anything visible, a dangling link included, are EEXIST."""
    lower = Dir({**SOURCES, **({"n": there} if where != "upper" else {})})
    root = memory.over(lower, upper=Dir({"n": there} if where != "lower" else {}))
    before = memory.upper.writer.source, UnionView(root).whole()
    assert "EEXIST" == refusal(lambda: creator.make(root / "n"))
    assert before == (memory.upper.writer.source, UnionView(root).whole())
    assert [] == memory.upper.whiteouts()


@pytest.mark.rule("D6")
@pytest.mark.parametrize("name", ["f", "d"])
def test_exclusive_creators_respect_lowers_everywhere(writing: Builder, name: str) -> None:
    """On every store and in every format."""
    root = writing.over(LOWER)
    for creator in ("open x", "mkdir", *(("symlink",) if writing.ground.links else ())):
        assert "EEXIST" == refusal(CREATORS[creator].make, root / name)
    assert "EEXIST" == refusal(lambda: (root / name).touch(exist_ok=False))
    assert [] == writing.upper.whiteouts()


class TestRmtree:
    """D7: a whole tree."""

    @pytest.mark.rule("D7")
    @pytest.mark.parametrize(
        "upper",
        [
            Dir(),
            Dir({"d": Dir({"own": File(), "e": Dir({"own": File()})})}),
            Dir({"d": Dir({"x": Whiteout(), "e": Dir({"y": Whiteout()})})}),
            Dir({"d": Dir({"own": File()}, opaque=True)}),
        ],
        ids=["lower", "merged", "half-deleted", "opaque"],
    )
    def test_costs_one_whiteout(self, writing: Builder, upper: Dir) -> None:
        """One whiteout, not one per file, and the tree stays gone."""
        root = writing.over(LOWER, Dir({"d": Dir({"more": File()})}), upper=upper)
        (root / "d").rmtree()
        assert ["/d"] == writing.upper.whiteouts()
        assert [] == writing.upper.opaques()
        for _ in range(2):
            assert ["empty", "f"] == names(root)
            assert "ENOENT" == refusal((root / "d/e/y").stat)
            assert [] == list(root.glob("d/**/*"))
            root = writing.reopened()

    @pytest.mark.rule("D7", "D1")
    def test_of_an_upper_only_tree_leaves_nothing(self, writing: Builder) -> None:
        """No lower shows it, so nothing has to be hidden."""
        root = writing.over(LOWER)
        (root / "n/m/o").mkdir(parents=True)
        (root / "n/m/f").write_bytes(b"")
        (root / "n").rmtree()
        assert [] == writing.upper.whiteouts()
        assert ["d", "empty", "f"] == names(root)

    @pytest.mark.rule("D7", "S4")
    def test_does_not_follow_links(self, writing: Builder) -> None:
        """walk and rmtree don't follow links."""
        root = writing.over(
            Dir({"d": Dir({"l": Link("../keep"), "m": Link("/keep/f")}), "keep": Dir({"f": File()})})
        )
        (root / "d").rmtree()
        assert ["/keep", "/keep/f"] == everything(root)

    @pytest.mark.rule("D7", "D2")
    @pytest.mark.parametrize(
        ("path", "expected"), [("f", "ENOTDIR"), ("missing", "ENOENT"), ("f/x", "ENOTDIR")]
    )
    def test_refusals(self, writing: Builder, path: str, expected: str) -> None:
        """What isn't a directory is no tree."""
        root = writing.over(LOWER)
        assert expected == refusal((root / path).rmtree)
        assert [] == writing.upper.whiteouts()

    @pytest.mark.rule("D7", "S4")
    def test_of_a_link_is_refused(self, writing: Builder) -> None:
        """A link to a directory is no tree either."""
        root = writing.over(Dir({**LOWER.entries, "l": Link("d")}))
        assert refusal((root / "l").rmtree) in ("ENOTDIR", "ELOOP")
        assert ["e", "x"] == names(root / "d")


def _loop(root: UnionPath) -> None:
    """Remove as shutil.rmtree does: name by name, from below."""
    for top, folders, files in root.walk(top_down=False):
        for name in files:
            (top / name).unlink()
        for name in folders:
            (top / name).rmdir() if not (top / name).is_symlink() else (top / name).unlink()
    root.rmdir()


@pytest.mark.rule("D3", "D7", "N2")
@pytest.mark.parametrize("remove", [_loop, lambda at: at.rmtree()], ids=["loop", "rmtree"])
def test_both_ways_of_removing_a_tree_end_alike(
    writing: Builder, remove: Callable[[UnionPath], object]
) -> None:
    """A loop with path methods ends where rmtree ends."""
    root = writing.over(LOWER, upper=Dir({"d": Dir({"own": Dir({"f": File()})})}))
    remove(root / "d")
    assert ["/d"] == writing.upper.whiteouts()
    assert ["empty", "f"] == names(writing.reopened())


@pytest.mark.rule("D7", "R6")
def test_rmtree_of_the_root_is_refused_whole(tmp_path: Path) -> None:
    """The root can't be removed, so nothing in it is."""
    builder = Builder(BY_ID["memory-oci"], tmp_path)
    root = builder.over(LOWER)
    assert "EBUSY" == refusal(root.rmtree)
    assert ["d", "empty", "f"] == names(root)
    builder.close()
