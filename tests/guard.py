"""
The watch over lowers: no test of the suite, whatever it is about, may change one (C3).

Whoever makes a `LayerStack` has its lowers read, bytes and metadata, as they lie in their stores; after the
test they are read again. Access times may differ, nothing else, and on disks the change times say so even of
a change that was taken back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING

import raw

if TYPE_CHECKING:
    from unionpath import Layer, LayerStack
    from unionpath.model.store import Store

MOST_OBJECTS = 20_000
"""Larger lowers aren't read, unless a test asks for it."""
MOST_LOWERS = 400
"""So many are kept in mind; then the oldest is compared and let go."""
DIFFERENCES = 6
"""How many are named."""


class Guard:
    """What the stacks of one test show, as it was when they were made."""

    def __init__(self, *, most: int | None = MOST_OBJECTS) -> None:
        self._most = most
        self._known: dict[Hashable, tuple[str | Store, raw.Tree]] = {}
        self._free: set[Hashable] = set()
        self._found: list[str] = []

    def watch(self, stack: LayerStack) -> None:
        """Keep in mind what the stack's lowers hold; what is an upper somewhere is free to change."""
        if stack.upper is not None:
            self.release(stack.upper.store)
        for layer in stack.lowers:
            self._note(layer)

    def release(self, store: Store) -> None:
        """Let a store change from now on: it is an upper, or the test changes it on purpose."""
        key = key_of(store)
        self._free.add(key)
        self._known.pop(key, None)

    def check(self, below: Path | None = None) -> list[str]:
        """Compare what is kept in mind (or what of it lies below a directory), let go, say what differs."""
        for key in self._below(below):
            self._compare(key)
        found, self._found = self._found, []
        return found

    def forget(self, below: Path) -> None:
        """Let go of what lies below a directory."""
        for key in self._below(below):
            del self._known[key]

    def _below(self, directory: Path | None) -> list[Hashable]:
        return [
            key
            for key in self._known
            if directory is None or (isinstance(key, str) and _is_in(key, str(directory)))
        ]

    def _note(self, layer: Layer) -> None:
        key = key_of(layer.store)
        if key in self._known or self._is_free(key):
            return
        try:
            before = raw.tree(layer.store, most=self._most)
        except (OSError, raw.TooLarge):
            return  # what can't be read before can't be compared after
        # A store is kept alive only where its tree lives nowhere else: some tests watch stores being let go.
        self._known[key] = (key if isinstance(key, str) else raw.bare(layer.store)), before
        if len(self._known) > MOST_LOWERS:
            self._compare(next(iter(self._known)))

    def _compare(self, key: Hashable) -> None:
        place, before = self._known.pop(key)
        if self._is_free(key):
            return
        try:
            after = raw.tree(place)
        except OSError as error:
            self._found.append(f"{place}: {error}")
            return
        self._found += [f"{place}: {line}" for line in differences(before, after)]

    def _is_free(self, key: Hashable) -> bool:
        """Tell whether the tree is one that may change, holds such a one, or lies inside one."""
        if key in self._free:
            return True
        if not isinstance(key, str):
            return False
        free = [other for other in self._free if isinstance(other, str)]
        return any(_is_in(key, other) or _is_in(other, key) for other in free)


def key_of(store: Store) -> Hashable:
    """Say which tree a store shows, whatever is wrapped around it."""
    inner = raw.bare(store)
    return inner.real_path or inner.identity


def differences(before: raw.Tree, after: raw.Tree) -> list[str]:
    """Say in a few lines what differs between two readings of one store."""
    paths = sorted({*before, *after})
    found = [path for path in paths if before.get(path) != after.get(path)]
    lines = [f"{path}: {before.get(path)} became {after.get(path)}" for path in found[:DIFFERENCES]]
    return lines + ([f"and {len(found) - DIFFERENCES} more"] if len(found) > DIFFERENCES else [])


class _Current:
    """The guard of the test that runs; between tests there is none."""

    guard: Guard | None = None


def begin(guard: Guard) -> None:
    """Let a guard watch every stack that is made from now on."""
    _Current.guard = guard


def end() -> None:
    """Watch no more."""
    _Current.guard = None


def release(store: Store) -> None:
    """Let a store change: what a test changes on purpose, behind the union's back."""
    if _Current.guard is not None:
        _Current.guard.release(store)


def check(below: Path) -> None:
    """Compare the lowers below a directory that is about to be removed."""
    if _Current.guard is not None:
        found = _Current.guard.check(below)
        assert [] == found, "a lower was changed"


def forget(below: Path) -> None:
    """Compare nothing below a directory any more."""
    if _Current.guard is not None:
        _Current.guard.forget(below)


def install() -> None:
    """See every `LayerStack` of this process being made."""
    from unionpath import LayerStack

    LayerStack.__init__ = _seen(LayerStack.__init__)  # type: ignore[method-assign]  # that is the point


def _seen(make: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(make)
    def init(self: LayerStack, *arguments: object, **options: object) -> None:
        make(self, *arguments, **options)
        if _Current.guard is not None:
            _Current.guard.watch(self)

    return init


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
