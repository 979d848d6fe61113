"""Which stores fulfil which protocol; checked by mypy, never run."""

from __future__ import annotations

from typing import assert_type

from unionpath.model.store import Directory, Store
from unionpath.model.writable import WritableDirectory, WritableStore
from unionpath.stores.local import LocalStore
from unionpath.stores.memory import MemoryStore
from unionpath.stores.prefixed import PrefixedStore, SubtreeStore
from unionpath.stores.readable_path import ReadablePathStore
from unionpath.stores.readonly import ReadOnlyStore
from unionpath.stores.recording import RecordingStore
from unionpath.stores.upath import UPathStore


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
    directory.rename("a", store.root(), "b")
    reader: Directory = directory
    assert_type(reader.child("d"), Directory)


def refused(read_only: ReadOnlyStore, directory: WritableDirectory) -> None:
    """Each is an error for a type checker."""
    store: WritableStore = read_only  # type: ignore[assignment]
    directory.rename("a", read_only.root(), "b")  # type: ignore[arg-type]
    store.close()
