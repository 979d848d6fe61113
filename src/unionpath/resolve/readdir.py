"""
The merged names of one directory.

The same truth table as in `rules.py`, applied to whole listings at once: from the bottom up, each layer's
whiteouts take names away and its own names cover what is left. That is dictionary work done by the
interpreter's C code, a few hundredths of a microsecond a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from sys import intern
from typing import NamedTuple

from unionpath.model.entry import KIND_BITS, KIND_MASK, Kind
from unionpath.model.whiteout import Listing

_DIRECTORY = int(Kind.DIRECTORY)

Fold = Callable[[str], str]
"""Makes names comparable where case doesn't count (N5)."""


class Merged(NamedTuple):
    """What a merged directory shows."""

    names: dict[str, int]
    """Name to code: layer and kind in one small shared int; sorted by code points (N1)."""
    contributors: dict[str, tuple[int, ...]]
    """The layers of each child directory that more than one layer has, top first."""
    spellings: dict[tuple[int, str], str] | None = None
    """How a layer spells a name that another one spells otherwise (N5)."""


def has_directories(names: Mapping[str, int]) -> bool:
    """Tell whether a directory is among the names; quicker than looking at each in turn."""
    return any(code & KIND_MASK == _DIRECTORY for code in set(names.values()))


def codes_of(layer: int) -> tuple[int, ...]:
    """Give the codes of each kind for a layer: the tags its directories are scanned with."""
    return tuple(layer << KIND_BITS | kind for kind in Kind)


def merge(listings: Sequence[tuple[int, Listing]], fold: Fold | None = None, *, share: bool = True) -> Merged:
    """
    Merge what the layers of one directory show, given top first and down to an opaque one.

    `share`: names are to be kept for long, so that equal ones in many directories should be one object.

    Rules L2-L6, M5, N1, N5.
    """
    if fold is not None:
        return _merge_folded(listings, fold)
    names = _cover(listings)
    if share:
        ordered = {intern(name): names[name] for name in sorted(names)}
    else:
        ordered = {name: names[name] for name in sorted(names)}
    return Merged(ordered, _contributors(names, listings) if len(listings) > 1 else {})


def _cover(listings: Sequence[tuple[int, Listing]]) -> dict[str, int]:
    if len(listings) == 1:
        return listings[0][1].shown
    names: dict[str, int] = {}
    for _layer, listing in reversed(listings):
        for name in listing.hidden:
            names.pop(name, None)
        names.update(listing.shown)
    return names


def _contributors(
    names: Mapping[str, int], listings: Sequence[tuple[int, Listing]]
) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    if not has_directories(names):
        return found
    shared: dict[tuple[int, ...], tuple[int, ...]] = {}
    at = {layer: position for position, (layer, _listing) in enumerate(listings)}
    for name, code in names.items():
        if code & KIND_MASK == _DIRECTORY:
            layers = _merging(name, listings[at[code >> KIND_BITS] :])
            if len(layers) > 1:
                found[name] = shared.setdefault(layers, layers)
    return found


def _merging(name: str, listings: Sequence[tuple[int, Listing]]) -> tuple[int, ...]:
    """Name the layers whose directories `name` merge; the first of `listings` is the provider's (L3, L6)."""
    layers: list[int] = []
    for layer, listing in listings:
        code = listing.shown.get(name)
        if code is not None:
            if code & KIND_MASK != _DIRECTORY:
                break
            layers.append(layer)
        if name in listing.hidden:
            break
    return tuple(layers)


def _merge_folded(listings: Sequence[tuple[int, Listing]], fold: Fold) -> Merged:
    """Merge by folded names; a name is shown as the layer that provides it spells it (N5)."""
    spelled: dict[tuple[int, str], str] = {}
    folded: list[tuple[int, Listing]] = []
    for layer, listing in listings:
        for name in sorted(listing.shown, reverse=True):
            spelled[layer, fold(name)] = name
        shown = {fold(name): listing.shown[name] for name in sorted(listing.shown, reverse=True)}
        folded.append((layer, Listing(shown, {fold(name) for name in listing.hidden}, listing.opaque)))
    covered = _cover(folded)
    layers = _contributors(covered, folded)
    show = {key: spelled[code >> KIND_BITS, key] for key, code in covered.items()}
    names = {show[key]: code for key, code in covered.items()}
    return Merged(
        {name: names[name] for name in sorted(names)},
        {show[key]: value for key, value in layers.items()},
        {
            (layer, show[key]): name
            for (layer, key), name in spelled.items()
            if key in show and show[key] != name
        },
    )
