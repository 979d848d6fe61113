"""Our own format, line by line."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from contract.format_contract import TAGS, CountingDirectory, check_agreement, check_malformed
from unionpath.model.errors import MalformedLayerError
from unionpath.model.parts import Parts
from unionpath.model.store import Directory
from unionpath.model.whiteout import Listing, Mark, MarkerRecord, Present
from unionpath.stack import Layer, LayerStack
from unionpath.stores.local import LocalDirectory, LocalStore
from unionpath.stores.memory import MemoryDirectory, MemoryStore
from unionpath.stores.prefixed import PrefixedStore, SubtreeStore
from unionpath.whiteouts.table import PRIVATE, TABLE, TableFormat, sound_length

HEADER = b"unionpath whiteouts 1\n"


def layer(*lines: str, table: bytes | None = None) -> tuple[TableFormat, MemoryStore]:
    """Make a layer with directories `/d` and `/d/e`, and a table."""
    store = MemoryStore()
    store.root().mkdir("d").mkdir("e")
    data = HEADER + "".join(f"{line}\n" for line in lines).encode() if table is None else table
    store.root().mkdir(PRIVATE).create(TABLE, data)
    return TableFormat(store), store


def hidden(whiteouts: TableFormat, directory: Directory) -> set[str]:
    check_agreement(whiteouts, directory)
    return set(whiteouts.read(directory, TAGS).hidden)


def rewrite(store: MemoryStore, data: bytes) -> None:
    """Put another table in the old one's place, as a program does that writes and then renames."""
    private = store.root().child(PRIVATE)
    private.create("new", data)
    private.rename("new", private, TABLE)


@pytest.mark.rule("M1")
def test_whiteouts_and_opaque_directories() -> None:
    """`table`: a side table; no reserved names."""
    whiteouts, store = layer('["w","/a"]', '["w","/d/a"]', '["o","/d/e"]', '[ "w", "/d/\\u2026" ]')
    root = store.root()
    assert {"a"} == hidden(whiteouts, root)
    assert {"a", "…"} == hidden(whiteouts, root.child("d"))
    assert whiteouts.is_opaque(root.child("d").child("e"))
    assert not whiteouts.is_opaque(root.child("d"))
    assert whiteouts.probe(root, "a") is Mark.WHITEOUT
    assert whiteouts.probe(root, "b") is Mark.ABSENT
    assert Listing({}, set(), True) == whiteouts.read(root.child("d").child("e"), TAGS)


@pytest.mark.rule("M1")
def test_later_lines_win() -> None:
    """The table is a log."""
    whiteouts, store = layer(
        '["w","/a"]', '["w","/b"]', '["-w","/a"]', '["-w","/never"]', '["o","/d"]', '["-o","/d"]',
        '["-w","/d/x"]',
        '["-w","/c"]', '["w","/c"]', '["-o","/d/e"]', '["o","/d/e"]',
    )  # fmt: skip
    assert {"b", "c"} == hidden(whiteouts, store.root())
    assert not whiteouts.is_opaque(store.root().child("d"))
    assert whiteouts.is_opaque(store.root().child("d").child("e"))


@pytest.mark.rule("L5", "L10")
def test_a_name_too_long_for_its_own_layer_can_be_hidden(tmp_path: Path) -> None:
    """A table has room for what its layer has not; a lower layer may hold the name all the same."""
    name = "n" * 300
    lower = UPath("memory:///unionpath-long-names")
    (lower / "d").mkdir(parents=True, exist_ok=True)
    for at in (lower, lower / "d"):
        (at / name).write_bytes(b"below")
    (tmp_path / PRIVATE).mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / PRIVATE / TABLE).write_bytes(HEADER + json.dumps(["w", f"/{name}"]).encode() + b"\n")
    upper = Layer(tmp_path, whiteouts="table")
    assert upper.format.probe(upper.store.root(), name) is Mark.WHITEOUT
    check_agreement(upper.format, upper.store.root())
    root = LayerStack([upper, lower]).root
    for _ in range(3):  # probed, then listed, then kept
        assert not (root / name).exists()
        assert [root / "d"] == list(root.iterdir())
        assert b"below" == (root / "d" / name).read_bytes()


