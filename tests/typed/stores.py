"""Which stores fulfil which protocol; checked by mypy, never run."""

from __future__ import annotations

from typing import assert_type

from unionpath.model.store import Directory, Store
from unionpath.model.writable import Lock, Move, WritableDirectory, WritableStore
from unionpath.stores.local import LocalStore
from unionpath.stores.memory import MemoryStore
from unionpath.stores.prefixed import PrefixedStore, SubtreeStore, WritableDirectoryAbove
from unionpath.stores.readable_path import ReadablePathStore
from unionpath.stores.readonly import ReadOnlyStore
from unionpath.stores.recording import RecordingStore
from unionpath.stores.upath import UPathStore
from unionpath.stores.wrapping import WritableWrappingDirectory


def reading(
    local: LocalStore,
    memory: MemoryStore,
    upath: UPathStore | ReadablePathStore,
    wrapping: PrefixedStore | SubtreeStore | ReadOnlyStore | RecordingStore,
) -> list[Store]:
    return [local, memory, upath, wrapping]


def writing(memory: MemoryStore) -> None:
    store: WritableStore = memory
    directory: WritableDirectory = memory.root()
    assert_type(store.root(), WritableDirectory)
    assert_type(directory.mkdir("d"), WritableDirectory)
    assert_type(directory.child("d"), WritableDirectory)
    assert_type(store.home(), WritableDirectory)
    assert_type(store.neighbour("work"), WritableStore | None)
    directory.rename("a", store.root(), "b", Move.EXCHANGE)
    lock: Lock = directory.lock("a")
    assert_type(lock.acquire(wait=False), bool)
    reader: Directory = directory
    assert_type(reader.child("d"), Directory)


def above(directory: WritableDirectoryAbove | WritableWrappingDirectory) -> WritableDirectory:
    return directory


def refused(read_only: ReadOnlyStore, directory: WritableDirectory) -> None:
    """Each is an error for a type checker."""
    store: WritableStore = read_only  # type: ignore[assignment]
    directory.rename("a", read_only.root(), "b")  # type: ignore[arg-type]
    store.close()
