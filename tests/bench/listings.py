"""W4, W5 and W10: whole directories and whole trees."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from bench.ground import Forest, split, spread
from bench.measure import Normal, WrongAnswer
from bench.peers import Face, Paths, name_of, walk_of
from bench.report import Row, duration
from bench.setting import IMMUTABLE, LIVE, Ask, Setting

_SLOW = ("Multiplexed",)
"""Peers that can't walk, or take minutes."""


def run_iterdir(setting: Setting) -> None:
    """W4: one directory of 10 000 merged names."""
    count = setting.size(10_000, 300)
    forest = setting.grow("wide", spread(["wide"], count, setting.depth))
    names = sorted(forest.tree["wide"])
    normal: Normal = lambda found: sorted(cast("list[str]", found))  # noqa: E731
    targets = Targets(cold={LIVE: 0.5}, again={LIVE: 0.25, IMMUTABLE: 0.2})
    _three_times(setting, "W4", forest, _wide, names, count, targets, normal=normal)


def _wide(face: Face) -> object:
    return face.names("wide")


def run_walk(setting: Setting) -> None:
    """W5 and W5d: a tree of 100 000 files; every directory in all layers, or each leaf in one layer only."""
    _walks(setting, "W5", setting.walk_forest, cold_target=1.1)
    _note_floor(setting, setting.walk_forest)
    leaves = [directory for directory in setting.walk_forest.tree if "/" in directory]
    alone = setting.grow("walk-d", split(leaves, setting.size(100, 10), setting.depth))
    _walks(setting, "W5d", alone, cold_target=0.95)


def _walks(setting: Setting, name: str, forest: Forest, *, cold_target: float) -> None:
    counts = forest.counts()
    _check_files(setting, forest)
    targets = Targets(cold={LIVE: cold_target}, again={IMMUTABLE: 0.4})
    _three_times(setting, name, forest, _walked, counts, counts[1], targets, leave_out=[*_SLOW, "UPath"])


def _note_floor(setting: Setting, forest: Forest) -> None:
    """Note what no walk in Python can be cheaper than: the bare scans of all layers' directories."""
    seconds = min(_scan_all(forest) for _round in range(5))
    setting.note(Row("W5 floor", "bare scans, no union", duration(seconds / forest.counts()[1])))


def _scan_all(forest: Forest) -> float:
    """Open, scan with kinds and close each directory of each layer; give the seconds of CPU it took."""
    start = time.process_time()
    for layer in forest.layers:
        for directory in forest.tree:
            descriptor = os.open(layer / directory, os.O_RDONLY | os.O_DIRECTORY)
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    entry.is_file(follow_symlinks=False)
            os.close(descriptor)
    return time.process_time() - start


def _walked(face: Face) -> object:
    return face.walked()


def _check_files(setting: Setting, forest: Forest) -> None:
    """Compare every path, untimed; the timed walks only count."""

    def ask(face: Face) -> object:
        return set(_files(face))

    expected = forest.files()
    for side in setting.cold_sides(forest, ask):
        with side.fresh() as work:
            if work() != expected:
                raise WrongAnswer(f"{side.name}: the walk of {forest.base.name} shows other files")


def _files(face: Face) -> Iterator[str]:
    root = cast("Paths", face).root
    top = str(root).rstrip("/")
    for directory, _inner, names in walk_of(root):
        inside = str(directory).removeprefix(top).strip("/")
        yield from (f"{inside}/{name}" if inside else name for name in names)


def run_glob(setting: Setting) -> None:
    """W10: `**/*.py` in 20 000 files, half of which fit."""
    leaves = [f"d{i:02}/e{j:02}" for i in range(setting.size(20, 3)) for j in range(10)]
    plans = spread(leaves, setting.size(100, 10), setting.depth, suffixes=(".py", ".txt"))
    forest = setting.grow("glob", plans)
    _directories, count = forest.counts()
    expected = sorted(name for names in forest.tree.values() for name in names if name.endswith(".py"))
    normal: Normal = lambda found: sorted(map(name_of, cast("list[object]", found)))  # noqa: E731
    targets = Targets(cold={LIVE: 0.6}, again={IMMUTABLE: 0.2})
    _three_times(
        setting, "W10", forest, _python_files, expected, count, targets, normal=normal, leave_out=_SLOW
    )


def _python_files(face: Face) -> object:
    return face.glob("**/*.py")


@dataclass(frozen=True, slots=True)
class Targets:
    """Ratios to the kernel mount, by mode."""

    cold: dict[str, float]
    again: dict[str, float]


def _three_times(
    setting: Setting,
    name: str,
    forest: Forest,
    ask: Ask,
    expected: object,
    count: int,
    targets: Targets,
    *,
    normal: Normal = lambda answer: answer,
    leave_out: Sequence[str] = (),
) -> None:
    """Measure the first and the second pass of new stacks and mounts, and later passes of all peers."""
    for again, wanted in ((False, targets.cold), (True, targets.again)):
        sides = setting.cold_sides(forest, ask, again=again)
        labels = {mode: f"{mode}, {'second' if again else 'first'}" for mode in (LIVE, IMMUTABLE)}
        setting.compare(name, sides, expected, count=count, targets=wanted, labels=labels, normal=normal)
    labels = {mode: f"{mode}, later" for mode in (LIVE, IMMUTABLE)}
    with setting.warm_faces(forest) as faces:
        sides = faces.sides(ask, leave_out=leave_out)
        setting.compare(name, sides, expected, count=count, targets={}, labels=labels, normal=normal)
