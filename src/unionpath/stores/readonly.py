"""A store that can't be written to, whatever the one that it wraps can do."""

from __future__ import annotations

from unionpath.model.store import Capability
from unionpath.stores.wrapping import WrappingStore


class ReadOnlyStore(WrappingStore):
    """
    Shows the wrapped store's tree, for reading only.

    It equals the wrapped store, since both show one tree: what it takes away is the writing. Its directories
    have no method that writes, and `home`, `confirm` and `neighbour` raise OSError (EROFS).
    """

    @property
    def capabilities(self) -> Capability:
        """All but `WRITABLE`."""
        return self.inner.capabilities & ~Capability.WRITABLE
