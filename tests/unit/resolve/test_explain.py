"""Explanations of presence and of absence, as values and as text."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import oracle
from faults import FaultyStore
from grounds import BY_ID, scratch
from trees import Alone, Dir, Fifo, File, Link, Whiteout
from unionpath import Layer, LayerStack
from unionpath.model.entry import Kind
from unionpath.resolve.explain import Explanation, LayerReport, Role, explain
from unionpath.resolve.resolver import Resolver

KINDS = {"file": Kind.FILE, "dir": Kind.DIRECTORY, "link": Kind.SYMLINK, "fifo": Kind.FIFO}


@contextmanager
def union(base: Path, *trees: Dir) -> Iterator[Resolver]:
    """Show local `oci` layers named `L0`, `L1`, … from the top."""
    sites = BY_ID["local-oci"].sites(base, trees)
    with LayerStack([site.layer(name=f"L{number}") for number, site in enumerate(sites)]) as stack:
        yield stack.resolver


def roles(explanation: Explanation) -> list[tuple[str, str | None]]:
    return [(report.role.value, report.hidden_by) for report in explanation.layers]


class TestPresence:
    def test_a_file_over_others(self, tmp_path: Path) -> None:
        with union(tmp_path, Dir(), Dir({"f": File()}), Dir({"f": File()}), Dir({"f": Dir()})) as resolver:
            found = explain(resolver, "/f")
            assert ("/f", "/f", Kind.FILE, "L1") == (found.path, found.real_path, found.kind, found.provider)
            reason = "/f in L1 is not a directory"
            assert [
                ("absent", None),
                ("provides", None),
                ("shadowed", reason),
                ("shadowed", reason),
            ] == roles(found)
            assert (
                "/f: file, from L1\n"
                "  absent    L0\n"
                f"  provides  L1  file {tmp_path}/1/f\n"
                f"  shadowed  L2  file {tmp_path}/2/f  ({reason})\n"
                f"  shadowed  L3  directory {tmp_path}/3/f  ({reason})"
            ) == str(found)

    def test_a_merged_directory(self, tmp_path: Path) -> None:
        opaque = Dir({"d": Dir(opaque=True)})
        with union(tmp_path, Dir({"d": Dir()}), Dir(), opaque, Dir({"d": Dir()})) as resolver:
            found = explain(resolver, "/d")
            assert (Kind.DIRECTORY, "L0") == (found.kind, found.provider)
            assert [
                ("provides", None), ("absent", None), ("merges", None), ("hidden", "/d in L2 is opaque"),
            ] == roles(found)  # fmt: skip

    def test_the_root(self, tmp_path: Path) -> None:
        with union(tmp_path, Dir({"d": Dir()}), Dir(opaque=True), Dir()) as resolver:
            for path in ("/", "", ".", "/d/.."):
                found = explain(resolver, path)
                assert ("/", Kind.DIRECTORY, "L0") == (found.real_path, found.kind, found.provider)
                assert [("provides", None), ("merges", None), ("hidden", "/ in L1 is opaque")] == roles(found)

    def test_links_are_followed(self, tmp_path: Path) -> None:
        with union(tmp_path, Dir({"l": Link("d/f")}), Dir({"d": Dir({"f": Fifo()})})) as resolver:
            found = explain(resolver, "l")
            assert ("/l", "/d/f", Kind.FIFO, "L1") == (
                found.path,
                found.real_path,
                found.kind,
                found.provider,
            )
            assert str(found).startswith("/l -> /d/f: FIFO, from L1\n")

    def test_a_directory_beside_its_own_whiteout(self, tmp_path: Path) -> None:
        below = Dir({"d": Dir({"f": File()})})
        with union(tmp_path, Dir({"d": Alone(Dir())}), below) as resolver:
            assert [("provides", None), ("hidden", "whiteout of /d beside the directory in L0")] == roles(
                explain(resolver, "/d")
            )
            assert [("absent", None), ("hidden", "whiteout of /d beside the directory in L0")] == roles(
                explain(resolver, "/d/f")
            )


class TestAbsence:
    def test_nothing_anywhere(self, tmp_path: Path) -> None:
        with union(tmp_path, Dir(), Dir()) as resolver:
            found = explain(resolver, "/x/y")
            assert (None, None) == (found.kind, found.provider)
            assert [("absent", None)] * 2 == roles(found)
            assert (
                "/x/y: nothing, because /x is in no layer that shows it\n  absent  L0\n  absent  L1"
                == str(found)
            )

    def test_a_whiteout(self, tmp_path: Path) -> None:
        with union(
            tmp_path, Dir(), Dir({"f": Whiteout()}), Dir({"f": File()}), Dir({"f": Whiteout()})
        ) as resolver:
            found = explain(resolver, "/f")
            assert (None, None) == (found.kind, found.provider)
            reason = "whiteout of /f in L1"
            assert [("absent", None), ("whiteout", None), ("hidden", reason), ("absent", None)] == roles(
                found
            )
            assert f"  hidden    L2  file {tmp_path}/2/f  ({reason})" in str(found).splitlines()

    def test_a_whiteout_of_an_ancestor(self, tmp_path: Path) -> None:
        below = Dir({"a": Dir({"b": Dir({"c": File()})})})
        with union(tmp_path, Dir({"a": Dir({"b": Whiteout()})}), below) as resolver:
            assert [("absent", None), ("hidden", "whiteout of /a/b in L0")] == roles(
                explain(resolver, "/a/b/c")
            )

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        with union(tmp_path, Dir({"a": File()}), Dir({"a": Dir({"b": File()})})) as resolver:
            found = explain(resolver, "/a/b")
            assert (None, None) == (found.kind, found.provider)
            assert [("absent", None), ("hidden", "/a in L0 is not a directory")] == roles(found)

    def test_a_dangling_link(self, tmp_path: Path) -> None:
        with union(tmp_path, Dir({"l": Link("gone"), "gone": Whiteout()}), Dir({"gone": File()})) as resolver:
            found = explain(resolver, "/l")
            assert ("/gone", None) == (found.real_path, found.kind)
            assert [("whiteout", None), ("hidden", "whiteout of /gone in L0")] == roles(found)

    @pytest.mark.rule("L9")
    @pytest.mark.parametrize("path", ["/gone/..", "/gone/../f", "/l", "/f/.."])
    def test_dot_dot_after_what_is_no_directory(self, tmp_path: Path, path: str) -> None:
        """`missing/../f` is ENOENT, and not what is at `f`."""
        with union(tmp_path, Dir({"f": File(), "l": Link("gone/../f")})) as resolver:
            found = explain(resolver, path)
            assert (None, None) == (found.kind, found.provider)
            assert "because" in str(found)


class TestFaults:
    def test_every_layer_is_asked_so_every_fault_is_raised(self, tmp_path: Path) -> None:
        """An explanation says what each layer has, also those that no look-up would ask."""
        top, bottom = BY_ID["local-oci"].sites(tmp_path, [Dir({"f": File()}), Dir({"f": File()})])
        broken = Layer(FaultyStore(bottom.layer().store, {("f",)}, errno.EIO), name="broken")
        with LayerStack([top.layer(), broken]) as stack:
            with pytest.raises(OSError, match="/f") as fault:
                explain(stack.resolver, "/f")
            assert (errno.EIO, "/f") == (fault.value.errno, fault.value.filename)
        with LayerStack([top.layer(), broken], on_layer_error="skip") as stack:
            assert [("provides", None), ("absent", None)] == roles(explain(stack.resolver, "/f"))

    def test_nul(self, tmp_path: Path) -> None:
        with union(tmp_path, Dir()) as resolver, pytest.raises(ValueError, match="null"):
            explain(resolver, "/a\0")


@pytest.mark.property
@pytest.mark.rule("L1", "L2", "L3", "L5", "L6", "M5", "M8")
@given(oracle.stacks(), st.lists(oracle.paths, min_size=1, max_size=6))
def test_explanations_agree_with_the_model(trees: list[Dir], paths: list[str]) -> None:
    """What an explanation says of the outcome is what the rules decide; every reason names a layer above."""
    model = oracle.Union(trees)
    with scratch() as base, union(base, *trees) as resolver:
        for path in (*paths, "/", "/a", "/a/b"):
            found = explain(resolver, path)
            kind, contributors = _expected(model, path)
            assert (path, kind) == (path, found.kind)
            if kind is not None:
                assert (path, contributors[:1]) == (path, [found.provider])
                assert (path, contributors) == (path, _contributors(found.layers))
                assert found.obstacle is None
            assert len(trees) == len(found.layers)
            assert [f"L{number}" for number in range(len(trees))] == [report.layer for report in found.layers]
            for number, report in enumerate(found.layers):
                _check(report, number, str(found))


def _expected(model: oracle.Union, path: str) -> tuple[Kind | None, list[str]]:
    try:
        return KINDS[model.kind(path)], [f"L{number}" for number in model.contributors(path)]
    except OSError as error:
        assume(error.errno != errno.ELOOP)
        return None, []


def _contributors(reports: Sequence[LayerReport]) -> list[str]:
    return [report.layer for report in reports if report.role in (Role.PROVIDES, Role.MERGES)]


def _check(report: LayerReport, number: int, text: str) -> None:
    hides = {Role.HIDDEN: True, Role.SHADOWED: None}.get(report.role, False)
    if hides is not None:
        assert hides == (report.hidden_by is not None)
    if report.hidden_by is not None:
        assert any(f" in L{above}" in report.hidden_by for above in range(number))
        assert report.hidden_by in text
    assert (report.kind is None) == (report.role in (Role.ABSENT, Role.WHITEOUT))
