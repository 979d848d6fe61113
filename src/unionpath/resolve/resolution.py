"""What a look-up found out, so that nobody has to ask twice."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from unionpath.model.entry import Kind
from unionpath.model.store import Directory

Source: TypeAlias = tuple[int, Directory]
"""A layer's place in the stack (0 is the top) and a directory of it."""


class Resolution(NamedTuple):
    """One object of the union."""

    path: str
    """Where it is: absolute, after every link that was followed; `/` for the root."""
    kind: Kind
    layer: int
    """The layer that provides it; the topmost contributor of a directory (L7)."""
    beside: tuple[Source, ...]
    """The directories, top first, that make up the merged directory it is in; of the root: itself."""
    name: str
    """Its name in them; empty for the root."""
    holder: Directory
    """The provider's directory that has it; of the root: itself."""


class LayerFault(Exception):
    """A layer failed in a way that isn't absence (L8); becomes an OSError with the union's path."""

    def __init__(self, layer: int, error: OSError) -> None:
        super().__init__(layer, error)
        self.layer = layer
        self.error = error


class Raced(Exception):
    """What a layer showed a moment ago is gone: the look-up has to be made again."""
