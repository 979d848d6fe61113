"""Unions to try the rules on: every store and format, and with empty layers in between."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grounds import BY_ID, GROUNDS, Ground
from unions import Builder

DEEP = ("local-oci", "memory-unionfs", "local-overlayfs", "memory-userxattr", "memory-table")
"""Where unions to write to are tried with five lowers, too: one ground of each format."""
MIDDLE = ("local-oci", "memory-table")
UPPERS = [
    *((ground, 1) for ground in GROUNDS),
    *((BY_ID[kind], 2) for kind in MIDDLE),
    *((BY_ID[kind], 5) for kind in DEEP),
]


@pytest.fixture(autouse=True)
def _fsspec_forgets() -> None:
    """Empty fsspec's one memory of earlier tests: each of its listings looks at all that there is in it."""
    if "fsspec.implementations.memory" in sys.modules:
        from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # no stubs

        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


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


@pytest.fixture(params=UPPERS, ids=lambda chosen: f"{chosen[0].id}-{chosen[1]}")
def writing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Builder]:
    """Build unions to write to: on every ground over one lower, and in each format over five."""
    ground, depth = request.param
    builder = Builder(ground, tmp_path, depth=depth)
    yield builder
    builder.close()


@pytest.fixture(params=(*DEEP, "upath-oci", "upath-table"))
def writable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Builder]:
    """Build unions to write to over one lower, in each format, on each store: for long lists of cases."""
    builder = Builder(BY_ID[request.param], tmp_path)
    yield builder
    builder.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Builder]:
    """Build unions of local `oci` layers, for what doesn't depend on store and format."""
    builder = Builder(BY_ID["local-oci"], tmp_path)
    yield builder
    builder.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Builder]:
    """Build unions of `oci` layers in memory: the cheapest."""
    builder = Builder(BY_ID["memory-oci"], tmp_path)
    yield builder
    builder.close()
