"""Random unions, asked and changed from outside, agree with the reference model throughout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import oracle
import trees
from grounds import GROUNDS, Ground, scratch
from trees import Alone, Dir, Node, Parts, Whiteout
from views import UnionView, View, outcome

if TYPE_CHECKING:
    from unionpath import LayerStack

pytestmark = pytest.mark.property

AVAILABLE = [ground for ground in GROUNDS if ground.missing() is None]
ASKED = ("kind", "lkind", "exists", "mode", "read", "names", "readlink", "resolve")
"""What is asked about a path by every comparison."""


class World:
    """Described layers, the same layers as put down, and their union."""

    def __init__(self, ground: Ground, layers: Sequence[Dir]) -> None:
        from unionpath import LayerStack

        self.ground = ground
        self.trees = list(layers)
        self._cleanup = ExitStack()
        self.sites = ground.sites(self._cleanup.enter_context(scratch()), layers)
        self.stack: LayerStack = LayerStack([site.layer() for site in self.sites])
        self.view = UnionView(self.stack.root)

    @property
    def model(self) -> oracle.Union:
        """The model of the layers as they are now."""
        return self.ground.oracle(self.trees)

    def close(self) -> None:
        """Leave nothing behind."""
        self.stack.close()
        self._cleanup.close()


@contextmanager
def world(ground: Ground, layers: Sequence[Dir]) -> Iterator[World]:
    """Put layers down for a while."""
    there = World(ground, layers)
    try:
        yield there
    finally:
        there.close()


def compare(model: oracle.Union, view: View, path: str, *, modes: bool = True) -> None:
    """Hold every answer about one path against the model's."""
    for question in ASKED:
        if question == "mode" and not modes:
            continue
        expected = outcome(getattr(model, question), path)
        assert (question, path, expected) == (question, path, outcome(getattr(view, question), path))


def every_path(model: oracle.Union) -> list[str]:
    """List all paths of a union."""
    return [
        f"{top.rstrip('/')}/{name}" for top, folders, files in model.walk("/") for name in (*folders, *files)
    ]


@st.composite
def worlds(draw: st.DrawFn, depth: int = 3, layers: int = 5) -> tuple[Ground, list[Dir]]:
    """A kind of layer, and layers that it can hold."""
    ground = draw(st.sampled_from(AVAILABLE))
    stack = oracle.stacks(depth=depth, layers=layers, specials=ground.specials, symlinks=ground.links)
    return ground, draw(stack)


@pytest.mark.rule("L1", "L2", "L3", "L4", "L5", "L6", "L7", "L9", "M5", "M8", "S1", "S2", "S3", "S4", "N1")
@given(worlds(), st.lists(oracle.paths, min_size=1, max_size=8), oracle.patterns)
def test_a_union_shows_what_the_rules_say(
    made: tuple[Ground, list[Dir]], paths: list[str], pattern: str
) -> None:
    """Every question about random paths and all that is there, before and after it is remembered."""
    ground, layers = made
    with world(ground, layers) as there:
        model = there.model
        for _ in range(2):
            for path in (*paths, *every_path(model)):
                compare(model, there.view, path, modes=ground.modes)
            assert model.walk("/") == there.view.walk("/")
            for path in ("/", *paths):
                assert (path, outcome(model.glob, path, pattern)) == (
                    path,
                    outcome(there.view.glob, path, pattern),
                )


@pytest.mark.rule("N3")
@given(worlds())
def test_listed_is_what_stats(made: tuple[Ground, list[Dir]]) -> None:
    """Every listed name stats; every name that stats is listed."""
    with world(*made) as there:
        for top, _, _ in there.view.walk("/"):
            listed = there.view.names(top)
            known = {name for tree in there.trees for parts, _ in trees.every(tree) for name in parts[-1:]}
            assert listed == [
                n for n in sorted(known) if outcome(there.view.lkind, f"{top}/{n}")[0] == "value"
            ]


@pytest.mark.rule("L1")
@given(worlds(layers=4), st.integers(0, 4))
def test_an_empty_layer_changes_nothing(made: tuple[Ground, list[Dir]], place: int) -> None:
    """The law of the neutral element."""
    ground, layers = made
    place = min(place, len(layers))
    empty = Dir(mode=layers[0].mode) if place == 0 else Dir()
    with world(ground, layers) as there, world(ground, [*layers[:place], empty, *layers[place:]]) as more:
        _compare_all(there, more)


@pytest.mark.rule("L1", "L3")
@given(worlds(layers=4))
def test_squashing_keeps_the_view(made: tuple[Ground, list[Dir]]) -> None:
    """One layer that holds what the union shows, shows the same."""
    ground, layers = made
    with world(ground, layers) as there, world(ground, [oracle.squash(there.model)]) as squashed:
        _compare_all(there, squashed)


