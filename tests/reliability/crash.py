"""
Operations stopped, killed and made to fail at each file-changing system call, and what must hold then.

The judge knows nothing of how an operation works: the state before is what a stack shows of the untouched
layers, the state after what a clean run leaves. Whatever shows at any other moment has to be one of the two.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from reliability.operations import Act, Operation
from reliability.syscalls import Call, Control, Decision, Ending, Kill, limit, supervise
from reliability.world import Row, Tree, World, difference

if TYPE_CHECKING:
    from unionpath import LayerStack, UnionPath


class Outcome(NamedTuple):
    """How a call ended: `fine`, or the error."""

    word: str
    number: int = 0
    place: object = None
    text: str = ""

    @property
    def fine(self) -> bool:
        return self.word == "fine"


def attempt(act: Act, root: UnionPath) -> Outcome:
    """Try an operation."""
    try:
        act(root)
    except OSError as error:
        number = error.errno or 0
        text = "".join(traceback.format_exception(error)[-3:])
        return Outcome(errno.errorcode.get(number, type(error).__name__), number, error.filename, text)
    return Outcome("fine")


@dataclass(slots=True)
class Clean:
    """What an operation does when nothing interferes."""

    before: Tree
    between: list[Tree]
    after: Tree
    twice: Tree
    first: Outcome
    second: Outcome
    upper_after: Tree

    def problem(self, seen: Tree, operation: Operation) -> str | None:
        """Say what is wrong with a state, or None."""
        if seen in (self.before, self.after, *self.between):
            return None
        if operation.several and self._is_mixed(seen):
            return None
        steps = difference(self.before, seen), difference(self.after, seen)
        return "neither before nor after; from before: {}; from after: {}".format(*steps)

    def _is_mixed(self, seen: Tree) -> bool:
        """Tell whether each object is as before or as after; what is new may still lack its metadata."""
        return all(
            seen.get(path) in (self.before.get(path), self.after.get(path))
            or (path not in self.before and _bare(seen.get(path)) == _bare(self.after.get(path)))
            for path in seen.keys() | self.before.keys() | self.after.keys()
        )


def _bare(row: Row | None) -> Row | None:
    return None if row is None else (row[0], row[5])


def clean(world: World, operation: Operation) -> Clean:
    """Run an operation undisturbed, twice."""
    between = []
    for stage in operation.stages:
        world.renew()
        with stack_for(world, operation) as stack:
            attempt(stage, stack.root)
        between.append(world.seen_as_it_is())
    world.renew()
    with stack_for(world, operation) as stack:
        before = world.seen(stack)
        first = attempt(operation.act, stack.root)
        after = world.seen_freshly()
        upper_after = world.upper_now()
        second = attempt(operation.act, stack.root)
        twice = world.seen(stack)
    return Clean(before, between, after, twice, first, second, upper_after)


def wrong_changes(stack: LayerStack, seen: Tree) -> list[str]:
    """List what `changes()` tells that doesn't agree with what is seen."""
    told = [str(change).split(" ", 1) for change in stack.changes()]
    return [f"{mark} {path}" for mark, path in told if (mark == "D") == (path in seen)]


def stack_for(world: World, operation: Operation) -> LayerStack:
    """Make a stack with the operation's options."""
    return world.stack(rename_dir=operation.rename_dir, durability=operation.durability)


class Trace(NamedTuple):
    """One call of an operation, as it was when it waited."""

    number: int
    text: str


def perform(world: World, operation: Operation, decide: Callable[[Call], Decision], *, cold: bool) -> Ending:
    """Run an operation in a child; `cold`: with the making and closing of its stack."""

    def body(control: Control) -> object:
        if cold:
            control.begin()
        with stack_for(world, operation) as stack:
            if not cold:
                control.begin()
            outcome = attempt(operation.act, stack.root)
            if not cold:
                control.end()
        if cold:
            control.end()
        return outcome

    return supervise(body, decide)


