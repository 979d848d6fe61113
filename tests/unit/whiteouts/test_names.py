"""The name-based formats, marker by marker."""

from __future__ import annotations

import copy
import errno
import pickle
import warnings
from collections.abc import Callable

import pytest

from contract.format_contract import TAGS, CountingDirectory, FailingDirectory, check_malformed
from unionpath import MisspelledMarkerWarning
from unionpath.model.entry import Kind
from unionpath.model.whiteout import Listing, Mark, MarkerFile, Present
from unionpath.stores.memory import MemoryDirectory, MemoryStore
from unionpath.whiteouts.names import NameFormat, oci, unionfs

FORMATS = pytest.mark.parametrize("whiteouts", [oci(aliases=True), oci(aliases=False), unionfs()])


def directory(*names: str) -> MemoryDirectory:
    """Make a directory `d` of empty files."""
    made = MemoryStore().root().mkdir("d")
    for name in names:
        made.create(name)
    return made


@pytest.mark.rule("M1")
@pytest.mark.parametrize(
    ("whiteouts", "opaque"), [(oci(aliases=True), ".wh..wh..opq"), (unionfs(), ".wh.__dir_opaque")]
)
def test_the_marker_to_write_is_the_formats_own(whiteouts: NameFormat, opaque: str) -> None:
    """`oci`: opaque `.wh..wh..opq`; `unionfs`: opaque `.wh.__dir_opaque`."""
    assert opaque == whiteouts.opaque_markers[0]
    assert whiteouts.is_opaque(directory(opaque))
    assert Listing({}, set(), True) == whiteouts.read(directory(opaque), TAGS)


@pytest.mark.rule("M2")
def test_oci_reads_the_unionfs_marker_in_directories() -> None:
    """The exact name `.wh.__dir_opaque` also counts as opaque in directory and memory layers."""
    made = directory(".wh.__dir_opaque", "kept", ".wh.gone")
    whiteouts = oci(aliases=True)
    assert Listing({"kept": TAGS[0]}, set(), True) == whiteouts.read(made, TAGS)
    assert whiteouts.is_opaque(made)
    assert whiteouts.probe(made, "__dir_opaque") is Mark.ABSENT
    assert whiteouts.touched(".wh.__dir_opaque") is None


@pytest.mark.rule("M2")
def test_in_image_layers_the_unionfs_marker_is_a_whiteout() -> None:
    """…not in image layers."""
    made = directory(".wh.__dir_opaque", "kept")
    whiteouts = oci(aliases=False)
    assert Listing({"kept": TAGS[0]}, {"__dir_opaque"}, False) == whiteouts.read(made, TAGS)
    assert not whiteouts.is_opaque(made)
    assert whiteouts.probe(made, "__dir_opaque") is Mark.WHITEOUT
    assert "__dir_opaque" == whiteouts.touched(".wh.__dir_opaque")


@pytest.mark.rule("M2")
@FORMATS
@pytest.mark.parametrize(
    "name", [".wh..wh..opqX", ".wh..wh..op", ".WH..WH..OPQ", ".wh.__dir_opaqueX", ".wh", "wh.a"]
)
def test_markers_match_exactly(whiteouts: NameFormat, name: str) -> None:
    """Marker names match exactly, never by prefix."""
    made = directory(name, "kept")
    assert not whiteouts.is_opaque(made)
    assert not whiteouts.read(made, TAGS).opaque
    assert "kept" in whiteouts.read(made, TAGS).shown


@pytest.mark.rule("M2")
@FORMATS
@pytest.mark.parametrize(
    "name", [".wh..wh.plnk", ".wh..wh.aufs", ".wh..wh.unionpath", ".wh..wh.", ".wh..wh..", ".wh..wh.a"]
)
def test_private_names_are_hidden_and_hide_nothing(whiteouts: NameFormat, name: str) -> None:
    """Other names beginning `.wh..wh.` are private and hidden."""
    made = directory(name, "a")
    assert Listing({"a": TAGS[0]}, set(), False) == whiteouts.read(made, TAGS)
    assert whiteouts.probe(made, name) is Mark.ABSENT
    assert name == whiteouts.touched(name)


