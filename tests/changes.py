"""Changes by name, for tests that try the same on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from trees import Dir, File, Node

if TYPE_CHECKING:
    from unionpath import UnionPath

Change: TypeAlias = "Callable[[UnionPath], object]"
"""What is done to one path."""


class Creator(NamedTuple):
    """One way for a name to come to be; `SOURCES` has to be somewhere in the union's root."""

    make: Change
    kind: str = "file"
    links: bool = False
    exclusive: bool = False
    """It refuses to touch what is there already (D6)."""


SOURCES: Mapping[str, Node] = {"source": File(b"source"), "sources": Dir({"inner": File(b"inner")})}
"""What the creators below copy, move and link: in a lower, or in the upper."""


def write(at: UnionPath, mode: str, data: bytes = b"new") -> None:
    """Open, write and close."""
    with at.open(mode) as file:
        file.write(data)


def _top(at: UnionPath) -> UnionPath:
    return at.with_segments("/")


CREATORS: Mapping[str, Creator] = {
    "open w": Creator(lambda at: write(at, "wb")),
    "open a": Creator(lambda at: write(at, "ab")),
    "open x": Creator(lambda at: write(at, "xb"), exclusive=True),
    "open w+": Creator(lambda at: write(at, "w+b")),
    "open w, nothing written": Creator(lambda at: at.open("wb").close()),
    "open x, nothing written": Creator(lambda at: at.open("xb").close(), exclusive=True),
    "write_bytes": Creator(lambda at: at.write_bytes(b"new")),
    "write_text": Creator(lambda at: at.write_text("new")),
    "touch": Creator(lambda at: at.touch()),
    "mkdir": Creator(lambda at: at.mkdir(), "dir", exclusive=True),
    "symlink": Creator(lambda at: at.symlink_to("target"), "link", links=True, exclusive=True),
    "link": Creator(lambda at: at.hardlink_to(_top(at) / "source"), links=True, exclusive=True),
    "rename": Creator(lambda at: (_top(at) / "source").rename(at)),
    "replace": Creator(lambda at: (_top(at) / "source").replace(at)),
    "rename a directory": Creator(lambda at: (_top(at) / "sources").rename(at), "dir"),
    "copy": Creator(lambda at: (_top(at) / "source").copy(at)),
    "copy a tree": Creator(lambda at: (_top(at) / "sources").copy(at), "dir"),
    "move": Creator(lambda at: (_top(at) / "source").move(at)),
}
