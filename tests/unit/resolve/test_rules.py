"""The truth table, exhaustively for up to four layers, against a formulation that shares nothing with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from unionpath.model.entry import Kind, Stat, make_stat
from unionpath.model.whiteout import Mark, Present
from unionpath.resolve.rules import Answer, Verdict, decide

FILE = make_stat(Kind.FILE, permissions=0o644)
DIRECTORY = make_stat(Kind.DIRECTORY, permissions=0o755)
LINK = make_stat(Kind.SYMLINK, permissions=0o777)

WORDS = ("absent", "whiteout", "file", "link", "dir", "opaque", "alone", "opaque+alone")
"""What one layer can say about a name."""


def answer(layer: int, word: str) -> Answer:
    """Put a word the way the layers put it."""
    if word == "absent":
        return Answer(layer, Mark.ABSENT)
    if word == "whiteout":
        return Answer(layer, Mark.WHITEOUT)
    if word in ("file", "link"):
        return Answer(layer, Present(_stat(word)))
    return Answer(layer, Present(_stat(word), alone="alone" in word), opaque="opaque" in word)


def _stat(word: str) -> Stat:
    return {"file": FILE, "link": LINK}.get(word, DIRECTORY)


def expected(words: tuple[str, ...]) -> tuple[tuple[int, ...], str | None, int | None]:
    """
    Say the rules backwards: what shows through a layer is what the layers below show, changed by its word.

    Gives the layers that show, the provider's word, and where the question ended.
    """
    layers: tuple[int, ...] = ()
    provider: str | None = None
    ended: int | None = None
    for number, word in reversed(list(enumerate(words))):
        is_dir = word not in ("absent", "whiteout", "file", "link")
        if word == "absent":
            continue
        if word == "whiteout":
            layers, provider, ended = (), None, number
        elif not is_dir or word != "dir":
            layers, provider, ended = (number,), word, number
        elif provider in ("file", "link"):  # a directory over something else: that alone shows (L4)
            layers, provider, ended = (number,), word, layers[0]
        else:
            layers, provider = (number, *layers), word
    return layers, provider, ended


def tables() -> Iterator[tuple[str, ...]]:
    for depth in range(5):
        yield from itertools.product(WORDS, repeat=depth)


@pytest.mark.rule("L1", "L2", "L3", "L4", "L5", "L6")
def test_every_table_of_up_to_four_layers() -> None:
    """The topmost layer decides; directories merge down to a whiteout, something else, or an opaque one."""
    for words in tables():
        layers, provider, ended = expected(words)
        verdict = decide(answer(number, word) for number, word in enumerate(words))
        shown = None if provider is None else _stat(provider)
        assert (words, layers, shown, ended) == (words, verdict.layers, verdict.stat, verdict.ended_by)


@pytest.mark.rule("L8")
def test_no_layer_below_the_deciding_one_is_asked() -> None:
    """A layer below the deciding one is never asked, so its faults are masked."""
    for words in tables():
        asked: list[int] = []

        def ask(words: tuple[str, ...] = words, asked: list[int] = asked) -> Iterator[Answer]:
            for number, word in enumerate(words):
                asked.append(number)
                yield answer(number, word)

        ended = decide(ask()).ended_by
        assert (words, list(range(len(words) if ended is None else ended + 1))) == (words, asked)


@pytest.mark.rule("L7")
def test_the_provider_is_the_topmost_contributor() -> None:
    """A merged directory's metadata is that of its topmost contributor."""
    mine = make_stat(Kind.DIRECTORY, permissions=0o700)
    verdict = decide([Answer(3, Mark.ABSENT), Answer(5, Present(mine)), Answer(9, Present(DIRECTORY))])
    assert Verdict((5, 9), mine, None) == verdict
    assert verdict.kind is Kind.DIRECTORY


def test_nothing_shows_where_nobody_answers() -> None:
    assert Verdict((), None, None) == decide([])
    assert decide([]).kind is None
