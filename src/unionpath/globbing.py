"""
Glob patterns: compiled once, matched against path text, or walked over merged listings.

A pattern is a row of components and a *place* in it is a bit, so that a set of places is one int, as in
a textbook NFA. Going down one name takes a set of places to another; two bits say that the pattern is
used up. Every path is visited once, with all the places that lead to it, so nothing is yielded twice,
and a directory is listed once however many `**` a pattern has.

The rules are those of `pathlib.Path.glob` in Python 3.13 and later: `**` at the end yields files too, a
slash at the end asks for directories, `**` doesn't follow links unless told to, names that begin with a
dot are nothing special. Unlike there the order is settled: the matches in a directory sorted by name,
then its subdirectories one after the other (N1).
"""

from __future__ import annotations

import errno
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import methodcaller
from typing import Final, NamedTuple, Protocol, TypeAlias

from unionpath.model.entry import KIND_MASK, Kind
from unionpath.model.text import ROOT, before_children, in_order, split

Match: TypeAlias = Callable[[str], object]
"""Tells by a true value whether a name fits one component of a pattern."""

_DONE: Final = 1
"""The pattern is used up."""
_DONE_IF_DIRECTORY: Final = 2
"""The pattern is used up, provided that this is a directory."""
_BOTH_DONE: Final = _DONE | _DONE_IF_DIRECTORY
_FIRST_PLACE: Final = 2

_MAGIC: Final = re.compile(r"[*?[]")
_DIRECTORY: Final = int(Kind.DIRECTORY)
_SYMLINK: Final = int(Kind.SYMLINK)

_SKIPPED_ERRNOS: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM))
"""What `glob` passes over in silence, as pathlib does. Any other fault of a layer is raised (L8)."""


class Tree(Protocol):
    """What a walk asks; the resolver of a stack is one."""

    def kind(self, path: str, follow: bool = True, /) -> int:
        """The `Kind` of what is there, as an int, or -1."""

    def listing(self, path: str, /, *, passing: bool = False) -> Mapping[str, int]:
        """The names in a directory, sorted, each with a code that has its `Kind` in the lowest three bits."""


class _Moves(NamedTuple):
    """Where one set of places leads from a directory."""

    tests: tuple[tuple[Match | None, int], ...]
    """Components with wildcards (None fits every name), each with the places it leads to."""
    literals: tuple[tuple[str, int], ...]
    """Names spelled out, `..` among them, each with the places it leads to."""
    descent: int
    """The places a subdirectory is in thanks to some `**`; 0 if there is none here."""
    everything: int
    """`_DONE` if a `**` at the end of the pattern yields every name here."""

    @property
    def needs_listing(self) -> bool:
        """Tell whether the names in the directory must be known."""
        return bool(self.tests or self.descent)


class Pattern:
    """A compiled pattern. Equal text and options give the same object (`compile_pattern`)."""

    __slots__ = ("_components", "_directories_only", "_matchers", "_moves", "start")

    def __init__(
        self, components: Sequence[str], *, directories_only: bool, ignore_case: bool, literal: bool
    ) -> None:
        self._components = tuple(components)
        self._directories_only = directories_only
        self._matchers = tuple(_matcher(text, ignore_case, literal) for text in components)
        self._moves: dict[int, _Moves] = {}
        self.start = self._reach(0)

    def _reach(self, place: int) -> int:
        """Give all places one is in on arriving at one: beyond a `**` too, as it may stand for nothing."""
        if place == len(self._components):
            return _DONE_IF_DIRECTORY if self._directories_only else _DONE
        here = 1 << (place + _FIRST_PLACE)
        if self._components[place] != "**":
            return here
        beyond = self._reach(place + 1)
        if beyond & _DONE:  # nothing but a directory has a `**` below it, be it an empty one
            beyond = beyond & ~_DONE | _DONE_IF_DIRECTORY
        return here | beyond

    def _places(self, places: int) -> Iterator[int]:
        return (i for i in range(len(self._components)) if places >> (i + _FIRST_PLACE) & 1)

    def moves(self, places: int) -> _Moves:
        """Give (and remember) what follows from a set of places."""
        known = self._moves.get(places)
        if known is None:
            known = self._moves[places] = self._find_moves(places)
        return known

    def _find_moves(self, places: int) -> _Moves:
        tests: list[tuple[Match | None, int]] = []
        literals: list[tuple[str, int]] = []
        descent = everything = 0
        last = len(self._components) - 1
        for place in self._places(places):
            component = self._components[place]
            if component == "**":
                descent |= self._reach(place)
                everything |= _DONE if place == last and not self._directories_only else 0
            elif isinstance(matcher := self._matchers[place], str):
                literals.append((matcher, self._reach(place + 1)))
            else:
                tests.append((matcher, self._reach(place + 1)))
        return _Moves(tuple(tests), tuple(literals), descent, everything)

    def fits(self, names: Sequence[str]) -> bool:
        """
        Match the whole of a path given as its parts (with "/" in front if it is absolute).

        A `**` in the middle stands for the root only together with what follows it, and one at the
        end for at least one name, as in `pathlib.PurePath.full_match`.
        """
        places = self.start
        for name in names:
            places = self._step(places, name)
        lone = not names or (len(names) == 1 and names[0] == ROOT)
        return bool(places & (_BOTH_DONE if lone else _DONE))

    def _step(self, places: int, name: str) -> int:
        after = 0
        for place in self._places(places):
            if self._components[place] == "**":
                after |= 1 << (place + _FIRST_PLACE) if name == ROOT else self._reach(place)
                after |= _DONE if place == len(self._components) - 1 else 0
            elif self._fits_one(place, name):
                after |= self._reach(place + 1)
        return after

    def _fits_one(self, place: int, name: str) -> bool:
        matcher = self._matchers[place]
        if isinstance(matcher, str):
            return matcher == name
        return name != ROOT and (matcher is None or bool(matcher(name)))