@pytest.mark.rule("L1", "N1")
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_questions_makes_no_difference(made: tuple[Ground, list[Dir]], random: object) -> None:
    """What is remembered of one question never spoils the answer to another."""
    ground, layers = made
    with world(ground, layers) as there:
        model = there.model
        asked = [(question, path) for path in every_path(model) for question in ASKED if question != "mode"]
        random.shuffle(asked)  # type: ignore[attr-defined]  # hypothesis's own random.Random
        for question, path in asked:
            expected = outcome(getattr(model, question), path)
            assert (question, path, expected) == (
                question,
                path,
                outcome(getattr(there.view, question), path),
            )


def _compare_all(one: World, other: World) -> None:
    assert one.view.walk("/") == other.view.walk("/")
    for path in every_path(one.model):
        for question in ASKED:
            expected = outcome(getattr(one.view, question), path)
            assert (question, path, expected) == (
                question,
                path,
                outcome(getattr(other.view, question), path),
            )


class ChangingWorld(RuleBasedStateMachine):
    """Questions in any order, interleaved with changes that others make in the layers (N4)."""

    there: World

    @initialize(made=worlds())
    def begin(self, made: tuple[Ground, list[Dir]]) -> None:
        note(made[0].id)
        self.there = World(*made)

    # Questions.

    @rule(path=oracle.paths)
    def ask(self, path: str) -> None:
        compare(self.there.model, self.there.view, path, modes=self.there.ground.modes)

    @rule(question=st.sampled_from(ASKED), path=oracle.paths)
    def ask_one(self, question: str, path: str) -> None:
        if question != "mode" or self.there.ground.modes:
            expected = outcome(getattr(self.there.model, question), path)
            assert expected == outcome(getattr(self.there.view, question), path)

    @rule(path=oracle.paths, pattern=oracle.patterns)
    def glob(self, path: str, pattern: str) -> None:
        assert self.there.model.glob(path, pattern) == self.there.view.glob(path, pattern)

    @rule()
    def walk(self) -> None:
        assert self.there.model.walk("/") == self.there.view.walk("/")

    @rule()
    def ask_all(self) -> None:
        for path in every_path(self.there.model):
            compare(self.there.model, self.there.view, path, modes=self.there.ground.modes)

    # Foreign changes.

    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        number, folder = self._directory(data)
        ground = self.there.ground
        node = data.draw(oracle.nodes(2, specials=ground.specials, symlinks=ground.links))
        self._put(number, (*folder, data.draw(st.sampled_from(oracle.NAMES))), node)

    @rule(data=st.data())
    def whiteout(self, data: st.DataObject) -> None:
        number, folder = self._directory(data)
        self._put(number, (*folder, data.draw(st.sampled_from(oracle.NAMES))), Whiteout())

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        number, folder = self._directory(data)
        parts = (*folder, data.draw(st.sampled_from(oracle.NAMES)))
        note(f"drop {parts} in {number}")
        self.there.sites[number].drop(parts)
        self.there.trees[number] = trees.put(self.there.trees[number], parts, None)

    @rule(data=st.data(), opaque=st.booleans())
    def opaque(self, data: st.DataObject, opaque: bool) -> None:
        number, folder = self._directory(data)
        if self._is_alone(number, folder):
            return
        note(f"opaque {folder} in {number}: {opaque}")
        self.there.sites[number].set_opaque(folder, opaque)
        self.there.trees[number] = trees.set_opaque(self.there.trees[number], folder, opaque)

    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        number, folder = self._directory(data)
        tree = self.there.trees[number]
        movable = [parts for parts, node in trees.every(tree) if not isinstance(node, Alone | Whiteout)]
        target = (*folder, data.draw(st.sampled_from(oracle.NAMES)))
        free = [
            parts for parts in movable if target[: len(parts)] != parts and parts[: len(target)] != target
        ]
        if not free:
            return
        source = data.draw(st.sampled_from(free))
        node = trees.find(tree, source)
        note(f"move {source} to {target} in {number}")
        self.there.sites[number].move(source, target)
        self.there.trees[number] = trees.put(trees.put(tree, source, None), target, node)

    @invariant()
    def the_root_is_as_it_should_be(self) -> None:
        if hasattr(self, "there"):
            assert self.there.model.names("/") == self.there.view.names("/")

    def teardown(self) -> None:
        if hasattr(self, "there"):
            self.there.close()

    def _directory(self, data: st.DataObject) -> tuple[int, Parts]:
        number = data.draw(st.integers(0, len(self.there.trees) - 1))
        return number, data.draw(st.sampled_from(trees.directories(self.there.trees[number])))

    def _is_alone(self, number: int, folder: Parts) -> bool:
        # A directory beside its own whiteout is said in the kernel's format by its being opaque.
        if not folder or self.there.ground.whiteouts != "overlayfs":
            return False
        return isinstance(trees.find(self.there.trees[number], folder), Alone)

    def _put(self, number: int, parts: Parts, node: Node) -> None:
        note(f"put {parts} in {number}: {node}")
        self.there.sites[number].put(parts, node)
        self.there.trees[number] = trees.put(self.there.trees[number], parts, node)


@pytest.mark.rule("N4")
class TestChangingWorld(ChangingWorld.TestCase):  # type: ignore[misc,valid-type]  # made at run time
    """N4 and all of L, M, S and N, under change."""
