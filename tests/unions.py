"""Puts described layers down on a ground and shows their union."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from grounds import Ground, Site
from trees import Dir

if TYPE_CHECKING:
    from unionpath import Cache, LayerStack, UnionPath


class Builder:
    """Puts described layers down, top first, and gives the root of their union."""

    def __init__(self, ground: Ground, directory: Path, padding: int) -> None:
        self.ground = ground
        self.sites: list[Site] = []
        """The sites of the described layers, top first; without the empty ones in between."""
        self.stack: LayerStack | None = None
        self._directory = directory
        self._padding = padding

    def __call__(
        self,
        *trees: Dir,
        immutable: bool = False,
        cache: Cache | None = None,
        on_layer_error: Literal["raise", "skip"] = "raise",
    ) -> UnionPath:
        """Build a union; an empty layer changes nothing, so any number of them stands around each."""
        import unionpath

        self.ground.require(*trees)
        sites = self.ground.sites(self._directory, self._padded(trees))
        self.sites = sites[self._padding :: self._padding + 1]
        layers = [site.layer(immutable=immutable) for site in sites]
        self.stack = unionpath.LayerStack(layers, cache=cache, on_layer_error=on_layer_error)
        return self.stack.root

    def close(self) -> None:
        """Close the stack, if one was made."""
        if self.stack is not None:
            self.stack.close()

    def _padded(self, trees: Sequence[Dir]) -> list[Dir]:
        padded: list[Dir] = []
        for tree in trees:
            padded += [Dir()] * self._padding
            padded.append(tree)
        return padded + [Dir()] * self._padding
