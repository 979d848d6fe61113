"""Take times side by side: in turns, each answer compared, the minimum of all rounds counting."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

Work: TypeAlias = Callable[[], object]
"""One timed pass; gives its answer."""
Clock: TypeAlias = Callable[[], int]
"""Nanoseconds of something that passes."""
Normal: TypeAlias = Callable[[object], object]
"""Makes answers comparable, outside the timed part."""

_ROUND = 0.02
"""Seconds that a round of something fast and repeatable lasts at least."""
_WARM_UP = 3
"""Passes after which the union has listed what it lists at the second look."""


class WrongAnswer(Exception):
    """A side whose answers count gave a wrong one."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of those compared."""

    name: str
    fresh: Callable[[], AbstractContextManager[Work]]
    """Make what a round needs, untimed, and clean it up afterwards."""
    cold: bool = False
    """A pass uses up what was made: one pass per round."""
    excused: bool = False
    """It is known not to do all that a union does: a wrong answer is marked and is no failure."""


def warm(name: str, work: Work, *, excused: bool = False) -> Side:
    """Give a side that can be asked again and again."""
    return Side(name, lambda: nullcontext(work), excused=excused)


@dataclass(frozen=True, slots=True)
class Timing:
    """The fastest pass of one side."""

    seconds: float
    """Infinite if it failed."""
    right: bool = True


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to try."""

    rounds: int = 15
    patience: float = 1.5
    """Seconds after which a slow side is left (after one round at least); a quarter of it if excused."""


def measure(
    sides: Sequence[Side],
    expected: object,
    *,
    effort: Effort,
    normal: Normal = lambda answer: answer,
    clock: Clock = time.process_time_ns,
) -> dict[str, Timing]:
    """
    Time each side's pass; by default in CPU time of this process.

    Raises:
        WrongAnswer: a side that isn't excused gave another answer than expected.
    """
    runs = [
        _Run(side, expected, normal, effort.patience / (4 if side.excused else 1), clock) for side in sides
    ]
    for number in range(effort.rounds + 1):
        for run in runs if number % 2 else reversed(runs):
            if number == 0 or run.spent < run.patience:
                run.round(first=number == 0)
    return {run.side.name: Timing(run.best, run.right) for run in runs}


class _Run:
    """The rounds of one side."""

    def __init__(self, side: Side, expected: object, normal: Normal, patience: float, clock: Clock) -> None:
        self.side = side
        self.best = math.inf
        self.spent = 0.0
        self.right = True
        self._expected = expected
        self._normal = normal
        self.patience = patience
        self._clock = clock
        self._loops = 1

    def round(self, *, first: bool) -> None:
        """Time one round."""
        gc.collect()
        try:
            self._round(warm_up=first and not self.side.cold)
        except OSError:
            if not self.side.excused:
                raise
            self.right, self.spent = False, math.inf

    def _round(self, *, warm_up: bool) -> None:
        began = time.perf_counter()
        with self.side.fresh() as work:
            if warm_up:
                self._warm_up(work)
            seconds, answer = timed(work, self._loops, self._clock)
        self.spent += time.perf_counter() - began
        self._compare(answer)
        self.best = min(self.best, seconds)

    def _warm_up(self, work: Work) -> None:
        """Pass until what is remembered is remembered, and choose how many passes a round has."""
        began = time.perf_counter()
        for _ in range(_WARM_UP):
            seconds, _answer = timed(work, 1, self._clock)
            if time.perf_counter() - began > self.patience:
                return
        self._loops = max(1, int(_ROUND / max(seconds, 1e-9)))

    def _compare(self, answer: object) -> None:
        if self._normal(answer) == self._expected:
            return
        self.right = False
        if not self.side.excused:
            raise WrongAnswer(
                f"{self.side.name} gave {_short(self._normal(answer))}, not {_short(self._expected)}"
            )


def timed(work: Work, loops: int, clock: Clock = time.process_time_ns) -> tuple[float, object]:
    """Run passes; give the seconds that one took by the clock, and the last answer."""
    answer: object = None
    start = clock()
    for _ in range(loops):
        answer = work()
    return (clock() - start) / loops / 1e9, answer


def turns(rounds: int, *works: Callable[[], float]) -> Iterator[float]:
    """Give the least of what each function returns, called in turns."""
    least = [float("inf")] * len(works)
    for _ in range(rounds):
        for number, work in enumerate(works):
            least[number] = min(least[number], work())
    yield from least


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 300 else f"{text[:300]}… ({len(text)} characters)"
