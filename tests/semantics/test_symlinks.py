"""Family S: links are followed in the union, by the union."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trees import Dir, File, Link, Node, Whiteout
from unions import Builder
from views import refusal

if TYPE_CHECKING:
    from unionpath import UnionPath


def names(path: UnionPath) -> list[str]:
    """List a directory."""
    return [child.name for child in path.iterdir()]


def chain(length: int) -> dict[str, Node]:
    """Links l1 -> l2 -> … -> a file; following l1 takes `length` links."""
    links: dict[str, Node] = {f"l{at}": Link(f"l{at + 1}") for at in range(1, length)}
    return {**links, f"l{length}": Link("end"), "end": File(b"end")}


@pytest.mark.rule("S1")
@pytest.mark.parametrize("link_above", [True, False], ids=["link above", "target above"])
@pytest.mark.parametrize("target", ["/d/f", "d/f", "../d/f", "../../d/./f", "d/../d/f"])
def test_targets_resolve_in_the_union(union: Builder, target: str, link_above: bool) -> None:
    """Targets resolve in the merged namespace, whichever layer holds link or target."""
    link, data = Dir({"l": Link(target)}), Dir({"d": Dir({"f": File(b"data")})})
    root = union(link, data) if link_above else union(data, link)
    assert b"data" == (root / "l").read_bytes()
    assert "/d/f" == str((root / "l").resolve(strict=True))
    assert (root / "l").is_symlink()
    assert (root / "l").is_file()
    assert target.replace("/./", "/") == str((root / "l").readlink())


@pytest.mark.rule("S1")
def test_relative_targets_start_at_the_links_directory(union: Builder) -> None:
    """Relative targets resolve from the link's directory, absolute ones from the union's root."""
    root = union(
        Dir({"a": Dir({"rel": Link("f"), "abs": Link("/f"), "up": Link("../f")})}),
        Dir({"a": Dir({"f": File(b"inner")}), "f": File(b"outer")}),
    )
    assert b"inner" == (root / "a/rel").read_bytes()
    assert b"outer" == (root / "a/abs").read_bytes()
    assert b"outer" == (root / "a/up").read_bytes()


@pytest.mark.rule("S1")
def test_links_in_mid_path(union: Builder) -> None:
    """Also in mid-path, and through several layers."""
    root = union(
        Dir({"one": Link("two/three")}),
        Dir({"two": Dir({"three": Link("/real")})}),
        Dir({"real": Dir({"f": File(b"data"), "back": Link("../one/f")})}),
    )
    assert b"data" == (root / "one/f").read_bytes()
    assert b"data" == (root / "one/back").read_bytes()
    assert ["back", "f"] == names(root / "one")
    assert ["/one/back", "/one/f"] == [str(child) for child in (root / "one").iterdir()]
    assert "/real/f" == str((root / "one/back").resolve())


@pytest.mark.rule("S1", "L5")
def test_a_whited_out_target_is_missing(union: Builder) -> None:
    """The merged namespace is what counts: a link to a whited-out name dangles."""
    root = union(Dir({"f": Whiteout()}), Dir({"f": File(), "l": Link("f"), "a": Link("/f")}))
    for name in ("l", "a"):
        assert not (root / name).exists()
        assert "ENOENT" == refusal((root / name).stat)
        assert (root / name).exists(follow_symlinks=False)
    assert ["a", "l"] == names(root)


@pytest.mark.rule("S2")
def test_forty_links_resolve(union: Builder) -> None:
    """40 links resolve, the 41st is ELOOP."""
    links = chain(41)
    upper = Dir({name: node for at, (name, node) in enumerate(links.items()) if at % 2})
    lower = Dir({name: node for at, (name, node) in enumerate(links.items()) if not at % 2})
    root = union(upper, lower)
    assert b"end" == (root / "l2").read_bytes()
    assert "/end" == str((root / "l2").resolve(strict=True))
    assert "ELOOP" == refusal((root / "l1").stat)
    assert "ELOOP" == refusal((root / "l1").read_bytes)
    assert (root / "l1").is_symlink()


@pytest.mark.rule("S2")
def test_links_in_mid_path_count(union: Builder) -> None:
    """All links of one path count together."""
    root = union(Dir({"here": Link("."), "f": File(b"0")}))
    assert b"0" == root.joinpath(*["here"] * 40, "f").read_bytes()
    assert "ELOOP" == refusal(root.joinpath(*["here"] * 41, "f").stat)


@pytest.mark.rule("S2")
def test_loops_across_layers(union: Builder) -> None:
    """Loops across layers are ELOOP for stat and open, fine for lstat and readlink."""
    root = union(Dir({"a": Link("b"), "self": Link("self")}), Dir({"b": Link("/a"), "d": Link("d/x")}))
    for name in ("a", "b", "self", "d", "a/x"):
        assert "ELOOP" == refusal((root / name).stat)
        assert "ELOOP" == refusal((root / name).read_bytes)
        assert "ELOOP" == refusal(lambda at=root / name: names(at))
        assert not (root / name).exists()
    assert "b" == str((root / "a").readlink())
    assert (root / "self").lstat()
    assert ["a", "b", "d", "self"] == names(root)
    assert [] == list(root.glob("a/*"))
    assert [("/", [], ["a", "b", "d", "self"])] == [(str(top), d, f) for top, d, f in root.walk()]


@pytest.mark.rule("S2")
def test_a_target_may_have_4095_bytes(union: Builder) -> None:
    """A target of 4 095 bytes is held."""
    target = "./" * 2047 + "f"
    assert len(target) == 4095
    root = union(Dir({"l": Link(target)}), Dir({"f": File(b"0")}))
    assert b"0" == (root / "l").read_bytes()


@pytest.mark.rule("S3")
@pytest.mark.parametrize("target", ["real", "/real"])
def test_a_link_over_a_directory_does_not_merge(union: Builder, target: str) -> None:
    """An upper symlink over a lower directory doesn't merge; the path goes through the link."""
    root = union(
        Dir({"d": Link(target)}),
        Dir({"d": Dir({"x": File()}), "real": Dir({"y": File(b"1")})}),
        Dir({"real": Dir({"z": File()})}),
    )
    assert ["y", "z"] == names(root / "d")
    assert b"1" == (root / "d/y").read_bytes()
    assert "ENOENT" == refusal((root / "d/x").stat)


