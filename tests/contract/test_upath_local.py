"""The contract of stores, kept by fsspec's local file system: one with links, but without descriptors."""

from __future__ import annotations

from pathlib import Path

from upath import UPath

from contract.store_contract import Ground, StoreContract, build
from trees import Dir
from unionpath.stores.upath import UPathStore
from writers import DiskWriter


class TestUPathLocal(StoreContract):
    holds = frozenset({"links", "bytes"})

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        (tmp_path / "root").mkdir()
        writer = DiskWriter(tmp_path / "root")
        build(writer, tree)
        return Ground(UPathStore(UPath(f"file://{tmp_path}/root")), writer)
