"""Merging whole listings says of every name what the truth table says of it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unionpath.model.entry import KIND_BITS, KIND_MASK, Kind, make_stat
from unionpath.model.whiteout import Listing, Mark, Present, Probe
from unionpath.resolve.readdir import Merged, codes_of, merge
from unionpath.resolve.rules import Answer, Verdict, decide

NAMES = ("a", "B", "b", "é", "\udcff", "Z")
KINDS = (Kind.FILE, Kind.DIRECTORY, Kind.DIRECTORY, Kind.SYMLINK, Kind.FIFO)
STATS = {kind: make_stat(kind, permissions=0o755) for kind in Kind}

Shown = dict[str, Kind]


def listing(
    layer: int, shown: Mapping[str, Kind], hidden: Sequence[str] = (), opaque: bool = False
) -> Listing:
    codes = codes_of(layer)
    return Listing({name: codes[kind] for name, kind in shown.items()}, frozenset(hidden), opaque)


def probe(one: Listing, name: str) -> Probe:
    """Ask one listing about one name, as a format's `probe` would."""
    code = one.shown.get(name)
    if code is None:
        return Mark.WHITEOUT if name in one.hidden else Mark.ABSENT
    return Present(STATS[Kind(code & KIND_MASK)], alone=name in one.hidden)


def verdict(listings: Sequence[tuple[int, Listing]], name: str) -> Verdict:
    return decide(Answer(layer, probe(one, name)) for layer, one in listings)


@st.composite
def stacks(draw: st.DrawFn, names: Sequence[str] = NAMES) -> list[tuple[int, Listing]]:
    """Listings top first, with gaps between the layers' numbers; the last one may be opaque."""
    layers = sorted(draw(st.sets(st.integers(0, 600), min_size=1, max_size=5)))
    made: list[tuple[int, Listing]] = []
    for layer in layers:
        shown = draw(st.dictionaries(st.sampled_from(names), st.sampled_from(KINDS)))
        opaque = layer == layers[-1] and draw(st.booleans())
        hidden = () if opaque else draw(st.sets(st.sampled_from(names)))
        made.append((layer, listing(layer, shown, tuple(hidden), opaque)))
    return made


@pytest.mark.property
@pytest.mark.rule("L2", "L3", "L4", "L5", "L6", "M5", "N1")
@given(stacks())
def test_merging_agrees_with_the_truth_table(listings: list[tuple[int, Listing]]) -> None:
    """Each name once, with the type of the winner; a directory with all layers that make it up."""
    merged = merge(listings)
    for name in NAMES:
        alone = verdict(listings, name)
        code = merged.names.get(name)
        if alone.kind is None:
            assert code is None
            continue
        assert code is not None
        assert (alone.kind, alone.layers[0]) == (code & KIND_MASK, code >> KIND_BITS)
        if alone.kind is Kind.DIRECTORY:
            assert alone.layers == merged.contributors.get(name, (code >> KIND_BITS,))
        else:
            assert name not in merged.contributors
    assert sorted(merged.names) == list(merged.names)
    assert all(len(layers) > 1 for layers in merged.contributors.values())
    assert not merged.spellings


@pytest.mark.property
@pytest.mark.rule("N2")
@given(stacks())
def test_merging_changes_no_listing(listings: list[tuple[int, Listing]]) -> None:
    """A listing is a snapshot: also for those who gave it."""
    before = [(layer, Listing(dict(one.shown), set(one.hidden), one.opaque)) for layer, one in listings]
    for fold in (None, str.casefold):
        merged = merge(listings, fold)
        merged.names.clear()
        merged.contributors.clear()
        assert before == listings


@pytest.mark.property
@pytest.mark.rule("N5")
@given(stacks(("a", "A", "b", "B", "ß", "SS", "ss")))
def test_case_folded_merging_agrees_with_the_truth_table(listings: list[tuple[int, Listing]]) -> None:
    """Folding first and merging then is the same as merging folded layers; whiteouts fold the same way."""
    folded: list[tuple[int, Listing]] = []
    for layer, one in listings:
        # Of names that a layer tells apart and the stack doesn't, the first by code points counts.
        shown = {name.casefold(): one.shown[name] for name in sorted(one.shown, reverse=True)}
        folded.append((layer, Listing(shown, {name.casefold() for name in one.hidden}, one.opaque)))
    merged = merge(listings, str.casefold)
    plain = merge(folded)
    assert plain.names == {name.casefold(): code for name, code in merged.names.items()}
    assert plain.contributors == {name.casefold(): layers for name, layers in merged.contributors.items()}
    assert len(plain.names) == len(merged.names)
    assert sorted(merged.names) == list(merged.names)
    for name, code in merged.names.items():
        _spelled_as_its_layers_do(merged, name, code, dict(listings))


def _spelled_as_its_layers_do(merged: Merged, name: str, code: int, listings: Mapping[int, Listing]) -> None:
    provider = code >> KIND_BITS
    assert name in listings[provider].shown
    for layer in merged.contributors.get(name, (provider,)):
        spelling = (merged.spellings or {}).get((layer, name), name)
        assert spelling in listings[layer].shown
        assert name.casefold() == spelling.casefold()


@pytest.mark.rule("N5")
def test_directories_spelled_differently_merge() -> None:
    """A name is shown as the layer that provides it spells it; the others' spellings are remembered."""
    listings = [
        (0, listing(0, {"Etc": Kind.DIRECTORY})),
        (1, listing(1, {"ETC": Kind.DIRECTORY})),
        (2, listing(2, {"etc": Kind.DIRECTORY})),
    ]
    merged = merge(listings, str.casefold)
    assert {"Etc": codes_of(0)[Kind.DIRECTORY]} == merged.names
    assert {"Etc": (0, 1, 2)} == merged.contributors
    assert {(1, "Etc"): "ETC", (2, "Etc"): "etc"} == merged.spellings


@pytest.mark.rule("N5")
def test_a_whiteout_in_another_case_hides() -> None:
    """Whiteouts fold the same way, and don't act on their own layer."""
    listings = [
        (0, listing(0, {"x": Kind.DIRECTORY}, ("X", "Y"))),
        (1, listing(1, {"x": Kind.DIRECTORY, "y": Kind.FILE})),
    ]
    merged = merge(listings, str.casefold)
    assert {"x": codes_of(0)[Kind.DIRECTORY]} == merged.names
    assert {} == merged.contributors


@pytest.mark.rule("N5")
def test_cases_are_told_apart_unless_said_otherwise() -> None:
    """Names compare as bytes."""
    listings = [(0, listing(0, {"x": Kind.FILE}, ("Y",))), (1, listing(1, {"X": Kind.FILE, "y": Kind.FILE}))]
    assert ["X", "x", "y"] == list(merge(listings).names)


def test_equal_contributors_are_shared() -> None:
    """A million directories of the same layers hold one tuple."""
    shown = {f"d{number}": Kind.DIRECTORY for number in range(100)}
    merged = merge([(0, listing(0, shown)), (1, listing(1, shown))])
    assert 1 == len({id(layers) for layers in merged.contributors.values()})


@pytest.mark.parametrize("layer", [0, 1, 31, 32, 499, 100_000])
def test_codes_hold_layer_and_kind(layer: int) -> None:
    for kind in Kind:
        code = codes_of(layer)[kind]
        assert (layer, kind) == (code >> KIND_BITS, code & KIND_MASK)
