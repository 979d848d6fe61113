"""
What every whiteout format must do, whatever its markers look like.

A new format passes it with a subclass that says on which ground its layers are put down and how the format
is made for a store; the ground writes the markers without our code. See `test_oci_format.py`.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grounds import Ground, Site
from trees import Alone, Device, Dir, Fifo, File, Link, Node, Whiteout, every, find, put
from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.model.errors import MalformedLayerError
from unionpath.model.parts import Parts
from unionpath.model.store import Directory, Listener, Store, Watch
from unionpath.model.whiteout import (
    Listing,
    Mark,
    MarkerAttribute,
    MarkerDevice,
    MarkerFile,
    MarkerRecord,
    Present,
    Probe,
    WhiteoutFormat,
)
from unionpath.stack import Layer
from writers import no_device

TAGS = (10, 11, 12, 13, 14, 15, 16)
"""What a caller may want for the kinds; unlike the kinds, lest a format mistakes one for the other."""

NAMES = ["a", "b", ".hidden", "…", "\udcff", "x" * 255, ".opq", "__dir_opaque", " \n"]
"""Plain names, ordinary in every format."""
MARKERS = [
    ".wh.a", ".wh.b", ".wh.…", ".wh.\udcff", ".wh..opq", ".wh.__dir_opaque", ".wh..wh..opq", ".wh..wh.opq",
    ".wh..wh..opqX", ".wh..wh.a", ".wh..wh.plnk", ".wh.__dir_opaqueX", ".wh..wh.unionpath", ".wh", ".whx",
    ".wh.x.", ".wh....", ".wh. ",
]  # fmt: skip
"""Names that mean something in some format, or nearly do."""

MARKED: list[Node] = [Whiteout(), Alone(Dir()), Alone(File())]
PLAIN: list[Node] = [
    File(),
    File(b"data"),
    Dir(),
    Dir({"c": File()}),
    Link("a"),
    Fifo(),
    Device(),
    Device(0, 0),
]


def descend(store: Store, *parts: str) -> Directory:
    """Give a directory of the store."""
    at = store.root()
    for name in parts:
        at = at.child(name)
    return at


def universe(whiteouts: WhiteoutFormat, directory: Directory) -> list[str]:
    """Give every name about which a format could say something in a directory."""
    raw = directory.scan(TAGS)
    listing = whiteouts.read(directory, TAGS)
    plain = {name.removeprefix(".wh.") for name in raw}
    return sorted({*NAMES, *MARKERS, *raw, *plain, *listing.shown, *listing.hidden} - {"", ".", ".."})


def probes(whiteouts: WhiteoutFormat, directory: Directory) -> dict[str, Probe]:
    """Ask for every name."""
    return {name: whiteouts.probe(directory, name) for name in universe(whiteouts, directory)}


def everything_said(whiteouts: WhiteoutFormat, directory: Directory) -> dict[str | None, object]:
    """Ask for every name, and under None whether the directory is opaque; what isn't there is left out."""
    said: dict[str | None, object] = {
        name: answer for name, answer in probes(whiteouts, directory).items() if answer is not Mark.ABSENT
    }
    return {**said, None: whiteouts.is_opaque(directory)}


def check_agreement(whiteouts: WhiteoutFormat, directory: Directory) -> None:
    """Fail unless single questions and the listing give the same answers."""
    listing = whiteouts.read(directory, TAGS)
    assert listing.opaque == whiteouts.is_opaque(directory)
    assert not (listing.opaque and listing.hidden)
    for name, answer in probes(whiteouts, directory).items():
        if isinstance(answer, Present):
            kind = kind_of(answer.stat.st_mode)
            assert listing.shown.get(name) == TAGS[kind], name
            assert kind is not Kind.DIRECTORY or answer.alone == (name in listing.hidden), name
        else:
            assert name not in listing.shown, name
            assert (answer is Mark.WHITEOUT) == (name in listing.hidden), name


def put_whiteout(site: Site, whiteouts: WhiteoutFormat, parts: Parts) -> None:
    """Put down what a format names for a whiteout."""
    match whiteouts.whiteout(parts[:-1], parts[-1]):
        case MarkerFile(name):
            site.writer.make((*parts[:-1], name), File())
        case MarkerDevice():
            site.writer.make(parts, Device(0, 0))
        case MarkerRecord() as record:
            append(site, whiteouts, record.put)


