"""SIGKILL at every file-changing system call of every operation: the state before or after, no other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reliability import crash, syscalls
from reliability.extent import LONG, SOME, numbers, sample
from reliability.operations import BY_ID, Operation, operations
from reliability.world import CORE, GROUNDS, World

pytestmark = pytest.mark.skipif(syscalls.missing() is not None, reason=syscalls.missing() or "")

PAIRS = [
    pytest.param(kind, operation, id=f"{kind}-{operation.id}")
    for turn, kind in enumerate(GROUNDS if LONG else CORE)
    for operation in sample(operations(kind), 5, turn)
]
COLD = ("write-lower", "unlink-both", "mkdir-over-whiteout", "rename-dir-merged", "rmtree-merged")

Worlds = Callable[[str], World]


@pytest.mark.rule("E5", "C2", "C3", "C11", "D4", "R4")
@pytest.mark.parametrize(("kind", "operation"), PAIRS)
def test_only_before_or_after_is_ever_seen(world_of: Worlds, kind: str, operation: Operation) -> None:
    """At any instant the union shows the state before or after, also to those who put nothing in order."""
    prepared = crash.prepare(world_of(kind), operation)
    assert [] == prepared.watch(every=None if LONG else 4)


@pytest.mark.rule("E5", "C2", "C3", "C11", "D4", "R4")
@pytest.mark.parametrize(("kind", "operation"), PAIRS)
def test_a_kill_leaves_before_or_after(world_of: Worlds, kind: str, operation: Operation) -> None:
    """After SIGKILL at any point the union shows the state before or after; the next open cleans up."""
    prepared = crash.prepare(world_of(kind), operation)
    assert [] == prepared.kill_at(numbers(prepared.total, 3, prepared.place))


@pytest.mark.rule("E5")
@pytest.mark.parametrize("name", COLD)
@pytest.mark.parametrize("kind", SOME)
def test_a_kill_while_the_stack_is_made_or_closed(world_of: Worlds, kind: str, name: str) -> None:
    """The work area is made and taken back as safely."""
    prepared = crash.prepare(world_of(kind), BY_ID[name], cold=True)
    assert [] == prepared.kill_at(numbers(prepared.total, 3, prepared.place))
