"""A lower's file open for writing while other stacks put other files into its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from places import Place
from unionpath import LayerStack


def _replace(stack: LayerStack) -> None:
    (stack / "n").write_bytes(b"N" * 20)
    (stack / "n").rename("/a")


def _delete_and_make(stack: LayerStack) -> None:
    (stack / "a").unlink()
    (stack / "a").write_bytes(b"N" * 20)


@pytest.mark.rule("C9")
@pytest.mark.parametrize("change", [_replace, _delete_and_make])
@pytest.mark.parametrize("who", ["another stack", "the same"])
def test_what_is_read_is_of_one_file(
    each_place: Place, change: Callable[[LayerStack], object], who: str
) -> None:
    """A handle doesn't read on in another file, and what it writes doesn't land there."""
    each_place.fill({"a": "A" * 20})
    stack = each_place.stack()
    other = each_place.stack() if who == "another stack" else stack
    with (stack / "a").open("r+b", 0) as handle:
        start = handle.read(5)
        change(other)
        try:
            assert b"A" * 20 == start + handle.read(100)
            handle.write(b"W")
        except OSError:
            pass  # told
    assert b"N" * 20 == (stack / "a").read_bytes()


@pytest.mark.rule("C1")
def test_a_bad_call_copies_nothing_up(each_place: Place) -> None:
    """What can't be done to any file needs no copy."""
    each_place.fill({"a": "A"})
    stack = each_place.stack()
    with (stack / "a").open("r+b", 0) as handle, pytest.raises(OSError):
        handle.truncate(-1)
    assert (stack / "a").layer != stack.upper