@pytest.mark.rule("M2")
@pytest.mark.parametrize(
    ("whiteouts", "name", "hidden"),
    [
        (oci(aliases=True), ".wh..wh.opq", set[str]()),
        (oci(aliases=True), ".wh..opq", {".opq"}),
        (oci(aliases=False), ".wh..wh.opq", set[str]()),
        (unionfs(), ".wh..wh..opq", set[str]()),
    ],
)
def test_misspelled_markers_get_one_warning_a_directory(
    whiteouts: NameFormat, name: str, hidden: set[str]
) -> None:
    """Known misspellings get a warning."""
    fresh = copy.deepcopy(whiteouts)
    made, other = directory(name, "a"), directory(name)
    with pytest.warns(MisspelledMarkerWarning) as caught:
        assert Listing({"a": TAGS[0]}, hidden, False) == fresh.read(made, TAGS)
    assert made.place(name) in str(caught[0].message)
    assert repr(whiteouts.opaque_markers[0]) in str(caught[0].message)
    with warnings.catch_warnings(action="error"):
        fresh.read(made, TAGS)
    with pytest.warns(MisspelledMarkerWarning):
        fresh.read(other, TAGS)
    assert fresh.touched(name) is not None


@pytest.mark.rule("M6")
@FORMATS
@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh..."])
def test_a_whiteout_of_nothing_is_malformed(whiteouts: NameFormat, name: str) -> None:
    """A whiteout with an empty name, or for `.` or `..`, is a malformed layer: an error that names it."""
    made = directory("a", name)
    check_malformed(whiteouts, made, made.place(name))
    assert whiteouts.touched(name) is None
    made.create(whiteouts.opaque_markers[0])
    check_malformed(whiteouts, made, made.place(name))


@pytest.mark.rule("M6")
@FORMATS
@pytest.mark.parametrize("name", ["...", " ", "x.", "..a", ".a"])
def test_names_that_only_look_odd_can_be_whited_out(whiteouts: NameFormat, name: str) -> None:
    """Nothing but an empty name, `.` and `..` is malformed."""
    made = directory(f".wh.{name}")
    assert {name} == whiteouts.read(made, TAGS).hidden
    assert whiteouts.probe(made, name) is Mark.WHITEOUT


@pytest.mark.rule("M4")
@FORMATS
@pytest.mark.parametrize("name", [".wh.", ".wh.a", ".wh..", ".wh..wh..opq", ".wh.__dir_opaque", ".wh..wh.x"])
def test_names_of_markers_are_reserved_and_absent(whiteouts: NameFormat, name: str) -> None:
    """Looking one up is ENOENT."""
    assert whiteouts.is_reserved((), name)
    assert whiteouts.probe(directory(name), name) is Mark.ABSENT
    assert whiteouts.probe(directory(), name) is Mark.ABSENT


@pytest.mark.rule("M5", "L6")
@FORMATS
@pytest.mark.parametrize("first", [True, False])
def test_position_does_not_matter(whiteouts: NameFormat, first: bool) -> None:
    """An opaque marker acts whatever its position in an archive; so does a whiteout beside its own name."""
    opaque = whiteouts.opaque_markers[0]
    names = ["x", ".wh.x", ".wh.gone"]
    made = directory(*names[:: 1 if first else -1])
    assert Listing({"x": TAGS[0]}, {"x", "gone"}, False) == whiteouts.read(made, TAGS)
    made = directory(opaque, *names) if first else directory(*names, opaque)
    assert Listing({"x": TAGS[0]}, set(), True) == whiteouts.read(made, TAGS)


@pytest.mark.rule("L6")
@FORMATS
def test_a_directory_beside_its_whiteout_stands_alone(whiteouts: NameFormat) -> None:
    """If a layer has both `x` and W(x), `x` is visible and does not merge with what lies below."""
    made = directory(".wh.x")
    made.mkdir("x")
    made.mkdir("y")
    for name, alone in (("x", True), ("y", False)):
        answer = whiteouts.probe(made, name)
        assert isinstance(answer, Present)
        assert alone == answer.alone
    made.create(whiteouts.opaque_markers[0])
    answer = whiteouts.probe(made, "x")
    assert isinstance(answer, Present)
    assert not answer.alone


@pytest.mark.rule("M3")
@pytest.mark.parametrize(
    "make", [lambda d, n: d.mkdir(n), lambda d, n: d.symlink(n, "x"), lambda d, n: d.create(n, b"x")]
)
@FORMATS
def test_markers_of_every_kind_count(
    whiteouts: NameFormat, make: Callable[[MemoryDirectory, str], None]
) -> None:
    """Only a marker's name is looked at: tools leave links, directories and hard-linked inodes there."""
    made = directory("kept")
    make(made, ".wh.gone")
    assert Listing({"kept": TAGS[0]}, {"gone"}, False) == whiteouts.read(made, TAGS)
    assert whiteouts.probe(made, "gone") is Mark.WHITEOUT
    make(made, whiteouts.opaque_markers[0])
    assert Listing({"kept": TAGS[0]}, set(), True) == whiteouts.read(made, TAGS)


