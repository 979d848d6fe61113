"""Unions to try the rules on: every store and format, and with empty layers in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grounds import BY_ID, GROUNDS, Ground
from unions import Builder


@pytest.fixture(params=GROUNDS, ids=lambda ground: ground.id)
def ground(request: pytest.FixtureRequest) -> Ground:
    """Every store with every format that it can hold."""
    chosen: Ground = request.param
    return chosen


@pytest.fixture(params=[0, 3], ids=["dense", "padded"])
def union(request: pytest.FixtureRequest, ground: Ground, tmp_path: Path) -> Iterator[Builder]:
    """Build unions on every ground, dense or with empty layers in between."""
    builder = Builder(ground, tmp_path, request.param)
    yield builder
    builder.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Builder]:
    """Build unions of local `oci` layers, for what doesn't depend on store and format."""
    builder = Builder(BY_ID["local-oci"], tmp_path, 0)
    yield builder
    builder.close()
