"""
One scene, run by the model, by a union and by a kernel mount, and what differs, made small.

By hand, at any length: `python tests/trials.py --help`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import oracle
import trees
from changes_model import ModelHand
from grounds import BY_ID, GROUNDS, Site, scratch
from hands import Status, UnionHand
from kernel import OPTIONS, Kernel
from programs import Answer, Difference, Maker, Op, Seen, first_difference, run, run_all, shrink
from scenes import (
    HardLink,
    Raw,
    Scene,
    model_of,
    put_down,
    random_layers,
    random_links,
    snapshot,
    without_ghosts,
    without_whiteouts,
)

if TYPE_CHECKING:
    from unionpath import Layer, LayerStack

RenameDir: TypeAlias = Literal["copy", "exdev", "redirect"]
LENGTH = 40
"""Operations of a program."""
TURN_LENGTH = 10
TURN = Op("turn", "/")
"""Whoever isn't at work takes over: first the kernel, then the union, and so on."""
UMASK = 0o022
LOWERS = ("local-oci", "local-overlayfs", "local-table", "memory-oci", "memory-overlayfs", "memory-unionfs")
KERNEL_OPTIONS = {
    "copy": OPTIONS,
    "redirect": OPTIONS,
    "exdev": OPTIONS.replace("redirect_dir=on", "redirect_dir=off"),
}
"""The mount that answers as each `rename_dir` does."""


class Setup(NamedTuple):
    """How a union is made of a scene."""

    upper: str
    """The id of a ground."""
    lowers: str
    rename_dir: RenameDir = "copy"
    pair: bool = False
    """Two stacks write to the same upper, operation by operation."""

    @property
    def opaque_roots(self) -> tuple[bool, bool]:
        """Whether opaque markers count at the roots of the upper and of the lowers (M8)."""
        return BY_ID[self.upper].opaque_roots, BY_ID[self.lowers].opaque_roots


class World:
    """A scene's layers as put down, and their union."""

    def __init__(self, directory: Path, setup: Setup, scene: Scene) -> None:
        self._setup = setup
        grounds = [setup.upper] + [setup.lowers] * (len(scene.layers) - 1)
        self._sites = [
            put_down(BY_ID[ground], directory, scene, number) for number, ground in enumerate(grounds)
        ]
        self._lowers = [snapshot(site) for site in self._sites[1:]]
        self.stack = self._open()
        self.second = self._open() if setup.pair else None

    def _open(self) -> LayerStack:
        from unionpath import LayerStack

        upper, *lowers = self._layers()
        return LayerStack(lowers, upper=upper, rename_dir=self._setup.rename_dir)

    def _layers(self) -> list[Layer]:
        return [site.layer() for site in self._sites]

    def hand(self) -> object:
        """Give what runs programs here."""
        if self.second is None:
            return WorldHand(self)
        return PairHand(WorldHand(self), UnionHand(self.second.root))

    def reopen(self) -> LayerStack:
        """Close the stack and make a new one of the same layers."""
        self.stack.close()
        self.stack = self._open()
        return self.stack

    def seen_afresh(self) -> list[Seen]:
        """Give the whole tree as a stack sees it that has no upper and remembers nothing."""
        from unionpath import LayerStack

        with LayerStack(self._layers()) as stack:
            return UnionHand(stack.root).whole("/")

    def seen_below(self) -> list[Seen]:
        """Give the whole tree of the lowers alone."""
        from unionpath import LayerStack

        with LayerStack(self._layers()[1:]) as stack:
            return UnionHand(stack.root).whole("/")

    def changed_lowers(self) -> list[Raw]:
        """Give what is no longer as it was in the lowers; always nothing (C3)."""
        pairs = zip(self._lowers, self._sites[1:], strict=True)
        return [row for before, site in pairs for row in _changed(before, site)]

    def close(self) -> None:
        """Close what is open."""
        self.stack.close()
        if self.second is not None:
            self.second.close()


def _changed(before: list[Raw], site: Site) -> list[Raw]:
    after = snapshot(site)
    return [row for row in before if row not in after] + [row for row in after if row not in before]