@pytest.mark.rule("S3")
def test_a_directory_over_a_link_shows_the_directory(union: Builder) -> None:
    """A lower link never lends an upper directory its target's names."""
    root = union(Dir({"d": Dir({"x": File()})}), Dir({"d": Link("real"), "real": Dir({"y": File()})}))
    assert ["x"] == names(root / "d")
    assert not (root / "d").is_symlink()


@pytest.mark.rule("S4")
def test_walk_does_not_follow_unless_asked(union: Builder) -> None:
    """walk doesn't follow links unless asked."""
    root = union(Dir({"l": Link("d"), "broken": Link("nowhere")}), Dir({"d": Dir({"f": File()})}))
    assert [("/", ["d"], ["broken", "l"]), ("/d", [], ["f"])] == [
        (str(top), folders, files) for top, folders, files in root.walk()
    ]
    followed = [(str(top), folders, files) for top, folders, files in root.walk(follow_symlinks=True)]
    assert [("/", ["d", "l"], ["broken"]), ("/d", [], ["f"]), ("/l", [], ["f"])] == followed
    assert ["/broken", "/d", "/d/f", "/l"] == sorted(str(found) for found in root.rglob("*"))


@pytest.mark.rule("S4")
def test_readlink_of_something_else(union: Builder) -> None:
    """readlink of something else is EINVAL."""
    tree = Dir({"f": File(), "d": Dir({"x": File()})})
    root = union(tree, Dir({"d": Dir()}))
    for name in ("f", "d", "d/x", "/"):
        assert "EINVAL" == refusal((root / name).readlink)
    assert "ENOENT" == refusal((root / "missing").readlink)
    assert "ENOTDIR" == refusal((root / "f/x").readlink)


@pytest.mark.rule("S2")
@pytest.mark.parametrize(("target", "error"), [("", "ENOENT"), ("./" * 2047 + "ff", "ENAMETOOLONG")])
def test_targets_that_can_not_be_followed(target: str, error: str) -> None:
    """A target of 4 095 bytes is held, a longer one ENAMETOOLONG, an empty one ENOENT."""
    from unionpath import Layer, LayerStack
    from unionpath.stores.memory import MemoryStore
    from unionpath.stores.memory_inodes import SymlinkInode

    store = MemoryStore()
    store.root().symlink("l", "to be replaced by what only a broken store gives")
    inode = store.root().inode.children["l"]
    assert isinstance(inode, SymlinkInode)
    inode.target = target
    with LayerStack([Layer(store)]) as stack:
        assert error == refusal((stack / "l").stat)
        assert (stack / "l").is_symlink()
