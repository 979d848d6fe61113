"""Thousands of changes by another process, each followed by look-ups: no answer is ever stale (N4)."""

from __future__ import annotations

import os
import random
import resource
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

import oracle
import trees
from changer import Changer
from grounds import BY_ID, Ground, scratch
from trees import Alone, Dir, File, Link, Node, Parts, Whiteout
from views import UnionView, outcome

if TYPE_CHECKING:
    from unionpath import Cache, LayerStack

pytestmark = [pytest.mark.property, pytest.mark.rule("N4")]

CHANGES = 12_000
KINDS = ("local-oci", "local-unionfs", "local-overlayfs", "local-table")
LAYERS = 3
NAMES = ("a", "b", "c")
ASKED = ("kind", "lkind", "exists", "names", "read")


class Changing:
    """The layers as described, the process that changes them, and what is made of them here."""

    def __init__(self, ground: Ground, changer: Changer, layers: list[Dir], chance: random.Random) -> None:
        self.trees = layers
        self.touched = "/"
        """A path that the last change concerned."""
        self._ground = ground
        self._changer = changer
        self._chance = chance
        self._out: dict[int, Dir] = {}
        self._kinds: list[Callable[[int], bool]] = [
            self._create,
            self._create,
            self._remove,
            self._whiteout,
            self._opaque,
            self._rename,
            self._swap,
            self._unswap,
        ]
        if ground.whiteouts != "table":  # a table goes by paths within the layer
            self._kinds += [self._take_out, self._bring_back]

    @property
    def model(self) -> oracle.Union:
        """The naive resolver: it remembers nothing."""
        return self._ground.oracle(self.trees)

    def change(self) -> None:
        """Have one change made."""
        while not self._chance.choice(self._kinds)(self._chance.randrange(LAYERS)):
            pass

    def _create(self, layer: int) -> bool:
        parts = self._place(layer)
        self._changer.put(layer, parts, node := self._node(depth=2))
        return self._now(layer, parts, node)

    def _remove(self, layer: int) -> bool:
        found = [parts for parts, _ in trees.every(self.trees[layer])]
        if not found:
            return False
        parts = self._chance.choice(found)
        self._changer.drop(layer, parts)
        return self._now(layer, parts, None)

    def _whiteout(self, layer: int) -> bool:
        parts = self._place(layer)
        self._changer.put(layer, parts, Whiteout())
        return self._now(layer, parts, Whiteout())

    def _opaque(self, layer: int) -> bool:
        parts = self._chance.choice(trees.directories(self.trees[layer]))
        if isinstance(trees.find(self.trees[layer], parts), Alone):
            return False
        opaque = self._chance.random() < 0.5
        self._changer.set_opaque(layer, parts, opaque)
        self.trees[layer] = trees.set_opaque(self.trees[layer], parts, opaque)
        return self._touch(parts)

    def _rename(self, layer: int) -> bool:
        source = self._directory(layer)
        target = self._place(layer)
        if source is None or target[: len(source)] == source or source[: len(target)] == target:
            return False
        return self._move(layer, source, target)

    def _swap(self, layer: int) -> bool:
        """A directory goes aside, a link takes its place."""
        source = self._directory(layer)
        if source is None or source[0] == "aside":
            return False
        self._move(layer, source, ("aside",))
        return self._put_link(layer, source)

    def _unswap(self, layer: int) -> bool:
        """Some link is replaced by the directory that went aside."""
        links = [parts for parts, node in trees.every(self.trees[layer]) if isinstance(node, Link)]
        aside = self.trees[layer].entries.get("aside")
        if not links or not isinstance(aside, Dir):
            return False
        target = self._chance.choice(links)
        return target[0] != "aside" and self._move(layer, ("aside",), target)

    def _take_out(self, layer: int) -> bool:
        """A directory leaves its layer."""
        source = self._directory(layer)
        if source is None:
            return False
        node = trees.find(self.trees[layer], source)
        assert isinstance(node, Dir)
        self._changer.take_out(layer, source)
        self._out[layer] = node
        return self._now(layer, source, None)

    def _bring_back(self, layer: int) -> bool:
        """It returns, with something new in it."""
        node = self._out.pop(layer, None)
        if node is None or "new" in node.entries:
            return False
        target = self._place(layer)
        self._changer.bring_back(layer, target, "new")
        return self._now(layer, target, Dir({**node.entries, "new": File()}, node.opaque, node.mode))

    def _put_link(self, layer: int, parts: Parts) -> bool:
        link = Link(self._chance.choice(("/aside", "/a", "/b/c", "../a", "b", "missing")))
        self._changer.put(layer, parts, link)
        return self._now(layer, parts, link)

    def _move(self, layer: int, source: Parts, target: Parts) -> bool:
        node = trees.find(self.trees[layer], source)
        self._changer.move(layer, source, target)
        self.trees[layer] = trees.put(self.trees[layer], source, None)
        return self._now(layer, target, node)

    def _now(self, layer: int, parts: Parts, node: Node | None) -> bool:
        self.trees[layer] = trees.put(self.trees[layer], parts, node)
        return self._touch(parts)

    def _touch(self, parts: Parts) -> bool:
        self.touched = "/" + "/".join(parts)
        return True

    def _directory(self, layer: int) -> Parts | None:
        """Choose a directory that is the root of nothing and beside no whiteout of its own."""
        tree = self.trees[layer]
        found = [parts for parts, node in trees.every(tree) if isinstance(node, Dir)]
        return self._chance.choice(found) if found else None

    def _place(self, layer: int) -> Parts:
        folders = [parts for parts in trees.directories(self.trees[layer]) if len(parts) < 4]
        return (*self._chance.choice(folders), self._chance.choice(NAMES))

    def _node(self, depth: int) -> Node:
        chance = self._chance
        kind = chance.random()
        if kind < 0.3 or depth == 0:
            return File(b"%d" % chance.randrange(1000))
        if kind < 0.4:
            return Link(chance.choice(oracle.TARGETS))
        inner = {name: self._node(depth - 1) for name in NAMES if chance.random() < 0.5}
        folder = Dir(inner, opaque=chance.random() < 0.1)
        return Alone(folder) if kind > 0.95 else folder

    def paths(self) -> Iterator[str]:
        """Choose what to ask about: what changed, below it, above it, and somewhere else."""
        yield self.touched
        yield f"{self.touched.rstrip('/')}/{self._chance.choice(NAMES)}"
        yield self.touched.rpartition("/")[0] or "/"
        yield "/" + "/".join(self._chance.choices((*NAMES, "aside"), k=self._chance.randrange(1, 5)))