@pytest.mark.rule("M8")
def test_the_root_may_be_opaque() -> None:
    """An opaque marker at the root of a `table` layer hides every layer below it."""
    whiteouts, store = layer('["o","/"]', '["w","/a"]')
    assert whiteouts.is_opaque(store.root())
    assert Listing({"d": TAGS[1]}, set(), True) == whiteouts.read(store.root(), TAGS)


@pytest.mark.rule("L6", "M5")
def test_a_directory_beside_its_whiteout_stands_alone() -> None:
    """If a layer has both `x` and W(x), `x` is visible and does not merge with what lies below."""
    whiteouts, store = layer('["w","/d"]')
    answer = whiteouts.probe(store.root(), "d")
    assert isinstance(answer, Present)
    assert answer.alone
    assert Listing({"d": TAGS[1]}, {"d"}, False) == whiteouts.read(store.root(), TAGS)


@pytest.mark.rule("M3")
def test_the_private_directory_is_hidden_in_the_root_only() -> None:
    """Markers and the work area are never listed, never visible."""
    whiteouts, store = layer('["w","/a"]')
    root, inner = store.root(), store.root().child("d")
    inner.mkdir(PRIVATE)
    assert ["d"] == list(whiteouts.read(root, TAGS).shown)
    assert whiteouts.probe(root, PRIVATE) is Mark.ABSENT
    assert {"e", PRIVATE} == whiteouts.read(inner, TAGS).shown.keys()
    assert isinstance(whiteouts.probe(inner, PRIVATE), Present)
    assert whiteouts.touched(PRIVATE) is None


@pytest.mark.rule("M4", "M10")
@pytest.mark.parametrize(
    "name", [".wh.x", ".wh.", ".wh..", ".wh..wh..opq", ".wh.__dir_opaque", ".wh..wh.x", "x" * 255]
)
def test_every_other_name_is_ordinary(name: str) -> None:
    """`table` and `overlayfs` allow such names; a name of 255 bytes can be whited out."""
    whiteouts, store = layer(json.dumps(["w", f"/d/{name}"]))
    root = store.root()
    root.create(name)
    assert not whiteouts.is_reserved((), name)
    assert name == whiteouts.touched(name)
    assert name in whiteouts.read(root, TAGS).shown
    assert isinstance(whiteouts.probe(root, name), Present)
    assert {name} == hidden(whiteouts, root.child("d"))


@pytest.mark.parametrize(
    "name", ["\udcff", "\udc80b", "a\nb", 'quote"', "back\\slash", "é", "𝄞", "\x7f", " "]
)
def test_any_name_can_be_written(name: str) -> None:
    whiteouts, store = layer(json.dumps(["w", f"/{name}"]))
    assert {name} == hidden(whiteouts, store.root())
    if not any("\udc80" <= character <= "\udcff" for character in name):
        rewrite(store, HEADER + json.dumps(["w", f"/d/{name}"], ensure_ascii=False).encode() + b"\n")
        assert {name} == hidden(whiteouts, store.root().child("d"))


@pytest.mark.rule("E5")
@pytest.mark.parametrize("cut", range(len(HEADER) + 1))
def test_a_header_cut_short_is_an_empty_table(cut: int) -> None:
    """At any instant, also after power loss, the union shows the state before or after."""
    whiteouts, store = layer(table=HEADER[:cut])
    assert set() == hidden(whiteouts, store.root())


@pytest.mark.rule("E5")
@pytest.mark.parametrize("torn", ['["w","/b"]', '["w","/b', "[", "\udcff", '["w","/"]'])
def test_a_last_line_without_newline_counts_for_nothing(torn: str) -> None:
    """A crash leaves the state before."""
    whiteouts, store = layer(table=HEADER + b'["w","/a"]\n' + torn.encode("utf-8", "surrogateescape"))
    assert {"a"} == hidden(whiteouts, store.root())


@pytest.mark.rule("M6")
@pytest.mark.parametrize(
    "line",
    [
        '["w","/"]', '["-w","/"]', '["w",""]', '["w","/."]', '["w","/.."]', '["w","/a/../b"]',
        '["w","/a/./b"]',
        '["w","/a/"]', '["w","//a"]', '["w","/a//b"]', '["w","a"]', '["w","./a"]', '["o",""]', '["o","/d/"]',
        '["o","d"]', '["w","/a\\u0000"]', '["w","/\\ud800"]', '["w","/\\udc7f"]',
    ],
)  # fmt: skip
def test_a_whiteout_of_no_place_is_malformed(line: str) -> None:
    """A whiteout with an empty name, or for `.`, `..` or the root, is a malformed layer, and named."""
    whiteouts, store = layer('["w","/fine"]', line, '["w","/fine"]')
    check_malformed(whiteouts, store.root(), store.root().child(PRIVATE).place(TABLE))
    with pytest.raises(MalformedLayerError, match="line 3: "):
        whiteouts.probe(store.root(), "other")
    with pytest.raises(MalformedLayerError, match="line 3: "):
        whiteouts.is_opaque(store.root())


