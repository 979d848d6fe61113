"""Trees copied or moved into themselves, by whatever way the target is reached: refused, and all is there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from upath import UPath

from places import Place
from unionpath import LayerStack, UnionPath, memory_layer

MOVES = ("copy", "move")


def contents(root: UnionPath) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def refused(how: str, source: UnionPath, target: object) -> None:
    """Copy or move, which isn't to be done and changes nothing."""
    before = contents(source.stack.root)
    act: Callable[[object], object] = getattr(source, how)
    with pytest.raises(OSError) as caught:
        act(target)
    assert errno.EINVAL == caught.value.errno
    assert before == contents(source.stack.root)


@pytest.fixture
def root(place: Place) -> UnionPath:
    place.fill({"a": "precious", "d/x": "px", "d/e/z": "pz"})
    place.fill({"ua": "U", "ud/y": "py"}, place.upper)
    os.symlink("d", place.lower / "dl")
    return place.stack().root


class TestDirectories:
    @pytest.mark.parametrize("how", MOVES)
    @pytest.mark.parametrize("target", ["d/sub", "d/e/sub", "dl/sub", "d"])
    def test_by_another_stack(self, root: UnionPath, place: Place, how: str, target: str) -> None:
        """A second stack over the same layers, under another name."""
        other = place.stack(name=f"other-{place.directory.name}")
        refused(how, root / "d", other / target)

    @pytest.mark.parametrize("how", ["copy_into", "move_into"])
    def test_into_themselves_by_another_stack(self, root: UnionPath, place: Place, how: str) -> None:
        refused(how, root / "d", place.stack(name=f"other-{place.directory.name}") / "d")

    @pytest.mark.parametrize("how", MOVES)
    @pytest.mark.parametrize("target", ["d/sub", "dl/sub"])
    def test_where_directories_are_not_renamed(
        self, root: UnionPath, place: Place, how: str, target: str
    ) -> None:
        """A move that has to copy looks as closely as a rename."""
        stack = place.stack(rename_dir="exdev")
        refused(how, stack / "d", stack / target)

    @pytest.mark.rule("C3")
    @pytest.mark.parametrize("how", MOVES)
    @pytest.mark.parametrize(
        ("source", "target"),
        [("ud", "upper/ud/sub"), ("d", "lower/d/sub"), ("d", "lower/d/e/f"), ("d", "lower/d")],
    )
    @pytest.mark.parametrize("kind", [Path, lambda at: UPath(f"file://{at}")], ids=["pathlib", "upath"])
    def test_by_a_path_of_the_host(
        self,
        root: UnionPath,
        place: Place,
        how: str,
        source: str,
        target: str,
        kind: Callable[[Path], object],
    ) -> None:
        """Nothing is made there, least of all in a lower."""
        refused(how, root / source, kind(place.directory / target))
        assert ["e", "x"] == sorted(os.listdir(place.lower / "d"))
        assert ["y"] == os.listdir(place.upper / "ud")

    @pytest.mark.parametrize("how", MOVES)
    @pytest.mark.parametrize("upper", ["memory layer", "fsspec"])
    def test_in_other_stores(self, place: Place, how: str, upper: str) -> None:
        """Stores without inodes know their own, too."""
        layer = memory_layer() if upper == "memory layer" else place.layer(place.memory_url())
        first = place.stack(upper=layer)
        second = place.stack(upper=layer, name=f"other-{place.directory.name}")
        (first / "d").mkdir()
        (first / "d/x").write_text("1")
        (first / "a").write_text("2")
        refused(how, first / "d", second / "d/sub")
        refused(how, first / "d", second / "d")
        refused(how, first / "a", second / "a")


class TestFiles:
    @pytest.mark.rule("C3")
    @pytest.mark.parametrize("how", MOVES)
    @pytest.mark.parametrize(("source", "target"), [("a", "lower/a"), ("ua", "upper/ua")])
    def test_by_a_universal_path(
        self, root: UnionPath, place: Place, how: str, source: str, target: str
    ) -> None:
        """The lower's own file, or the upper's, by a URL."""
        refused(how, root / source, UPath(f"file://{place.directory / target}"))

    @pytest.mark.parametrize("how", MOVES)
    @pytest.mark.parametrize("layer", ["lower", "upper"])
    def test_by_a_link_on_the_host(self, root: UnionPath, place: Place, how: str, layer: str) -> None:
        name = "a" if layer == "lower" else "ua"
        (place.directory / "link").symlink_to(place.directory / layer / name)
        refused(how, root / name, place.directory / "link")

    @pytest.mark.parametrize("how", MOVES)
    def test_by_a_path_of_the_same_store(self, place: Place, how: str) -> None:
        """An upper in fsspec's memory, and a path there."""
        url = place.memory_url()
        stack = place.stack(upper=place.layer(url))
        (stack / "a").write_text("p")
        refused(how, stack / "a", UPath(f"{url}/a"))

    @pytest.mark.parametrize("how", MOVES)
    def test_from_a_stack_pushed_on_top(self, root: UnionPath, how: str) -> None:
        """What a scratch layer on top shows is the same file, unless it was changed there."""
        with root.stack.push(memory_layer()) as pushed:
            refused(how, pushed / "ua", root / "ua")
            (pushed / "ua").write_text("new")
            (pushed / "ua").copy(root / "ua")
        assert "new" == (root / "ua").read_text()


def test_an_exchange_of_names_is_none(place: Place) -> None:
    """A copy beside itself is fine, and so is one of the same name elsewhere."""
    place.fill({"d/x": "px", "d/d/y": "py"})
    with LayerStack([place.lower], upper=place.layer()) as stack:
        (stack / "d").copy(stack / "d2")
        (stack / "d/d").copy(stack / "e")
        (stack / "d/x").copy(stack / "d/d/x")
        assert {"/d/x", "/d/d/x", "/d2/x"} == {str(at) for at in stack.root.rglob("x")}