class WorldHand(UnionHand):
    """A union in its world: whole trees are looked at twice, and stacks can be opened again."""

    def __init__(self, world: World) -> None:
        super().__init__(world.stack.root)
        self._world = world

    def reopen(self, path: str) -> None:
        """Close what is open, and go on with a new stack over the same layers."""
        super().reopen(path)
        self._root = self._world.reopen().root

    def whole(self, path: str) -> list[Seen]:
        """Give the whole tree; what the stack remembers and what a new one sees must be the same."""
        rows, afresh = super().whole(path), self._world.seen_afresh()
        differing = [row for row in rows if row not in afresh], [row for row in afresh if row not in rows]
        assert differing == ([], []), (
            f"remembered and not seen afresh: {differing[0]}; reverse: {differing[1]}"
        )
        return rows


class PairHand:
    """Two stacks over the same layers, used by turns (N4); files are held open by the first."""

    def __init__(self, first: UnionHand, second: UnionHand) -> None:
        self._first = first
        self._hands = itertools.cycle((first, second))

    def __getattr__(self, name: str) -> object:
        if name == "write":
            self._first.let_go()
        return getattr(self._first if name in ("hold", "held", "reopen") else next(self._hands), name)


@contextmanager
def world_of(setup: Setup, scene: Scene) -> Iterator[World]:
    """Put a world down for a while."""
    with scratch() as directory:
        world = World(directory, setup, scene)
        try:
            yield world
        finally:
            world.close()


# One scene, three hands.


def by_model(scene: Scene, *, opaque_roots: bool = False) -> list[Answer]:
    """Run a scene on the reference model."""
    return list(run_all(model(scene.layers, opaque_roots=opaque_roots), scene.program))


def model(layers: Sequence[trees.Dir], *, opaque_roots: bool = False) -> ModelHand:
    """Make the model of the union of layers."""
    return ModelHand(model_of(oracle.Union(layers, opaque_roots=opaque_roots)), UMASK)


def by_union(scene: Scene, setup: Setup) -> list[Answer]:
    """Run a scene on a union; lowers that changed count as the last operation's failure."""
    with world_of(setup, scene) as world:
        answers = list(run_all(world.hand(), scene.program))
        if changed := world.changed_lowers():
            answers[-1] = "crash", f"lowers changed: {changed}"
        return answers


def by_kernel(scene: Scene, kernel: Kernel, options: str = OPTIONS) -> list[Answer]:
    """Run a scene on a mount, in the kernel's own format."""
    with scratch() as base:
        for number in range(len(scene.layers)):
            put_down(BY_ID["local-overlayfs"], base, scene, number)
        lowers = [str(number) for number in range(1, len(scene.layers))]
        kernel.mount(base, lowers, upper="0", options=options)
        try:
            return kernel.run([*scene.program, Op("reopen", "/")])[:-1]  # nothing stays open
        finally:
            kernel.unmount()


class Turns(NamedTuple):
    """How kernel and union share one upper in the kernel's format."""

    rename_dir: RenameDir = "copy"
    kernel_first: bool = True
    own_work: bool = False
    """The union gets a work directory; else it takes one beside the upper."""
    userxattr: bool = False
    metacopy: bool = False
    """The kernel copies up metadata alone where it can."""

    @property
    def options(self) -> str:
        """How the kernel mounts."""
        if self.userxattr:
            return "userxattr,index=off"
        said = KERNEL_OPTIONS[self.rename_dir]
        return said.replace("metacopy=off", "metacopy=on") if self.metacopy else said

    @property
    def ground(self) -> str:
        """What all layers are made of."""
        return "local-userxattr" if self.userxattr else "local-overlayfs"


