"""
What every store must do: the promises of `unionpath.model.store`, one test each.

A new store passes it with a subclass that says how a tree is put down for it without our code (where there
is such a way), and what the ground can hold. See `test_memory.py`.
"""

from __future__ import annotations

import errno
import io
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import pytest

from trees import Device, Dir, Fifo, File, Link, Node, Parts, every
from unionpath.model.entry import Kind, kind_of
from unionpath.model.errors import is_absence
from unionpath.model.store import Capability, Directory, Store, Watch
from unionpath.model.writable import WritableDirectory
from writers import Writer, no_device

TAGS = (10, 11, 12, 13, 14, 15, 16)
"""What a caller may want for the kinds; unlike the kinds, lest a store mistakes one for the other."""
KINDS = {
    File: Kind.FILE,
    Dir: Kind.DIRECTORY,
    Link: Kind.SYMLINK,
    Fifo: Kind.FIFO,
    Device: Kind.CHAR_DEVICE,
}
BIG = bytes(range(256)) * 1024
WRITING = {name for name in vars(WritableDirectory) if not name.startswith("_")} - {"child"}
"""The methods that only a store with `WRITABLE` has."""

PLAIN: dict[str, Node] = {
    "file": File(b"data\n", 0o640),
    "empty": File(),
    "big": File(BIG),
    "dir": Dir({"inner": File(b"inner"), "deep": Dir({"x": File(b"x")})}, mode=0o750),
    "bare": Dir(),
    ".hidden": File(b"."),
    "ünï …": File(b"u"),
    " \n\\'\"": File(b"odd"),
    "%41*[a]?#~;=&+": File(b"signs"),
    "...": File(b"dots"),
}
LINKS: dict[str, Node] = {
    "link": Link("file"),
    "dirlink": Link("dir"),
    "dangling": Link("nowhere/…"),
    "outside": Link("../../.."),
}
SPECIALS: dict[str, Node] = {"fifo": Fifo(0o600), "null": Device()}
UNDECODABLE: dict[str, Node] = {"\udcff\udcfe": File(b"bytes"), "d\udc80": Dir({"\udcc3": File(b"c")})}
MORE = {"links": LINKS, "specials": SPECIALS, "bytes": UNDECODABLE}

Ask: TypeAlias = Callable[[Directory, str], object]
QUESTIONS: dict[str, Ask] = {
    "stat": lambda directory, name: directory.stat(name),
    "child": lambda directory, name: directory.child(name),
    "readlink": lambda directory, name: directory.readlink(name),
    "open": lambda directory, name: directory.open(name),
    "read": lambda directory, name: directory.read(name),
}
asked = pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
opened = pytest.mark.parametrize("ask", [QUESTIONS["open"], QUESTIONS["read"]], ids=["open", "read"])


@dataclass(frozen=True)
class Ground:
    """A tree as put down: the store to be tried, and the hand that changes the tree behind its back."""

    store: Store
    writer: Writer | None = None
    """None: the tree can't change."""
    at: Parts = ()
    """Where in the store the tree is."""

    @property
    def top(self) -> Directory:
        """The tree's root directory."""
        directory = self.store.root()
        for name in self.at:
            directory = directory.child(name)
        return directory

    @property
    def hand(self) -> Writer:
        """The hand; a test that needs one is skipped where there is none."""
        if self.writer is None:
            pytest.skip("a tree of this kind can't change")
        return self.writer


def build(writer: Writer, tree: Dir) -> None:
    """Put a tree down."""
    for parts, node in every(tree):
        if isinstance(node, Dir):
            writer.mkdir(parts, node.mode)
        else:
            assert isinstance(node, File | Link | Fifo | Device)
            writer.make(parts, node)


class Hearer:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[str | None] = []

    def changed(self, name: str | None) -> None:
        self.heard.append(name)

    def altered(self, name: str | None) -> None:
        self.heard.append(name)


