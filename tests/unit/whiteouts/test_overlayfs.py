"""The kernel's format, attribute by attribute."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest

from contract.format_contract import TAGS, CountingDirectory, FailingDirectory, check_agreement
from grounds import no_devices, no_trusted_xattrs
from unionpath.model.entry import Kind
from unionpath.model.errors import MalformedLayerError
from unionpath.model.whiteout import Listing, Mark, MarkerAttribute, MarkerDevice, Present
from unionpath.stores.local import LocalStore
from unionpath.stores.memory import MemoryDirectory, MemoryStore
from unionpath.whiteouts.overlayfs import OverlayfsFormat

SPACES = pytest.mark.parametrize("space", ["trusted", "user"])


def other(space: str) -> str:
    return "user" if space == "trusted" else "trusted"


def format_of(space: str) -> OverlayfsFormat:
    return OverlayfsFormat(userxattr=space == "user")


def directory(space: str, opaque: bytes | None = None) -> MemoryDirectory:
    """Make a directory `d`."""
    root = MemoryStore().root()
    made = root.mkdir("d")
    if opaque is not None:
        root.setxattr("d", f"{space}.overlay.opaque", opaque)
    return made


def add_file(made: MemoryDirectory, name: str, attribute: str | None = None, data: bytes = b"") -> None:
    made.create(name, data)
    if attribute is not None:
        made.setxattr(name, attribute, b"")


@pytest.mark.rule("M1")
@pytest.mark.parametrize(
    ("rdev", "hidden"), [(0, True), (os.makedev(1, 3), False), (os.makedev(0, 1), False)]
)
@pytest.mark.parametrize("kind", [Kind.CHAR_DEVICE, Kind.BLOCK_DEVICE])
def test_a_whiteout_is_a_character_device_0_0(rdev: int, hidden: bool, kind: Kind) -> None:
    """`overlayfs`: character device 0:0."""
    made = directory("trusted")
    made.mknod("x", kind, 0o600, rdev)
    is_whiteout = hidden and kind is Kind.CHAR_DEVICE
    expected = Listing({}, {"x"}, False) if is_whiteout else Listing({"x": TAGS[kind]}, set(), False)
    assert expected == OverlayfsFormat().read(made, TAGS)
    assert is_whiteout == (OverlayfsFormat().probe(made, "x") is Mark.WHITEOUT)


@pytest.mark.rule("M1")
@SPACES
@pytest.mark.parametrize("opaque", [b"x", None, b"X", b"xx", b"n", b""])
@pytest.mark.parametrize("data", [b"", b"data"])
def test_a_whiteout_is_an_empty_file_with_an_attribute_where_opaque_is_x(
    space: str, opaque: bytes | None, data: bytes
) -> None:
    """…or a zero-size file with xattr `overlay.whiteout` in a directory with opaque=x."""
    made = directory(space, opaque)
    add_file(made, "x", f"{space}.overlay.whiteout", data)
    add_file(made, "plain")
    is_whiteout = opaque == b"x" and not data
    listing = format_of(space).read(made, TAGS)
    assert ({"plain"} if is_whiteout else {"plain", "x"}) == listing.shown.keys()
    assert ({"x"} if is_whiteout else set()) == listing.hidden
    assert is_whiteout == (format_of(space).probe(made, "x") is Mark.WHITEOUT)
    check_agreement(format_of(space), made)


@pytest.mark.rule("M1")
@SPACES
@pytest.mark.parametrize(
    ("value", "opaque"), [(b"y", True), (b"x", False), (b"Y", False), (b"yes", False), (b"", False)]
)
def test_opaque_is_exactly_y(space: str, value: bytes, opaque: bool) -> None:
    """Opaque xattr =y."""
    made = directory(space, value)
    assert opaque == format_of(space).is_opaque(made)
    assert opaque == format_of(space).read(made, TAGS).opaque


@pytest.mark.rule("M1")
@SPACES
def test_the_other_namespace_means_nothing(space: str) -> None:
    """Namespace `trusted.` or `user.`, exactly one per layer."""
    whiteouts = format_of(other(space))
    made = directory(space, b"y")
    assert not whiteouts.is_opaque(made)
    made.setxattr(None, f"{other(space)}.overlay.opaque", b"x")
    for attribute in ("whiteout", "redirect", "metacopy"):
        add_file(made, attribute, f"{space}.overlay.{attribute}")
    assert {"whiteout", "redirect", "metacopy"} == whiteouts.read(made, TAGS).shown.keys()
    assert isinstance(whiteouts.probe(made, "whiteout"), Present)
    assert whiteouts.redirect(made, "redirect") is None
    assert not whiteouts.is_metacopy(made, "metacopy")


@pytest.mark.rule("M8")
@SPACES
def test_an_opaque_root_is_ignored(space: str) -> None:
    """In `overlayfs` format the kernel ignores an opaque marker at the root, and so do we."""
    root = MemoryStore().root()
    root.mknod("gone", Kind.CHAR_DEVICE, 0o600, 0)
    root.setxattr(None, f"{space}.overlay.opaque", b"y")
    assert not format_of(space).is_opaque(root)
    assert Listing({}, {"gone"}, False) == format_of(space).read(root, TAGS)._replace(own_marks=None)
    assert format_of(space).probe(root, "gone") is Mark.WHITEOUT


@pytest.mark.rule("M1", "M8")
@SPACES
def test_a_root_may_have_attribute_whiteouts(space: str) -> None:
    """`x` says nothing of opacity, so it counts at the root too."""
    root = MemoryStore().root()
    add_file(root, "gone", f"{space}.overlay.whiteout")
    root.setxattr(None, f"{space}.overlay.opaque", b"x")
    assert Listing({}, {"gone"}, False) == format_of(space).read(root, TAGS)._replace(own_marks=None)


@pytest.mark.rule("M5")
@SPACES
def test_whiteouts_in_an_opaque_directory_mean_nothing(space: str) -> None:
    """Inside an opaque directory whiteouts hide nothing when read, and are not listed."""
    made = directory(space, b"y")
    made.mknod("gone", Kind.CHAR_DEVICE, 0o600, 0)
    made.create("kept")
    assert Listing({"kept": TAGS[0]}, set(), True) == format_of(space).read(made, TAGS)._replace(
        own_marks=None
    )
    assert format_of(space).probe(made, "gone") is Mark.ABSENT


@pytest.mark.rule("M4")
@pytest.mark.parametrize("name", [".wh.x", ".wh.", ".wh..wh..opq", ".wh..wh.unionpath"])
def test_names_of_other_formats_are_ordinary(name: str) -> None:
    """`table` and `overlayfs` allow such names."""
    made = directory("trusted")
    made.create(name)
    assert not OverlayfsFormat().is_reserved((), name)
    assert Listing({name: TAGS[0]}, set(), False) == OverlayfsFormat().read(made, TAGS)._replace(
        own_marks=None
    )
    assert isinstance(OverlayfsFormat().probe(made, name), Present)


@pytest.mark.rule("M7")
@pytest.mark.parametrize(
    "value", ["/a", "/a/b c/…", "name", ".hidden", "...", "/" + "/".join(["x" * 255] * 15), "/\udcff"]
)
def test_trusted_redirects_are_given(value: str) -> None:
    """`trusted.overlay.redirect` is followed (only root can set it)."""
    made = directory("trusted")
    moved = made.mkdir("moved")
    made.setxattr("moved", "trusted.overlay.redirect", os.fsencode(value))
    assert OverlayfsFormat().has_redirects
    assert value == OverlayfsFormat().redirect(made, "moved")
    assert value == OverlayfsFormat().redirect(moved, None)
    assert OverlayfsFormat().redirect(made, None) is None
    assert OverlayfsFormat().read(moved, TAGS).moved
    assert not OverlayfsFormat().read(made, TAGS).moved


@pytest.mark.rule("M7")
@pytest.mark.parametrize(
    "value",
    [
        b"", b"/", b".", b"..", b"../a", b"a/b", b"a/", b"/a/../b", b"/./a", b"//a", b"/a//b", b"/a/",
        b"/a\0b",
        b"/" + b"a/" * 2100 + b"a",
    ],
)  # fmt: skip
def test_a_redirect_that_is_no_place_is_malformed(value: bytes) -> None:
    """A redirect that the kernel would refuse is never guessed at."""
    made = directory("trusted")
    made.mkdir("moved")
    made.setxattr("moved", "trusted.overlay.redirect", value)
    with pytest.raises(MalformedLayerError, match="redirect") as caught:
        OverlayfsFormat().redirect(made, "moved")
    assert (errno.EIO, made.place("moved")) == (caught.value.errno, caught.value.filename)


@pytest.mark.rule("M7")
def test_the_root_was_never_moved() -> None:
    """A redirect at the root isn't looked at: nothing leads to the root by name."""
    root = MemoryStore().root()
    root.setxattr(None, "trusted.overlay.redirect", b"/a")
    root.setxattr(None, "user.overlay.redirect", b"/a")
    assert OverlayfsFormat().redirect(root, None) is None
    assert OverlayfsFormat(userxattr=True).redirect(root, None) is None


