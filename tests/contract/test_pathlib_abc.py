"""The contract of stores, kept by a stranger's path class of pathlib's `ReadablePath` protocol."""

from __future__ import annotations

from pathlib import Path

from contract.store_contract import Ground, StoreContract
from contract.tree_path import TreePath
from trees import Dir
from unionpath.stores.readable_path import ReadablePathStore


class TestReadablePath(StoreContract):
    holds = frozenset({"links", "bytes"})

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        return Ground(ReadablePathStore(TreePath(tree)))
