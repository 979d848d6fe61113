"""The contract of stores, kept by fsspec's memory file system."""

from __future__ import annotations

from pathlib import Path

from upath import UPath

from contract.store_contract import Ground, StoreContract, build
from trees import Dir
from unionpath.stores.upath import UPathStore
from writers import UPathWriter


class TestUPathMemory(StoreContract):
    holds = frozenset({"bytes"})

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        writer = UPathWriter()
        build(writer, tree)
        assert isinstance(writer.source, UPath)
        return Ground(UPathStore(writer.source), writer)
