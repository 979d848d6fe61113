"""Uppers on object stores, which rename nothing: copies taken back, lowers remembered, late handles."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from places import Place
from unionpath import Layer, LayerStack, UnionPath
from unionpath.model.errors import UnsupportedOperation


@pytest.fixture(params=["oci", "table"])
def objects(request: pytest.FixtureRequest, place: Place) -> Place:
    """Give a place whose upper is in fsspec's memory."""
    place.whiteouts = "oci" if request.param == "oci" else "table"
    place.memory_url()
    return place


def stack_of(objects: Place, *lowers: Layer) -> LayerStack:
    return objects.stack(*lowers, upper=objects.layer(objects.memory_url()))


def names(path: UnionPath) -> list[str]:
    return sorted(each.name for each in path.iterdir())


@pytest.mark.rule("E3")
def test_lowers_are_remembered(objects: Place) -> None:
    """An upper in a store without renames knows what it was written over, too."""
    objects.fill({"a": "1"})
    objects.fill({"a": "2"}, objects.directory / "other")
    with stack_of(objects) as stack:
        (stack / "a").unlink()
    with pytest.raises(ValueError, match="other lowers"):
        stack_of(objects, Layer(objects.directory / "other"))
    with stack_of(objects) as stack:
        assert [] == names(stack.root)


@pytest.mark.rule("E5")
def test_a_removal_that_was_begun_is_finished(place: Place) -> None:
    """What a dead writer was removing doesn't come back under what is made in its place."""
    from upath import UPath

    place.whiteouts = "table"
    url = place.memory_url()
    place.fill({"q": "q"})
    with place.stack(upper=place.layer(url)) as stack:
        (stack / "q").unlink()
        (stack / "d").mkdir()
        (stack / "d/secret").write_text("deleted")
    log = UPath(url) / ".wh..wh.unionpath/whiteouts"
    log.write_bytes(log.read_bytes() + b'["r","/d"]\n')
    with place.stack(upper=place.layer(url)) as stack:
        (stack / "d").mkdir()
        assert [] == names(stack / "d")
    with place.stack(upper=place.layer(url)) as stack:
        assert ["d"] == names(stack.root)
        assert [] == names(stack / "d")


class TestRenamesThatFail:
    @pytest.mark.rule("E6")
    @pytest.mark.parametrize("target", ["new", "gone", "empty"])
    @pytest.mark.parametrize("call", [1, 3, 5])
    def test_half_way(self, objects: Place, monkeypatch: pytest.MonkeyPatch, target: str, call: int) -> None:
        """No half copy is left, and what was whited out stays so."""
        objects.fill({f"d/f{number}": str(number) for number in range(5)})
        objects.fill({"gone/x": "x", "empty/": ""})
        stack = stack_of(objects)
        (stack / "gone").rmtree()
        before = sorted(map(str, stack.root.rglob("*")))
        kind = type(stack.layers[0].store.root())
        real: Callable[..., object] = kind.put  # type: ignore[attr-defined]  # it is one to write to
        calls = [0]

        def put(self: object, *arguments: object, **more: object) -> object:
            calls[0] += 1
            if calls[0] == call:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(self, *arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "put", put)
            with pytest.raises(OSError):
                (stack / "d").rename(f"/{target}")
        for each in (stack, stack_of(objects)):
            assert before == sorted(map(str, each.root.rglob("*")))
        (stack / "d").rename(f"/{target}")
        assert [f"f{number}" for number in range(5)] == names(stack_of(objects) / target)

    @pytest.mark.rule("E4", "E6")
    @pytest.mark.parametrize("target", ["new", "empty", "emptied"])
    @pytest.mark.parametrize("how", ["rename", "move"])
    def test_of_what_the_store_cannot_hold(self, objects: Place, target: str, how: str) -> None:
        """A link deep in a directory is found before the first change."""
        objects.fill({"d/a": "a", "d/z/q": "q", "empty/": "", "emptied/x": "x"})
        (objects.lower / "d/z/link").symlink_to("q")
        stack = stack_of(objects)
        (stack / "emptied/x").unlink()
        before = sorted(map(str, stack.root.rglob("*")))
        act: Callable[[str], object] = getattr(stack / "d", how)
        with pytest.raises((OSError, UnsupportedOperation)):
            act(f"/{target}")
        assert before == sorted(map(str, stack.root.rglob("*")))
        assert (stack / "d/z/link").is_symlink()


@pytest.mark.rule("D1", "D5")
def test_many_changes_of_one_name(objects: Place) -> None:
    """So many that a table is shortened on the way."""
    objects.fill({"a": "low"})
    stack = stack_of(objects)
    for _ in range(300):
        (stack / "a").write_text("x")
        (stack / "a").unlink()
    assert [] == names(stack.root)
    assert [] == names(stack_of(objects).root)


class TestHandles:
    @pytest.mark.rule("C4", "C9")
    def test_several_append_to_a_new_name(self, objects: Place) -> None:
        """`a` isn't exclusive: what all of them wrote is there once they are closed."""
        stack = stack_of(objects)
        handles = [(stack / "log").open("ab", 0) for _ in range(3)]
        for number, handle in enumerate(handles):
            handle.write(b"%d" % number)
        for handle in handles:
            handle.close()
        assert sorted(b"012") == sorted((stack / "log").read_bytes())
