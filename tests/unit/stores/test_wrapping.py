"""Stores that wrap stores: what is counted, what is out of reach."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from unionpath.model.entry import Kind
from unionpath.model.store import Capability, Store
from unionpath.stores.memory import MemoryStore
from unionpath.stores.readonly import ReadOnlyStore
from unionpath.stores.recording import RecordingStore
from unionpath.stores.wrapping import WrappingStore

KINDS = tuple(Kind)


def small_tree() -> MemoryStore:
    store = MemoryStore()
    store.root().mkdir("d").create("f", b"f")
    return store


@pytest.mark.parametrize("wrap", [WrappingStore, ReadOnlyStore, RecordingStore])
def test_what_is_wrapped_is_read_only(wrap: Callable[[Store], Store]) -> None:
    inner = small_tree()
    store = wrap(inner)
    assert inner.capabilities & ~Capability.WRITABLE == store.capabilities != inner.capabilities
    assert Capability.POSIX in store.capabilities
    public = {name for name in dir(store.root()) if not name.startswith("_")}
    reading = {
        "getxattr",
        "listxattr",
        "open",
        "parts",
        "place",
        "read",
        "readlink",
        "scan",
        "stat",
        "status",
    }
    assert reading | {"child", "watch"} == public
    with store.root().child("d").open("f") as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"x")


def test_wrapped_stores_equal_what_they_show() -> None:
    store = small_tree()
    assert store.identity == ReadOnlyStore(store).identity == RecordingStore(store).identity


def test_calls_are_counted_by_method() -> None:
    store = RecordingStore(small_tree())
    directory = store.root().child("d")
    directory.read("f")
    directory.read("f")
    directory.scan(KINDS)
    assert {"root": 1, "child": 1, "read": 2, "scan": 1} == store.counts
    assert [] == store.calls
    store.clear()
    assert {} == store.counts


def test_calls_are_kept_in_order_if_asked_for() -> None:
    store = RecordingStore(small_tree(), ordered=True)
    directory = store.root().child("d")
    with pytest.raises(FileNotFoundError):
        directory.stat("missing")
    directory.getxattr(None, "user.x")
    expected = [("root", "/"), ("child", "/d"), ("stat", "/d/missing"), ("getxattr", "/d")]
    assert expected == store.calls


def test_no_call_of_a_thread_is_lost() -> None:
    store = RecordingStore(small_tree())
    root = store.root()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [root.stat("d") for _ in range(200)], range(8)))
    assert 1600 == store.counts["stat"]


def test_a_wrapper_may_refuse() -> None:
    class Failing(WrappingStore):
        def before(self, method: str, parts: tuple[str, ...]) -> None:
            if parts[-1:] == ("f",):
                raise OSError(errno.EIO, f"{method} failed")

    directory = Failing(small_tree()).root().child("d")
    for ask in (directory.stat, directory.read, directory.open):
        with pytest.raises(OSError, match="failed"):
            ask("f")
    assert {"f": Kind.FILE} == directory.scan(KINDS)