def watch(
    world: World,
    operation: Operation,
    known: Clean,
    *,
    cold: bool = False,
    wanted: Callable[[int], bool] = lambda number: True,
) -> tuple[int, list[str]]:
    """Look at the union, without recovery, at each call of an operation; give their number, and problems."""
    world.renew()
    problems: list[str] = []
    count = 0

    def decide(call: Call) -> Decision:
        nonlocal count
        if not call.changes:
            return None
        count += 1
        if wanted(count):
            _look(
                world, operation, known, f"{operation.id}: before call {count}, {call.describe()}", problems
            )
        return None

    ending = perform(world, operation, decide, cold=cold)
    if ending.crash is not None:
        problems.append(f"{operation.id}: {ending.crash}")
    elif known.after != (seen := world.seen_as_it_is()):
        problems.append(f"{operation.id}, in a child: {difference(known.after, seen)} {ending.result}")
    return count, problems


def _look(world: World, operation: Operation, known: Clean, when: str, problems: list[str]) -> None:
    try:
        with limit(20):
            seen = world.seen_as_it_is()
    except (OSError, TimeoutError) as error:
        problems.append(f"{when}: the union can't be read: {error!r}")
        return
    if (problem := known.problem(seen, operation)) is not None:
        problems.append(f"{when}: {problem}")


def kill(
    world: World, operation: Operation, known: Clean, number: int, *, cold: bool = False
) -> tuple[bool, list[str]]:
    """Kill an operation at the entry of its n-th call, and judge what is left; tell if it came to that."""
    world.renew()
    trace = Trace(number, "")
    count = 0

    def decide(call: Call) -> Decision:
        nonlocal count, trace
        count += call.changes
        if not call.changes or count < number:
            return None
        trace = Trace(number, call.describe())
        return Kill()

    ending = perform(world, operation, decide, cold=cold)
    if not ending.killed:
        return False, [] if ending.crash is None else [f"{operation.id}: {ending.crash}"]
    when = f"{operation.id}, killed at call {number}, {trace.text}"
    try:
        with limit(20):
            problems = judge(world, operation, known)
    except Exception:  # noqa: BLE001 - whatever it is, it is a finding
        problems = [traceback.format_exc(limit=-4)]
    return True, [f"{when}: {problem}" for problem in problems]


def judge(world: World, operation: Operation, known: Clean) -> list[str]:
    """Say all that is wrong after a crash, first as it lies there, then after the next opening."""
    problems = []
    if world.lowers_before != (lowers := world.lowers_now()):
        problems.append(f"a lower changed: {difference(world.lowers_before, lowers)}")
    as_it_lies = world.seen_as_it_is()
    if (problem := known.problem(as_it_lies, operation)) is not None:
        problems.append(f"before recovery: {problem}")
    with stack_for(world, operation) as stack:
        recovered = world.seen(stack)
        changes = wrong_changes(stack, recovered)
    if (problem := known.problem(recovered, operation)) is not None:
        problems.append(f"after recovery: {problem}")
    if changes:
        problems.append(f"changes() tells what isn't so: {changes}")
    if litter := world.litter():
        problems.append(f"left over after the next opening: {litter}")
    problems += _repeat(world, operation, known, recovered)
    if world.lowers_before != (lowers := world.lowers_now()):
        problems.append(f"a lower changed in the repetition: {difference(world.lowers_before, lowers)}")
    return problems


def _repeat(world: World, operation: Operation, known: Clean, seen: Tree) -> list[str]:
    with stack_for(world, operation) as stack:
        outcome = attempt(operation.act, stack.root)
    final = world.seen_as_it_is()
    if seen == known.before:
        if not outcome.fine or final != known.after:
            return [f"repeated: {outcome}, {difference(known.after, final)}"]
        if known.upper_after != (upper := world.upper_now()):
            return [f"repeated, the upper holds other things: {difference(known.upper_after, upper)}"]
    elif seen == known.after:
        if outcome.word != known.second.word or final != known.twice:
            return [f"done again: {outcome}, not {known.second}, {difference(known.twice, final)}"]
    elif not operation.several and not operation.stages and not outcome.fine:
        return [f"can't be repeated: {outcome}"]
    return []


