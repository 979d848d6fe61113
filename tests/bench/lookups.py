"""W0 to W3: questions about single paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from bench.ground import TEXT, Forest, Piece, spread
from bench.measure import Side, measure, warm
from bench.peers import Face, PathLike, Paths
from bench.report import Row
from bench.setting import IMMUTABLE, LIVE, Ask, Setting

DEPTHS = (1, 2, 8, 32)
"""Numbers of layers over which the cost has to stay flat."""
FLAT = 1.3
_CHAIN = "a/b/c/d/e/f/g"
"""Seven directories, so that a name in the last is the eighth component."""


def small_forest(setting: Setting, depth: int, name: str) -> Forest:
    """Make 16 directories of 20 files, a long chain, and files of 1 KiB in the bottom layer."""
    directories = [f"d{i}/e{j}" for i in range(4) for j in range(4)]
    plans = spread([*directories, _CHAIN], 20, depth)
    for plan in plans:
        plan["text"] = Piece()
    plans[-1]["text"].files = {f"t{number:02}": 1024 for number in range(32)}
    return setting.grow(f"{name}-{depth}", plans)


def in_bottom(forest: Forest) -> list[str]:
    """Choose 64 files that only the bottom layer has."""
    found = [
        f"{directory}/{name}"
        for directory, names in forest.tree.items()
        if directory.startswith("d")
        for name in names
        if name.startswith("b")
    ]
    return found[:: len(found) // 64][:64]


def sizes_of(forest: Forest, paths: Sequence[str]) -> list[int]:
    """Say what the files' sizes are."""
    return [forest.tree[directory][name] for directory, _, name in (path.rpartition("/") for path in paths)]


def missing(at: str) -> list[str]:
    """Give 32 paths that aren't there."""
    return [f"{at}none-{number:02}" for number in range(32)]


def texts_in_bottom() -> list[str]:
    """Give the files of 1 KiB."""
    return [f"text/t{number:02}" for number in range(32)]


def sizes(paths: Sequence[str]) -> Ask:
    """Stat each."""
    return lambda face: face.sizes(paths)


def existence(paths: Sequence[str]) -> Ask:
    """Ask of each whether it is there."""
    return lambda face: face.exist(paths)


def texts(paths: Sequence[str]) -> Ask:
    """Read each."""
    return lambda face: face.texts(paths)


def run(setting: Setting) -> None:
    """Measure W0 to W3 at one number of layers."""
    forest = small_forest(setting, setting.depth, "small")
    files, deep = in_bottom(forest), missing(f"{_CHAIN}/")
    found = sizes_of(forest, files)
    with setting.warm_faces(forest) as faces:
        setting.compare(
            "W0",
            faces.sides(lambda face: face.joins(["d1/e1/f"] * 64), leave_out=["Multiplexed"]),
            64,
            count=64,
            targets={LIVE: 0.6, IMMUTABLE: 0.6},
            normal=lambda paths: sum(str(path).endswith("d1/e1/f") for path in cast("list[object]", paths)),
        )
        sides = faces.sides(sizes(files))
        setting.compare("W1", sides, found, count=64, targets={LIVE: 0.65, IMMUTABLE: 0.15})
        sides = _kept_paths(faces.faces, files, lambda path: path.stat().st_size)
        setting.compare("W1 kept", sides, found, count=64, targets={})
        for name, paths in (("W2", deep), ("W2e", missing("no/"))):
            sides = faces.sides(existence(paths))
            setting.compare(name, sides, [False] * 32, count=32, targets={LIVE: 0.25, IMMUTABLE: 0.15})
        sides = _kept_paths(faces.faces, deep, lambda path: path.exists())
        setting.compare("W2 kept", sides, [False] * 32, count=32, targets={})
        sides = faces.sides(texts(texts_in_bottom()))
        setting.compare("W3", sides, [TEXT[:1024]] * 32, count=32, targets={LIVE: 0.6, IMMUTABLE: 0.5})


def _kept_paths(
    faces: Mapping[str, Face], paths: Sequence[str], question: Callable[[PathLike], object]
) -> list[Side]:
    """Ask path objects that are made once: pathlib keeps the text of such a path, so it gains most."""
    return [
        warm(mode, partial(_ask_each, question, [cast("Paths", face).root / path for path in paths]))
        for mode, face in faces.items()
    ]


def _ask_each(question: Callable[[PathLike], object], paths: Sequence[PathLike]) -> object:
    return [question(path) for path in paths]


def run_first_touch(setting: Setting) -> None:
    """W1c: every directory is new, to the union and to the mount; one file in each, or 20."""
    count = setting.size(20, 4)
    leaves = [f"d{i:02}/e{j:02}" for i in range(count) for j in range(10)]
    forest = setting.grow("first-touch", spread(leaves, 40, setting.depth))
    bottom = [[f"{leaf}/{name}" for name in forest.tree[leaf] if name[0] == "b"][:20] for leaf in leaves]
    for per_directory in (1, 20):
        files = [
            path for paths in bottom for path in paths[:per_directory]
        ]  # none where an opaque one hides them
        setting.compare(
            f"W1c/{per_directory}",
            setting.cold_sides(forest, sizes(files)),
            sizes_of(forest, files),
            count=len(files),
            targets={LIVE: 1.5, IMMUTABLE: 1.5},
        )


def run_flat(setting: Setting) -> None:
    """W1 to W3 over numbers of layers: the dearest against the cheapest."""
    forests = {depth: small_forest(setting, depth, "flat") for depth in DEPTHS}
    asked = {
        "W1 flat": lambda forest: sizes(in_bottom(forest)),
        "W2 flat": lambda forest: existence(missing(f"{_CHAIN}/")),
        "W3 flat": lambda forest: texts(texts_in_bottom()),
    }
    for name, make in asked.items():
        for mode in (LIVE, IMMUTABLE):
            _one_flat(setting, name, mode, forests, make)


def _one_flat(
    setting: Setting, name: str, mode: str, forests: dict[int, Forest], make: Callable[[Forest], Ask]
) -> None:
    faces: dict[str, Face] = {
        str(depth): Paths(forest.stack(immutable=mode == IMMUTABLE).root) for depth, forest in forests.items()
    }
    asks = {str(depth): make(forest) for depth, forest in forests.items()}
    # Answers differ between depths, as sizes tell the layer; here they only have to be there.
    sides = [warm(depth, partial(_count, asks[depth], face)) for depth, face in faces.items()]
    count = _count(asks["1"], faces["1"])
    times = measure(sides, count, effort=setting.effort)
    costs = [times[depth].seconds / count * 1e6 for depth in faces]
    setting.note(
        Row(
            name,
            f"{mode}, L = {', '.join(faces)}",
            f"{', '.join(f'{cost:.2f}' for cost in costs)} µs",
            "",
            max(costs) / min(costs),
            FLAT,
        )
    )


def _count(ask: Ask, face: Face) -> int:
    return len(cast("list[object]", ask(face)))
