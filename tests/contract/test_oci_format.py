"""The contract of formats, kept by `oci`."""

from __future__ import annotations

import pytest

from contract.format_contract import BesideContract
from grounds import BY_ID
from unionpath.model.store import Store
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.whiteouts.names import oci

pytestmark = pytest.mark.filterwarnings("ignore::unionpath.MisspelledMarkerWarning")


class OciContract(BesideContract):
    def whiteouts(self, store: Store) -> WhiteoutFormat:
        return oci(aliases=True)


class TestLocal(OciContract):
    ground = BY_ID["local-oci"]


class TestMemory(OciContract):
    ground = BY_ID["memory-oci"]


class TestUPath(OciContract):
    ground = BY_ID["upath-oci"]


class TestImageLayer(BesideContract):
    ground = BY_ID["memory-oci"]

    def whiteouts(self, store: Store) -> WhiteoutFormat:
        return oci(aliases=False)
