"""The contract of formats, kept by `unionfs`."""

from __future__ import annotations

import pytest

from contract.format_contract import BesideContract
from grounds import BY_ID
from unionpath.model.store import Store
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.whiteouts.names import unionfs

pytestmark = pytest.mark.filterwarnings("ignore::unionpath.MisspelledMarkerWarning")


class UnionfsContract(BesideContract):
    def whiteouts(self, store: Store) -> WhiteoutFormat:
        return unionfs()


class TestLocal(UnionfsContract):
    ground = BY_ID["local-unionfs"]


class TestMemory(UnionfsContract):
    ground = BY_ID["memory-unionfs"]
