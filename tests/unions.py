"""Puts described layers down on a ground and shows their union."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from grounds import Ground, Site
from trees import Dir

if TYPE_CHECKING:
    from unionpath import Cache, LayerStack, UnionPath
    from unionpath.model.store import Store


class Builder:
    """
    Puts described layers down, top first, and gives the root of their union.

    Args:
        padding: for unions to read: how many empty layers stand around each described one.
        depth: for unions to write to: how many lowers there are at least; empty ones fill up.
    """

    def __init__(self, ground: Ground, directory: Path, padding: int = 0, depth: int = 1) -> None:
        self.ground = ground
        self.sites: list[Site] = []
        """The sites of the described layers, top first; without the empty ones in between."""
        self.stack: LayerStack | None = None
        self._directory = directory
        self._padding = padding
        self._depth = depth
        self._upper: Site | None = None

    @property
    def upper(self) -> Site:
        """The site of the upper of a union to write to."""
        assert self._upper is not None, "no union to write to was built"
        return self._upper

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

    def over(
        self,
        *trees: Dir,
        upper: Dir | None = None,
        rename_dir: Literal["copy", "exdev", "redirect"] = "copy",
        durability: Literal["auto", "strict", "volatile"] = "volatile",
        prepare: Callable[[Builder], object] | None = None,
        wrap: Callable[[Store], Store] | None = None,
    ) -> UnionPath:
        """
        Build a union that can be written to, over described lowers, all on the same ground.

        `volatile` is what most tests need: nothing that they look at is different without syncing.
        `prepare` may add to the layers before the union is made; `wrap` puts something around the upper.
        """
        import unionpath

        top = Dir() if upper is None else upper
        self.ground.require(top, *trees)
        above, below = self._filling(len(trees))
        described = [top, *[Dir()] * above, *trees, *[Dir()] * below]
        first, *lowers = self.ground.sites(self._directory, described)
        self._upper = first
        self.sites = lowers[above : above + len(trees)]
        if prepare is not None:
            prepare(self)
        self.stack = unionpath.LayerStack(
            [site.layer() for site in lowers],
            upper=first.layer(wrap=wrap),
            rename_dir=rename_dir,
            durability=durability,
        )
        return self.stack.root

    def reopened(self) -> UnionPath:
        """Close the stack, and build one of the same layers anew."""
        import unionpath

        assert self.stack is not None
        assert self.stack.upper is not None
        old = self.stack
        old.close()
        self.stack = unionpath.LayerStack(
            old.lowers, upper=old.upper, rename_dir=old.rename_dir, durability=old.durability
        )
        return self.stack.root

    def needs(self, *, links: bool = False, modes: bool = False, specials: bool = False) -> None:
        """Skip the test, with a reason, where the upper's store can't hold such things."""
        for wanted, had, word in (
            (links, self.ground.links, "links"),
            (modes, self.ground.modes, "modes"),
            (specials, self.ground.specials, "special files"),
        ):
            if wanted and not had:
                pytest.skip(f"a {self.ground.id} layer holds no {word}")

    def close(self) -> None:
        """Close the stack, if one was made."""
        if self.stack is not None:
            self.stack.close()

    @property
    def lower(self) -> Site:
        """The site of the first described lower."""
        return self.sites[0]

    def _padded(self, trees: Sequence[Dir]) -> list[Dir]:
        padded: list[Dir] = []
        for tree in trees:
            padded += [Dir()] * self._padding
            padded.append(tree)
        return padded + [Dir()] * self._padding

    def _filling(self, described: int) -> tuple[int, int]:
        """Tell how many empty lowers go on top of the described ones, and how many below them."""
        spare = max(0, self._depth - described)
        return (spare + 1) // 2, spare // 2
