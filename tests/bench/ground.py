"""Trees to measure on: planned as data, merged by a reference of a few lines, and written to disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from unionpath import Layer, LayerStack

Format: TypeAlias = Literal["overlayfs", "oci"]

TEXT = "".join(f"option_{number:03} = value_{number:03}\n" for number in range(100))
"""What files of a KiB and more hold, cut to their size."""
_WRITTEN = 1024
"""Files from this size on have content; smaller ones are holes, made fast, whose size tells the layer."""


@dataclass(slots=True)
class Piece:
    """One directory of one layer."""

    files: dict[str, int] = field(default_factory=dict)
    """Name to size in bytes, never 0: to a kernel mount, empty files may be whiteouts."""
    whiteouts: list[str] = field(default_factory=list)
    opaque: bool = False


Plan: TypeAlias = dict[str, Piece]
"""One layer: its directories by path, the root being the empty string."""
Tree: TypeAlias = dict[str, dict[str, int]]
"""What shows: directories by path, each with its files and their sizes."""


def merged(plans: Sequence[Plan]) -> Tree:
    """Say what a union of the plans shows, the topmost first; directories always merge here."""
    shown: Tree = {}
    for directory in sorted({path for plan in plans for path in plan}):
        names: dict[str, int] = {}
        hidden: set[str] = set()
        for piece in (plan[directory] for plan in plans if directory in plan):
            names |= {
                name: size for name, size in piece.files.items() if name not in names and name not in hidden
            }
            hidden.update(piece.whiteouts)
            if piece.opaque:
                break
        shown[directory] = names
    return shown


def spread(
    directories: Iterable[str], per_directory: int, depth: int, *, suffixes: Sequence[str] = ("",)
) -> list[Plan]:
    """
    Plan layers that all have every directory: the worst case for a union.

    In each directory, half of the `per_directory` visible files are in the bottom layer alone ("b…"), with
    names of their own; the others are spread over all layers ("s…"), with names that recur. For every
    ten of them, one more name of the bottom is whited out above, and one visible name is shadowed by a layer
    above. One directory in fifty is opaque in the middle.
    """
    plans: list[Plan] = [{"": Piece()} for _ in range(depth)]
    for number, directory in enumerate(directories):
        pieces = [plan.setdefault(directory, Piece()) for plan in plans]
        bottom, tag = pieces[-1], f"{number:04}"
        half = per_directory // 2
        bottom.files |= {f"b{tag}-{i:03}{suffixes[i % len(suffixes)]}": depth for i in range(half)}
        for i in range(per_directory - half):
            pieces[i % depth].files[f"s{i:08}{suffixes[i % len(suffixes)]}"] = i % depth + 1
        if depth == 1:
            continue
        for i in range(max(1, per_directory // 10)):
            bottom.files[f"w{tag}-{i:03}"] = depth
            pieces[(number + i) % (depth - 1)].whiteouts.append(f"w{tag}-{i:03}")
            shadowed = f"s{i:08}{suffixes[i % len(suffixes)]}"
            bottom.files.setdefault(shadowed, depth)
        if number % 50 == 49:
            pieces[depth // 2].opaque = True
    return plans


def split(directories: Iterable[str], per_directory: int, depth: int) -> list[Plan]:
    """Plan layers of which only one has each of the directories."""
    plans: list[Plan] = [{"": Piece()} for _ in range(depth)]
    for number, directory in enumerate(directories):
        layer = number % depth
        plans[layer][directory] = Piece({f"f{number:04}-{i:03}": layer + 1 for i in range(per_directory)})
        for plan in plans:
            plan.setdefault(directory.rpartition("/")[0], Piece())
    return plans


@dataclass(frozen=True, slots=True)
class Forest:
    """Layers on disk, top first, and what their union shows."""

    base: Path
    layers: tuple[Path, ...]
    """As the union reads them."""
    format: Format
    kernel_layers: tuple[Path, ...]
    """The same trees in the kernel's format: the very same directories unless `format` is another."""
    plain: Path | None
    """What the union shows, in one directory."""
    tree: Tree

    def stack(self, *, immutable: bool = False) -> LayerStack:
        """Make a new union."""
        return LayerStack([Layer(each, whiteouts=self.format, immutable=immutable) for each in self.layers])

    def counts(self) -> tuple[int, int]:
        """Count the directories below the root (all depths), and the files."""
        paths = {""}
        for path in self.tree:
            while path not in paths:
                paths.add(path)
                path = path.rpartition("/")[0]
        return len(paths) - 1, sum(map(len, self.tree.values()))

    def files(self) -> set[str]:
        """List the paths of all files."""
        return {
            f"{directory}/{name}" if directory else name
            for directory, names in self.tree.items()
            for name in names
        }


def grow(base: Path, plans: Sequence[Plan], layout: Format, *, kernel: bool) -> Forest:
    """Write planned layers beneath `base`; `kernel`: where needed, again in the format that a mount reads."""
    base.mkdir()
    layers = _write_all(base, "l", plans, layout)
    kernel_layers = (
        layers if layout == "overlayfs" or not kernel else _write_all(base, "k", plans, "overlayfs")
    )
    tree = merged(plans)
    place = base / "plain"
    write(place, {directory: Piece(dict(names)) for directory, names in tree.items()}, layout)
    return Forest(base, layers, layout, kernel_layers, place, tree)


def _write_all(base: Path, prefix: str, plans: Sequence[Plan], layout: Format) -> tuple[Path, ...]:
    places = tuple(base / f"{prefix}{number}" for number in range(len(plans)))
    for place, plan in zip(places, plans, strict=True):
        write(place, plan, layout)
    return places


def write(root: Path, plan: Mapping[str, Piece], layout: Format) -> None:
    """Write one tree."""
    for directory in sorted(plan):
        at = os.path.join(root, directory) if directory else str(root)
        os.makedirs(at, exist_ok=True)
        piece = plan[directory]
        for name, size in piece.files.items():
            write_file(f"{at}/{name}", size)
        for name in piece.whiteouts:
            _write_whiteout(at, name, layout)
        if piece.opaque and layout == "overlayfs":
            os.setxattr(at, "trusted.overlay.opaque", b"y")
        elif piece.opaque:
            write_file(f"{at}/.wh..wh..opq", 1)


def write_file(path: str, size: int) -> None:
    """Write a file of some size, fast."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        if size >= _WRITTEN:
            os.write(fd, TEXT[:size].encode())
        else:
            os.ftruncate(fd, size)
    finally:
        os.close(fd)


def _write_whiteout(at: str, name: str, layout: Format) -> None:
    if layout == "overlayfs":
        os.mknod(f"{at}/{name}", stat.S_IFCHR | 0o600, os.makedev(0, 0))
    else:
        write_file(f"{at}/.wh.{name}", 1)