def by_turns(scene: Scene, kernel: Kernel, turns: Turns) -> list[Answer]:
    """Run a scene on one upper in the kernel's format, written by the kernel and a union in turns (M9)."""
    answers: list[Answer] = []
    by_the_kernel = turns.kernel_first
    with scratch() as base:
        ground = BY_ID[turns.ground]
        sites = [put_down(ground, base, scene, number) for number in range(len(scene.layers))]
        before = [snapshot(site) for site in sites[1:]]
        for program in _turns(scene.program):
            if by_the_kernel:
                answers += _kernel_turn(base, program, kernel, len(sites), turns)
            else:
                answers += _union_turn(base, sites, program, turns)
            by_the_kernel = not by_the_kernel
        changed = [row for rows, site in zip(before, sites[1:], strict=True) for row in _changed(rows, site)]
    if changed:
        answers[-1] = "crash", f"lowers changed: {changed}"
    return answers


def _turns(program: Sequence[Op]) -> list[list[Op]]:
    turns: list[list[Op]] = [[]]
    for op in program:
        if op == TURN and turns[-1]:
            turns.append([])
        turns[-1].append(op)
    return turns


def _kernel_turn(
    base: Path, program: Sequence[Op], kernel: Kernel, layers: int, turns: Turns
) -> list[Answer]:
    kernel.mount(base, [str(number) for number in range(1, layers)], upper="0", options=turns.options)
    try:
        return kernel.run([*program, Op("reopen", "/")])[:-1]  # nothing stays open
    finally:
        kernel.unmount()


def _union_turn(base: Path, sites: Sequence[Site], program: Sequence[Op], turns: Turns) -> list[Answer]:
    from unionpath import Layer, LayerStack

    (base / "work-of-union").mkdir(exist_ok=True)
    workdir = base / "work-of-union" if turns.own_work else None
    upper = Layer(base / "0", whiteouts="overlayfs", userxattr=turns.userxattr, workdir=workdir)
    lowers = [site.layer() for site in sites[1:]]
    with LayerStack(lowers, upper=upper, rename_dir=turns.rename_dir) as stack:
        return list(run_all(UnionHand(stack.root), [*program, Op("reopen", "/")]))[:-1]


def by_model_like(scene: Scene, answers: Sequence[Answer], *, opaque_roots: bool = False) -> list[Answer]:
    """Run a scene on the model, where EXDEV is as good if a directory may refuse to move (R4)."""
    hand = model(scene.layers, opaque_roots=opaque_roots)
    return [_run_like(hand, op, answer) for op, answer in zip(scene.program, answers, strict=True)]


def _run_like(hand: ModelHand, op: Op, answer: Answer) -> Answer:
    if answer == ("error", "EXDEV") and op.name in ("rename", "replace") and _may_be_refused(hand, op):
        return answer
    return run(hand, op)


def _may_be_refused(hand: ModelHand, op: Op) -> bool:
    moved = run(hand, Op("check_rename", op.path, op.arguments))
    # The kernel looks whether a directory may move before it looks whether the target is empty.
    return moved == ("error", "ENOTEMPTY") or (hand.lstat(op.path)[0] == "dir" and moved[0] == "value")


# Comparisons.


def against_model(scene: Scene, setup: Setup) -> Difference | None:
    """Compare a union with the model."""
    actual = by_union(scene, setup)
    opaque_roots = setup.opaque_roots[0]
    if setup.rename_dir == "exdev":
        expected = by_model_like(scene, actual, opaque_roots=opaque_roots)
    else:
        expected = by_model(scene, opaque_roots=opaque_roots)
    return first_difference(scene.program, expected, actual)


def against_kernel(scene: Scene, setup: Setup, kernel: Kernel) -> Difference | None:
    """Compare a union with a mount of the same layers, in the kernel's own format."""
    expected = by_kernel(scene, kernel, KERNEL_OPTIONS[setup.rename_dir])
    actual = by_union(scene, setup)
    if scene.links:
        # How many names a lower's file has shows until it is copied up, which the kernel does sooner (C1).
        expected, actual = (_masked(scene.program, each, "nlink", 1) for each in (expected, actual))
    return first_difference(scene.program, expected, actual)


def _masked(program: Sequence[Op], answers: Sequence[Answer], field: str, value: int | None) -> list[Answer]:
    """Give answers with one field of all that is there set to a value."""
    return [
        ("value", _with(op, answer[1], {field: value})) if answer[0] == "value" else answer
        for op, answer in zip(program, answers, strict=True)
    ]


