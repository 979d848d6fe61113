"""What a look-up found out, so that nobody has to ask twice."""

from __future__ import annotations

from collections.abc import Callable
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


class Spot:
    """One name of the union, whether anything shows there or not: what a change starts from."""

    __slots__ = ("_trail", "beside", "kind", "layer", "name", "path", "spelling")

    def __init__(
        self,
        path: str,
        name: str,
        kind: Kind | None,
        layer: int | None,
        beside: tuple[Source, ...],
        trail: Callable[[], tuple[tuple[Source, ...], ...]],
        spelling: str,
    ) -> None:
        self.path = path
        """Where it is: absolute, after every link that was followed; `/` for the root."""
        self.name = name
        """Its name in the directory it is in; empty for the root."""
        self.kind = kind
        """What shows; None: nothing does."""
        self.layer = layer
        """The layer that provides it."""
        self.beside = beside
        """The directories, top first, that make up the merged directory it is in; of the root: itself."""
        self._trail = trail
        self.spelling = spelling
        """Its name as the provider spells it (N5)."""

    @property
    def trail(self) -> tuple[tuple[Source, ...], ...]:
        """
        The same as `beside` for each directory on the way: the one that the name is in first, the root last.
        """
        return self._trail()


class LayerFault(Exception):
    """A layer failed in a way that isn't absence (L8); becomes an OSError with the union's path."""

    def __init__(self, layer: int, error: OSError) -> None:
        super().__init__(layer, error)
        self.layer = layer
        self.error = error


class Raced(Exception):
    """What a layer showed a moment ago is gone: the look-up has to be made again."""
