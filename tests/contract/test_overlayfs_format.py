"""The contract of formats, kept by `overlayfs` with each kind of whiteout and in both namespaces."""

from __future__ import annotations

from contract.format_contract import FormatContract
from grounds import BY_ID
from unionpath.model.store import Store
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.whiteouts.overlayfs import OverlayfsFormat


class OverlayfsContract(FormatContract):
    def whiteouts(self, store: Store) -> WhiteoutFormat:
        return OverlayfsFormat(userxattr=self.ground.userxattr)


class TestLocalDevices(OverlayfsContract):
    ground = BY_ID["local-overlayfs"]


class TestLocalFiles(OverlayfsContract):
    ground = BY_ID["local-overlayfs-files"]
    unmarked_by_opaque = (
        "gone",
    )  # the attribute's `y` takes the place of the `x` that lets files be whiteouts


class TestLocalUserFiles(OverlayfsContract):
    ground = BY_ID["local-userxattr"]
    unmarked_by_opaque = ("gone",)


class TestMemoryDevices(OverlayfsContract):
    ground = BY_ID["memory-overlayfs"]


class TestMemoryUserFiles(OverlayfsContract):
    ground = BY_ID["memory-userxattr"]
    unmarked_by_opaque = ("gone",)