@pytest.mark.rule("M10")
@FORMATS
def test_the_kernels_whiteout_is_an_ordinary_device_here(whiteouts: NameFormat) -> None:
    """A character device 0:0 in a layer that isn't `overlayfs` is shown, and listed as it stats."""
    made = directory()
    made.mknod("x", Kind.CHAR_DEVICE, 0o600, 0)
    assert {"x": TAGS[Kind.CHAR_DEVICE]} == whiteouts.read(made, TAGS).shown
    assert isinstance(whiteouts.probe(made, "x"), Present)


@pytest.mark.rule("L8")
@FORMATS
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_marker_that_cannot_be_asked_for_is_a_fault(whiteouts: NameFormat, number: int) -> None:
    """Every other error of a layer is raised: an unknown marker is not an absent one."""

    class MarkersFail(FailingDirectory):
        def asked(self, question: str, name: str | None = None) -> None:
            if name is not None and name.startswith(".wh."):
                super().asked(question, name)

    made = directory("file")
    made.mkdir("sub")
    failing = MarkersFail(made, number)
    assert isinstance(whiteouts.probe(failing, "file"), Present)
    for name in ("sub", "missing"):
        with pytest.raises(OSError, match="made for the test"):
            whiteouts.probe(failing, name)
    with pytest.raises(OSError, match="made for the test"):
        whiteouts.is_opaque(failing)


@FORMATS
def test_questions_cost_what_they_must(whiteouts: NameFormat) -> None:
    """A listing is one scan; a file one stat; a directory or a missing name one more."""
    made = directory("f", ".wh.gone")
    made.mkdir("d")
    costs = {"f": 1, "d": 2, "missing": 2, ".wh.gone": 0}
    for name, stats in costs.items():
        counting = CountingDirectory(made)
        whiteouts.probe(counting, name)
        assert ["stat"] * stats == counting.questions
    counting = CountingDirectory(made)
    whiteouts.read(counting, TAGS)
    assert ["scan"] == counting.questions


def test_formats_are_values() -> None:
    assert oci(aliases=True) == oci(aliases=True)
    assert 3 == len({oci(aliases=True), oci(aliases=False), unionfs(), unionfs()})
    assert unionfs() == pickle.loads(pickle.dumps(unionfs()))


@pytest.mark.rule("M1")
@pytest.mark.parametrize("at", [(), ("d", "e")])
def test_markers_byte_by_byte(at: tuple[str, ...]) -> None:
    """`oci` and `unionfs`: a file `.wh.NAME`; each with an opaque marker of its own."""
    for whiteouts in (oci(aliases=True), oci(aliases=False), unionfs()):
        assert MarkerFile(".wh.\udcff") == whiteouts.whiteout(at, "\udcff")
        assert whiteouts.redirection("/a") is None
        assert whiteouts.table() is None
    assert MarkerFile(".wh..wh..opq") == oci(aliases=True).opaque(at) == oci(aliases=False).opaque(at)
    assert MarkerFile(".wh.__dir_opaque") == unionfs().opaque(at)


@pytest.mark.rule("M10")
def test_a_marker_may_be_too_long_for_its_layer() -> None:
    """There is no room for the marker's prefix: the format says the name all the same."""
    assert MarkerFile(".wh." + "n" * 255) == unionfs().whiteout((), "n" * 255)


@pytest.mark.rule("M4")
@pytest.mark.parametrize("at", [(), ("d",)])
def test_names_are_reserved_everywhere(at: tuple[str, ...]) -> None:
    """Any name that begins with `.wh.`, and no other."""
    for name in (".wh.", ".wh.a", ".wh..wh..opq", ".wh..wh.unionpath", ".wh.__dir_opaque"):
        assert unionfs().is_reserved(at, name)
    for name in (".wh", ".whx", "a.wh.", ".WH.a", "__dir_opaque"):
        assert not oci(aliases=True).is_reserved(at, name)


@pytest.mark.parametrize("attribute", ["trusted.overlay.opaque", "user.overlay.opaque", "user.x"])
def test_no_attribute_is_private(attribute: str) -> None:
    """OverlayFS's attributes mean nothing in these formats, so they are data."""
    assert not unionfs().is_private_attribute(attribute)
