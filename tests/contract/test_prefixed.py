"""The contract of stores, kept by a tree shown below a prefix, and by one shown from a directory on."""

from __future__ import annotations

from pathlib import Path

from contract.store_contract import Ground, StoreContract, build
from trees import Dir
from unionpath.stores.local import LocalStore
from unionpath.stores.memory import MemoryStore
from unionpath.stores.prefixed import PrefixedStore, SubtreeStore
from writers import DiskWriter, MemoryWriter


class TestPrefixed(StoreContract):
    holds = frozenset({"links", "specials", "bytes"})

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        store = MemoryStore()
        writer = MemoryWriter(store)
        build(writer, tree)
        return Ground(PrefixedStore(store, ("x", "y")), writer, at=("x", "y"))


class TestSubtree(StoreContract):
    holds = frozenset({"links", "specials", "bytes"})
    on_disk = True

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        (tmp_path / "a" / "b").mkdir(parents=True)
        writer = DiskWriter(tmp_path / "a" / "b")
        build(writer, tree)
        return Ground(SubtreeStore(LocalStore(tmp_path), ("a", "b")), writer)
