"""The contract of formats, kept by `table`."""

from __future__ import annotations

from contract.format_contract import BesideContract
from grounds import BY_ID
from unionpath.model.store import Store
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.whiteouts.table import PRIVATE, TableFormat


class TableContract(BesideContract):
    private = frozenset({PRIVATE})

    def whiteouts(self, store: Store) -> WhiteoutFormat:
        return TableFormat(store)


class TestLocal(TableContract):
    ground = BY_ID["local-table"]


class TestMemory(TableContract):
    ground = BY_ID["memory-table"]


class TestUPath(TableContract):
    ground = BY_ID["upath-table"]