def _matcher(component: str, ignore_case: bool, literal: bool) -> Match | str | None:
    """Give the cheapest test for one component: a str to be equal to, None for any name, or a function."""
    magic = _MAGIC.search(component)
    if component in ("..", ROOT) or (magic is None and literal):
        return component
    if component.strip("*") == "":
        return None
    if not ignore_case and component[0] == "*" and _MAGIC.search(component, 1) is None:
        ends_with: Match = methodcaller("endswith", component[1:])
        return ends_with
    return re.compile(fnmatch.translate(component), re.IGNORECASE if ignore_case else 0).match


@lru_cache(maxsize=256)
def compile_pattern(text: str, *, case_sensitive: bool | None, ignore_case: bool = False) -> Pattern:
    """
    Compile a relative glob pattern.

    `case_sensitive` as in `pathlib.Path.glob`: unless it is None, names spelled out are looked for in the
    listing too. `ignore_case` is what None means for this stack.

    Raises:
        NotImplementedError: the pattern is absolute.
        ValueError: it is empty.
    """
    if text.startswith("/"):
        raise NotImplementedError("Non-relative patterns are unsupported")
    components = _without_repeats(split(in_order(text)))
    if not components:
        raise ValueError(f"Unacceptable pattern: {text!r}")
    return Pattern(
        components,
        directories_only=text.endswith("/"),
        ignore_case=ignore_case if case_sensitive is None else not case_sensitive,
        literal=case_sensitive is None and not ignore_case,
    )


@lru_cache(maxsize=256)
def compile_full(text: str, ignore_case: bool) -> Pattern:
    """Compile a pattern, in order, for `Pattern.fits`; it may be absolute, or `.`, which fits only itself."""
    components = _without_repeats(split(text))
    return Pattern(components, directories_only=False, ignore_case=ignore_case, literal=not ignore_case)


def fits_from_the_right(parts: Sequence[str], patterns: Sequence[str], ignore_case: bool) -> bool:
    """Match as many parts as there are patterns, the last with the last; all if the pattern is absolute."""
    if len(parts) < len(patterns) or (patterns[0] == ROOT and len(parts) != len(patterns)):
        return False
    pairs = zip(reversed(parts), reversed(patterns), strict=False)
    return all(_fits_name(part, pattern, ignore_case) for part, pattern in pairs)


def _fits_name(part: str, pattern: str, ignore_case: bool) -> bool:
    """Match one part; nothing but a slash fits the root, and a `**` is no more than a star."""
    if ROOT in (part, pattern):
        return part == pattern
    matcher = _compiled_name(pattern, ignore_case)
    if isinstance(matcher, str):
        return matcher == part
    return matcher is None or bool(matcher(part))