@pytest.mark.rule("M6")
@pytest.mark.parametrize(
    "line",
    [
        b"", b" ", b"#", b"null", b"{}", b"[]", b'["w"]', b'["w","/a","/b"]', b'["y","/a"]', b'["W","/a"]',
        b'["w",1]',
        b'[1,"/a"]', b'"w"', b'["w","/a"],["w","/b"]', b'["w","/a"] ["w","/b"]', b'["w","/a"', b'{"w":"/a"}',
        b'["w",["/a"]]', b'["w","/\xff"]', b'\xef\xbb\xbf["w","/a"]', b"[" * 100_000,
        b"unionpath whiteouts 1",
    ],
    ids=lambda line: repr(line[:20]),
)  # fmt: skip
def test_a_line_that_is_no_line_of_a_table_is_malformed(line: bytes) -> None:
    """An error that names the file and the line."""
    whiteouts, store = layer(table=HEADER + line + b"\n")
    check_malformed(whiteouts, store.root(), store.root().child(PRIVATE).place(TABLE))
    with pytest.raises(MalformedLayerError, match="line 2: ") as caught:
        whiteouts.probe(store.root(), "a")
    assert errno.EIO == caught.value.errno


@pytest.mark.rule("M6")
@pytest.mark.parametrize(
    "table",
    [
        b"\n",
        b"unionpath whiteouts 2\n",
        b"unionpath whiteouts 1\r\n",
        b'["w","/a"]\n',
        b"no table",
        b"\x00\n",
        b" \n",
    ],
)
def test_another_file_in_the_tables_place_is_malformed(table: bytes) -> None:
    """Guessing is no answer: a table of a later version, or no table at all, is an error."""
    whiteouts, store = layer(table=table)
    with pytest.raises(MalformedLayerError, match=r"line 1: .*'unionpath whiteouts 1'"):
        whiteouts.read(store.root(), TAGS)


def test_a_malformed_table_does_not_stay_so() -> None:
    whiteouts, store = layer("nonsense")
    with pytest.raises(MalformedLayerError):
        whiteouts.read(store.root(), TAGS)
    rewrite(store, HEADER + b'["w","/a"]\n')
    assert {"a"} == hidden(whiteouts, store.root())


@pytest.mark.rule("N4")
def test_changes_are_seen_at_the_next_look() -> None:
    """A name made elsewhere shows up at the next look: the table may come, grow, be replaced and go."""
    store = MemoryStore()
    root, whiteouts = store.root(), TableFormat(store)
    assert set() == hidden(whiteouts, root)
    private = root.mkdir(PRIVATE)
    assert set() == hidden(whiteouts, root)
    private.create(TABLE, HEADER + b'["w","/a"]\n')
    assert {"a"} == hidden(whiteouts, root)
    with private.open_writable(TABLE, "ab") as file:
        file.write(b'["w","/b"]\n')
        assert {"a", "b"} == hidden(whiteouts, root)
    rewrite(store, HEADER + b'["w","/c"]\n')
    assert {"c"} == hidden(whiteouts, root)
    rewrite(store, HEADER + b'["w","/e"]\n')
    assert {"e"} == hidden(whiteouts, root)
    root.rename(PRIVATE, root, "aside")
    assert set() == hidden(whiteouts, root)
    root.rename("aside", root, PRIVATE)
    assert {"e"} == hidden(whiteouts, root)
    private.unlink(TABLE)
    assert set() == hidden(whiteouts, root)