class Failed(NamedTuple):
    """What a child tells of an operation that was made to fail."""

    outcome: Outcome
    seen: Tree
    freshly: Tree
    upper: Tree
    litter: list[str]
    again: Outcome
    seen_again: Tree


def fail(
    world: World,
    operation: Operation,
    known: Clean,
    number: int,
    error: int,
    concerns: Callable[[Call], bool],
    *,
    sticky: bool = False,
) -> tuple[bool, list[str]]:
    """Make an operation's n-th call of a kind fail (`sticky`: all from there on), and judge what is left."""
    world.renew()
    count = 0
    text = ""

    def decide(call: Call) -> Decision:
        nonlocal count, text
        if not concerns(call):
            return None
        count += 1
        if count == number:
            text = call.describe()
        return error if count == number or (sticky and count > number) else None

    ending = supervise(
        lambda control: _told_of_failure(world, operation, control, warm=number % 2 == 0), decide
    )
    if not text and ending.crash is None:
        return False, []
    word = errno.errorcode[error] + (" from then on" if sticky else "")
    when = f"{operation.id}, {word} at call {number}, {text}"
    if not isinstance(ending.result, Failed):
        return True, [f"{when}: {ending.crash}"]
    problems = judge_failure(operation, known, world, ending.result, error)
    return True, [f"{when}: {problem}" for problem in problems]


def _told_of_failure(world: World, operation: Operation, control: Control, *, warm: bool) -> Failed:
    with stack_for(world, operation) as stack:
        if warm:
            world.seen(stack)
        control.begin()
        outcome = attempt(operation.act, stack.root)
        control.end()
        seen = world.seen(stack)
        freshly, upper, litter = world.seen_as_it_is(), world.upper_now(), world.litter(alive=True)
        again = attempt(operation.act, stack.root)
        seen_again = world.seen(stack)
    return Failed(outcome, seen, freshly, upper, litter, again, seen_again)


def judge_failure(operation: Operation, known: Clean, world: World, told: Failed, error: int) -> list[str]:
    """Say all that is wrong after a failure (E2, E6)."""
    problems = []
    outcome = told.outcome
    if told.seen != told.freshly:
        problems.append(f"its own stack is out of date: {difference(told.freshly, told.seen)}")
    if told.litter and error in (errno.ENOSPC, errno.EDQUOT):  # else clearing may have been what failed
        problems.append(f"left over: {told.litter}")
    world.seen_freshly()
    if litter := world.litter():
        problems.append(f"left over after the next opening: {litter}")
    if outcome.fine:
        if told.freshly != known.after:
            problems.append(f"no error, but {difference(known.after, told.freshly)}")
        expected, upper = (known.second.word, known.twice), known.upper_after
    else:
        through_handle = operation.id.startswith("open-")  # file objects name no file in errors (io)
        problems += _about_error(outcome, error, str(world.base), nameless=through_handle)
        may_be_partial = operation.several or told.freshly in known.between
        if told.freshly != known.before and not may_be_partial:
            problems.append(f"{outcome.word}, but not as before: {difference(known.before, told.freshly)}")
        if may_be_partial:
            return problems
        expected, upper = ("fine", known.after), world.upper_before
    if not _is_upper(told.upper, upper, known):
        problems.append(f"{outcome.word}, the upper holds other things: {difference(upper, told.upper)}")
    if (told.again.word, told.seen_again) != expected:
        problems.append(f"then again: {told.again}, {difference(expected[1], told.seen_again)}")
    if world.lowers_before != (lowers := world.lowers_now()):
        problems.append(f"a lower changed: {difference(world.lowers_before, lowers)}")
    return problems


def _is_upper(actual: Tree, expected: Tree, known: Clean) -> bool:
    """
    Compare uppers whose unions look the same.

    Copies of what shows anyway, and marks that hide nothing that shows, may stay: as the kernel has it, a
    copy-up isn't taken back.
    """
    return all(
        _may_be(path, actual.get(path), expected.get(path), known.before.get(path))
        for path in actual.keys() | expected.keys()
    )


