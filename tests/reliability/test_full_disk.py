"""A really full disk, small and in memory: every operation succeeds or fails cleanly, and nothing is lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from grounds import scratch
from reliability import crash, workers, world
from reliability.extent import LONG, SOME, sample
from reliability.operations import Operation, operations
from reliability.world import CORE, World, difference

pytestmark = pytest.mark.skipif(workers.no_namespace() is not None, reason=workers.no_namespace() or "")

ROOM = (0, 1, 2, 4, 16)
"""Pages that are left when the operation begins; a small tree takes some for its upper alone."""


@pytest.fixture(params=SOME)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """A scratch directory and a kind of layer."""
    with scratch() as base:
        yield base, request.param


@pytest.mark.rule("E6", "E2", "C3")
@pytest.mark.parametrize("scarce", ["blocks", "inodes"])
def test_nothing_is_lost_on_a_full_disk(place: tuple[Path, str], scarce: str) -> None:
    """A failed operation (ENOSPC at any step) leaves the state before it and no litter."""
    base, kind = place
    assert [] == workers.privately(lambda: _try_all(base, kind, scarce))


def _try_all(base: Path, kind: str, scarce: str) -> list[str]:
    options = "size=1m,nr_inodes=1k" if scarce == "blocks" else "size=16m,nr_inodes=200"
    workers.mount_tmpfs(base, options)
    built = world.build(base, kind)
    problems: list[str] = []
    turn = CORE.index(kind) + (scarce == "inodes")
    for number, operation in enumerate(sample(operations(kind), 9, turn * 2)):
        prepared = crash.prepare(built, operation)
        problems += prepared.problems
        for room in ROOM if LONG else ROOM[number % 2 :: 2]:
            problems += _try(built, operation, prepared.known, scarce, room)
    return problems[:20]


def _try(built: World, operation: Operation, known: crash.Clean, scarce: str, room: int) -> list[str]:
    built.renew()
    with crash.stack_for(built, operation) as stack:
        fill = built.base / "outside"
        _fill(fill, scarce, room)
        outcome = crash.attempt(operation.act, stack.root)
        seen, litter = built.seen(stack), built.litter(alive=True)
        freshly, upper = built.seen_as_it_is(), built.upper_now()
        world.remove(fill)
        again = crash.attempt(operation.act, stack.root)
        seen_again = built.seen(stack)
    told = crash.Failed(outcome, seen, freshly, upper, litter, again, seen_again)
    when = f"{operation.id} with room for {room} {scarce}: "
    if not outcome.fine and not known.first.fine and outcome.word == known.first.word:
        return []
    found = crash.judge_failure(operation, known, built, told, errno.ENOSPC)
    if (after := built.seen_freshly()) != seen_again:
        found.append(f"opened again, {difference(seen_again, after)}")
    return [when + each for each in found]


def _fill(at: Path, scarce: str, room: int) -> None:
    """Fill the disk but for so many pages, or objects."""
    at.mkdir()
    if scarce == "inodes":
        names = (at / str(number) for number in range(10**6))
        made = []
        try:
            for name in names:
                name.touch()
                made.append(name)
        except OSError:
            pass
        for name in made[len(made) - room :] if room else ():
            name.unlink()
        return
    with open(at / "fill", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        if room:
            file.truncate(max(0, os.fstat(file.fileno()).st_size - room * 4096))