@pytest.mark.rule("N4")
def test_changes_on_disk_are_seen_at_the_next_look(tmp_path: Path) -> None:
    """A change made directly in a layer shows up at the next look."""
    whiteouts = TableFormat(LocalStore(tmp_path))
    root = LocalStore(tmp_path).root()
    private = tmp_path / PRIVATE
    for number in range(200):
        if number % 50 == 0:
            if private.exists():
                private.rename(tmp_path.with_name(f"old{number}"))
            private.mkdir()
            (private / TABLE).write_bytes(HEADER)
        with open(private / TABLE, "ab") as file:
            file.write(json.dumps(["w", f"/{number}"]).encode() + b"\n")
        assert whiteouts.probe(root, str(number)) is Mark.WHITEOUT
        os.replace(_copy(private / TABLE, f"/{number}", f"/{number:x>{len(str(number))}}"), private / TABLE)


def _copy(table: Path, old: str, new: str) -> Path:
    """Write a changed copy beside a table."""
    copy = table.with_name("new")
    copy.write_bytes(table.read_bytes().replace(old.encode(), new.encode()))
    return copy


def test_an_unchanged_table_costs_one_stat() -> None:
    """The table is parsed once; after that a question is one stat of it."""
    _, inner = layer('["w","/a"]')

    class Private(CountingDirectory):
        pass

    class Root(CountingDirectory):
        def child(self, name: str) -> Directory:
            return private if name == PRIVATE else super().child(name)

    class Store(MemoryStore):
        def root(self) -> MemoryDirectory:
            return root  # type: ignore[return-value]  # answers as one, and counts

    root, private = Root(inner.root()), Private(inner.root().child(PRIVATE))
    whiteouts = TableFormat(Store.__new__(Store))
    assert {"a"} == whiteouts.read(root, TAGS).hidden
    assert ["stat", "read", "stat"] == private.questions  # once more after the scan: nobody wrote meanwhile
    private.questions.clear()
    root.questions.clear()
    for name in ("a", "d", "missing"):
        whiteouts.probe(root, name)
    assert ["stat"] * 3 == private.questions == root.questions


def test_the_side_directory_is_where_the_table_is() -> None:
    store = MemoryStore()
    whiteouts = TableFormat(store)
    assert whiteouts.side_directory(store) is None
    store.root().mkdir(PRIVATE)
    side = whiteouts.side_directory(store)
    assert side is not None
    assert (PRIVATE,) == side.parts


def test_the_side_directory_of_a_part_is_where_the_table_will_be() -> None:
    """The source's root isn't watched otherwise, so the table's coming would go unnoticed."""
    store = MemoryStore()
    store.root().mkdir("sub")
    for whiteouts in (TableFormat(store, root=("sub",)), TableFormat(store, at=("x",))):
        side = whiteouts.side_directory(store)
        assert side is not None
        assert () == side.parts
    store.root().mkdir(PRIVATE)
    side = whiteouts.side_directory(store)
    assert side is not None
    assert (PRIVATE,) == side.parts


@pytest.mark.changes_lowers
@pytest.mark.rule("N4")
@pytest.mark.parametrize(("root", "at"), [("/", "/"), ("/sub", "/"), ("/", "/x"), ("/sub", "/x/y")])
def test_a_table_made_later_is_noticed_and_watched(tmp_path: Path, root: str, at: str) -> None:
    """A change made directly in a layer shows up at the next look, in kept directories too."""
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    inside = root.rstrip("/")
    for shown in (upper / inside.lstrip("/"), lower / at.lstrip("/")):
        (shown / "d").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (lower / at.lstrip("/") / "d" / name).touch()
    with LayerStack([Layer(upper, whiteouts="table", root=root, at=at), lower]) as stack:
        d = stack.root / at / "d"

        def names() -> list[str]:
            for _ in range(3):  # probed, then listed, then kept
                assert sorted(each.name for each in d.iterdir()) == [n for n in "abc" if (d / n).exists()]
            return sorted(each.name for each in d.iterdir())

        assert ["a", "b", "c"] == names()
        (upper / PRIVATE).mkdir()
        assert ["a", "b", "c"] == names()
        table = upper / PRIVATE / TABLE
        table.write_bytes(HEADER + json.dumps(["w", f"{inside}/d/a"]).encode() + b"\n")
        assert ["b", "c"] == names()
        with open(table, "ab") as file:
            file.write(json.dumps(["w", f"{inside}/d/b"]).encode() + b"\n")
        assert ["c"] == names()
        (upper / PRIVATE).rename(upper / "aside")
        assert ["a", "b", "c"] == names()


