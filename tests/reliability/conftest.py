"""Unions that all tests of this directory share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from grounds import scratch
from reliability.world import World, build


@pytest.fixture(scope="session")
def world_of() -> Iterator[Callable[[str], World]]:
    """Give the union on a ground; made once, as its upper is put back before each use."""
    with ExitStack() as directories:
        known: dict[str, World] = {}

        def give(kind: str) -> World:
            if kind not in known:
                known[kind] = build(directories.enter_context(scratch()), kind)
            return known[kind]

        yield give
