"""The contract of formats, kept by `overlayfs` with each kind of whiteout and in both namespaces."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.format_contract import FormatContract, put_whiteout, set_opaque
from grounds import BY_ID, scratch
from kernel import OPTIONS, Kernel, no_mounts
from trees import Dir, File
from unionpath.model.store import Store
from unionpath.model.whiteout import MarkerAttribute, MarkerDevice, WhiteoutFormat
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


USER_OPTIONS = "userxattr,index=off"
NAMESPACES = pytest.mark.parametrize(
    ("ground", "options"), [("local-overlayfs", OPTIONS), ("local-userxattr", USER_OPTIONS)]
)
LOWER = Dir({"f": File(b"f"), "d": Dir({"g": File()}), "m": Dir({"n": Dir({"deep": File()})}), "k": Dir()})


@pytest.mark.kernel
class TestAgainstTheKernel:
    """What the format names is what the kernel writes, and what it reads."""

    @pytest.fixture
    def kernel(self, options: str) -> Iterator[Kernel]:
        if (reason := no_mounts(options)) is not None:
            pytest.skip(reason)
        with Kernel() as worker:
            yield worker

    @pytest.mark.rule("M1")
    @NAMESPACES
    def test_names_what_the_kernel_writes(self, kernel: Kernel, ground: str, options: str) -> None:
        """A device 0:0 in the name's place; `opaque` is `y`, and nothing else of that name is public."""
        whiteouts = OverlayfsFormat(userxattr=BY_ID[ground].userxattr)
        with scratch() as base:
            upper = self.lower_and_upper(base)
            kernel.mount(base, ["lower"], upper="upper", options=options)
            kernel.system("unlink", "/f")
            kernel.system("unlink", "/d/g")
            kernel.system("rmdir", "/d")
            kernel.system("mkdir", "/d")
            kernel.unmount()
            assert MarkerDevice() == whiteouts.whiteout((), "f")
            found = os.lstat(upper / "f")
            assert (True, 0, 0) == (stat.S_ISCHR(found.st_mode), found.st_rdev, found.st_size)
            mark = whiteouts.opaque(("d",))
            assert mark.value == os.getxattr(upper / "d", mark.attribute)
            for at in (upper, upper / "d"):
                assert [True] * len(os.listxattr(at)) == [
                    whiteouts.is_private_attribute(attribute) for attribute in os.listxattr(at)
                ]

    @pytest.mark.rule("R4", "M7")
    @pytest.mark.parametrize("options", [OPTIONS])
    def test_names_the_redirects_that_the_kernel_writes(self, kernel: Kernel, options: str) -> None:
        """A name where the directory stayed in its parent, else a path from the root."""
        with scratch() as base:
            upper = self.lower_and_upper(base)
            kernel.mount(base, ["lower"], upper="upper", options=options)
            kernel.system("rename", "/m/n", "/k/moved")
            kernel.system("rename", "/d", "/renamed")
            kernel.unmount()
            for moved, target in (("k/moved", "/m/n"), ("renamed", "d")):
                mark = OverlayfsFormat().redirection(target)
                assert mark is not None
                assert mark.value == os.getxattr(upper / moved, mark.attribute)

    @pytest.mark.rule("M1", "L5")
    @NAMESPACES
    def test_the_kernel_reads_what_is_named(self, kernel: Kernel, ground: str, options: str) -> None:
        """Whiteouts, opaque directories and redirects put down by hand, in an upper that is mounted."""
        whiteouts = OverlayfsFormat(userxattr=BY_ID[ground].userxattr)
        with scratch() as base:
            self.lower_and_upper(base)
            site = BY_ID["local-overlayfs"].site(base / "upper")
            site.build(Dir({"d": Dir({"new": File()}), "m": Dir()}))
            put_whiteout(site, whiteouts, ("f",))
            put_whiteout(site, whiteouts, ("m", "n"))
            set_opaque(site, whiteouts, ("d",), True)
            redirection: MarkerAttribute | None = whiteouts.redirection("/m/n")
            site.writer.mkdir(("moved",), 0o755)
            if redirection is not None:
                site.writer.set_xattr(("moved",), redirection.attribute, redirection.value)
            kernel.mount(base, ["lower"], upper="upper", options=options)
            shown = {top: sorted(names + files) for top, names, files in kernel.walk("/")}
            kernel.unmount()
        inside = [] if redirection is None else ["deep"]
        assert {"/": ["d", "k", "m", "moved"], "/d": ["new"], "/k": [], "/m": [], "/moved": inside} == shown

    def lower_and_upper(self, base: Path) -> Path:
        """Put a lower layer and an empty upper one down."""
        for name in ("lower", "upper"):
            (base / name).mkdir()
        BY_ID["local-oci"].site(base / "lower").build(LOWER)
        return base / "upper"
