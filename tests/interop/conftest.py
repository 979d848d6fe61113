"""The kernel's own overlay, for comparison."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kernel import Kernel, no_mounts


@pytest.fixture(scope="session")
def kernel() -> Iterator[Kernel]:
    """A worker that can mount overlays; skips where that isn't possible."""
    if (reason := no_mounts()) is not None:
        pytest.skip(reason)
    with Kernel() as worker:
        yield worker
