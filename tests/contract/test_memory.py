"""The contract of stores, kept by our in-memory store."""

from __future__ import annotations

from pathlib import Path

from contract.store_contract import Ground, StoreContract, build
from trees import Dir
from unionpath.stores.memory import MemoryStore
from writers import MemoryWriter


class TestMemory(StoreContract):
    holds = frozenset({"links", "specials", "bytes"})

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        store = MemoryStore()
        writer = MemoryWriter(store)
        build(writer, tree)
        return Ground(store, writer)