def begin(chance: random.Random) -> list[Dir]:
    """Make layers to begin with."""
    bush = Dir({name: Dir({inner: File(inner.encode()) for inner in NAMES}) for name in NAMES})
    return [Dir({name: bush for name in NAMES if chance.random() < 0.8}) for _ in range(LAYERS)]


def count_stale(kind: str, changes: int, chance: random.Random, cache: Cache | None = None) -> list[str]:
    """Have changes made, look after each, and give what was answered wrongly."""
    from unionpath import LayerStack

    ground = BY_ID[kind]
    ground.require()
    layers = begin(chance)
    with scratch() as directory, Changer(kind, directory, layers) as changer:
        sites = [ground.site(directory / str(number)) for number in range(LAYERS)]
        with LayerStack([site.layer() for site in sites], cache=cache) as stack:
            return list(_wrong(Changing(ground, changer, layers, chance), stack, changes))


def _wrong(changing: Changing, stack: LayerStack, changes: int) -> Iterator[str]:
    view = UnionView(stack.root)
    for number in range(changes):
        changing.change()
        model = changing.model
        for path in changing.paths():
            for question in ASKED:
                expected = outcome(getattr(model, question), path)
                found = outcome(getattr(view, question), path)
                if expected != found:
                    yield f"change {number}: {question} {path}: {found}, not {expected}"
        if number % 200 == 0 and model.walk("/") != view.walk("/"):
            yield f"change {number}: walk"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.changes_lowers("to see the union follow")
def test_no_answer_is_stale(kind: str, seed: int) -> None:
    """A change made elsewhere shows at the next look: 12 000 changes, 0 stale answers."""
    assert [] == count_stale(kind, CHANGES // len(KINDS), random.Random(f"{kind} {seed}"))


@pytest.mark.changes_lowers("to see the union follow")
def test_nor_when_little_is_kept(seed: int) -> None:
    """Nor when directories are forgotten all the time to keep within the bound."""
    from unionpath import Cache

    assert [] == count_stale("local-oci", 600, random.Random(seed), Cache(max_entries=6))


@pytest.mark.parametrize("kind", ["local-oci", "local-overlayfs"])
@pytest.mark.changes_lowers("to see the union follow")
def test_nor_when_descriptors_are_few(kind: str, seed: int) -> None:
    """Nor when directories give their descriptors up all the time: in a process that may have few."""
    BY_ID[kind].require()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            from unionpath.stores import local

            local._POOL._capacity = 4
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
            wrong = count_stale(kind, 600, random.Random(seed))
            os.write(2, "\n".join(wrong[:5]).encode())
            status = 2 if wrong else 0
        except BaseException:  # noqa: BLE001 - whatever it is, nobody above will say it
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