def drop_whiteout(site: Site, whiteouts: WhiteoutFormat, parts: Parts) -> None:
    """Take back what `put_whiteout` put down."""
    match whiteouts.whiteout(parts[:-1], parts[-1]):
        case MarkerFile(name):
            site.writer.remove((*parts[:-1], name))
        case MarkerDevice():
            site.writer.remove(parts)
        case MarkerRecord() as record:
            append(site, whiteouts, record.drop)


def set_opaque(site: Site, whiteouts: WhiteoutFormat, parts: Parts, opaque: bool) -> None:
    """Put down what a format names for an opaque directory, or take it back."""
    match whiteouts.opaque(parts):
        case MarkerFile(name) if opaque:
            site.writer.make((*parts, name), File())
        case MarkerFile(name):
            site.writer.remove((*parts, name))
        case MarkerAttribute(attribute, value):
            site.writer.set_xattr(parts, attribute, value if opaque else None)
        case MarkerRecord() as record:
            append(site, whiteouts, record.put if opaque else record.drop)


def append(site: Site, whiteouts: WhiteoutFormat, lines: bytes) -> None:
    """Append to the side table, which is made if it isn't there."""
    table = whiteouts.table()
    assert table is not None
    names = table.home.scan(TAGS)
    if table.directory not in names:
        site.writer.mkdir((table.directory,), 0o700)
        site.writer.make((table.directory, table.file), File(table.header))
    site.writer.append((table.directory, table.file), lines)


