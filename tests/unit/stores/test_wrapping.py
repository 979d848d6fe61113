"""Stores that wrap stores: what is counted, what is out of reach."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from unionpath.model.entry import Kind
from unionpath.model.store import Capability, Directory, Store
from unionpath.model.writable import WritableDirectory, WritableStore
from unionpath.stores.memory import MemoryStore
from unionpath.stores.readonly import ReadOnlyStore
from unionpath.stores.recording import RecordingStore
from unionpath.stores.wrapping import WrappingStore

KINDS = tuple(Kind)


def small_tree() -> MemoryStore:
    store = MemoryStore()
    store.root().mkdir("d").create("f", b"f")
    return store


READING = {
    "child",
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
    "watch",
}


def public(directory: Directory) -> set[str]:
    return {name for name in dir(directory) if not name.startswith("_")}


def errno_of(action: Callable[..., object], *arguments: object) -> int | None:
    with pytest.raises(OSError) as caught:
        action(*arguments)
    return caught.value.errno


def writable(store: Store) -> WritableStore:
    assert Capability.WRITABLE in store.capabilities
    return cast("WritableStore", store)


def test_a_read_only_store_has_nothing_that_writes() -> None:
    inner = small_tree()
    store = ReadOnlyStore(inner)
    assert inner.capabilities & ~Capability.WRITABLE == store.capabilities != inner.capabilities
    assert Capability.POSIX in store.capabilities
    for directory in (store.root(), store.root().child("d")):
        assert READING == public(directory)
    for ask in (store.home, store.confirm, lambda: store.neighbour("n")):
        assert errno.EROFS == errno_of(ask)
    with store.root().child("d").open("f") as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"x")


@pytest.mark.parametrize("wrap", [WrappingStore, ReadOnlyStore, RecordingStore])
def test_a_wrapper_of_what_is_read_only_is_read_only(wrap: Callable[[Store], Store]) -> None:
    store = wrap(ReadOnlyStore(small_tree()))
    assert Capability.WRITABLE not in store.capabilities
    assert READING == public(store.root())


@pytest.mark.parametrize("wrap", [WrappingStore, RecordingStore])
def test_a_wrapper_of_what_is_writable_writes(wrap: Callable[[Store], Store]) -> None:
    inner = small_tree()
    store = writable(wrap(inner))
    assert inner.capabilities == store.capabilities
    store.root().child("d").create("g", b"g")
    store.root().mkdir("e").create("h")
    assert (b"g", {"h": Kind.FILE}) == (
        inner.root().child("d").read("g"),
        inner.root().child("e").scan(KINDS),
    )


def test_wrapped_directories_are_unwrapped_for_a_rename() -> None:
    inner = small_tree()
    once = writable(RecordingStore(inner))
    twice = writable(RecordingStore(WrappingStore(inner)))
    once.root().rename("d", twice.root(), "e")
    twice.root().child("e").rename("f", once.root(), "f")
    once.root().link("g", twice.root(), "f")
    assert {"e", "f", "g"} == inner.root().scan(KINDS).keys()


def test_a_rename_into_what_is_read_only_is_erofs() -> None:
    inner = small_tree()
    store = writable(WrappingStore(inner))
    closed = cast("WritableDirectory", WrappingStore(ReadOnlyStore(inner)).root())
    assert errno.EROFS == errno_of(store.root().rename, "d", closed, "e")
    assert errno.EROFS == errno_of(store.root().child("d").link, "g", closed, "f")
    assert {"d"} == inner.root().scan(KINDS).keys()


def test_what_is_done_in_a_neighbour_is_announced() -> None:
    inner = small_tree()
    recording = RecordingStore(inner, ordered=True)
    store = writable(recording)
    neighbour = store.neighbour("n")
    assert neighbour is not None
    neighbour.root().create("x", b"x")
    neighbour.home().rename("x", store.root(), "x")
    assert b"x" == inner.root().read("x")
    expected = [("neighbour", "/"), ("root", "/../n"), ("create", "/../n/x"), ("home", "/../n")]
    assert [*expected, ("root", "/"), ("rename", "/../n/x")] == recording.calls


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
