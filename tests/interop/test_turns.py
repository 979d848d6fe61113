"""The kernel and a union write one `overlayfs` upper in turns, and agree throughout."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest
from hypothesis import settings

from grounds import BY_ID
from kernel import Kernel, no_mounts
from programs import Op
from scenes import Scene
from trees import Dir, File
from trials import TURN, UMASK, RenameDir, Turns, in_turns, random_scene, report

pytestmark = [pytest.mark.kernel, pytest.mark.property]

WRITE = (("write", b"+"),)


@pytest.fixture(autouse=True)
def same_umask(kernel: Kernel) -> Iterator[None]:
    """The kernel's worker, the union and the model make new objects with the same permissions."""
    theirs, ours = kernel.system("umask", UMASK), os.umask(UMASK)
    yield
    os.umask(ours)
    kernel.system("umask", theirs)


@pytest.mark.rule("M9", "M5", "M7", "D4", "R3", "R4", "C3")
@pytest.mark.parametrize("own_work", [True, False], ids=["workdir", "neighbour"])
@pytest.mark.parametrize("kernel_first", [True, False], ids=["kernel-first", "union-first"])
@pytest.mark.parametrize("rename_dir", ["copy", "redirect", "exdev"])
def test_random_turns(
    kernel: Kernel, rename_dir: RenameDir, kernel_first: bool, own_work: bool, seed: int
) -> None:
    """Each accepts what the other left, lists no ghost in it, and does as the model does."""
    _take_turns(kernel, Turns(rename_dir, kernel_first, own_work), seed)


@pytest.mark.rule("M9", "M7", "C2")
@pytest.mark.parametrize("rename_dir", ["copy", "redirect"])
def test_where_the_kernel_copies_up_metadata_alone(kernel: Kernel, rename_dir: RenameDir, seed: int) -> None:
    """`metacopy=on`: what has its data still below is completed by who writes to it."""
    _take_turns(kernel, Turns(rename_dir, metacopy=True), seed)


@pytest.mark.rule("M9", "M1")
@pytest.mark.parametrize("rename_dir", ["copy", "exdev"])
def test_in_the_namespace_of_users(kernel: Kernel, rename_dir: RenameDir, seed: int) -> None:
    """`userxattr`: the kernel refuses to move directories of lowers, and so may we."""
    _take_turns(kernel, Turns(rename_dir, userxattr=True), seed)


class TestMetadataAlone:
    """What a mount with `metacopy=on` copied up without its data is a whole file to us (M7)."""

    LAYERS = (Dir(), Dir({"d": Dir({"a": File(b"data of the lower")}), "e": Dir()}))
    KERNEL: ClassVar[dict[str, tuple[str, tuple[Op, ...]]]] = {
        "chmod": ("/d/a", (Op("chmod", "/d/a", (0o600,)),)),
        "rename": ("/d/m", (Op("rename", "/d/a", ("/d/m",)),)),
        "rename to another directory": ("/e/m", (Op("rename", "/d/a", ("/e/m",)),)),
        "rename of its directory": ("/f/a", (Op("chmod", "/d/a", (0o600,)), Op("rename", "/d", ("/f",)))),
        "link": ("/e/l", (Op("link", "/e/l", ("/d/a",)),)),
    }
    UNION: ClassVar[dict[str, Callable[[str], tuple[Op, ...]]]] = {
        "read": lambda at: (Op("read", at), Op("open", at, ("r+", 0, (("read", -1),)))),
        "write": lambda at: (Op("write", at, (b"new",)),),
        "open r+": lambda at: (Op("open", at, ("r+", 0, (("seek", 5), ("write", b"OF"), ("read", -1)))),),
        "open a": lambda at: (Op("open", at, ("a+", -1, (("write", b"+"), ("seek", 0), ("read", -1)))),),
        "open w": lambda at: (Op("open", at, ("w", 0, ())),),
        "truncate": lambda at: (Op("open", at, ("r+", 0, (("truncate", 4),))),),
        "chmod": lambda at: (Op("chmod", at, (0o640,)),),
        "setxattr": lambda at: (Op("setxattr", at, ("user.one", b"1", 0, True)),),
        "rename": lambda at: (Op("rename", at, (f"{at}2",)),),
        "rename to another directory": lambda at: (Op("rename", at, ("/n",)),),
        "rename of its directory": lambda at: (Op("rename", at[:2], ("/z",)),),
        "link": lambda at: (Op("link", "/n", (at,)),),
        "link and write": lambda at: (Op("link", "/n", (at,)), Op("open", "/n", ("a", 0, WRITE))),
        "unlink": lambda at: (Op("unlink", at, (False,)),),
        "rename over": lambda at: (Op("write", "/n", (b"n",)), Op("rename", "/n", (at,))),
    }  # fmt: skip

    @pytest.mark.rule("M7", "M9", "C1")
    @pytest.mark.parametrize("rename_dir", ["copy", "redirect"])
    @pytest.mark.parametrize("ours", UNION)
    @pytest.mark.parametrize("theirs", KERNEL)
    def test_is_a_whole_file(self, kernel: Kernel, theirs: str, ours: str, rename_dir: RenameDir) -> None:
        """What we do to it keeps its data, here and in the kernel."""
        at, before = self.KERNEL[theirs]
        look = Op("whole", "/")
        program = (TURN, *before, TURN, *self.UNION[ours](at), look, TURN, look)
        turns = Turns(rename_dir, metacopy=True)
        failure = report(Scene(self.LAYERS, program), lambda each: in_turns(each, kernel, turns))
        assert failure is None, failure


def _take_turns(kernel: Kernel, turns: Turns, seed: int) -> None:
    BY_ID[turns.ground].require()
    if (reason := no_mounts(turns.options)) is not None:
        pytest.skip(reason)
    for number in range(max(1, settings().max_examples // 10)):
        chance = random.Random(f"{seed}/{turns}/{number}")
        scene = random_scene(chance, chance.choice((1, 2, 5)), turns=True, marks=not turns.userxattr)
        failure = report(scene, lambda each: in_turns(each, kernel, turns))
        assert failure is None, f"{turns}\n{failure}"
