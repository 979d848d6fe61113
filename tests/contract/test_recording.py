"""The contract of stores, kept by the recording wrapper."""

from __future__ import annotations

from pathlib import Path

from contract.store_contract import Ground, StoreContract, build
from trees import Dir
from unionpath.stores.memory import MemoryStore
from unionpath.stores.recording import RecordingStore
from writers import MemoryWriter


class TestRecording(StoreContract):
    holds = frozenset({"links", "specials", "bytes"})

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        store = MemoryStore()
        writer = MemoryWriter(store)
        build(writer, tree)
        return Ground(RecordingStore(store, ordered=True), writer)
