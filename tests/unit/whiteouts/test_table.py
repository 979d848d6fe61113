"""Our own format, line by line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from contract.format_contract import TAGS, CountingDirectory, check_agreement, check_malformed
from unionpath.model.errors import MalformedLayerError
from unionpath.model.parts import Parts
from unionpath.model.store import Directory
from unionpath.model.whiteout import Listing, Mark, Present
from unionpath.stack import Layer, LayerStack
from unionpath.stores.local import LocalStore
from unionpath.stores.memory import MemoryDirectory, MemoryStore
from unionpath.stores.prefixed import PrefixedStore, SubtreeStore
from unionpath.whiteouts.table import PRIVATE, TABLE, TableFormat

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
    assert not whiteouts.is_reserved(name)
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
        b"", b" ", b"#", b"null", b"{}", b"[]", b'["w"]', b'["w","/a","/b"]', b'["x","/a"]', b'["W","/a"]',
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
    with private.open_writable(TABLE, append=True) as file:
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
    assert ["stat", "read"] == private.questions
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


@pytest.mark.rule("L8", "L11")
def test_something_else_in_the_tables_place(tmp_path: Path) -> None:
    """A layer's faults are raised, and a layer never follows symlinks itself."""
    whiteouts, root = TableFormat(LocalStore(tmp_path)), LocalStore(tmp_path).root()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / TABLE).write_bytes(HEADER + b'["w","/a"]\n')
    os.symlink("elsewhere", tmp_path / PRIVATE)
    assert whiteouts.probe(root, "a") is Mark.ABSENT
    os.unlink(tmp_path / PRIVATE)
    os.mkdir(tmp_path / PRIVATE)
    os.mkdir(tmp_path / PRIVATE / TABLE)
    with pytest.raises(IsADirectoryError):
        whiteouts.probe(root, "a")
    os.rmdir(tmp_path / PRIVATE / TABLE)
    os.symlink(f"../elsewhere/{TABLE}", tmp_path / PRIVATE / TABLE)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        whiteouts.probe(root, "a")


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
    assert Listing({"e": TAGS[1], PRIVATE: TAGS[0]}, {"a"}, False) == moved.read(inner, TAGS)
    assert moved.probe(inner, "a") is Mark.WHITEOUT
    assert moved.is_opaque(inner.child("e"))
    whole, prefixed = PrefixedStore(store, ("m",)), TableFormat(store, at=("m",))
    assert Listing({"d": TAGS[1]}, set(), True) == prefixed.read(whole.root().child("m"), TAGS)
    assert prefixed.probe(whole.root().child("m"), PRIVATE) is Mark.ABSENT


@pytest.mark.property
@pytest.mark.rule("E5", "M1")
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["w", "-w", "o", "-o"]),
            st.sampled_from(["/a", "/d", "/d/a", "/d/\udcff", "/d/e"]),
        ),
        max_size=20,
    ),
    st.data(),
)
def test_a_log_cut_anywhere_says_what_its_whole_lines_say(
    log: list[tuple[str, str]], data: st.DataObject
) -> None:
    """A crash at any byte leaves the state after some line."""
    whole = HEADER + "".join(json.dumps(list(line)) + "\n" for line in log).encode()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    marks: dict[str, set[str]] = {"w": set(), "o": set()}
    for verb, path in log[: max(0, cut.count(b"\n") - 1)]:
        (marks[verb[-1]].discard if verb[0] == "-" else marks[verb].add)(path)
    whiteouts, store = layer(table=cut)
    for parts, directory in _directories(store):
        place = "/".join(["", *parts])
        opaque = place in marks["o"]
        assert opaque == whiteouts.is_opaque(directory)
        here = {path.rpartition("/")[2] for path in marks["w"] if path.rpartition("/")[0] == place}
        assert (set() if opaque else here) == hidden(whiteouts, directory)


def _directories(store: MemoryStore) -> list[tuple[Parts, Directory]]:
    root = store.root()
    return [((), root), (("d",), root.child("d")), (("d", "e"), root.child("d").child("e"))]
