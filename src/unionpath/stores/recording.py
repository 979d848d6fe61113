"""A store that counts what it is asked; for tests, and for measuring what a cache spares."""

from __future__ import annotations

from collections import Counter
from threading import Lock

from unionpath.model.parts import Parts, show_parts
from unionpath.model.store import Store
from unionpath.stores.wrapping import WrappingStore


class RecordingStore(WrappingStore):
    """
    Counts the calls made to the wrapped store; calls that fail count too.

    `place` and `parts` ask nothing of a store and don't count, nor does polling the notifier. What is done
    to a neighbour counts, with places that begin with `/..`.
    """

    def __init__(self, store: Store, *, ordered: bool = False) -> None:
        """`ordered`: also keep each call, in order, with its place."""
        super().__init__(store)
        self._ordered = ordered
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._calls: list[tuple[str, str]] = []

    @property
    def counts(self) -> Counter[str]:
        """How often each method was called; a copy."""
        with self._lock:
            return self._counts.copy()

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Each call as (method, absolute path in the store), in order; a copy, empty unless `ordered`."""
        with self._lock:
            return list(self._calls)

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._counts.clear()
            self._calls.clear()

    def before(self, method: str, parts: Parts) -> None:
        """Count one call."""
        with self._lock:
            self._counts[method] += 1
            if self._ordered:
                self._calls.append((method, show_parts(parts)))
