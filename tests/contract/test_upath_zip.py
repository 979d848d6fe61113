"""The contract of stores, kept by zip archives read through fsspec; most directories have no entry."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from upath import UPath

from contract.store_contract import Ground, StoreContract
from trees import Dir, File, Link, every
from unionpath.stores.upath import UPathStore


class TestUPathZip(StoreContract):
    holds = frozenset({"links"})

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        with zipfile.ZipFile(tmp_path / "tree.zip", "w") as archive:
            for parts, node in every(tree):
                entry = zipfile.ZipInfo("/".join(parts))
                if isinstance(node, Link):
                    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
                    archive.writestr(entry, node.target)
                elif isinstance(node, File):
                    archive.writestr(entry, node.data)
                elif node == Dir():
                    archive.mkdir("/".join(parts))
        return Ground(UPathStore(UPath(f"zip://::{tmp_path}/tree.zip")))