def _with(op: Op, shown: object, field: Mapping[str, int | None]) -> object:
    if op.name in ("stat", "lstat"):
        assert isinstance(shown, Status)
        return Status(**{**shown._asdict(), **field})
    if op.name == "whole":
        assert isinstance(shown, list)
        return [Seen(**{**row._asdict(), **field}) for row in shown]
    return shown


def in_turns(scene: Scene, kernel: Kernel, turns: Turns) -> Difference | None:
    """Compare kernel and union on one upper with the model."""
    actual = by_turns(scene, kernel, turns)
    expected = by_model_like(scene, actual)
    if turns.metacopy:
        # The kernel takes the time of day when it completes a file, even if nothing is written to it.
        expected, actual = (_masked(scene.program, each, "mtime", None) for each in (expected, actual))
    return first_difference(scene.program, expected, actual)


def model_against_kernel(
    scene: Scene, kernel: Kernel, rename_dir: RenameDir = "redirect"
) -> Difference | None:
    """Compare the model itself with a mount."""
    expected = by_kernel(scene, kernel, KERNEL_OPTIONS[rename_dir])
    actual = by_model_like(scene, expected) if rename_dir == "exdev" else by_model(scene)
    return first_difference(scene.program, expected, actual)


# Scenes by chance, and small ones.


def random_scene(
    chance: random.Random,
    depth: int,
    *,
    opaque_roots: bool = False,
    kernel: bool = False,
    turns: bool = False,
    marks: bool = True,
) -> Scene:
    """Make up layers and a program of operations, whose paths are often there."""
    empty = chance.random() < 0.5
    layers = random_layers(chance.choice, depth, upper=not empty, opaque_roots=opaque_roots)
    layers = layers if marks else without_whiteouts(layers)
    layers = without_ghosts(layers, lowers=turns) if kernel or turns else layers
    # The model takes a lower's second names for objects of their own, which is what a copy-up makes of them;
    # until then their numbers of links differ, so only the kernel is asked about them.
    links = random_links(chance.choice, layers) if kernel and not turns and chance.random() < 0.3 else ()
    hand = model(_with_links(layers, links), opaque_roots=opaque_roots)
    maker = Maker(chance.choice)
    program = []
    for number in range(LENGTH):
        program.append(TURN if turns and number % TURN_LENGTH == 0 else maker.op(hand.known()))
        run(hand, program[-1])
    program += [Op("whole", "/"), Op("reopen", "/"), Op("whole", "/")]
    return Scene(tuple(layers), tuple(program), links)


def _with_links(layers: Sequence[trees.Dir], links: Sequence[HardLink]) -> list[trees.Dir]:
    told = list(layers)
    for number, source, target in links:
        node = trees.find(layers[number], source)
        assert node is not None
        told[number] = trees.put(told[number], target, node)
    return told


def minimal(scene: Scene, differ: Callable[[Scene], Difference | None], found: Difference) -> Scene:
    """Make a scene that differs as small as it goes, in operations first, then in layers."""
    kind = found.op.name

    def fails(smaller: Scene) -> bool:
        if haunted(smaller) and not haunted(scene):
            return False
        difference = differ(smaller)
        return difference is not None and (kind in (difference.op.name, "whole"))

    program = shrink(
        scene.program[: found.step + 1],
        lambda some: bool(some) and fails(scene._replace(program=tuple(some))),
    )
    scene = scene._replace(program=tuple(program))
    while (smaller := next(filter(fails, _smaller_layers(scene)), None)) is not None:
        scene = smaller
    return scene


def haunted(scene: Scene) -> bool:
    """Tell whether the kernel would list ghosts in some layer (M9)."""
    return without_ghosts(scene.layers, lowers=True) != list(scene.layers)


