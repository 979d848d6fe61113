"""
Two processes, one stopped at each of its system calls in turn while the other does all it has to do.

Where the other one has to wait for a lock, the first goes on. What comes out has to be what one of the two
orders gives: outcomes and the whole tree.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import NamedTuple

import pytest

from reliability import crash, syscalls
from reliability.extent import LONG, numbers, sample
from reliability.operations import BY_ID, Operation
from reliability.syscalls import LOCKING, Call, Control, Decision, supervise
from reliability.workers import Child
from reliability.world import CORE, Tree, World, difference

pytestmark = pytest.mark.skipif(syscalls.missing() is not None, reason=syscalls.missing() or "")

A_MOMENT = 0.05
"""Seconds after which the other process is taken to wait for the first."""

QUARRELS = (
    ("write-lower", "write-lower"),
    ("write-lower", "unlink-lower"),
    ("unlink-lower", "write-lower"),
    ("open-a-lower", "open-a-lower"),
    ("open-a-lower", "unlink-lower"),
    ("open-a-lower", "rename-lower"),
    ("open-a-lower", "chmod-lower"),
    ("open-a-lower-deep", "rename-dir-lower"),
    ("chmod-lower", "open-a-lower"),
    ("chmod-lower", "write-lower"),
    ("utime-lower", "setxattr-lower"),
    ("rename-lower", "open-a-lower"),
    ("rename-lower", "unlink-lower"),
    ("unlink-lower", "rename-lower"),
    ("rename-lower-over-upper", "open-a-lower"),
    ("rename-lower-over-upper", "unlink-upper"),
    ("rename-lower-over-lower", "rename-lower"),
    ("hardlink-lower", "open-a-lower"),
    ("hardlink-lower", "unlink-lower"),
    ("unlink-both", "unlink-both"),
    ("unlink-both", "write-both"),
    ("open-r+-both", "unlink-both"),
    ("mkdir-over-whiteout", "mkdir-over-whiteout"),
    ("mkdir-over-whiteout", "rename-dir-upper-over-whiteout"),
    ("open-x-over-whiteout", "open-x-over-whiteout"),
    ("open-x-over-whiteout", "symlink-over-whiteout"),
    ("rmdir-emptied", "rename-dir-upper-over-emptied"),
    ("rmdir-lower", "rename-dir-upper-over-lower-empty"),
    ("rename-dir-merged", "open-a-lower-deep"),
    ("rename-dir-lower", "open-a-lower-deep"),
    ("rename-dir-lower", "unlink-lower-deep"),
    ("rename-dir-lower", "write-new-deep"),
    ("rename-dir-lower", "chmod-lower-directory"),
    ("rename-dir-lower", "rmtree-lower"),
    ("rename-dir-merged", "rmtree-merged"),
    ("rename-dir-merged", "write-lower-deep"),
    ("rename-dir-upper", "rmtree-upper"),
    ("rmtree-merged", "write-lower-deep"),
    ("rmtree-lower", "write-new-deep"),
    ("rmtree-lower", "mkdir-deep"),
    ("rmtree-lower", "open-a-lower-deep"),
    ("rmtree-lower", "rename-dir-lower"),
    ("mkdir-deep", "rmtree-lower"),
    ("write-new-deep", "rmtree-lower"),
    ("write-new-deep", "rename-dir-lower"),
    ("symlink-deep", "rmtree-lower"),
    ("open-a-lower-deep", "rmtree-lower"),
    ("chmod-lower-deep", "rename-dir-lower"),
    ("copy-up-directory", "rmtree-merged"),
)
CASES = [
    pytest.param(kind, BY_ID[first], BY_ID[second], id=f"{kind}-{first}-{second}")
    for turn, kind in enumerate(CORE)
    for first, second in sample(QUARRELS, 12, turn * 3)
]


class Result(NamedTuple):
    """How two operations ended, and what there is then."""

    first: str
    second: str
    tree: Tree


@pytest.mark.rule("E5", "C9", "D6")
@pytest.mark.parametrize(("kind", "first", "second"), CASES)
def test_what_comes_out_is_one_order_or_the_other(
    world_of: Callable[[str], World], kind: str, first: Operation, second: Operation
) -> None:
    """Operations of two processes that meet end as if one had come after the other."""
    world = world_of(kind)
    orders = [_in_turn(world, first, second, False), _in_turn(world, first, second, True)]
    if first.id.startswith("open-"):  # a handle whose file was renamed or removed elsewhere may say so
        orders += [_alone(world, second, word) for word in ("ESTALE", "ENOENT")]
    total = crash.prepare(world, first).count(_counts)
    problems = []
    for number in numbers(total, 4, sum(map(ord, second.id))):
        where, result = _meet(world, first, second, number)
        if result not in orders:
            differences = [(*order[:2], *difference(order.tree, result.tree)) for order in orders]
            problems.append(
                f"{second.id} in {first.id} at {where}: {result[:2]}; from the orders: {differences}"
            )
        problems += [f"{where}: left over: {litter}" for litter in _settle(world)]
        if world.lowers_before != world.lowers_now():
            problems.append(f"{where}: a lower changed")
        if LONG and len(problems) > 5:
            break
    assert [] == problems


def _counts(call: Call) -> bool:
    return call.changes or call.name in LOCKING


def _in_turn(world: World, first: Operation, second: Operation, swapped: bool) -> Result:
    world.renew()
    words = {}
    for operation, key in ((second, 1), (first, 0)) if swapped else ((first, 0), (second, 1)):
        with crash.stack_for(world, operation) as stack:
            words[key] = crash.attempt(operation.act, stack.root).word
    return Result(words[0], words[1], world.seen_as_it_is())


def _alone(world: World, second: Operation, word: str) -> Result:
    world.renew()
    with crash.stack_for(world, second) as stack:
        outcome = crash.attempt(second.act, stack.root)
    return Result(word, outcome.word, world.seen_as_it_is())


def _meet(world: World, first: Operation, second: Operation, number: int) -> tuple[str, Result]:
    world.renew()
    count = 0
    where = ""
    other: list[Child[str]] = []

    def run_other() -> str:
        with crash.stack_for(world, second) as stack:
            return crash.attempt(second.act, stack.root).word

    def decide(call: Call) -> Decision:
        nonlocal count, where
        if _counts(call):
            count += 1
            if count == number:
                where = f"call {number}, {call.describe()}"
                other.append(Child(run_other))
                select.select([other[0]], [], [], A_MOMENT)
        return None

    def body(control: Control) -> object:
        with crash.stack_for(world, first) as stack:
            control.begin()
            word = crash.attempt(first.act, stack.root).word
            control.end()
        return word

    ending = supervise(body, decide)
    assert other, f"{first.id} made fewer calls than before: {count} of {number}"
    result = other[0].result()
    assert ending.crash is None, ending.crash
    return where, Result(str(ending.result), result, world.seen_as_it_is())


def _settle(world: World) -> list[str]:
    world.seen_freshly()
    return world.litter()
