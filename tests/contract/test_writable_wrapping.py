"""The contract of writable stores, kept by those that hand everything on to another one."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from contract.writable_contract import WritableContract
from faults import FaultyStore
from unionpath.model.writable import WritableStore
from unionpath.stores.memory import MemoryStore
from unionpath.stores.prefixed import PrefixedStore, SubtreeStore
from unionpath.stores.recording import RecordingStore


class TestWritableRecording(WritableContract):
    def new_store(self, tmp_path: Path) -> WritableStore:
        return cast("WritableStore", RecordingStore(MemoryStore(), ordered=True))


class TestWritablePrefixed(WritableContract):
    def new_store(self, tmp_path: Path) -> WritableStore:
        return cast("WritableStore", PrefixedStore(MemoryStore(), ("x", "y")))


class TestWritableSubtree(WritableContract):
    def new_store(self, tmp_path: Path) -> WritableStore:
        store = MemoryStore()
        store.root().mkdir("a").mkdir("b")
        return cast("WritableStore", SubtreeStore(store, ("a", "b")))


class TestWritableFaulty(WritableContract):
    """What stands in for a store in tests of faults is a good store as long as it isn't told to fail."""

    def new_store(self, tmp_path: Path) -> WritableStore:
        store = PrefixedStore(SubtreeStore(MemoryStore(), ()), ("x",))
        return cast("WritableStore", FaultyStore(store))
