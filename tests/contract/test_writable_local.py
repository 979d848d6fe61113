"""The contract of writable stores, kept by directories of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from contract.writable_contract import WritableContract
from unionpath.model.writable import WritableStore
from unionpath.stores.local import LocalStore
from unionpath.stores.prefixed import PrefixedStore, SubtreeStore


class TestWritableLocal(WritableContract):
    processes = True

    def new_store(self, tmp_path: Path) -> WritableStore:
        (tmp_path / "root").mkdir()
        return LocalStore(tmp_path / "root")


class TestWritableLocalSubtree(WritableContract):
    """A directory of a local tree, shown below a prefix."""

    processes = True

    def new_store(self, tmp_path: Path) -> WritableStore:
        (tmp_path / "a" / "b").mkdir(parents=True)
        store = PrefixedStore(SubtreeStore(LocalStore(tmp_path), ("a", "b")), ("x",))
        return cast("WritableStore", store)
