"""
The sixteen defects of the program that this project grew out of, each as a short program of its own.

That program was a union in another language; it wrote whiteouts and read them wrong. None of this may return.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from trees import Dir, File, Whiteout
from unions import Builder
from views import refusal

if TYPE_CHECKING:
    from unionpath import UnionPath

LOWER = Dir({"d": Dir({"f": File(b"lower"), "sub": Dir({"g": File(b"g")})}), "f": File(b"lower")})


def names(path: UnionPath) -> list[str]:
    """List a directory."""
    return [child.name for child in path.iterdir()]


@pytest.mark.rule("L5", "D7")
def test_01_children_of_a_deleted_directory_are_gone(writable: Builder) -> None:
    root = writable.over(LOWER)
    (root / "d").rmtree()
    assert ["ENOENT"] * 3 == [refusal((root / path).read_bytes) for path in ("d/f", "d/sub/g", "d")]


@pytest.mark.rule("D4")
@pytest.mark.parametrize("how", ["rmtree", "one by one"])
def test_02_a_directory_made_again_is_empty(writable: Builder, how: str) -> None:
    root = writable.over(LOWER)
    if how == "rmtree":
        (root / "d").rmtree()
    else:
        for path in ("d/f", "d/sub/g"):
            (root / path).unlink()
        for path in ("d/sub", "d"):
            (root / path).rmdir()
    (root / "d").mkdir()
    assert [] == names(root / "d")
    (root / "d/sub").mkdir()
    assert [] == names(root / "d/sub")


@pytest.mark.rule("D7")
def test_03_removing_a_merged_tree_brings_nothing_back(writable: Builder) -> None:
    root = writable.over(LOWER, upper=Dir({"d": Dir({"own": File()})}))
    (root / "d").rmtree()
    assert ["f"] == names(root)
    assert ["f"] == names(writable.reopened())


@pytest.mark.rule("D1")
def test_04_deleting_what_only_the_upper_has_leaves_no_whiteout(writable: Builder) -> None:
    root = writable.over(LOWER)
    (root / "own").write_bytes(b"")
    (root / "own").unlink()
    assert [] == writable.upper.whiteouts()


@pytest.mark.rule("R4")
def test_05_a_renamed_lower_directory_keeps_its_children(writable: Builder) -> None:
    root = writable.over(LOWER)
    (root / "d").rename(root / "e")
    assert (b"lower", b"g") == ((root / "e/f").read_bytes(), (root / "e/sub/g").read_bytes())
    assert "ENOENT" == refusal((root / "d/f").read_bytes)


@pytest.mark.rule("R1")
def test_06_a_renamed_file_of_both_layers_leaves_none(writable: Builder) -> None:
    root = writable.over(LOWER, upper=Dir({"f": File(b"upper")}))
    (root / "f").rename(root / "g")
    assert (b"upper", False) == ((root / "g").read_bytes(), (root / "f").exists())


@pytest.mark.rule("L3", "M5")
def test_07_an_opaque_directory_in_a_middle_layer(writable: Builder) -> None:
    middle = Dir({"d": Dir({"m": File(b"m")}, opaque=True)})
    root = writable.over(middle, LOWER, upper=Dir({"d": Dir({"t": File()})}))
    assert ["m", "t"] == names(root / "d")
    assert (b"m", "ENOENT") == ((root / "d/m").read_bytes(), refusal((root / "d/f").stat))


@pytest.mark.rule("M1", "D4")
def test_08_the_opaque_marker_of_image_layers_is_understood(local: Builder) -> None:
    def prepare(builder: Builder) -> None:
        builder.upper.writer.mkdir(("d",), 0o755)
        builder.upper.writer.make(("d", ".wh..wh..opq"), File())

    root = local.over(LOWER, prepare=prepare)
    assert [] == names(root / "d")
    assert "ENOENT" == refusal((root / "d/f").stat)
    (root / "f").unlink()
    (root / "f").mkdir()
    assert "/f/.wh..wh..opq" in local.upper.names()


@pytest.mark.rule("L2")
def test_09_a_file_of_the_upper_over_a_lower_directory(writable: Builder) -> None:
    root = writable.over(LOWER, upper=Dir({"d": File(b"file")}))
    assert ["ENOTDIR", "ENOTDIR"] == [refusal((root / path).read_bytes) for path in ("d/f", "d/sub/g")]
    assert "ENOTDIR" == refusal((root / "d/new").mkdir)


@pytest.mark.rule("M8")
def test_10_an_opaque_root_holds_for_every_question(writable: Builder) -> None:
    root = writable.over(LOWER, upper=Dir({"own": File()}, opaque=True))
    hides = writable.ground.opaque_roots
    assert (["own"] if hides else ["d", "f", "own"]) == names(root)
    assert hides is not (root / "f").exists()
    if hides:
        (root / "f").mkdir()
        (root / "f").rmdir()
        assert [] == writable.upper.whiteouts()


@pytest.mark.rule("C2", "C12")
def test_11_parents_keep_their_modes(writable: Builder) -> None:
    writable.needs(modes=True)
    root = writable.over(Dir({"a": Dir({"b": Dir({"f": File()}, mode=0o710)}, mode=0o700)}))
    (root / "a/b/f").write_bytes(b"new")
    assert [0o700, 0o710] == [stat.S_IMODE((root / path).stat().st_mode) for path in ("a", "a/b")]
    held = {path: mode for path, mode in _modes(writable).items() if path in ("/a", "/a/b")}
    assert {"/a": 0o700, "/a/b": 0o710} == held


@pytest.mark.rule("D6", "C4")
def test_12_exclusive_creation_over_a_lower_file(writable: Builder) -> None:
    root = writable.over(LOWER)
    assert ["EEXIST", "EEXIST"] == [refusal((root / path).open, "x") for path in ("f", "d/f")]
    assert b"lower" == (root / "f").read_bytes()


@pytest.mark.rule("M4")
def test_13_names_of_markers_can_not_be_made(writable: Builder) -> None:
    root = writable.over(LOWER)
    if writable.ground.name_based:
        assert "EINVAL" == refusal(lambda: (root / ".wh.x").write_bytes(b""))
        assert [] == [name for name in writable.upper.names() if name.endswith(".wh.x")]
    else:
        (root / ".wh.x").write_bytes(b"seen")
        assert [".wh.x", "d", "f"] == names(root)


@pytest.mark.rule("C4", "E2")
def test_14_creating_without_a_parent(writable: Builder) -> None:
    root = writable.over(LOWER)
    assert "ENOENT" == refusal(lambda: (root / "no/such/f").write_bytes(b""))
    assert "ENOENT" == refusal((root / "no/such").mkdir)
    assert not (root / "no").exists()


@pytest.mark.rule("D6")
def test_15_mkdir_over_a_lower_directory(writable: Builder) -> None:
    root = writable.over(LOWER)
    assert ["EEXIST", "EEXIST"] == [refusal((root / path).mkdir) for path in ("d", "d/sub")]
    assert ["f", "sub"] == names(root / "d")


@pytest.mark.rule("D3")
def test_16_rmdir_of_a_lower_directory_that_is_not_empty(writable: Builder) -> None:
    root = writable.over(LOWER, upper=Dir({"d": Dir({"f": Whiteout()})}))
    assert ["ENOTEMPTY", "ENOTEMPTY"] == [refusal((root / path).rmdir) for path in ("d", "d/sub")]
    assert b"g" == (root / "d/sub/g").read_bytes()


def _modes(builder: Builder) -> dict[str, int]:
    import raw

    return {path: held.mode for path, held in raw.tree(builder.upper.store).items()}