@pytest.mark.rule("L11", "M6")
@pytest.mark.parametrize("what", ["link", "dangling link", "loop", "file", "fifo"])
def test_something_else_in_the_private_directorys_place(tmp_path: Path, what: str) -> None:
    """A layer never follows symlinks itself; what can't hold a table is malformed, and named."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / TABLE).write_bytes(HEADER + b'["w","/a"]\n')
    _place(tmp_path / PRIVATE, what, "elsewhere")
    _check_misplaced(tmp_path, PRIVATE)


@pytest.mark.rule("L11", "M6")
@pytest.mark.parametrize("what", ["link", "dangling link", "loop", "directory", "fifo"])
def test_something_else_in_the_tables_place(tmp_path: Path, what: str) -> None:
    """A link in the table's place is malformed, and not a loop of links in the union."""
    (tmp_path / "elsewhere").write_bytes(HEADER + b'["w","/a"]\n')
    (tmp_path / PRIVATE).mkdir()
    _place(tmp_path / PRIVATE / TABLE, what, "../elsewhere")
    _check_misplaced(tmp_path, f"{PRIVATE}/{TABLE}")


def _place(at: Path, what: str, target: str) -> None:
    match what:
        case "directory":
            at.mkdir()
        case "file":
            at.write_bytes(HEADER)
        case "fifo":
            os.mkfifo(at)
        case _:
            at.symlink_to({"link": target, "dangling link": "missing", "loop": at.name}[what])


def _check_misplaced(layer: Path, name: str) -> None:
    whiteouts, store = TableFormat(LocalStore(layer)), LocalStore(layer)
    check_malformed(whiteouts, store.root(), f"{layer}/{name}")
    for ask in (lambda: whiteouts.probe(store.root(), "a"), whiteouts.pending, whiteouts.compacted):
        with pytest.raises(MalformedLayerError) as caught:
            ask()
        assert errno.EIO == caught.value.errno


def test_a_table_that_is_exchanged_for_a_link_while_it_is_read(tmp_path: Path) -> None:
    class Swapping(CountingDirectory):
        def asked(self, question: str, name: str | None = None) -> None:
            if question == "read":
                os.unlink(tmp_path / PRIVATE / TABLE)
                os.symlink("elsewhere", tmp_path / PRIVATE / TABLE)

    class Root(CountingDirectory):
        def child(self, name: str) -> Directory:
            return Swapping(super().child(name)) if name == PRIVATE else super().child(name)

    class Store(LocalStore):
        def root(self) -> LocalDirectory:
            return Root(super().root())  # type: ignore[return-value]  # answers as one

    (tmp_path / PRIVATE).mkdir()
    (tmp_path / PRIVATE / TABLE).write_bytes(HEADER)
    with pytest.raises(MalformedLayerError, match="regular file"):
        TableFormat(Store(tmp_path)).probe(LocalStore(tmp_path).root(), "a")


@pytest.mark.rule("M1", "M3", "M8")
def test_a_subtree_under_a_prefix_keeps_the_marks_of_its_source() -> None:
    """The table holds paths of the whole source, whatever part of it a layer shows, and where."""
    _, store = layer('["w","/d/a"]', '["o","/d/e"]', '["w","/x"]', '["o","/"]')
    store.root().child("d").create(PRIVATE)
    moved = TableFormat(store, root=("d",), at=("m", "n"))
    shown = PrefixedStore(SubtreeStore(store, ("d",)), ("m", "n"))
    outer = shown.root()
    inner = outer.child("m").child("n")
    assert Listing({"m": TAGS[1]}, set(), False) == moved.read(outer, TAGS)
    assert not moved.is_opaque(outer)
    assert moved.probe(outer, "x") is Mark.ABSENT
    assert Listing({"e": TAGS[1]}, {"a"}, False) == moved.read(inner, TAGS)
    assert moved.probe(inner, PRIVATE) is Mark.ABSENT
    assert moved.probe(inner, "a") is Mark.WHITEOUT
    assert moved.is_opaque(inner.child("e"))
    whole, prefixed = PrefixedStore(store, ("m",)), TableFormat(store, at=("m",))
    assert Listing({"d": TAGS[1]}, set(), True) == prefixed.read(whole.root().child("m"), TAGS)
    assert prefixed.probe(whole.root().child("m"), PRIVATE) is Mark.ABSENT


