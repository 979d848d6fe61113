"""A store that fails where it is told to: everything else is passed on to another store."""

from __future__ import annotations

import os
from collections.abc import Hashable

from unionpath.model.parts import Parts, show_parts
from unionpath.model.store import Store
from unionpath.stores.wrapping import WrappingStore


class FaultyStore(WrappingStore):
    """Raises `number` for every question about the objects at `places`, and counts how often."""

    def __init__(self, store: Store, places: set[Parts], number: int) -> None:
        super().__init__(store)
        self.failed = 0
        self._places = places
        self._number = number

    @property
    def identity(self) -> Hashable:
        return ("faulty", self.inner.identity)

    def before(self, method: str, parts: Parts) -> None:
        if parts in self._places and method not in ("root", "watch"):
            self.failed += 1
            raise OSError(self._number, os.strerror(self._number), self.place + show_parts(parts))