class WatchedDirectory:
    """A directory that tells what it is asked before it answers."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def asked(self, question: str, name: str | None = None) -> None:
        """Take note of a question, or refuse it with an error."""

    @property
    def parts(self) -> Parts:
        return self._directory.parts

    def place(self, name: str | None = None) -> str:
        return self._directory.place(name)

    def status(self) -> Stat:
        self.asked("status")
        return self._directory.status()

    def stat(self, name: str) -> Stat:
        self.asked("stat", name)
        return self._directory.stat(name)

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        self.asked("scan")
        return self._directory.scan(tags)

    def child(self, name: str) -> Directory:
        self.asked("child", name)
        return self._directory.child(name)

    def readlink(self, name: str) -> str:
        self.asked("readlink", name)
        return self._directory.readlink(name)

    def open(self, name: str) -> RawIOBase:
        self.asked("open", name)
        return self._directory.open(name)

    def read(self, name: str) -> bytes:
        self.asked("read", name)
        return self._directory.read(name)

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        self.asked("getxattr", name)
        return self._directory.getxattr(name, attribute)

    def listxattr(self, name: str | None) -> list[str]:
        self.asked("listxattr", name)
        return self._directory.listxattr(name)

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        return self._directory.watch(listener, contents=contents)


class CountingDirectory(WatchedDirectory):
    """A directory that remembers what it was asked."""

    def __init__(self, directory: Directory) -> None:
        super().__init__(directory)
        self.questions: list[str] = []

    def asked(self, question: str, name: str | None = None) -> None:
        self.questions.append(question)


class FailingDirectory(WatchedDirectory):
    """A directory with one error for every question of some kinds, or for all."""

    def __init__(self, directory: Directory, number: int, *questions: str) -> None:
        super().__init__(directory)
        self._number = number
        self._questions = questions

    def asked(self, question: str, name: str | None = None) -> None:
        if not self._questions or question in self._questions:
            raise OSError(self._number, "made for the test", self.place(name))


def soups() -> st.SearchStrategy[Dir]:
    """Make layers that hold anything at all under any names, with a directory `d` of the same sort."""
    objects = st.dictionaries(st.sampled_from(NAMES + MARKERS), st.sampled_from(PLAIN), max_size=8)
    marked = st.dictionaries(st.sampled_from(["a", "b", "…", "\udcff"]), st.sampled_from(MARKED), max_size=3)
    flat = st.builds(lambda plain, marks, opaque: Dir(plain | marks, opaque), objects, marked, st.booleans())
    return st.builds(lambda root, inner: put(root, ("d",), inner), flat, flat)


class FormatContract:
    """Promises of `model.whiteout.WhiteoutFormat`, kept on one ground."""

    ground: ClassVar[Ground]
    both_at_once: ClassVar[bool] = False
    """One layer can hold an object and a whiteout of the same name; see `BesideContract`."""
    private: ClassVar[frozenset[str]] = frozenset()
    """Names that the format, or the ground, keeps for itself in the layer's root."""

    def whiteouts(self, store: Store) -> WhiteoutFormat:
        """Make the format for one layer."""
        raise NotImplementedError

    @pytest.fixture
    def site(self, tmp_path: Path) -> Site:
        """An empty layer."""
        self.ground.require()
        return self.ground.site(tmp_path)

    def opened(self, site: Site) -> tuple[WhiteoutFormat, Store]:
        store = Layer(site.writer.source).store
        return self.whiteouts(store), store

    def read(self, site: Site, *parts: str) -> Listing:
        """Read one directory, after seeing that single questions give the same answers."""
        whiteouts, store = self.opened(site)
        check_agreement(whiteouts, descend(store, *parts))
        return whiteouts.read(descend(store, *parts), TAGS)

    def test_has_the_name_it_is_picked_by(self, site: Site) -> None:
        whiteouts, _ = self.opened(site)
        assert self.ground.whiteouts == whiteouts.name

    def test_shows_what_is_there_with_its_kind(self, site: Site) -> None:
        every_kind: dict[str, Node] = {
            "f": File(), "d": Dir(), "l": Link("nowhere"), "p": Fifo(), "n": Device(),
        }  # fmt: skip
        tree = Dir({name: node for name, node in every_kind.items() if self.may_hold((name,), node)})
        site.build(tree)
        listing = self.read(site)
        kinds = {
            "f": Kind.FILE, "d": Kind.DIRECTORY, "l": Kind.SYMLINK, "p": Kind.FIFO, "n": Kind.CHAR_DEVICE,
        }  # fmt: skip
        assert {name: TAGS[kinds[name]] for name in tree.entries} == listing.shown
        assert set() == listing.hidden
        assert not listing.opaque

    def test_works_with_tags_that_are_all_the_same(self, site: Site) -> None:
        site.build(Dir({"a": Whiteout(), "b": File(), "d": Dir({"a": Whiteout()})}))
        whiteouts, store = self.opened(site)
        assert Listing({"b": 0, "d": 0}, {"a"}, False) == whiteouts.read(store.root(), [0] * 7)._replace(
            own_marks=None
        )

    def test_reads_an_empty_directory(self, site: Site) -> None:
        assert Listing({}, set(), False) == self.read(site)._replace(own_marks=None)

    @pytest.mark.rule("L5", "M3")
    @pytest.mark.parametrize("name", ["a", "…", "\udcff", ".hidden", "x" * 251, " \n", '"\\'])
    def test_hides_the_whiteout_and_says_what_it_hides(self, site: Site, name: str) -> None:
        """W(p) in a layer hides p in all layers below it; markers are never listed, never visible."""
        site.build(Dir({name: Whiteout(), "d": Dir({name: Whiteout(), "kept": File()})}))
        assert Listing({"d": TAGS[1]}, {name}, False) == self.read(site)._replace(own_marks=None)
        assert Listing({"kept": TAGS[0]}, {name}, False) == self.read(site, "d")._replace(own_marks=None)

    @pytest.mark.rule("M1", "M5")
    def test_opaque_directory_hides_all_and_its_whiteouts_mean_nothing(self, site: Site) -> None:
        """Inside an opaque directory whiteouts mean nothing: hide nothing when read, are not listed."""
        site.build(Dir({"d": Dir({"kept": File(b"data")})}))
        site.put(("d", "gone"), Whiteout())
        if self.both_at_once:
            site.put(("d", "again"), Alone(Dir()))
        site.set_opaque(("d",), True)
        listing = self.read(site, "d")
        assert {"kept"} == listing.shown.keys() - {"again", *self.unmarked_by_opaque}
        assert listing.opaque
        assert set() == listing.hidden

    unmarked_by_opaque: ClassVar[Sequence[str]] = ()
    """Names that are ordinary ones once `test_opaque_directory…` has made their directory opaque."""

    @pytest.mark.rule("M8")
    def test_opaque_root(self, site: Site) -> None:
        """An opaque marker at the root hides every layer below it; `overlayfs` ignores it there."""
        site.build(Dir({"a": Whiteout(), "b": File(b"data")}))
        site.set_opaque((), True)
        listing = self.read(site)
        assert self.ground.opaque_roots == listing.opaque
        if self.ground.opaque_roots:
            assert set() == listing.hidden

    @pytest.mark.rule("M10")
    def test_names_that_leave_no_room_for_a_marker_are_shown_or_absent(self, site: Site) -> None:
        """A name over 251 bytes can't be whited out by name; asking for it is no error."""
        site.writer.mkdir(("d" * 255,), 0o755)
        site.writer.make(("f" * 252,), File())
        whiteouts, store = self.opened(site)
        root = store.root()
        assert isinstance(whiteouts.probe(root, "d" * 255), Present)
        assert isinstance(whiteouts.probe(root, "f" * 252), Present)
        for name in ("a" * 252, "a" * 255, "é" * 126):
            assert whiteouts.probe(root, name) is Mark.ABSENT

    @pytest.mark.rule("L10")
    def test_a_name_too_long_for_the_layer_is_absent(self, site: Site) -> None:
        """What one layer can't hold may be in another, so it is no error of the layer's."""
        site.build(Dir({"d": Dir()}))
        whiteouts, store = self.opened(site)
        for name in ("a" * (store.name_max + 1), "é" * (store.name_max // 2 + 1)):
            assert whiteouts.probe(store.root(), name) is Mark.ABSENT
            assert whiteouts.probe(descend(store, "d"), name) is Mark.ABSENT

    @pytest.mark.rule("L8")
    @pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ETIMEDOUT])
    def test_faults_are_raised(self, site: Site, number: int) -> None:
        """Every other error of a layer (EACCES, EIO, a time-out) is raised, never a silent skip."""
        whiteouts, store = self.opened(site)
        failing = FailingDirectory(store.root(), number)
        for question in (lambda: whiteouts.probe(failing, "a"), lambda: whiteouts.read(failing, TAGS)):
            with pytest.raises(OSError, match="made for the test") as caught:
                question()
            assert number == caught.value.errno

    @pytest.mark.rule("L8", "L10")
    @pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG])
    def test_absence_is_an_answer(self, site: Site, number: int) -> None:
        """ENOENT and ENOTDIR from a layer mean "absent here"; so does a name that it can't hold."""
        whiteouts, store = self.opened(site)
        assert whiteouts.probe(FailingDirectory(store.root(), number), "a") is Mark.ABSENT

    def test_a_listing_is_the_callers_own(self, site: Site) -> None:
        site.build(Dir({"a": File(), "b": Whiteout()}))
        whiteouts, store = self.opened(site)
        whiteouts.read(store.root(), TAGS).shown.clear()
        assert Listing({"a": TAGS[0]}, {"b"}, False) == whiteouts.read(store.root(), TAGS)._replace(
            own_marks=None
        )

    def test_sees_what_changed_since_it_looked(self, site: Site) -> None:
        whiteouts, store = self.opened(site)
        site.build(Dir({"d": Dir()}))
        steps: list[tuple[Node | None, str]] = [
            (File(), "Present"), (Whiteout(), "WHITEOUT"), (None, "ABSENT"), (Whiteout(), "WHITEOUT"),
            (Dir(), "Present"),
        ]  # fmt: skip
        for node, expected in steps:
            if node is None:
                site.drop(("d", "x"))
            else:
                site.put(("d", "x"), node)
            answer = whiteouts.probe(descend(store, "d"), "x")
            assert expected == (answer.name if isinstance(answer, Mark) else type(answer).__name__)
            check_agreement(whiteouts, descend(store, "d"))
        for opaque in (True, False):
            site.set_opaque(("d",), opaque)
            assert opaque == whiteouts.is_opaque(descend(store, "d"))

    @pytest.mark.rule("M1", "L5", "M3")
    @pytest.mark.parametrize("at", [(), ("d",), ("d", "\udcff")])
    @pytest.mark.parametrize("name", ["a", "…", "\udcff\udc80", ".hidden", "x" * 251, " \n", '"\\', "𝄞"])
    def test_names_a_whiteout_that_it_reads(self, site: Site, at: Parts, name: str) -> None:
        """What the format names hides the name from the layers below, and is never shown."""
        site.build(Dir({"d": Dir({"\udcff": Dir()})}))
        whiteouts, store = self.opened(site)
        if isinstance(whiteouts.whiteout(at, name), MarkerDevice) and (reason := no_device(0, 0)) is not None:
            pytest.skip(reason)
        shown = set(whiteouts.read(descend(store, *at), TAGS).shown)
        put_whiteout(site, whiteouts, (*at, name))
        listing = self.read(site, *at)
        assert (shown, {name}, False) == (set(listing.shown), listing.hidden, listing.opaque)
        assert whiteouts.probe(descend(store, *at), name) is Mark.WHITEOUT
        drop_whiteout(site, whiteouts, (*at, name))
        assert whiteouts.probe(descend(store, *at), name) is Mark.ABSENT
        assert (shown, set()) == (set(self.read(site, *at).shown), self.read(site, *at).hidden)

    @pytest.mark.rule("M1", "M8")
    def test_names_an_opaque_marker_that_it_reads(self, site: Site) -> None:
        """What the format names makes the directory opaque; the root too, but for `overlayfs`."""
        site.build(Dir({"d": Dir({"kept": File()})}))
        whiteouts, store = self.opened(site)
        for at, expected in ((("d",), True), ((), self.ground.opaque_roots)):
            shown = set(whiteouts.read(descend(store, *at), TAGS).shown)
            for opaque in (True, False):
                set_opaque(site, whiteouts, at, opaque)
                assert (opaque and expected) == whiteouts.is_opaque(descend(store, *at))
                listing = self.read(site, *at)
                assert (shown, set(), opaque and expected) == (
                    set(listing.shown), listing.hidden, listing.opaque,
                )  # fmt: skip

    @pytest.mark.rule("M3", "M4")
    def test_its_markers_are_its_own(self, site: Site) -> None:
        """A marker's name is reserved, and its attribute private; nothing else is."""
        whiteouts, _ = self.opened(site)
        for at in ((), ("d",)):
            for marker in (whiteouts.whiteout(at, "x"), whiteouts.opaque(at)):
                if isinstance(marker, MarkerFile):
                    assert whiteouts.is_reserved(at, marker.name)
                if isinstance(marker, MarkerAttribute):
                    assert whiteouts.is_private_attribute(marker.attribute)
        for attribute in (
            "user.x",
            "security.capability",
            "system.posix_acl_access",
            "user.overlay",
            "user.overlayx",
        ):
            assert not whiteouts.is_private_attribute(attribute)
        table = whiteouts.table()
        if table is not None:
            assert whiteouts.is_reserved((), table.directory)
            assert not whiteouts.is_reserved(("d",), table.directory)

    def test_nothing_was_moved_where_nothing_can_be(self, site: Site) -> None:
        site.build(Dir({"d": Dir(), "f": File()}))
        whiteouts, store = self.opened(site)
        root = store.root()
        assert [None] * 4 == [
            whiteouts.redirect(root, None), whiteouts.redirect(root, "d"),
            whiteouts.redirect(root, "f"), whiteouts.redirect(root.child("d"), None),
        ]  # fmt: skip
        assert not whiteouts.is_metacopy(root, "f")

    @pytest.mark.property
    @pytest.mark.rule("M1", "M2", "M3", "M5", "L6")
    def test_single_questions_and_listings_agree(self) -> None:
        """A directory means one thing, however it is asked about."""

        @given(soups())
        def law(soup: Dir) -> None:
            with self.put_down(soup) as site:
                whiteouts, store = self.opened(site)
                check_agreement(whiteouts, store.root())
                check_agreement(whiteouts, descend(store, "d"))

        self.ground.require()
        law()

    @pytest.mark.property
    def test_touched_names_all_that_a_change_concerns(self) -> None:
        """Who forgets what `touched` names, or all if it names nothing, is right after any change."""

        @given(soups(), st.sampled_from(NAMES + MARKERS), st.sampled_from(PLAIN), st.booleans())
        def law(soup: Dir, name: str, node: Node, in_root: bool) -> None:
            at: Parts = () if in_root else ("d",)
            assume(self.may_hold((*at, name), node))
            with self.put_down(soup) as site:
                whiteouts, store = self.opened(site)
                touched = whiteouts.touched(name)
                before = everything_said(whiteouts, descend(store, *at))
                self.make(site, (*at, name), node)
                after = everything_said(whiteouts, descend(store, *at))
            assert touched is None or {touched} >= {key for key, _ in before.items() ^ after.items()}

        self.ground.require()
        law()

    def test_no_name_shown_is_reserved(self, site: Site) -> None:
        """Reserved names are never shown; no other name of a marker's making is."""
        whiteouts, store = self.opened(site)
        for name in NAMES:
            assert not whiteouts.is_reserved((), name)
            assert name == whiteouts.touched(name)
        for name in set(MARKERS) - self.private:
            site.writer.make((name,), File())
            if whiteouts.is_reserved((), name):
                assert not isinstance(whiteouts.probe(store.root(), name), Present)

    @contextmanager
    def put_down(self, soup: Dir) -> Iterator[Site]:
        """Make a layer of a random directory, with what the ground can hold of it; for a while."""
        with tempfile.TemporaryDirectory() as directory:
            yield self.fill(self.ground.site(Path(directory)), soup)

    def fill(self, site: Site, soup: Dir) -> Site:
        """Put the objects of a random directory down, and then its marks."""
        objects = [(parts, node) for parts, node in every(soup) if self.may_hold(parts, node)]
        for parts, node in objects:
            self.make(site, parts, node)
        for parts, node in objects:
            if isinstance(node, Whiteout) or (isinstance(node, Alone) and self.both_at_once):
                site.put(parts, node)
        for parts in ((), ("d",)):
            tree = find(soup, parts)
            assert isinstance(tree, Dir)
            site.set_opaque(parts, tree.opaque)
        return site

    def may_hold(self, parts: Parts, node: Node) -> bool:
        """Tell whether a test may put an object there on this ground."""
        itself = Dir() if isinstance(node, Dir) else node
        return parts[0] not in self.private and self.ground.holds(Dir({"x": itself}))

    def make(self, site: Site, parts: Parts, node: Node) -> None:
        """Put one object in a place, as it is and empty; what stood there goes."""
        site.writer.remove(parts)
        if isinstance(node, Dir):
            site.writer.mkdir(parts, node.mode)
        elif isinstance(node, File | Link | Fifo | Device):
            site.writer.make(parts, node)