@pytest.mark.rule("M7")
def test_trusted_metacopy_is_told() -> None:
    """`trusted.overlay.metacopy` is followed."""
    made = directory("trusted")
    add_file(made, "f", "trusted.overlay.metacopy")
    add_file(made, "g")
    assert OverlayfsFormat().is_metacopy(made, "f")
    assert not OverlayfsFormat().is_metacopy(made, "g")


@pytest.mark.rule("M7")
def test_what_anyone_may_have_set_is_refused() -> None:
    """In the `user.` namespace: EPERM that names the path, as in the kernel, never a wrong answer."""
    made = directory("user")
    moved = made.mkdir("moved")
    made.setxattr("moved", "user.overlay.redirect", b"/secret")
    add_file(made, "f", "user.overlay.metacopy")
    whiteouts = OverlayfsFormat(userxattr=True)
    assert whiteouts.has_redirects
    for question, place in (
        (lambda: whiteouts.redirect(made, "moved"), made.place("moved")),
        (lambda: whiteouts.redirect(moved, None), moved.place()),
        (lambda: whiteouts.is_metacopy(made, "f"), made.place("f")),
    ):
        with pytest.raises(MalformedLayerError, match="anyone") as caught:
            question()
        assert (errno.EPERM, place) == (caught.value.errno, caught.value.filename)