def errno_of(ask: Callable[..., object], *arguments: object) -> int | None:
    """The errno that a question is refused with."""
    with pytest.raises(OSError) as caught:
        ask(*arguments)
    return caught.value.errno


class StoreContract:
    """The promises."""

    holds: ClassVar[frozenset[str]] = frozenset()
    """What the ground can hold besides files and directories; the keys of `MORE`."""
    on_disk: ClassVar[bool] = False
    """Special files are put down on this machine's file system, where making a device takes rights."""

    def put_down(self, tree: Dir, tmp_path: Path) -> Ground:
        """Put a tree down and open a store on it."""
        raise NotImplementedError

    @pytest.fixture
    def tree(self) -> Dir:
        entries = dict(PLAIN)
        for what in sorted(self.holds):
            entries.update(MORE[what])
        if self.no_device() is not None:
            entries = {name: node for name, node in entries.items() if not isinstance(node, Device)}
        return Dir(entries)

    @pytest.fixture
    def ground(self, tree: Dir, tmp_path: Path) -> Ground:
        return self.put_down(tree, tmp_path)

    @pytest.fixture
    def top(self, ground: Ground) -> Directory:
        return ground.top

    def need(self, what: str) -> None:
        if what not in self.holds:
            pytest.skip(f"the ground holds no {what}")

    def no_device(self) -> str | None:
        """Say why the ground holds no device here, or None."""
        device = Device()
        return no_device(device.major, device.minor) if self.on_disk else None

    # The store itself.

    def test_capabilities_say_what_the_ground_can_hold(self, ground: Ground) -> None:
        flags = ground.store.capabilities
        assert ("links" in self.holds) == (Capability.SYMLINKS in flags)
        assert ("specials" in self.holds) == (Capability.SPECIALS in flags)

    def test_whoever_is_writable_says_so_and_nobody_else_can_write(self, ground: Ground) -> None:
        expected = WRITING if Capability.WRITABLE in ground.store.capabilities else set[str]()
        for directory in (ground.store.root(), ground.top, ground.top.child("dir")):
            assert expected == {name for name in WRITING if hasattr(directory, name)}

    def test_identity_hashes_and_equals_itself(self, ground: Ground) -> None:
        assert ground.store.identity == ground.store.identity
        assert hash(ground.store.identity) == hash(ground.store.identity)

    def test_another_tree_has_another_identity(self, ground: Ground, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        assert ground.store.identity != self.put_down(Dir(), tmp_path / "other").store.identity

    def test_root_is_given_again(self, ground: Ground) -> None:
        assert () == ground.store.root().parts
        assert ground.store.root().scan(TAGS) == ground.store.root().scan(TAGS)

    def test_places_name_what_they_are_of(self, ground: Ground, top: Directory) -> None:
        assert ground.store.place
        assert top.place("file").count("file") >= 1
        assert "deep" in top.child("dir").place("deep")

    # Handles.

    def test_parts_lead_from_the_root(self, ground: Ground, top: Directory) -> None:
        assert ground.at == top.parts
        assert (*ground.at, "dir", "deep") == top.child("dir").child("deep").parts

    def test_status_is_the_stat_that_the_parent_gives(self, top: Directory) -> None:
        for name in ("dir", "bare"):
            outside, inside = top.stat(name), top.child(name).status()
            assert (outside.st_mode, outside.st_ino) == (inside.st_mode, inside.st_ino)
            assert outside.st_dev == inside.st_dev
        assert stat.S_ISDIR(top.status().st_mode)

    def test_objects_have_numbers_of_their_own(self, top: Directory) -> None:
        names = [*top.scan(TAGS)]
        stats = [top.status(), *(top.stat(name) for name in names)]
        assert len(stats) == len({(each.st_dev, each.st_ino) for each in stats})
        assert all(each.st_ino for each in stats)

    def test_child_of_something_else_is_enotdir(self, top: Directory, tree: Dir) -> None:
        others = [name for name, node in tree.entries.items() if not isinstance(node, Dir)]
        assert {errno.ENOTDIR} == {errno_of(top.child, name) for name in others}

    def test_names_below_are_reached(self, top: Directory) -> None:
        assert b"x" == top.child("dir").child("deep").read("x")

    # Stat.

    def test_stat_tells_kind_and_size(self, top: Directory, tree: Dir) -> None:
        for name, node in tree.entries.items():
            found = top.stat(name)
            assert KINDS[type(node)] == kind_of(found.st_mode)
            if isinstance(node, File):
                assert len(node.data) == found.st_size

    def test_a_link_is_as_long_as_its_target(self, top: Directory) -> None:
        self.need("links")
        assert [4, len("nowhere/…".encode())] == [top.stat(n).st_size for n in ("link", "dangling")]

    def test_stat_tells_permission_bits_where_they_are_real(self, ground: Ground, top: Directory) -> None:
        modes = {name: stat.S_IMODE(top.stat(name).st_mode) for name in ("file", "dir")}
        if Capability.MODES in ground.store.capabilities:
            assert {"file": 0o640, "dir": 0o750} == modes
        else:
            assert 0o400 <= min(modes.values())

    # Scan.

    def test_scan_lists_every_name_with_its_kinds_tag(self, top: Directory, tree: Dir) -> None:
        expected = {name: TAGS[KINDS[type(node)]] for name, node in tree.entries.items()}
        assert expected == top.scan(TAGS)
        assert expected == top.scan(TAGS)

    def test_scan_of_an_empty_directory(self, top: Directory) -> None:
        assert {} == top.child("bare").scan(TAGS)

    def test_scan_below(self, top: Directory) -> None:
        found = top.child("dir").scan(TAGS)
        assert {"inner": TAGS[Kind.FILE], "deep": TAGS[Kind.DIRECTORY]} == found

    def test_what_is_listed_is_what_stats(self, top: Directory) -> None:
        found = top.scan(tuple(Kind))
        assert found == {name: kind_of(top.stat(name).st_mode) for name in found}

    # Names.

    @asked
    def test_a_missing_name_is_enoent(self, top: Directory, ask: Ask) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            ask(top, "missing")
        assert errno.ENOENT == caught.value.errno

    @asked
    def test_faults_carry_the_place(self, ground: Ground, top: Directory, ask: Ask) -> None:
        name = "n" * (ground.store.name_max + 1)
        with pytest.raises(OSError, match="too long") as caught:
            ask(top.child("dir"), name)
        assert top.child("dir").place(name) == caught.value.filename

    @asked
    @pytest.mark.parametrize("character", ["n", "é", "\udcff"])
    def test_a_name_too_long_is_enametoolong(
        self, ground: Ground, top: Directory, ask: Ask, character: str
    ) -> None:
        size = len(character.encode("utf-8", "surrogateescape"))
        name = character * (ground.store.name_max // size + 1)
        assert errno.ENAMETOOLONG == errno_of(ask, top, name)

    @pytest.mark.parametrize("character", ["n", "é"])
    def test_the_longest_name_is_held(self, ground: Ground, tmp_path: Path, character: str) -> None:
        (tmp_path / "long").mkdir()
        size = len(character.encode())
        most = ground.store.name_max
        name = character * (most // size) + "x" * (most % size)
        top = self.put_down(Dir({name: File(b"long")}), tmp_path / "long").top
        assert {name: TAGS[Kind.FILE]} == top.scan(TAGS)
        assert (4, b"long") == (top.stat(name).st_size, top.read(name))

    def test_undecodable_names_are_names(self, top: Directory) -> None:
        self.need("bytes")
        assert b"bytes" == top.read("\udcff\udcfe")
        assert b"c" == top.child("d\udc80").read("\udcc3")

    @asked
    def test_undecodable_names_that_are_missing(self, top: Directory, ask: Ask) -> None:
        assert errno_of(ask, top, "\udc81") in (errno.ENOENT, errno.ENAMETOOLONG)

    # Links.

    def test_readlink_gives_the_target_as_stored(self, top: Directory) -> None:
        self.need("links")
        targets = {name: node.target for name, node in LINKS.items() if isinstance(node, Link)}
        assert targets == {name: top.readlink(name) for name in targets}

    def test_readlink_of_something_else_is_einval(self, top: Directory, tree: Dir) -> None:
        others = [name for name, node in tree.entries.items() if not isinstance(node, Link)]
        assert {errno.EINVAL} == {errno_of(top.readlink, name) for name in others}

    @opened
    def test_a_link_is_never_followed(self, top: Directory, ask: Ask) -> None:
        self.need("links")
        assert {errno.ELOOP} == {errno_of(ask, top, name) for name in LINKS}

    # Files.

    @pytest.mark.parametrize("name", ["file", "empty", "big", "ünï …", " \n\\'\"", "%41*[a]?#~;=&+", "..."])
    def test_both_ways_of_reading_give_all_of_it(self, top: Directory, name: str) -> None:
        node = PLAIN[name]
        assert isinstance(node, File)
        assert node.data == top.read(name)
        with top.open(name) as file:
            assert node.data == file.readall()
            assert b"" == file.readall()

    def test_an_opened_file_keeps_the_promises_of_io(self, top: Directory) -> None:
        file = top.open("big")
        assert isinstance(file, io.RawIOBase)
        assert (True, False, True) == (file.readable(), file.writable(), file.seekable())
        assert "rb" == getattr(file, "mode", None)
        assert b"\0\1\2" == file.read(3)
        assert 3 == file.tell()
        assert len(BIG) - 2 == file.seek(-2, io.SEEK_END)
        assert b"\xfe\xff" == file.read(10)
        assert b"" == file.read(10)
        assert 5 == file.seek(5)
        assert 7 == file.seek(2, io.SEEK_CUR)
        part = bytearray(4)
        assert 4 == file.readinto(part)
        assert b"\7\x08\x09\x0a" == part
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"no")
        file.close()
        file.close()
        assert file.closed
        with pytest.raises(ValueError, match="closed"):
            file.read(1)

    def test_an_opened_file_can_be_buffered_and_decoded(self, top: Directory) -> None:
        with io.TextIOWrapper(io.BufferedReader(top.open("file")), encoding="ascii") as text:
            assert ["data\n"] == list(text)
        with io.BufferedReader(top.open("big"), 1000) as buffered:
            assert BIG == b"".join(iter(lambda: buffered.read(777), b""))

    def test_two_opened_files_have_two_positions(self, top: Directory) -> None:
        with top.open("big") as one, top.open("big") as other:
            one.seek(7)
            assert b"\0\1" == other.read(2)
            assert b"\7" == one.read(1)

    def test_a_file_has_a_descriptor_where_it_is_said(self, ground: Ground, top: Directory) -> None:
        if Capability.DESCRIPTORS not in ground.store.capabilities:
            pytest.skip("files of this store have no descriptors")
        with top.open("file") as file:
            assert file.fileno() >= 0

    @opened
    def test_opening_a_directory_is_eisdir(self, top: Directory, ask: Ask) -> None:
        assert [errno.EISDIR] * 2 == [errno_of(ask, top, name) for name in ("dir", "bare")]

    @pytest.mark.rule("C7")
    @opened
    def test_a_fifo_never_blocks(self, top: Directory, ask: Ask) -> None:
        """FIFOs are shown by stat and listing; opening one for reading never blocks for ever."""
        self.need("specials")
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(ask, top, "fifo").result(timeout=10)
        if isinstance(found, io.RawIOBase):
            with found:
                assert not found.read(1)
        else:
            assert b"" == found

    @pytest.mark.rule("L11")
    @opened
    def test_a_device_is_not_opened(self, top: Directory, ask: Ask) -> None:
        """Nothing outside a layer's root can be reached through it."""
        self.need("specials")
        if (reason := self.no_device()) is not None:
            pytest.skip(reason)
        assert errno.EACCES == errno_of(ask, top, "null")

    # Extended attributes.

    def test_an_absent_attribute_is_none(self, top: Directory) -> None:
        assert [None] * 3 == [top.getxattr(name, "user.absent") for name in ("file", "dir", None)]

    def test_attributes_are_given(self, ground: Ground, top: Directory) -> None:
        if Capability.XATTRS not in ground.store.capabilities:
            assert [[], []] == [top.listxattr("file"), top.listxattr(None)]
            return
        try:
            ground.hand.set_xattr(("file",), "user.one", b"1\0")
            ground.hand.set_xattr((), "user.root", b"")
        except OSError as error:
            pytest.skip(f"the file system here refuses: {error}")
        assert (b"1\0", b"") == (top.getxattr("file", "user.one"), top.getxattr(None, "user.root"))
        assert "user.one" in top.listxattr("file")
        assert "user.root" in top.listxattr(None)

    def test_attributes_of_a_missing_name(self, ground: Ground, top: Directory) -> None:
        if Capability.XATTRS not in ground.store.capabilities:
            pytest.skip("the store has no extended attributes")
        assert errno.ENOENT == errno_of(top.getxattr, "missing", "user.one")
        assert errno.ENOENT == errno_of(top.listxattr, "missing")

    # Changes made by others.

    @pytest.mark.rule("N4")
    def test_answers_are_never_stale(self, ground: Ground, top: Directory) -> None:
        """A name made elsewhere shows up at the next look."""
        hand = ground.hand
        before = top.scan(TAGS)
        for parts in (("new",), ("dir", "new")):
            assert errno.ENOENT == errno_of(top.stat, "new")
            hand.make(("new",), File(b"12"))
            assert (2, b"12") == (top.stat("new").st_size, top.read("new"))
            assert {**before, "new": TAGS[Kind.FILE]} == top.scan(TAGS)
            hand.remove(("new",))
            hand.mkdir(("new",), 0o755)
            assert {**before, "new": TAGS[Kind.DIRECTORY]} == top.scan(TAGS)
            assert {} == top.child("new").scan(TAGS)
            hand.remove(("new",))
            assert before == top.scan(TAGS), parts

    def test_a_directory_that_went_is_absent_or_empty(self, ground: Ground, top: Directory) -> None:
        inside = top.child("dir")
        ground.hand.remove(("dir",))
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                inside.stat("inner")
            assert is_absence(caught.value)
            assert {} == _names_or_absent(inside)
            ground.hand.remove(("dir",))
            ground.hand.make(("dir",), File(b"in its place"))

    @pytest.mark.rule("C9")
    def test_an_opened_file_stays_whole(self, ground: Ground, top: Directory) -> None:
        """A reader keeps reading the object it opened, whole and unmixed."""
        with top.open("big") as file:
            first = file.read(1000)
            ground.hand.remove(("big",))
            ground.hand.make(("big",), File(b"other"))
            assert first is not None
            assert BIG == first + file.readall()
        assert b"other" == top.read("big")

    def test_threads_may_ask_at_once(self, ground: Ground, top: Directory, tree: Dir) -> None:
        def ask_all(number: int) -> object:
            directory = top if number % 2 else ground.top
            files = [name for name, node in tree.entries.items() if isinstance(node, File)]
            if number % 4 < 2:
                files.reverse()
            read = {name: directory.read(name) for name in files}
            with directory.open("big") as file:
                streamed = b"".join(iter(lambda: file.read(5000) or b"", b""))
            stats = {name: directory.stat(name).st_size for name in files}
            return read, streamed, directory.scan(TAGS), directory.child("dir").scan(TAGS), stats

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(ask_all, range(32)))
        assert results == [results[0]] * 32

    # Watches.

    def test_a_store_without_watches_says_so(self, ground: Ground, top: Directory) -> None:
        if Capability.WATCHABLE in ground.store.capabilities:
            pytest.skip("the store has watches")
        assert top.watch(Hearer()) is None

    @pytest.fixture
    def heard(self, ground: Ground, top: Directory) -> Iterator[Callable[[], set[str | None]]]:
        """Watch the top; give what was heard since the last time."""
        hearer = Hearer()
        with _watching(ground, top, hearer):
            yield lambda: _polled(ground, hearer)

    def test_names_that_come_and_go_are_told(
        self, ground: Ground, heard: Callable[[], set[str | None]]
    ) -> None:
        assert set() == heard()
        ground.hand.make(("new",), File())
        assert {"new"} == heard()
        ground.hand.rename(("new",), ("newer",))
        assert {"new", "newer"} <= heard()
        ground.hand.rename(("newer",), ("dir", "newest"))
        assert "newer" in heard()
        ground.hand.rename(("dir", "newest"), ("back",))
        assert "back" in heard()
        ground.hand.remove(("back",))
        assert "back" in heard()
        ground.hand.mkdir(("sub",), 0o700)
        assert "sub" in heard()
        ground.hand.remove(("sub",))
        assert "sub" in heard()

    def test_changed_attributes_are_told(self, ground: Ground, heard: Callable[[], set[str | None]]) -> None:
        ground.hand.chmod(("file",), 0o600)
        assert "file" in heard()
        ground.hand.chmod(("dir",), 0o700)
        assert "dir" in heard()
        ground.hand.chmod((), 0o700)
        assert None in heard()

    def test_nothing_is_told_of_directories_below(
        self, ground: Ground, heard: Callable[[], set[str | None]]
    ) -> None:
        ground.hand.make(("dir", "deep", "new"), File())
        assert set() == heard()

    def test_the_end_of_a_directory_is_told(self, ground: Ground, top: Directory) -> None:
        hearer = Hearer()
        with _watching(ground, top.child("bare"), hearer):
            ground.hand.rename(("bare",), ("moved",))
            assert None in _polled(ground, hearer)
        with _watching(ground, top.child("moved"), hearer):
            ground.hand.remove(("moved",))
            assert None in _polled(ground, hearer)

    def test_a_closed_watch_is_silent(self, ground: Ground, top: Directory) -> None:
        hearer, other = Hearer(), Hearer()
        with _watching(ground, top, other):
            with _watching(ground, top, hearer) as watch:
                ground.hand.make(("one",), File())
                assert {"one"} == _polled(ground, hearer)
                watch.close()
            ground.hand.make(("two",), File())
            assert set() == _polled(ground, hearer)
            assert {"one", "two"} == _polled(ground, other)

    def test_contents_are_told_only_if_asked_for(self, ground: Ground, top: Directory) -> None:
        names, contents = Hearer(), Hearer()
        ground.hand.make(("log",), File())
        with _watching(ground, top, names), _watching(ground, top, contents, contents=True):
            ground.hand.append(("log",), b"line")
            assert "log" in _polled(ground, contents)


class _watching:  # noqa: N801 (used as a function)
    """A watch for the time of a `with`; skips where there is none to be had."""

    def __init__(
        self, ground: Ground, directory: Directory, hearer: Hearer, *, contents: bool = False
    ) -> None:
        if Capability.WATCHABLE not in ground.store.capabilities:
            pytest.skip("the store has no watches")
        _ = ground.hand
        watch = directory.watch(hearer, contents=contents)
        if watch is None:
            pytest.skip("no watch to be had here")
        self._watch = watch

    def __enter__(self) -> Watch:
        return self._watch

    def __exit__(self, *error: object) -> None:
        self._watch.close()


def _polled(ground: Ground, hearer: Hearer) -> set[str | None]:
    """What was heard of by now and not yet given."""
    if ground.store.notifier is not None:
        ground.store.notifier.poll()
    heard, hearer.heard = set(hearer.heard), []
    return heard


def _names_or_absent(directory: Directory) -> dict[str, int]:
    """List; a store that says that the directory is absent is right too."""
    try:
        return directory.scan(TAGS)
    except OSError as error:
        if is_absence(error):
            return {}
        raise
