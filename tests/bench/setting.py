"""What all workloads share: sizes, the place on disk, and how the sides are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TypeAlias

from bench.ground import Forest, Format, Plan, grow, spread
from bench.measure import Effort, Normal, Side, Timing, Work, measure, warm
from bench.mounts import mounted
from bench.peers import Face, Multi, Multiplexed, NaiveUnion, Paths, no_multifs, upath_of
from bench.report import Row, duration, ratio_in_words

Ask: TypeAlias = Callable[[Face], object]
"""A pass: puts a workload's questions to a face."""

LIVE, IMMUTABLE, KERNEL, PLAIN = "live", "immutable", "kernel", "plain"


@dataclass
class Setting:
    """Where and how much to measure."""

    base: Path
    layout: Format
    depth: int
    quick: bool
    no_kernel: str | None
    """Why there is no kernel mount."""
    effort: Effort
    rows: list[Row] = field(default_factory=list)

    def size(self, full: int, quick: int) -> int:
        """Choose between the real size and the smoke test's."""
        return quick if self.quick else full

    def grow(self, name: str, plans: Sequence[Plan]) -> Forest:
        """Write a workload's layers."""
        return grow(self.base / name, plans, self.layout, kernel=self.no_kernel is None)

    @cached_property
    def walk_forest(self) -> Forest:
        """The 100 000 files that W5 walks and W12 weighs."""
        leaves = [f"d{i:02}/e{j:02}" for i in range(self.size(50, 3)) for j in range(20)]
        return self.grow("walk", spread(leaves, self.size(100, 10), self.depth))

    def note(self, row: Row) -> None:
        """Keep a row, and show that something happens."""
        self.rows.append(row)
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        figures = f"{row.ours:>12} {row.peer:>12} {ratio:>6} {row.verdict}"
        print(f"  {row.workload:9} {row.what:28} {figures}", flush=True)

    def compare(
        self,
        workload: str,
        sides: Sequence[Side],
        expected: object,
        *,
        count: int,
        targets: dict[str, float],
        labels: dict[str, str] | None = None,
        normal: Normal = lambda answer: answer,
    ) -> dict[str, Timing]:
        """
        Measure, and note a row for each of ours; other peers go with the first of them.

        `count`: the questions in a pass, by which its time is divided. `labels`: what a mode is called here.
        """
        times = measure(sides, expected, effort=self.effort, normal=normal)
        base = times.get(KERNEL)
        others = {
            name: self._beside(timing, base or times[PLAIN])
            for name, timing in times.items()
            if name not in (LIVE, IMMUTABLE, KERNEL)
        }
        for mode in (LIVE, IMMUTABLE):
            if mode not in times:
                continue
            ours = times[mode].seconds
            self.note(
                Row(
                    workload,
                    (labels or {}).get(mode, mode),
                    duration(ours / count),
                    "-" if base is None else duration(base.seconds / count),
                    None if base is None else ours / base.seconds,
                    targets.get(mode),
                    others if mode == LIVE else {},
                )
            )
        return times

    def _beside(self, timing: Timing, base: Timing) -> str:
        words = ratio_in_words(timing.seconds / base.seconds)
        return words if timing.right or words == "fails" else f"{words}!"

    @contextmanager
    def warm_faces(self, forest: Forest) -> Iterator[Warm]:
        """Give every side of a forest, each made once."""
        with ExitStack() as exits:
            faces: dict[str, Face] = {}
            for mode in (LIVE, IMMUTABLE):
                stack = exits.enter_context(forest.stack(immutable=mode == IMMUTABLE))
                faces[mode] = Paths(stack.root)
            if self.no_kernel is None:
                point = exits.enter_context(mounted(forest.base, forest.kernel_layers))
                faces[KERNEL] = Paths(point)
            if forest.plain is not None:
                faces[PLAIN] = Paths(forest.plain)
            yield Warm(forest, faces)

    def cold(self, forest: Forest, mode: str, ask: Ask, *, again: bool = False) -> Side:
        """
        Give one of ours, or the kernel's, made anew before every pass.

        `again`: with one pass before the timed one.
        """

        @contextmanager
        def fresh() -> Iterator[Work]:
            with self._opened(forest, mode) as face:
                if again:
                    ask(face)
                yield partial(ask, face)

        return Side(mode, fresh, cold=True)

    def cold_sides(self, forest: Forest, ask: Ask, *, again: bool = False) -> list[Side]:
        """Give ours in both modes, and the kernel's, as `cold`."""
        modes = [LIVE, IMMUTABLE] if self.no_kernel else [LIVE, IMMUTABLE, KERNEL]
        return [self.cold(forest, mode, ask, again=again) for mode in modes]

    def _opened(self, forest: Forest, mode: str) -> AbstractContextManager[Face]:
        return self._mount(forest) if mode == KERNEL else _stack(forest, mode)

    @contextmanager
    def _mount(self, forest: Forest) -> Iterator[Face]:
        with mounted(forest.base, forest.kernel_layers) as point:
            yield Paths(point)


@contextmanager
def _stack(forest: Forest, mode: str) -> Iterator[Face]:
    with forest.stack(immutable=mode == IMMUTABLE) as stack:
        yield Paths(stack.root)


@dataclass
class Warm:
    """The sides of one forest."""

    forest: Forest
    faces: dict[str, Face]

    @cached_property
    def foreign(self) -> dict[str, Face]:
        """Peers that don't know whiteouts; what they get wrong is marked."""
        layers = self.forest.layers
        faces: dict[str, Face] = {"naive": NaiveUnion(layers), "Multiplexed": Multiplexed(layers)}
        if no_multifs() is None:
            faces["MultiFS"] = Multi(layers)
        if self.forest.plain is not None:
            faces["UPath"] = upath_of(self.forest.plain)
        return faces

    def sides(self, ask: Ask, *, leave_out: Sequence[str] = ()) -> list[Side]:
        """Give the same pass for every side."""
        return [
            warm(name, partial(ask, face), excused=name in self.foreign)
            for name, face in (self.faces | self.foreign).items()
            if name not in leave_out
        ]
