"""Directories that the kernel moved, and files of which it copied the metadata only (M7)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grounds import no_trusted_xattrs
from kernel import Kernel, no_mounts
from unionpath import Layer, LayerStack
from views import UnionView, outcome

OPTIONS = "redirect_dir=on,index=off,metacopy=on"
ASKED = ("kind", "lkind", "exists", "mode", "read", "names", "readlink")

pytestmark = pytest.mark.rule("M7")


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A worker that mounts with redirects and metadata-only copies."""
    if (reason := no_mounts(OPTIONS)) is not None:
        pytest.skip(reason)
    with Kernel() as worker:
        yield worker


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two lowers with directories to move."""
    for layer, inside in (("low1", "one"), ("low2", "two")):
        (tmp_path / layer / "dir/sub/deep").mkdir(parents=True)
        (tmp_path / layer / "other").mkdir()
        (tmp_path / layer / f"dir/sub/{inside}").write_text(inside * 100)
        (tmp_path / layer / "dir/sub/deep/both").write_text(layer * 50)
        (tmp_path / layer / f"other/{inside}").write_text(inside)
        (tmp_path / layer / f"big-{inside}").write_text(layer * 2_000)
    (tmp_path / "up").mkdir()
    return tmp_path


def union(base: Path, *layers: str, immutable: bool = False) -> LayerStack:
    return LayerStack([Layer(base / name, whiteouts="overlayfs", immutable=immutable) for name in layers])


def assert_same(kernel: Kernel, stack: LayerStack) -> None:
    """Ask both about all that is there, twice: as it is met, and remembered."""
    view = UnionView(stack.root)
    there = [f"{top.rstrip('/')}/{name}" for top, dirs, files in kernel.walk("/") for name in (*dirs, *files)]
    gone = ["/dir", "/dir/sub", "/dir/sub/one", "/other/one", "/other", "/moved/sub", "/a/b/c/x"]
    questions = [(question, (path,)) for path in (*gone, *there) for question in ASKED]
    answers = kernel.ask(questions)
    for _ in range(2):
        for (question, (path,)), answer in zip(questions, answers, strict=True):
            assert (question, path, answer) == (question, path, outcome(getattr(view, question), path))
        assert kernel.walk("/") == view.walk("/")
    assert kernel.whole() == view.whole()


MOVES: dict[str, list[tuple[Any, ...]]] = {
    "beside": [("rename", "/dir", "/moved")],
    "elsewhere": [("rename", "/dir/sub", "/other/sub")],
    "out and the parent too": [("rename", "/dir/sub", "/sub"), ("rename", "/dir", "/gone")],
    "parent first": [("rename", "/dir", "/moved"), ("rename", "/moved/sub", "/moved/bus")],
    "twice": [("rename", "/dir", "/x"), ("rename", "/x", "/y")],
    "and back": [("rename", "/dir", "/x"), ("rename", "/x", "/dir")],
    "into a new one": [("mkdir", "/new"), ("rename", "/dir", "/new/dir"), ("rename", "/other", "/new/other")],
    "a new one in its place": [("rename", "/dir", "/x"), ("mkdir", "/dir"), ("mkdir", "/dir/sub")],
    "swapped": [("rename", "/dir", "/x"), ("rename", "/other", "/dir"), ("rename", "/x", "/other")],
    "over an emptied one": [
        ("unlink", "/other/one"), ("unlink", "/other/two"), ("rename", "/dir", "/other"),
    ],
    "deep": [
        ("mkdir", "/a"), ("mkdir", "/a/b"), ("rename", "/dir/sub/deep", "/a/b/c"), ("rename", "/a", "/z"),
    ],
    "with losses": [("unlink", "/dir/sub/one"), ("rename", "/dir", "/m"), ("unlink", "/m/sub/two")],
    "metadata": [("chmod", "/big-one", 0o600), ("chmod", "/dir/sub/two", 0o600)],
    "metadata and moved": [
        ("chmod", "/big-one", 0o600), ("rename", "/big-one", "/dir/x"), ("rename", "/dir", "/m"),
    ],
    "metadata in a moved one": [("rename", "/dir", "/m"), ("chmod", "/m/sub/deep/both", 0o640)],
}  # fmt: skip


@pytest.mark.kernel
@pytest.mark.parametrize("moves", MOVES.values(), ids=MOVES)
def test_what_the_kernel_moved_is_read(kernel: Kernel, base: Path, moves: list[tuple[Any, ...]]) -> None:
    """`trusted.overlay.redirect` and `metacopy` are followed."""
    kernel.mount(base, ["low1", "low2"], upper="up", options=OPTIONS)
    for function, *arguments in moves:
        kernel.system(function, *arguments)
    for immutable in (False, True):
        with union(base, "up", "low1", "low2", immutable=immutable) as stack:
            assert_same(kernel, stack)
    kernel.unmount()


@pytest.mark.kernel
@pytest.mark.parametrize("moves", ["swapped", "over an emptied one", "deep", "metadata and moved"])
@pytest.mark.changes_lowers("to see the union follow")
def test_while_the_kernel_moves_them(kernel: Kernel, base: Path, moves: str) -> None:
    """A union that has seen everything before sees each change at the next look."""
    kernel.mount(base, ["low1", "low2"], upper="up", options=OPTIONS)
    with union(base, "up", "low1", "low2") as stack:
        for function, *arguments in MOVES[moves]:
            assert_same(kernel, stack)
            kernel.system(function, *arguments)
        assert_same(kernel, stack)
    kernel.unmount()


@pytest.mark.kernel
def test_redirects_in_a_layer_between(kernel: Kernel, base: Path) -> None:
    """An upper that was written once is a lower of the next mount; it too may move what was moved."""
    kernel.mount(base, ["low1", "low2"], upper="up", options=OPTIONS)
    for function, *arguments in MOVES["parent first"]:
        kernel.system(function, *arguments)
    kernel.unmount()
    (base / "top").mkdir()
    (base / "work").rename(base / "old-work")
    kernel.mount(base, ["up", "low1", "low2"], upper="top", options=OPTIONS)
    kernel.system("rename", "/moved", "/again")
    kernel.system("rename", "/again/bus/deep", "/deep")
    kernel.system("chmod", "/deep/both", 0o600)
    kernel.unmount()
    kernel.mount(base, ["top", "up", "low1", "low2"], options=OPTIONS)
    with union(base, "top", "up", "low1", "low2") as stack:
        assert_same(kernel, stack)
    kernel.unmount()


class TestByHand:
    """Attributes set by hand, for what a mount never does in this order."""

    @pytest.fixture(autouse=True)
    def _xattrs(self) -> None:
        if (reason := no_trusted_xattrs()) is not None:
            pytest.skip(reason)

    def redirect(self, directory: Path, target: bytes) -> None:
        os.setxattr(directory, "trusted.overlay.redirect", target)

    @pytest.mark.parametrize("looks", range(4))
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_moved_directory_that_comes_into_one_known_already(self, base: Path, looks: int) -> None:
        """Its contributors lie in layers that don't contribute to its parent."""
        (base / "up/parent").mkdir()
        with union(base, "up", "low1", "low2") as stack:
            for _ in range(looks):
                stack.resolver.listing("/parent")
                assert -1 == stack.resolver.kind("/parent/moved")
            (base / "up/tmp").mkdir()
            self.redirect(base / "up/tmp", b"/dir")
            (base / "up/tmp").rename(base / "up/parent/moved")
            for _ in range(3):
                assert stack.resolver.kind("/parent/moved") == 1
                assert ["sub"] == list(stack.resolver.listing("/parent/moved"))
                assert ["deep", "one", "two"] == list(stack.resolver.listing("/parent/moved/sub"))
                assert (0, 1, 2) == stack.resolver.origins("/parent/moved")
                assert b"low1" * 50 == stack.resolver.read("/parent/moved/sub/deep/both")

    @pytest.mark.parametrize("looks", range(4))
    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_namesake_below_is_not_meant(self, base: Path, looks: int) -> None:
        (base / "low2/moved").mkdir()
        (base / "low2/moved/wrong").touch()
        with union(base, "up", "low1", "low2") as stack:
            for _ in range(looks):
                stack.resolver.listing("/moved")
            (base / "up/tmp").mkdir()
            self.redirect(base / "up/tmp", b"/other")
            (base / "up/tmp").rename(base / "up/moved")
            for _ in range(3):
                assert ["one", "two"] == list(stack.resolver.listing("/moved"))
                assert -1 == stack.resolver.kind("/moved/wrong")

    def test_versions_are_where_they_are(self, base: Path) -> None:
        """Each layer's version is at the path that it has in that layer."""
        (base / "up/moved").mkdir()
        self.redirect(base / "up/moved", b"/dir")
        (base / "low2/moved").mkdir()
        with union(base, "up", "low1", "low2") as stack:
            for _ in range(3):
                both = "dir/sub/deep/both"
                assert ((1, f"/{both}"), (2, f"/{both}")) == stack.resolver.versions("/moved/sub/deep/both")
                assert ((0, "/moved"), (1, "/dir"), (2, "/dir")) == stack.resolver.versions("/moved")
                assert ((1, "/dir/sub"), (2, "/dir/sub")) == stack.resolver.versions("/moved/sub")


@pytest.mark.rule("M7")
def test_an_absolute_redirect_below_an_opaque_directory_leads_on(tmp_path: Path) -> None:
    """A directory moved into a new, opaque one, and then out of it: what it held below is still there."""
    if reason := no_trusted_xattrs():
        pytest.skip(reason)
    for place in ("up/x", "mid/e/a", "low/d", "low/e"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "low/d/f").touch()
    os.setxattr(tmp_path / "up/x", "trusted.overlay.redirect", b"/e/a")
    os.setxattr(tmp_path / "mid/e", "trusted.overlay.opaque", b"y")
    os.setxattr(tmp_path / "mid/e/a", "trusted.overlay.redirect", b"/d")
    stack = LayerStack([Layer(tmp_path / name, whiteouts="overlayfs") for name in ("up", "mid", "low")])
    for _ in range(3):
        assert ["f"] == [path.name for path in (stack / "x").iterdir()]
        assert (stack / "x/f").is_file()
