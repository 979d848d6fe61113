"""An errno at every system call of every operation: an `OSError`, the state before, and no litter."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

import pytest

from reliability import crash, syscalls
from reliability.extent import LONG, numbers, sample
from reliability.operations import BY_ID, Operation, operations
from reliability.syscalls import OPENING, READING, SYNCING, Call
from reliability.world import CORE, GROUNDS, World

pytestmark = pytest.mark.skipif(syscalls.missing() is not None, reason=syscalls.missing() or "")


class Fault(NamedTuple):
    """An errno, and the calls that may give it."""

    id: str
    error: int
    concerns: Callable[[Call], bool]
    sticky: bool = False


FAULTS = (
    Fault("full", errno.ENOSPC, lambda call: call.fills),
    Fault("full-for-good", errno.ENOSPC, lambda call: call.fills, sticky=True),
    Fault("quota-for-good", errno.EDQUOT, lambda call: call.fills, sticky=True),
    Fault("broken-write", errno.EIO, lambda call: call.changes or call.name in SYNCING),
    Fault("broken-read", errno.EIO, lambda call: call.name in READING),
    Fault("too-many-files", errno.EMFILE, lambda call: call.name in OPENING),
    Fault("too-many-files-for-good", errno.EMFILE, lambda call: call.name in OPENING, sticky=True),
    Fault("forbidden", errno.EACCES, lambda call: call.changes or call.name in OPENING),
)


CASES = [
    pytest.param(kind, operation, fault, id=f"{kind}-{operation.id}-{fault.id}")
    for turn, kind in enumerate(GROUNDS if LONG else CORE)
    for number, fault in enumerate(FAULTS)
    for operation in sample(operations(kind), 32, number * 4 + turn * 9)
]


@pytest.mark.rule("E6", "E2", "C3", "C12")
@pytest.mark.parametrize(("kind", "operation", "fault"), CASES)
def test_a_fault_leaves_the_state_before(
    world_of: Callable[[str], World], kind: str, operation: Operation, fault: Fault
) -> None:
    """A failed operation leaves the state before it and no litter."""
    prepared = crash.prepare(world_of(kind), operation)
    chosen = numbers(prepared.count(fault.concerns), 2, prepared.place)
    assert [] == prepared.fail_at(chosen, fault.error, fault.concerns, sticky=fault.sticky)


@pytest.mark.rule("E6", "R4")
@pytest.mark.parametrize("fault", FAULTS[:2], ids=lambda fault: fault.id)
@pytest.mark.parametrize("name", ["rename-lower", "rename-dir-merged", "rename-dir-merged-over-emptied"])
@pytest.mark.parametrize("kind", CORE)
def test_what_is_half_done_is_undone_or_left_hidden(
    world_of: Callable[[str], World], kind: str, name: str, fault: Fault
) -> None:
    """Where several steps were done already: taking them back may fail too, and loses and reveals nothing."""
    prepared = crash.prepare(world_of(kind), BY_ID[name])
    total = prepared.count(fault.concerns)
    chosen = range(1 if LONG else max(1, total - 5), total + 1)
    assert [] == prepared.fail_at(chosen, fault.error, fault.concerns, sticky=fault.sticky)