PATHS = ["/a", "/d", "/d/a", "/d/\udcff", "/d/e", "/d/e/a", "/d/e/b/c"]


class Model:
    """What a log says, carried out in the plainest way."""

    def __init__(self, log: Sequence[tuple[str, str]]) -> None:
        self.marks: dict[str, set[str]] = {"w": set(), "o": set(), "r": set()}
        for verb, path in log:
            if verb == "x":
                for paths in self.marks.values():
                    paths -= {
                        each for each in paths if each.startswith(f"{path.rstrip('/')}/") and each != path
                    }
            elif verb.startswith("-"):
                self.marks[verb[1:]].discard(path)
            else:
                self.marks[verb].add(path)

    def inside(self, verb: str, place: str) -> set[str]:
        """Names in a directory (the root is the empty string) that bear a mark."""
        split = [path.rpartition("/") for path in self.marks[verb]]
        return {name for parent, _, name in split if parent == place}


def check_model(model: Model, whiteouts: TableFormat, store: MemoryStore) -> None:
    """Fail unless the format says of each directory what the model does."""
    for parts, directory in _directories(store):
        place = "/".join(["", *parts])
        opaque = (place or "/") in model.marks["o"]
        removed = model.inside("r", place)
        assert opaque == whiteouts.is_opaque(directory)
        expected = set() if opaque else model.inside("w", place) | removed
        assert expected == hidden(whiteouts, directory)
        there = directory.scan(TAGS).keys() - {PRIVATE}
        assert there - removed == whiteouts.read(directory, TAGS).shown.keys()
    pending = sorted(tuple(path.split("/")[1:]) for path in model.marks["r"])
    assert pending == whiteouts.pending()


VERBS = ["w", "-w", "o", "-o", "r", "-r", "x"]
logs = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(VERBS), st.sampled_from(PATHS)),
        st.tuples(st.sampled_from(["o", "-o", "x"]), st.just("/")),
    ),
    max_size=20,
)


def _written(log: Sequence[tuple[str, str]]) -> bytes:
    return HEADER + "".join(json.dumps(list(line)) + "\n" for line in log).encode()


@pytest.mark.property
@pytest.mark.rule("E5", "M1")
@given(logs, st.data())
def test_a_log_cut_anywhere_says_what_its_whole_lines_say(
    log: list[tuple[str, str]], data: st.DataObject
) -> None:
    """A crash at any byte leaves the state after some line."""
    whole = _written(log)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    sound = sound_length(cut)
    assert whole.startswith(cut[:sound])
    assert b"\n" not in cut[sound:]
    whiteouts, store = layer(table=cut)
    check_model(Model(log[: max(0, cut.count(b"\n") - 1)]), whiteouts, store)


