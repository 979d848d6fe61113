"""How much is tried: a sample in every run of the suite, everything with UNIONPATH_LONG=1."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from reliability.world import CORE

T = TypeVar("T")

LONG = os.environ.get("UNIONPATH_LONG", "") not in ("", "0")
"""Whether everything is wanted, as by `UNIONPATH_LONG=1 pytest tests/reliability`."""
SOME = CORE if LONG else (CORE[0], CORE[3])
"""The formats on which everything is tried that depends little on them: one by names, and the kernel's."""


def sample(everything: Sequence[T], stride: int, start: int = 0) -> list[T]:
    """Give all in a long run, else every so-and-so-many-th."""
    return list(everything if LONG else everything[start % stride :: stride])


def numbers(total: int, most: int, start: int) -> list[int]:
    """Give 1 … total in a long run, else so many of them, spread evenly, others for another start."""
    if LONG or total <= most:
        return list(range(1, total + 1))
    step = total / most
    return sorted({1 + int(start * 0.37 % 1 * step + number * step) for number in range(most)})