@pytest.mark.rule("M7", "L8")
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_marks_that_cannot_be_asked_for_are_a_fault(number: int) -> None:
    """Every other error of a layer is raised: what may lack its data isn't taken for what has it."""
    made = directory("trusted")
    made.mkdir("moved")
    made.setxattr("moved", "trusted.overlay.redirect", b"/old")
    unlisted = FailingDirectory(made, number, "listxattr")
    unread = FailingDirectory(made, number, "getxattr")
    for question in (
        lambda: OverlayfsFormat().is_metacopy(unlisted, "moved"),
        lambda: OverlayfsFormat().redirect(unlisted, "moved"),
        lambda: OverlayfsFormat().redirect(unread, "moved"),
    ):
        with pytest.raises(OSError, match="made for the test"):
            question()


@pytest.mark.rule("L8")
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("question", ["listxattr", "getxattr"])
def test_opacity_that_cannot_be_asked_for_is_a_fault(number: int, question: str) -> None:
    """Every other error of a layer is raised: what may be opaque isn't taken for what isn't."""
    made = directory("user", b"x")
    add_file(made, "gone", "user.overlay.whiteout")
    failing = FailingDirectory(made, number, question)
    whiteouts = OverlayfsFormat(userxattr=True)
    for ask in (
        lambda: whiteouts.is_opaque(failing),
        lambda: whiteouts.read(failing, TAGS),
        lambda: whiteouts.probe(failing, "gone"),
    ):
        with pytest.raises(OSError, match="made for the test"):
            ask()


@pytest.mark.parametrize("number", sorted({errno.ENOTSUP, errno.EOPNOTSUPP}))
def test_a_store_without_attributes_has_none(number: int) -> None:
    made = directory("trusted", b"y")
    made.create("f")
    made.mknod("gone", Kind.CHAR_DEVICE, 0o600, 0)
    failing = FailingDirectory(made, number, "listxattr")
    assert not OverlayfsFormat().is_opaque(failing)
    assert Listing({"f": TAGS[0]}, {"gone"}, False) == OverlayfsFormat().read(failing, TAGS)._replace(
        own_marks=None
    )
    assert OverlayfsFormat().redirect(failing, "f") is None
    assert not OverlayfsFormat().is_metacopy(failing, "f")


def test_a_name_that_vanishes_while_it_is_asked_about_is_absent() -> None:
    made = directory("user", b"x")
    made.create("empty")
    vanished = FailingDirectory(made, errno.ENOENT, "listxattr")
    assert OverlayfsFormat().probe(vanished, "empty") is Mark.ABSENT

    class Vanishing(FailingDirectory):
        def asked(self, question: str, name: str | None = None) -> None:
            if name is not None:
                super().asked(question, name)

    assert set() == OverlayfsFormat().read(Vanishing(made, errno.ENOENT), TAGS).hidden


def test_questions_cost_what_they_must() -> None:
    """Nothing is asked for a stat, but regular files where `opaque` is `x`."""
    plain, marked = directory("trusted"), directory("trusted", b"x")
    for made in (plain, marked):
        made.create("full", b"data")
        made.create("empty")
        made.mkdir("d")
        made.mknod("gone", Kind.CHAR_DEVICE, 0o600, 0)
    counting = CountingDirectory(plain)
    OverlayfsFormat().read(counting, TAGS)
    assert ["scan", "listxattr"] == counting.questions
    counting = CountingDirectory(marked)
    OverlayfsFormat().read(counting, TAGS)
    assert ["scan", "listxattr", "getxattr", "stat", "stat", "listxattr"] == counting.questions
    costs = {"full": ["stat"], "d": ["stat"], "missing": ["stat"], "empty": ["stat", "listxattr"]}
    for name, questions in costs.items():
        counting = CountingDirectory(plain)
        OverlayfsFormat().probe(counting, name)
        assert questions == counting.questions


