"""The kernel and a union write one `overlayfs` upper in turns, and agree throughout."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import settings

from grounds import BY_ID
from kernel import Kernel
from trials import UMASK, RenameDir, in_turns, random_scene, report

pytestmark = [pytest.mark.kernel, pytest.mark.property]


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
    BY_ID["local-overlayfs"].require()
    for number in range(max(1, settings().max_examples // 10)):
        chance = random.Random(f"{seed}/{rename_dir}/{kernel_first}/{own_work}/{number}")
        scene = random_scene(chance, chance.choice((1, 2, 5)), turns=True)
        failure = report(
            scene,
            lambda each: in_turns(each, kernel, rename_dir, kernel_first=kernel_first, own_work=own_work),
        )
        assert failure is None, failure
