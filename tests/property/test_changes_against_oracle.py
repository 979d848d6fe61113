"""Unions that change, by any sequence of operations, stay what one file system would be: the model's tree."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import get_args

import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from changes_model import ModelHand
from grounds import BY_ID, GROUNDS
from programs import Maker, Op, Seen, run, run_all
from scenes import Scene, random_layers
from trials import (
    UMASK,
    RenameDir,
    Setup,
    World,
    WorldHand,
    against_model,
    can_redirect,
    model,
    random_scene,
    random_setup,
    report,
    world_of,
)

pytestmark = pytest.mark.property

UPPERS = tuple(ground.id for ground in GROUNDS if ground.modes)
AVAILABLE = tuple(upper for upper in UPPERS if BY_ID[upper].missing() is None)
MADE = [
    (upper, rename_dir)
    for upper in UPPERS
    for rename_dir in get_args(RenameDir)
    if rename_dir != "redirect" or can_redirect(upper)
]
DEPTHS = (0, 1, 2, 5)
"""How many lowers."""


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """New objects get the permissions that the model gives them (C10)."""
    old = os.umask(UMASK)
    yield
    os.umask(old)


@pytest.mark.rule("D1", "D2", "D3", "D4", "D5", "D6", "D7", "C2", "C3", "C4", "C5", "C10", "C11", "C12")
@pytest.mark.rule("R1", "R2", "R3", "R4", "R5", "R6", "L7", "M3", "S1", "S4", "N3", "E2")
@pytest.mark.parametrize(("upper", "rename_dir"), MADE)
def test_random_programs(upper: str, rename_dir: RenameDir, seed: int) -> None:
    """Outcome by outcome and tree by tree, also as a fresh stack sees it; the lowers never change."""
    BY_ID[upper].require()
    for number in range(max(1, settings().max_examples // 10)):
        chance = random.Random(f"{seed}/{upper}/{rename_dir}/{number}")
        setup = random_setup(chance, upper, rename_dir)
        scene = random_scene(chance, chance.choice(DEPTHS), opaque_roots=setup.opaque_roots[0])
        failure = report(scene, lambda each, setup=setup: against_model(each, setup))  # type: ignore[misc]  # bound now
        assert failure is None, f"{setup}\n{failure}"


@pytest.mark.rule("N4", "D5", "C3")
@pytest.mark.parametrize("upper", [upper for upper, rename_dir in MADE if rename_dir == "copy"])
def test_two_stacks_on_one_upper(upper: str, seed: int) -> None:
    """What one stack changes the other sees and changes on, operation by operation."""
    BY_ID[upper].require()
    for number in range(max(1, settings().max_examples // 20)):
        chance = random.Random(f"{seed}/{upper}/{number}")
        setup = random_setup(chance, upper, "copy")._replace(pair=True)
        scene = random_scene(chance, chance.choice(DEPTHS), opaque_roots=setup.opaque_roots[0])
        failure = report(scene, lambda each, setup=setup: against_model(each, setup))  # type: ignore[misc]  # bound now
        assert failure is None, f"{setup}\n{failure}"


@pytest.mark.rule("D7", "M3", "C3")
@pytest.mark.parametrize("upper", [upper for upper, rename_dir in MADE if rename_dir == "copy"])
def test_changes_tell_all(upper: str, seed: int) -> None:
    """`stack.changes()` tells what the union shows otherwise than the lowers do, and nothing else."""
    BY_ID[upper].require()
    for number in range(max(1, settings().max_examples // 20)):
        chance = random.Random(f"{seed}/changes/{upper}/{number}")
        setup = random_setup(chance, upper, "redirect" if can_redirect(upper) else "copy")
        scene = random_scene(chance, chance.choice(DEPTHS[1:]))
        with world_of(setup, scene) as world:
            list(run_all(world.hand(), scene.program))
            changes = {change.path: change.what for change in world.stack.changes()}
            before, after = world.seen_below(), world.seen_afresh()
        assert [] == _unexplained(changes, before, after), f"{setup}\n{scene}"


def _unexplained(changes: Mapping[str, str], before: Sequence[Seen], after: Sequence[Seen]) -> list[object]:
    """Give what changed and isn't told, and what is told and isn't so."""
    old, new = {row.path: row for row in before}, {row.path: row for row in after}
    wrong: list[object] = []
    for path in sorted((old.keys() | new.keys() | changes.keys()) - {"/"}):
        told, hidden = changes.get(path), _is_hidden(path, changes, new)
        was, now = (None if hidden else old.get(path)), new.get(path)
        if told not in _possible(was, now) and not (told is None and now is None and hidden):
            wrong.append((path, told, was, now))
    return wrong


def _is_hidden(path: str, changes: Mapping[str, str], new: Mapping[str, Seen]) -> bool:
    """Tell whether a directory above hides all that the lowers have below it."""
    above = path.rpartition("/")[0]
    while above:
        if changes.get(above) in ("opaque", "deleted", "added", "modified"):
            return True
        above = above.rpartition("/")[0]
    return changes.get("/") == "opaque"


def _possible(was: Seen | None, now: Seen | None) -> tuple[str | None, ...]:
    """Give what may be told of a path."""
    if was is None or now is None:
        return ((None, "added")[now is not None],) if was is None else ("deleted",)
    if was.kind != now.kind or (was.kind != "dir" and was.content != now.content):
        return ("modified",)
    same = _but_times(was) == _but_times(now)
    if was.kind == "dir":
        return (None, "opaque") if same else ("metadata", "opaque")
    if was.kind == "link":
        return (None, "modified") if same else ("metadata", "modified")  # "./c" is another target than "c"
    return (None,) if same else ("metadata",)


def _but_times(row: Seen) -> Seen:
    return row._replace(nlink=1, mtime=None if row.kind == "dir" else row.mtime)


class ChangingUnion(RuleBasedStateMachine):
    """The same, with hypothesis to make a failure small."""

    world: World
    hand: WorldHand
    model: ModelHand

    @initialize(
        data=st.data(),
        made=st.sampled_from([each for each in MADE if each[0] in AVAILABLE and each[1] != "exdev"]),
        depth=st.sampled_from((0, 1, 2)),
    )
    def begin(self, data: st.DataObject, made: tuple[str, RenameDir], depth: int) -> None:
        upper, rename_dir = made

        def choose(these: Sequence[object]) -> object:
            return data.draw(st.sampled_from(these))

        roots = BY_ID[upper].opaque_roots
        layers = random_layers(choose, depth, opaque_roots=roots)
        note(f"{layers}")
        self.cleanup = ExitStack()
        self.world = self.cleanup.enter_context(
            world_of(Setup(upper, upper, rename_dir), Scene(tuple(layers), ()))
        )
        self.hand, self.model = WorldHand(self.world), model(layers, opaque_roots=roots)

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        def choose(these: Sequence[object]) -> object:
            return data.draw(st.sampled_from(these))

        self._compare(Maker(choose).op(self.model.known()))

    @rule()
    def look(self) -> None:
        self._compare(Op("whole", "/"))
        assert [] == self.world.changed_lowers()

    @rule()
    def reopen(self) -> None:
        self.hand.reopen("/")

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.look()
            finally:
                self.cleanup.close()

    def _compare(self, op: Op) -> None:
        note(repr(op))
        assert (op, run(self.model, op)) == (op, run(self.hand, op))


@pytest.mark.rule("D4", "R1", "C3")
class TestChangingUnion(ChangingUnion.TestCase):  # type: ignore[misc,valid-type]  # made at run time
    """All of D, C and R, step by step."""