@pytest.mark.rule("M1", "M7")
def test_real_attributes_and_devices(tmp_path: Path) -> None:
    """What holds for the memory store holds for a file system."""
    if reason := no_devices() or no_trusted_xattrs():
        pytest.skip(reason)
    os.mkdir(tmp_path / "d")
    os.mknod(tmp_path / "d" / "gone", 0o020600, os.makedev(0, 0))
    (tmp_path / "d" / "file").touch()
    os.symlink("nowhere", tmp_path / "d" / "link")
    os.setxattr(tmp_path / "d", "trusted.overlay.redirect", b"/old")
    os.setxattr(tmp_path / "d" / "file", "trusted.overlay.metacopy", b"")
    whiteouts, made = OverlayfsFormat(), LocalStore(tmp_path).root().child("d")
    expected = Listing(
        {"file": TAGS[0], "link": TAGS[2]}, {"gone"}, False, moved=True, own_marks=(None, b"/old")
    )
    assert expected == whiteouts.read(made, TAGS)
    assert "/old" == whiteouts.redirect(made, None)
    assert whiteouts.redirect(made, "link") is None
    assert whiteouts.is_metacopy(made, "file")
    os.setxattr(tmp_path / "d", "trusted.overlay.opaque", b"y")
    assert whiteouts.is_opaque(made)


def test_formats_are_values() -> None:
    assert OverlayfsFormat() == OverlayfsFormat(userxattr=False) != OverlayfsFormat(userxattr=True)
    assert OverlayfsFormat() == pickle.loads(pickle.dumps(OverlayfsFormat()))


@pytest.mark.rule("M1", "M8")
@SPACES
def test_marks_byte_by_byte(space: str) -> None:
    """`overlayfs`: character device 0:0; opaque xattr =y, in exactly one namespace."""
    whiteouts = format_of(space)
    assert MarkerDevice() == whiteouts.whiteout((), "x") == whiteouts.whiteout(("d",), ".wh.x")
    assert MarkerAttribute(f"{space}.overlay.opaque", b"y") == whiteouts.opaque(("d",))
    assert whiteouts.table() is None


@pytest.mark.rule("R4", "M7")
@pytest.mark.parametrize("target", ["/a", "/a/\udcff…", "name", "/" + "/".join(["x" * 255] * 15)])
def test_a_redirection_is_one_that_is_followed(target: str) -> None:
    """What is written is read back; never in the namespace that anyone may write."""
    mark = OverlayfsFormat().redirection(target)
    assert mark is not None
    assert ("trusted.overlay.redirect", os.fsencode(target)) == mark
    made = directory("trusted")
    made.mkdir("moved")
    made.setxattr("moved", mark.attribute, mark.value)
    assert target == OverlayfsFormat().redirect(made, "moved")
    assert OverlayfsFormat(userxattr=True).redirection(target) is None


@pytest.mark.rule("R4")
def test_a_redirection_that_is_too_long_is_none() -> None:
    """4 096 bytes are followed, and no more."""
    whiteouts, longest = OverlayfsFormat(), "/" + "/".join(["é" * 127] * 16) + "/" + "x" * 15
    for target, fits in ((longest, True), (longest + "x", False)):
        assert fits == (len(os.fsencode(target)) <= 4096) == (whiteouts.redirection(target) is not None)


@pytest.mark.rule("M3")
@SPACES
def test_its_own_attributes_are_private(space: str) -> None:
    """As the kernel has it: one namespace, and not what belongs to an overlay within."""
    whiteouts = format_of(space)
    own = (
        "opaque",
        "redirect",
        "origin",
        "impure",
        "nlink",
        "uuid",
        "upper",
        "metacopy",
        "protattr",
        "whiteout",
    )
    for attribute in (*own, "", "x", "overlay", "overlayx"):
        assert whiteouts.is_private_attribute(f"{space}.overlay.{attribute}")
        assert not whiteouts.is_private_attribute(f"{other(space)}.overlay.{attribute}")
        assert not whiteouts.is_private_attribute(f"{space}.overlay.overlay.{attribute}")
    for attribute in (
        f"{space}.overlay",
        f"{space}.overlayx",
        f"{space}.Overlay.opaque",
        "security.overlay.x",
    ):
        assert not whiteouts.is_private_attribute(attribute)
