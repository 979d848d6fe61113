"""Places with several stacks over one upper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from places import FORMATS, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Give a place with an `oci` upper."""
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture(params=FORMATS)
def each_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give a place with an upper of each format."""
    made = Place(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Place]:
    """Give a place whose upper keeps a table."""
    made = Place(tmp_path, "table")
    yield made
    made.close()


@pytest.fixture
def overlays(tmp_path: Path) -> Iterator[Place]:
    """Give a place whose upper a kernel could mount."""
    made = Place(tmp_path, "overlayfs")
    yield made
    made.close()
