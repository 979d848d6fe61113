"""What resolution needs to know of a layer, and how long answers may be kept."""

from __future__ import annotations

from typing import NamedTuple, NoReturn, Protocol

from unionpath.model.store import Store
from unionpath.model.typed import override
from unionpath.model.whiteout import WhiteoutFormat


class LayerView(Protocol):
    """One layer as `resolve` and `mutate` see it."""

    @property
    def name(self) -> str:
        """What `explain` and errors call it."""

    @property
    def store(self) -> Store:
        """Where its tree is."""

    @property
    def format(self) -> WhiteoutFormat:
        """How its whiteouts are written."""

    @property
    def immutable(self) -> bool:
        """The owner promises that the tree never changes: what was seen once holds for ever."""


class Cache:
    """
    How much an index keeps, and for how long where coherence can't be had.

    Immutable layers and layers whose store reports changes are always kept coherently; `ttl` concerns the
    others only (network file systems, object stores, or no watches left).

    Args:
        ttl: seconds for which an answer of a layer that can't be watched is trusted; None: asked every time.
        max_entries: names kept, in all directories together; the directories longest unused go first.

    Raises:
        ValueError: `ttl` isn't above 0, or `max_entries` is below 0.
    """

    __slots__ = ("max_entries", "ttl")

    ttl: float | None
    max_entries: int

    def __init__(self, *, ttl: float | None = None, max_entries: int = 1_000_000) -> None:
        if ttl is not None and not ttl > 0:
            raise ValueError(f"Cache(ttl=…) is a number of seconds above 0, or None, not {ttl!r}")
        if max_entries < 0:
            raise ValueError(f"Cache(max_entries=…) is 0 or more, not {max_entries!r}")
        object.__setattr__(self, "ttl", ttl)
        object.__setattr__(self, "max_entries", max_entries)

    @override
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Cache doesn't change; make a new one")

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cache):
            return NotImplemented
        return (self.ttl, self.max_entries) == (other.ttl, other.max_entries)

    @override
    def __hash__(self) -> int:
        return hash((self.ttl, self.max_entries))

    @override
    def __repr__(self) -> str:
        return f"Cache(ttl={self.ttl!r}, max_entries={self.max_entries!r})"

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return _make_cache, (self.ttl, self.max_entries)


def _make_cache(ttl: float | None, max_entries: int) -> Cache:
    return Cache(ttl=ttl, max_entries=max_entries)


class CacheInfo(NamedTuple):
    """What an index holds and how well it served, as counted since the stack was made or refreshed."""

    hits: int
    """Look-ups answered without asking a layer which one decides."""
    misses: int
    """Look-ups for which layers were asked."""
    entries: int
    """Names held."""
    directories: int
    """Merged directories held."""
    watches: int
    """Directories of layers watched for changes."""
