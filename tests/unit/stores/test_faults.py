"""The store that stands in for a broken one in other tests: it fails when it is told to, and only then."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from typing import cast

import pytest

from faults import CHANGES, FaultyStore, Stopped
from unionpath.model.entry import Kind
from unionpath.model.writable import WritableDirectory, WritableStore
from unionpath.stores.memory import MemoryStore

KINDS = tuple(Kind)


def outcome(action: Callable[[], object]) -> object:
    try:
        return action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except Stopped:
        return "stopped"


def faulty() -> tuple[MemoryStore, FaultyStore, WritableDirectory]:
    inner = MemoryStore()
    store = FaultyStore(inner)
    return inner, store, cast("WritableStore", store).root()


def some(top: WritableDirectory) -> list[object]:
    """Three changes, one after the other."""
    return [
        outcome(lambda: top.create("a")),
        outcome(lambda: top.rename("a", top, "b")),
        outcome(lambda: top.chmod("b", 0o600)),
    ]


def test_nothing_fails_untold() -> None:
    inner, store, top = faulty()
    store.fail(errno.EIO, call=0)
    assert [None] * 3 == some(top)
    assert ["create", "rename", "chmod"] == [method for method, _ in store.seen]
    assert ({"b"}, 0) == (set(inner.root().scan(KINDS)), store.failed)


def test_every_change_fails() -> None:
    _, store, top = faulty()
    store.fail(errno.ENOSPC)
    assert ["ENOSPC"] * 3 == some(top)
    assert 3 == store.failed
    assert {} == top.scan(KINDS)
    store.heal()
    assert [None] * 3 == some(top)


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("onwards", [False, True])
def test_one_call_fails_or_all_from_it_on(call: int, onwards: bool) -> None:
    _, store, top = faulty()
    top.create("b")
    top.create("a")
    store.fail(errno.EIO, CHANGES - {"create"}, call=call, onwards=onwards)
    found = [outcome(lambda: top.chmod("a", 0o600)) for _ in range(3)]
    expected = ["EIO" if each == call or (onwards and each > call) else None for each in (1, 2, 3)]
    assert expected == found
    assert ["chmod"] * 3 == [method for method, _ in store.seen]


def test_only_the_methods_that_are_named_fail() -> None:
    _, store, top = faulty()
    store.fail(Stopped, {"rename"})
    assert [None, "stopped", "ENOENT"] == some(top)
    assert [("rename", f"{store.place}/a")] == store.seen


def test_files_fail_too() -> None:
    inner, store, top = faulty()
    with top.open_new("f", "wb") as file:
        store.fail(errno.ENOSPC, {"file.write"}, call=2)
        assert [1, "ENOSPC", 1] == [outcome(lambda: file.write(b"x")) for _ in range(3)]
    store.fail(errno.EIO, {"file.truncate", "file.close"})
    file = top.open_writable("f", "rb+")
    assert ["EIO", "EIO", None] == [outcome(ask) for ask in (file.truncate, file.close, file.close)]
    assert (True, b"xx") == (file.closed, inner.root().read("f"))


def test_a_neighbour_fails_with_its_store() -> None:
    _, store, top = faulty()
    beside = cast("WritableStore", store).neighbour("n")
    assert beside is not None
    store.fail(errno.EDQUOT)
    assert "EDQUOT" == outcome(lambda: beside.root().put("f", io.BytesIO()))
    assert "EDQUOT" == outcome(lambda: beside.root().rename("f", top, "g"))
