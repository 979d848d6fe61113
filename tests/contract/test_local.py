"""The contract of stores, kept by directories of this machine."""

from __future__ import annotations

from pathlib import Path

from contract.store_contract import Ground, StoreContract, build
from trees import Dir
from unionpath.stores.local import LocalStore
from writers import DiskWriter


class TestLocal(StoreContract):
    holds = frozenset({"links", "specials", "bytes"})
    on_disk = True

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        (tmp_path / "root").mkdir()
        writer = DiskWriter(tmp_path / "root")
        build(writer, tree)
        return Ground(LocalStore(tmp_path / "root"), writer)