def _may_be(path: str, actual: Row | None, expected: Row | None, shown: Row | None) -> bool:
    if actual == expected or path.rpartition("/")[2].startswith(".wh.") or _is_device(actual or expected):
        return True
    if actual is None or expected is None:
        return actual is not None and shown is not None and actual[:5] == (*shown[:4], shown[5])
    return actual[:5] == expected[:5]  # but for marks that are attributes


def _is_device(row: Row | None) -> bool:
    return row is not None and row[0] == "device"


def _about_error(outcome: Outcome, error: int, base: str, *, nameless: bool) -> list[str]:
    problems = []
    if outcome.number != error:
        problems.append(f"raised {outcome.word} instead: {outcome.text}")
    place = outcome.place
    if nameless and place is None:
        return problems
    if not isinstance(place, str) or not place.startswith("/") or place.startswith(base):
        problems.append(f"the error names {place!r}, no path of the union (E2)")
    return problems


def is_refused(known: Clean) -> bool:
    """Tell whether the operation isn't possible at all: then it must change nothing."""
    return not known.first.fine


@dataclass(slots=True)
class Prepared:
    """An operation in a world, with what it does undisturbed, and how many calls it makes."""

    world: World
    operation: Operation
    known: Clean
    calls: list[Call]
    """All that it makes when it is cold or not, as `cold` says."""
    cold: bool
    place: int
    problems: list[str]
    """What was wrong with it already, undisturbed."""

    @property
    def total(self) -> int:
        """How many calls of it change something."""
        return self.count(lambda call: call.changes)

    def count(self, concerns: Callable[[Call], bool]) -> int:
        """Count calls of a kind."""
        return sum(1 for call in self.calls if concerns(call))

    def watch(self, every: int | None = None) -> list[str]:
        """Look on at each call, or at every so-and-so-many-th."""
        start = self.place % every if every else 0
        _, problems = watch(
            self.world,
            self.operation,
            self.known,
            wanted=lambda number: every is None or number % every == start,
        )
        return self.problems + problems

    def kill_at(self, numbers: Sequence[int]) -> list[str]:
        """Kill it at each of these calls in turn."""
        problems = list(self.problems)
        for number in numbers:
            problems += kill(self.world, self.operation, self.known, number, cold=self.cold)[1]
        return problems

    def fail_at(
        self, numbers: Sequence[int], error: int, concerns: Callable[[Call], bool], *, sticky: bool
    ) -> list[str]:
        """Make each of these calls of a kind fail in turn."""
        problems = list(self.problems)
        for number in numbers:
            problems += fail(self.world, self.operation, self.known, number, error, concerns, sticky=sticky)[
                1
            ]
        return problems


_PREPARED: dict[tuple[str, str, bool], Prepared] = {}


def prepare(world: World, operation: Operation, *, cold: bool = False) -> Prepared:
    """Run an operation undisturbed, and count; what is known of it is kept."""
    key = str(world.base), operation.id, cold
    if key not in _PREPARED:
        known = clean(world, operation)
        calls: list[Call] = []
        world.renew()
        ending = perform(world, operation, calls.append, cold=cold)
        problems = [] if ending.crash is None else [f"{operation.id}: {ending.crash}"]
        place = sum(map(ord, operation.id))
        if is_refused(known) and not may_be_refused(world, operation, known):
            problems.append(f"{operation.id}: refused: {known.first}")
        if is_refused(known) and (known.before, world.upper_before) != (known.after, known.upper_after):
            problems.append(f"{operation.id}: refused, but {difference(known.before, known.after)}")
        _PREPARED[key] = Prepared(world, operation, known, calls, cold, place, problems)
    return _PREPARED[key]


def may_be_refused(world: World, operation: Operation, known: Clean) -> bool:
    """Tell whether a format or a file system can't do the operation, so that a refusal is right."""
    return "xattr" in operation.id and known.first.word in ("EOPNOTSUPP", "ENODATA")