@lru_cache(maxsize=256)
def _compiled_name(pattern: str, ignore_case: bool) -> Match | str | None:
    return _matcher(pattern, ignore_case, not ignore_case)


def _without_repeats(components: list[str]) -> list[str]:
    """Make neighbouring `**` one."""
    return [part for i, part in enumerate(components) if part != "**" or components[i - 1 : i] != ["**"]]


def select(tree: Tree, top: str, pattern: Pattern, *, follow_links: bool) -> Iterator[tuple[str, int]]:
    """
    Walk down from `top` and yield the text and the kind of every path that fits, each once.

    Literal components are not looked up before the end of the pattern; no path text is made for a name
    that doesn't fit and isn't descended into. `follow_links`: `**` descends into linked directories.

    Raises:
        OSError: a fault of a layer that is not an absence, a loop or a refused permission (L8).
    """
    if pattern.start & _BOTH_DONE and (kind := _directory_kind(tree, top)) is not None:
        yield top, kind
    pending = [(top, pattern.start)]
    while pending:
        path, places = pending.pop()
        moves = pattern.moves(places)
        if moves.needs_listing:
            found = _listed(tree, path, moves, follow_links)
        else:
            found = _spelled_out(tree, path, moves.literals)
        descents: list[tuple[str, int]] = []
        for child, kind, after in found:
            if after & _BOTH_DONE:
                yield child, kind
            if after > _BOTH_DONE:
                descents.append((child, after))
        pending.extend(reversed(descents))


_Found: TypeAlias = tuple[str, int, int]
"""The text of a child, its kind (of the link, if it is one), and the places it is in."""


def _spelled_out(tree: Tree, path: str, literals: Iterable[tuple[str, int]]) -> Iterator[_Found]:
    """Follow names spelled out in the pattern without listing their directory."""
    before = before_children(path)
    for name, after in literals:
        child = before + name
        kind = -1
        if after & _BOTH_DONE:
            kind = _kind(tree, child, False)
            after = _settle(tree, child, kind, after)
        yield child, kind, after


def _listed(tree: Tree, path: str, moves: _Moves, follow_links: bool) -> Iterator[_Found]:
    """Follow the moves through the listing of a directory, in the order of names."""
    try:
        listing = tree.listing(path, passing=True)
    except OSError as error:
        if error.errno in _SKIPPED_ERRNOS:
            return
        raise
    before = before_children(path)
    reached = _reached(listing, moves, follow_links)
    for name in sorted(reached):
        child, after, kind = before + name, reached[name], listing[name] & KIND_MASK
        if kind != _DIRECTORY and after != _DONE:
            after = _settle(tree, child, kind, after)
        yield child, kind, after
    for name, after in moves.literals:
        if name == "..":
            yield before + name, _DIRECTORY, after


def _reached(listing: Mapping[str, int], moves: _Moves, follow_links: bool) -> dict[str, int]:
    """
    Give the names that fit or are to be descended into, each with the places it is in.

    One pass over the names for each component, most of it inside C functions: this is where the time goes.
    """
    reached = dict.fromkeys(listing, moves.everything) if moves.everything else {}
    for test, after in moves.tests:
        for name in listing if test is None else filter(test, listing):
            reached[name] = reached.get(name, 0) | after
    for name, after in moves.literals:
        if name in listing:
            reached[name] = reached.get(name, 0) | after
    if moves.descent:
        below = (_DIRECTORY, _SYMLINK) if follow_links else (_DIRECTORY,)
        for name in [name for name, code in listing.items() if code & KIND_MASK in below]:
            reached[name] = reached.get(name, 0) | moves.descent
    return reached


def _settle(tree: Tree, path: str, kind: int, after: int) -> int:
    """Take back what only a directory, or a link to one, would be."""
    if kind == _DIRECTORY or (kind == _SYMLINK and _kind(tree, path, True) == _DIRECTORY):
        return after
    return after & _DONE if kind >= 0 else 0


def _kind(tree: Tree, path: str, follow: bool) -> int:
    try:
        return tree.kind(path, follow)
    except OSError as error:
        if error.errno in _SKIPPED_ERRNOS:
            return -1
        raise


def _directory_kind(tree: Tree, path: str) -> int | None:
    """Give the kind of `path` if it is a directory or a link to one."""
    kind = _kind(tree, path, False)
    return kind if _settle(tree, path, kind, _DONE_IF_DIRECTORY) else None
