"""The contract of writable stores, kept by our in-memory store."""

from __future__ import annotations

from pathlib import Path

from contract.writable_contract import WritableContract
from unionpath.model.writable import WritableStore
from unionpath.stores.memory import MemoryStore


class TestWritableMemory(WritableContract):
    def new_store(self, tmp_path: Path) -> WritableStore:
        return MemoryStore()