class BesideContract(FormatContract):
    """More promises, of formats whose whiteouts don't stand in the place of what they hide."""

    both_at_once = True

    @pytest.mark.rule("L6")
    @pytest.mark.parametrize("node", [File(b"new"), Dir({"new": File()}), Dir()])
    def test_shows_what_stands_beside_its_own_whiteout(self, site: Site, node: File | Dir) -> None:
        """If a layer has both x and W(x), x is visible and does not merge with what lies below."""
        site.build(Dir({"d": Dir({"x": Alone(node)})}))
        listing = self.read(site, "d")
        assert ["x"] == list(listing.shown)
        assert {"x"} == listing.hidden

    @pytest.mark.rule("L6", "E5")
    @pytest.mark.parametrize("node", [File(b"old"), Dir()])
    def test_marking_and_then_removing_shows_nothing_in_between(self, site: Site, node: File | Dir) -> None:
        """At any instant the union shows the state before or after: the object, and then its whiteout."""
        site.build(Dir({"d": Dir({"x": node})}))
        whiteouts, store = self.opened(site)
        put_whiteout(site, whiteouts, ("d", "x"))
        before = whiteouts.probe(descend(store, "d"), "x")
        assert isinstance(before, Present)
        assert isinstance(node, File) or before.alone
        site.writer.remove(("d", "x"))
        assert whiteouts.probe(descend(store, "d"), "x") is Mark.WHITEOUT
        self.make(site, ("d", "x"), node)
        assert isinstance(whiteouts.probe(descend(store, "d"), "x"), Present)
        drop_whiteout(site, whiteouts, ("d", "x"))
        after = whiteouts.probe(descend(store, "d"), "x")
        assert isinstance(after, Present)
        assert not after.alone


def check_malformed(
    whiteouts: WhiteoutFormat, directory: Directory, place: str, number: int = errno.EIO
) -> None:
    """Fail unless reading the directory is an error that names the place."""
    with pytest.raises(MalformedLayerError) as caught:
        whiteouts.read(directory, TAGS)
    assert (number, place) == (caught.value.errno, caught.value.filename)
