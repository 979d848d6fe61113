"""Trees as data: what a layer holds, written down in a few words, independent of any format or store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

Parts: TypeAlias = tuple[str, ...]
"""Components of a path inside a layer; the layer's root is `()`."""


@dataclass(frozen=True, slots=True)
class File:
    """A regular file."""

    data: bytes = b""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Fifo:
    """A named pipe."""

    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Device:
    """A character device; 1:3 is `/dev/null`."""

    major: int = 1
    minor: int = 3
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Whiteout:
    """The name is hidden in all layers below."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A name that stands beside its own whiteout in one layer (L6)."""

    node: Object


@dataclass(frozen=True, slots=True)
class Dir:
    """A directory; `opaque` hides all below it."""

    entries: Mapping[str, Node] = field(default_factory=dict)
    opaque: bool = False
    mode: int = 0o755


Object: TypeAlias = File | Dir | Link | Fifo | Device
"""What can be seen."""
Node: TypeAlias = Object | Whiteout | Alone
"""What a name in a layer can be."""


def find(tree: Dir, parts: Parts) -> Node | None:
    """Give what stands at one place of one layer, or None; nothing is followed."""
    node: Node = tree
    for name in parts:
        inner = node.node if isinstance(node, Alone) else node
        if not isinstance(inner, Dir) or name not in inner.entries:
            return None
        node = inner.entries[name]
    return node


def put(tree: Dir, parts: Parts, node: Node | None) -> Dir:
    """Give the tree with `node` at one place, whose parent must be there; None takes the name away."""
    name, *rest = parts
    entries = dict(tree.entries)
    if rest:
        old = entries[name]
        inner = old.node if isinstance(old, Alone) else old
        assert isinstance(inner, Dir)
        new = put(inner, tuple(rest), node)
        entries[name] = Alone(new) if isinstance(old, Alone) else new
    elif node is None:
        entries.pop(name, None)
    else:
        entries[name] = node
    return replace(tree, entries=entries)


def set_opaque(tree: Dir, parts: Parts, opaque: bool) -> Dir:
    """Give the tree with one of its directories opaque or not."""
    if not parts:
        return replace(tree, opaque=opaque)
    node = find(tree, parts)
    inner = node.node if isinstance(node, Alone) else node
    assert isinstance(inner, Dir)
    new = replace(inner, opaque=opaque)
    return put(tree, parts, Alone(new) if isinstance(node, Alone) else new)


def every(tree: Dir, at: Parts = ()) -> Iterator[tuple[Parts, Node]]:
    """Give each name below the root with what stands there, parents first."""
    for name, node in tree.entries.items():
        yield (*at, name), node
        inner = node.node if isinstance(node, Alone) else node
        if isinstance(inner, Dir):
            yield from every(inner, (*at, name))


def directories(tree: Dir) -> list[Parts]:
    """List the places of all directories of a layer, the root first."""
    return [(), *(parts for parts, node in every(tree) if is_dir(node))]


def is_dir(node: Node | None) -> bool:
    """Tell whether a directory is seen there."""
    return isinstance(node.node if isinstance(node, Alone) else node, Dir)


def has_opaque_root(trees: list[Dir]) -> bool:
    """Tell whether some layer's root is opaque, which formats treat differently (M8)."""
    return any(tree.opaque for tree in trees)


def uses_specials(tree: Dir) -> bool:
    """Tell whether the layer holds what only a real file system or the memory store can hold."""
    return any(isinstance(_seen(node), Fifo | Device) for _, node in every(tree))


def uses_links(tree: Dir) -> bool:
    """Tell whether the layer holds symbolic links."""
    return any(isinstance(_seen(node), Link) for _, node in every(tree))


def devices(tree: Dir) -> list[Device]:
    """List the devices of a layer; making some takes rights."""
    seen = (_seen(node) for _, node in every(tree))
    return [node for node in seen if isinstance(node, Device)]


def _seen(node: Node) -> Node:
    return node.node if isinstance(node, Alone) else node