@pytest.mark.property
@pytest.mark.rule("N4", "M1")
@given(logs, logs, logs)
def test_a_log_that_grows_says_what_it_would_say_at_once(
    first: list[tuple[str, str]], more: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    """Only what is new is played, unless the log is another one."""
    whiteouts, store = layer(table=_written(first))
    check_model(Model(first), whiteouts, store)
    with store.root().child(PRIVATE).open_writable(TABLE, "ab") as file:
        file.write(_written(more).removeprefix(HEADER) + b'["w","/to')
    check_model(Model(first + more), whiteouts, store)
    rewrite(store, _written(other))
    check_model(Model(other), whiteouts, store)


@pytest.mark.property
@pytest.mark.rule("M1")
@given(logs)
def test_a_shortened_log_says_the_same(log: list[tuple[str, str]]) -> None:
    """What was taken back is left out, and nothing else."""
    noise = [("w", f"/noise/{number:050}") for number in range(400)]
    long = _written([*noise, *log, *((f"-{verb}", path) for verb, path in noise)])
    whiteouts, store = layer(table=long)
    short = whiteouts.compacted()
    assert short is not None
    assert len(short) * 2 <= len(long)
    model = Model(log)
    assert sum(len(paths) for paths in model.marks.values()) == short.count(b"\n") - 1
    rewrite(store, short)
    check_model(model, whiteouts, store)
    assert whiteouts.compacted() is None


def _directories(store: MemoryStore) -> list[tuple[Parts, Directory]]:
    root = store.root()
    return [((), root), (("d",), root.child("d")), (("d", "e"), root.child("d").child("e"))]


@pytest.mark.parametrize("names", [0, 3, 400])
def test_a_log_that_is_short_or_all_in_use_is_left_alone(names: int) -> None:
    whiteouts, _ = layer(*(json.dumps(["w", f"/{number:060}"]) for number in range(names)))
    assert whiteouts.compacted() is None


def test_no_table_is_nothing_to_shorten_or_to_recover() -> None:
    whiteouts = TableFormat(MemoryStore())
    assert whiteouts.compacted() is None
    assert [] == whiteouts.pending()


@pytest.mark.rule("E5", "M3")
@pytest.mark.parametrize("hide", [True, False])
@pytest.mark.parametrize("below", [b"", b'["w","/d/e/a"]\n["o","/d/e"]\n["r","/d/e/b"]\n["w","/d/e"]\n'])
def test_a_tree_is_removed_in_steps_that_nobody_sees(hide: bool, below: bytes) -> None:
    """From the first line on it is gone; after the last one no mark speaks of it but a whiteout."""
    whiteouts, store = layer(table=HEADER + below)
    d = store.root().child("d")
    record = whiteouts.whiteout(("d",), "e")
    append(store, record.remove)
    seen: list[object] = []

    def look() -> None:
        check_agreement(whiteouts, d)
        seen.append((whiteouts.probe(d, "e"), whiteouts.read(d, TAGS)))

    look()
    assert ("d", "e") in whiteouts.pending()
    d.child("e").create("left over")
    look()
    d.child("e").unlink("left over")
    d.rmdir("e")
    look()
    assert [(Mark.WHITEOUT, Listing({}, {"e"}, False))] * 3 == seen
    whole = _table_of(store)
    last = record.removed_hidden if hide else record.removed
    for lines in range(last.count(b"\n")):  # a write that was cut short at any line
        rewrite(store, whole + b"".join(line + b"\n" for line in last.split(b"\n")[:lines]))
        look()
        assert ("d", "e") in whiteouts.pending()
        assert seen[0] == seen[-1]
    rewrite(store, whole + last)
    look()
    said = Listing({}, {"e"} if hide else set(), False)
    assert (Mark.WHITEOUT if hide else Mark.ABSENT, said) == seen[-1]
    assert [] == whiteouts.pending()
    append(store, record.drop)
    d.mkdir("e").mkdir("b")
    assert Listing({"b": TAGS[1]}, set(), False) == whiteouts.read(d.child("e"), TAGS)
    assert whiteouts.probe(d, "e") == Present(d.stat("e"))


def append(store: MemoryStore, lines: bytes) -> None:
    with store.root().child(PRIVATE).open_writable(TABLE, "ab") as file:
        file.write(lines)


def _table_of(store: MemoryStore) -> bytes:
    return store.root().child(PRIVATE).read(TABLE)


@pytest.mark.rule("M5")
def test_what_is_removed_from_an_opaque_directory_is_not_shown_either() -> None:
    """Inside an opaque directory whiteouts mean nothing, and a removal still hides its own object."""
    whiteouts, store = layer('["o","/d"]', '["r","/d/e"]')
    d = store.root().child("d")
    assert Listing({}, set(), True) == whiteouts.read(d, TAGS)
    assert whiteouts.probe(d, "e") is Mark.ABSENT


@pytest.mark.rule("E5")
def test_a_removal_can_be_given_up() -> None:
    """The state before: all that is left shows again, with its marks."""
    whiteouts, store = layer('["w","/d"]', '["o","/d"]', '["w","/d/e"]')
    before = [whiteouts.read(each, TAGS) for _parts, each in _directories(store)]
    record = whiteouts.whiteout((), "d")
    append(store, record.remove)
    assert whiteouts.probe(store.root(), "d") is Mark.WHITEOUT
    append(store, record.restore)
    assert before == [whiteouts.read(each, TAGS) for _parts, each in _directories(store)]
    assert [] == whiteouts.pending()


def test_forgetting_leaves_what_is_not_beneath() -> None:
    whiteouts, store = layer(
        '["w","/d"]',
        '["w","/d/a"]',
        '["w","/dd"]',
        '["w","/d/e/a"]',
        '["o","/d"]',
        '["o","/d/e"]',
        '["o","/"]',
    )
    append(store, whiteouts.whiteout((), "d").forget)
    assert not whiteouts.is_opaque(store.root().child("d"))
    assert whiteouts.is_opaque(store.root())
    append(store, b'["-o","/"]\n')
    assert {"d", "dd"} == hidden(whiteouts, store.root())
    assert set() == hidden(whiteouts, store.root().child("d"))
    assert set() == hidden(whiteouts, store.root().child("d").child("e"))


def test_records_byte_by_byte() -> None:
    """What is appended is whole lines of ASCII."""
    whiteouts = TableFormat(MemoryStore())
    record = whiteouts.whiteout(("caf\udce9", '"'), "é")
    path = b'"/caf\\udce9/\\"/\\u00e9"]\n'
    assert b'["w",' + path == record.put
    assert b'["-w",' + path == record.drop
    assert b'["r",' + path == record.remove
    assert b'["-r",' + path == record.restore
    forget = b'["x",' + path + b'["-o",' + path
    assert forget == record.forget
    assert b'["w",' + path + forget + b'["-r",' + path == record.removed_hidden
    assert forget + b'["-w",' + path + b'["-r",' + path == record.removed
    assert MarkerRecord(b'["o","/"]\n', b'["-o","/"]\n') == whiteouts.opaque(())


def test_records_hold_paths_of_the_whole_source() -> None:
    store = MemoryStore()
    store.root().mkdir("sub").mkdir("d")
    whiteouts = TableFormat(store, root=("sub",), at=("m", "n"))
    assert b'["w","/sub/d/a"]\n' == whiteouts.whiteout(("m", "n", "d"), "a").put
    assert MarkerRecord(b'["o","/sub"]\n', b'["-o","/sub"]\n') == whiteouts.opaque(("m", "n"))
    for at in ((), ("m",)):
        with pytest.raises(ValueError, match="above the layer's prefix"):
            whiteouts.whiteout(at, "a")
        with pytest.raises(ValueError, match="above the layer's prefix"):
            whiteouts.opaque(at)
    lines = b'["r","/sub/d"]\n["r","/other"]\n["r","/sub"]\n'
    store.root().mkdir(PRIVATE).create(TABLE, HEADER + lines)
    assert [("m", "n", "d")] == whiteouts.pending()
    table = whiteouts.table()
    assert ((), PRIVATE, TABLE, HEADER) == (table.home.parts, table.directory, table.file, table.header)


@pytest.mark.rule("M4")
def test_the_private_name_is_reserved_in_both_roots() -> None:
    """`table` keeps its own name for itself, in the root of the layer and of its source."""
    store = MemoryStore()
    plain, moved = TableFormat(store), TableFormat(store, root=("sub",), at=("m",))
    assert plain.is_reserved((), PRIVATE)
    assert not plain.is_reserved(("d",), PRIVATE)
    assert moved.is_reserved(("m",), PRIVATE)
    assert not moved.is_reserved(("m", "d"), PRIVATE)
    assert not plain.is_reserved((), TABLE)


@pytest.mark.parametrize("data", [b"", b"unionpath", b"a\n", b"a\nb", b"\n\n", b"a\n\xff"])
def test_the_sound_part_ends_with_the_last_newline(data: bytes) -> None:
    assert data[: sound_length(data)] == b"".join(data.splitlines(keepends=True)[: data.count(b"\n")])


@pytest.mark.rule("N4")
def test_a_growing_table_is_read_by_many_threads(tmp_path: Path) -> None:
    """Whoever asks after a line was written is told what it says, whoever else is asking."""
    (tmp_path / PRIVATE).mkdir()
    table = tmp_path / PRIVATE / TABLE
    table.write_bytes(HEADER)
    whiteouts, store = TableFormat(LocalStore(tmp_path)), LocalStore(tmp_path)
    written, failed, over = [0], list[object](), threading.Event()

    def ask() -> None:
        try:
            while not over.is_set():
                sure = written[0]
                listing = whiteouts.read(store.root(), TAGS)
                assert {str(number) for number in range(sure)} <= set(listing.hidden)
                assert whiteouts.probe(store.root(), str(sure - 1)) is (
                    Mark.WHITEOUT if sure else Mark.ABSENT
                )
        except BaseException as error:  # noqa: BLE001 - shown below
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    with open(table, "ab", buffering=0) as file:
        for number in range(500):
            file.write(json.dumps(["w", f"/{number}"]).encode() + b"\n")
            written[0] = number + 1
    over.set()
    for thread in threads:
        thread.join()
    assert [] == failed
