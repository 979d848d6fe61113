"""
The truth table of a union. Pure: no layer is touched here.

Rule 1: everything that decides what a name shows stands in this file. `lookup.py` asks the layers and
hands their answers in; `readdir.py` applies the same table to whole listings at once, and the suite holds
the two against each other.

Rule 2: this file doesn't know what a layer is; it sees answers, top first, and asks for no more of them
than it needs, so that a layer below the deciding one is never touched (L8).

The theory. A name is looked up in those layer directories that make up the merged directory it is in,
from the top. Each answers:

| answer                       | nothing found yet           | a directory found above        |
|------------------------------|-----------------------------|--------------------------------|
| absent                       | ask below                   | ask below                      |
| whiteout                     | absent, ask no more (L5)    | merge ends (L3)                |
| something else               | this is it, ask no more (L2)| merge ends (L3)                |
| directory                    | this is it, merge begins    | it merges (L3)                 |
| directory, opaque            | this is it, merge ends      | it merges, merge ends (L3)     |
| directory with own whiteout  | this is it, merge ends (L6) | it merges, merge ends (L6)     |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.model.whiteout import Mark, Present, Probe


class Answer(NamedTuple):
    """What one layer says about a name."""

    layer: int
    """The layer's place in the stack; 0 is the top."""
    probe: Probe
    opaque: bool = False
    """The name is a directory that hides all below it."""


class Verdict(NamedTuple):
    """What a name shows, and why no more."""

    layers: tuple[int, ...]
    """The layers that make it up, top first: the first provides it. Empty: nothing shows."""
    stat: Stat | None
    """The provider's; None if nothing shows."""
    ended_by: int | None
    """The layer at which the question ended; None: every layer was asked to the end."""

    @property
    def kind(self) -> Kind | None:
        """What shows."""
        return None if self.stat is None else kind_of(self.stat.st_mode)


def decide(answers: Iterable[Answer]) -> Verdict:
    """Fold the layers' answers about one name, top first, into what it shows (L1-L6)."""
    layers: list[int] = []
    stat: Stat | None = None
    for answer in answers:
        probe = answer.probe
        if probe is Mark.ABSENT:
            continue
        if not isinstance(probe, Present):
            return Verdict(tuple(layers), stat, answer.layer)
        is_directory = kind_of(probe.stat.st_mode) is Kind.DIRECTORY
        if is_directory or stat is None:
            layers.append(answer.layer)
            stat = stat or probe.stat
        if not is_directory or answer.opaque or probe.alone:
            return Verdict(tuple(layers), stat, answer.layer)
    return Verdict(tuple(layers), stat, None)
