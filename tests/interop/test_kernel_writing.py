"""A union and a kernel overlay mount of the same layers take the same changes, outcome by outcome."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import settings

from grounds import BY_ID
from kernel import Kernel
from programs import HELD, Op
from scenes import Scene
from trees import Dir, File
from trials import (
    UMASK,
    RenameDir,
    Setup,
    against_kernel,
    model_against_kernel,
    random_scene,
    random_setup,
    report,
)

pytestmark = [pytest.mark.kernel, pytest.mark.property]

DEPTHS = (1, 2, 5)


@pytest.fixture(autouse=True)
def same_umask(kernel: Kernel) -> Iterator[None]:
    """The kernel's worker, the union and the model make new objects with the same permissions."""
    theirs, ours = kernel.system("umask", UMASK), os.umask(UMASK)
    yield
    os.umask(ours)
    kernel.system("umask", theirs)


@pytest.mark.rule("D1", "D2", "D3", "D4", "D5", "D6", "C2", "C4", "C5", "C8", "C10", "R1", "R2", "R3", "R6")
@pytest.mark.parametrize(
    ("upper", "rename_dir"),
    [
        ("local-oci", "copy"),
        ("local-oci", "exdev"),
        ("local-overlayfs", "copy"),
        ("local-overlayfs", "redirect"),
        ("local-overlayfs", "exdev"),
    ],
)
def test_random_programs(kernel: Kernel, upper: str, rename_dir: RenameDir, seed: int) -> None:
    """The kernel on its upper, the union on its own: the same outcomes and the same trees."""
    BY_ID[upper].require()
    for number in range(_sequences()):
        chance = random.Random(f"{seed}/{upper}/{rename_dir}/{number}")
        setup = random_setup(chance, upper, rename_dir)
        scene = random_scene(chance, chance.choice(DEPTHS), kernel=True)
        failure = report(scene, lambda each, s=setup: against_kernel(each, s, kernel))  # type: ignore[misc]  # bound now
        assert failure is None, f"{setup}\n{failure}"


@pytest.mark.rule("D1", "R1", "C2")
@pytest.mark.parametrize("rename_dir", ["redirect", "exdev"])
def test_the_model_itself(kernel: Kernel, rename_dir: RenameDir, seed: int) -> None:
    """The reference model does what the kernel does: the other tests of changes rest on it."""
    for number in range(_sequences()):
        chance = random.Random(f"{seed}/{rename_dir}/{number}")
        scene = random_scene(chance, chance.choice(DEPTHS), kernel=True)
        scene = scene._replace(links=())  # the model knows none in lowers
        failure = report(scene, lambda each: model_against_kernel(each, kernel, rename_dir))
        assert failure is None, failure


class TestFilesHeldOpen:
    """A file opened for writing stays that file, whatever becomes of its name before the first write."""

    MKDIR = Op("mkdir", "/d", (0o777, False, False))
    CREATE = Op("open", "/d/f", ("x", 0, (("write", b"created"),)))
    LOWER = Dir({"d": Dir({"f": File(b"old data"), "g": File(b"other")}), "n": File(b"n")})
    MEANWHILE: ClassVar[dict[str, tuple[Op, ...]]] = {
        "nothing": (),
        "unlink": (Op("unlink", "/d/f", (False,)),),
        "unlink and create": (Op("unlink", "/d/f", (False,)), CREATE),
        "rename": (Op("rename", "/d/f", ("/h",)),),
        "rename and create": (Op("rename", "/d/f", ("/h",)), CREATE),
        "rename over": (Op("rename", "/n", ("/d/f",)),),
        "rename of its directory": (Op("rename", "/d", ("/e",)),),
        "rename of its directory and back": (Op("rename", "/d", ("/e",)), Op("rename", "/e", ("/d",))),
        "rename of its directory and mkdir": (Op("rename", "/d", ("/e",)), MKDIR),
        "exchange of names": (
            Op("rename", "/d/f", ("/t",)),
            Op("rename", "/d/g", ("/d/f",)),
            Op("rename", "/t", ("/d/g",)),
        ),
        "rmtree": (Op("rmtree", "/d"),),
        "rmtree and create": (Op("rmtree", "/d"), MKDIR, CREATE),
        "chmod": (Op("chmod", "/d/f", (0o600,)),),
        "link": (Op("link", "/l", ("/d/f",)),),
        "write": (Op("open", "/d/f", ("w", 0, (("write", b"a second writer"),))),),
        "append": (Op("open", "/d/f", ("a", 0, (("write", b" appended"),))),),
        "truncate": (Op("open", "/d/f", ("r+", 0, (("truncate", 3),))),),
        "setxattr": (Op("setxattr", "/d/f", ("user.one", b"1", 0, True)),),
    }  # fmt: skip

    @pytest.mark.rule("C1", "C9", "C4")
    @pytest.mark.parametrize("slot", HELD)
    @pytest.mark.parametrize("meanwhile", MEANWHILE)
    @pytest.mark.parametrize("upper", ["local-oci", "local-overlayfs", "memory-oci"])
    def test_before_the_first_write(self, kernel: Kernel, upper: str, meanwhile: str, slot: str) -> None:
        """As in the kernel, which has copied up at opening, bytes arrive in the object that was opened."""
        program = [
            Op("hold", "/d/f", (slot, b"")),
            *self.MEANWHILE[meanwhile],
            Op("held", "/", (slot, (("write", b"NEW"), ("write", b"!"), ("truncate", 6)))),
            Op("whole", "/"),
            Op("reopen", "/"),
            Op("whole", "/"),
        ]
        scene = Scene((Dir(), self.LOWER), tuple(program))
        failure = report(scene, lambda each: against_kernel(each, Setup(upper, "local-oci"), kernel))
        assert failure is None, failure


def _sequences() -> int:
    """How many; in the long profile 10 000 for each format and way to rename."""
    examples = settings().max_examples
    return 2 * examples if examples > 1_000 else max(1, examples // 2)