def _smaller_layers(scene: Scene) -> Iterator[Scene]:
    for link in scene.links:
        yield scene._replace(links=tuple(other for other in scene.links if other != link))
    for number, layer in enumerate(scene.layers):
        before, after = scene.layers[:number], scene.layers[number + 1 :]
        if number and len(scene.layers) > 2 and not scene.links:
            yield scene._replace(layers=(*before, *after))
        needed = {name for link in scene.links for name in (link.source, link.target[:-1])}
        for parts, _ in trees.every(layer):
            if not any(other[: len(parts)] == parts for other in needed):
                yield scene._replace(layers=(*before, trees.put(layer, parts, None), *after))


def report(scene: Scene, differ: Callable[[Scene], Difference | None]) -> str | None:
    """Give the smallest scene that differs and how, as text that can be pasted; None if nothing differs."""
    found = differ(scene)
    if found is None:
        return None
    small = minimal(scene, differ, found)
    return f"{small}\n{differ(small)}"


def random_setup(chance: random.Random, upper: str, rename_dir: RenameDir) -> Setup:
    """Choose what the lowers are made of."""
    available = [ground for ground in LOWERS if BY_ID[ground].missing() is None]
    # What an opaque root means must be the same in all layers for the model (M8).
    same = [each for each in available if BY_ID[each].opaque_roots == BY_ID[upper].opaque_roots]
    return Setup(upper, chance.choice(same), rename_dir)


def can_redirect(upper: str) -> bool:
    """Tell whether there can be redirects: the kernel's format has them, in `trusted.` only (M7)."""
    return BY_ID[upper].whiteouts == "overlayfs" and not BY_ID[upper].userxattr


# By hand.


def main(arguments: Sequence[str]) -> int:
    """Run many scenes; print those that differ, made small."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    uppers = [ground.id for ground in GROUNDS if ground.modes]
    parser.add_argument("judge", choices=("model", "pair", "kernel", "turns", "model-by-kernel"))
    parser.add_argument("--upper", choices=uppers, default="local-oci")
    parser.add_argument("--rename-dir", choices=tuple(KERNEL_OPTIONS), default="copy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sequences", type=int, default=1_000)
    parser.add_argument("--stop-after", type=int, default=5, help="differences")
    parser.add_argument("--userxattr", action="store_true", help="turns: in the `user.` namespace")
    parser.add_argument("--metacopy", action="store_true", help="turns: the kernel copies up metadata alone")
    given = parser.parse_args(arguments)
    os.umask(UMASK)
    began, different = time.monotonic(), 0
    with Kernel() as kernel:
        for number in range(given.sequences):
            text = _try_one(given, given.seed + number, kernel)
            if text is not None:
                print(f"=== seed {given.seed + number}\n{text}\n", flush=True)
                different += 1
            if different >= given.stop_after:
                break
    took = (time.monotonic() - began) / (number + 1)
    print(f"{number + 1} sequences of {LENGTH}, {different} differ, {took * 1000:.1f} ms each")
    return 1 if different else 0


def _try_one(given: argparse.Namespace, seed: int, kernel: Kernel) -> str | None:
    chance = random.Random(seed)
    by_itself = given.judge in ("model", "pair")
    setup = random_setup(chance, given.upper, given.rename_dir)._replace(pair=given.judge == "pair")
    roots = by_itself and setup.opaque_roots[0]
    turns = given.judge == "turns"
    depth = chance.choice((1, 2, 5))
    scene = random_scene(
        chance,
        depth,
        opaque_roots=roots,
        kernel=not by_itself,
        turns=turns,
        marks=not given.userxattr,
    )
    if given.judge == "model-by-kernel":
        scene = scene._replace(links=())
    if turns:
        first, own_work = chance.random() < 0.5, chance.random() < 0.5
        how = Turns(given.rename_dir, first, own_work, given.userxattr, given.metacopy)
        return report(scene, lambda each: in_turns(each, kernel, how))
    if given.judge == "model-by-kernel":
        return report(scene, lambda each: model_against_kernel(each, kernel, given.rename_dir))
    if given.judge == "kernel":
        return report(scene, lambda each: against_kernel(each, setup, kernel))
    return report(scene, lambda each: against_model(each, setup))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
