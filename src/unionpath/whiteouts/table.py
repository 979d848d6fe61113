"""
Our own format, `table`: whiteouts stand in one file, and every name is free for data.

It suits stores that have neither devices nor attributes, data named `.wh.…`, and names too long to put
`.wh.` in front. The file is `.wh..wh.unionpath/whiteouts` in the layer's root, a log in UTF-8:

    unionpath whiteouts 1
    ["w","/etc/motd"]           a whiteout of /etc/motd
    ["o","/srv"]                /srv is opaque
    ["-w","/etc/motd"]          no longer

Later lines win. A last line without its newline was cut short by a crash and counts for nothing.
`docs/reference/formats.md` has it byte by byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, TypeAlias

from unionpath.model.entry import Stat
from unionpath.model.errors import MalformedLayerError, is_missing_name
from unionpath.model.parts import Parts, check_text
from unionpath.model.store import Directory, Store
from unionpath.model.whiteout import Listing, Mark, Present, Probe

PRIVATE: Final = ".wh..wh.unionpath"
"""The private directory in the layer's root: hidden there, an ordinary name anywhere else."""
TABLE: Final = "whiteouts"
HEADER: Final = b"unionpath whiteouts 1"

_NOTHING: Final[frozenset[str]] = frozenset()
_Stamp: TypeAlias = tuple[int, int, int, int]


class _Table:
    """What a table says; built by `_parse_table` and not changed after that."""

    __slots__ = ("hidden", "opaque")

    def __init__(self) -> None:
        self.hidden: dict[Parts, set[str]] = {}
        """Directory to the names whited out in it."""
        self.opaque: set[Parts] = set()

    def names(self, directory: Parts | None) -> set[str] | frozenset[str]:
        """Names hidden by the whiteouts of a directory: none if it is opaque (M5), or not the source's."""
        if directory is None or directory in self.opaque:
            return _NOTHING
        return self.hidden.get(directory, _NOTHING)


_EMPTY: Final = _Table()


class TableFormat:
    """
    The table of one layer, read again whenever its file is another one or has changed.

    Coherence rests on the file's inode number, size, mtime and ctime: one stat per question. A change
    that keeps all four goes unseen, which takes a store that has no times.
    """

    __slots__ = ("_at", "_known", "_root", "_source")

    def __init__(self, source: Store, *, root: Parts = (), at: Parts = ()) -> None:
        """
        Use the table in the root of `source`; nothing is asked of it before the first question.

        The layer shows the subtree `root` of `source`, under the prefix `at`. Its table is still that of
        the whole source, whose paths it holds.
        """
        self._source = source
        self._root = root
        self._at = at
        self._known: tuple[_Stamp, _Table] | None = None

    @property
    def name(self) -> str:
        """`table`."""
        return "table"

    @property
    def has_redirects(self) -> bool:
        """Always False: the table holds whiteouts and opaque directories only."""
        return False

    def probe(self, directory: Directory, name: str) -> Probe:
        """
        Ask for one name: a stat of it, then one of the table.

        In this order, because a writer marks and then removes (E5): whoever finds the object gone finds
        its whiteout in the table. The table may hide a name that is too long for its own layer (L10).

        Raises:
            MalformedLayerError (EIO): the table.

        Rules L6, L10, M3, M5.
        """
        parts = self._parts_in_source(directory)
        if name == PRIVATE and parts == ():
            return Mark.ABSENT
        try:
            stat = directory.stat(name)
        except OSError as error:
            if not is_missing_name(error):
                raise
            return Mark.WHITEOUT if name in self._table().names(parts) else Mark.ABSENT
        return Present(stat, alone=name in self._table().names(parts))

    def is_opaque(self, directory: Directory) -> bool:
        """
        Tell whether the table calls the directory opaque; the root may be (M8).

        Raises:
            MalformedLayerError (EIO): the table.
        """
        return self._parts_in_source(directory) in self._table().opaque

    def read(self, directory: Directory, tags: Sequence[int]) -> Listing:
        """
        List the directory; its names are the store's, less the private directory in the root.

        Raises:
            MalformedLayerError (EIO): the table.

        Rules L6, M3, M5, M8.
        """
        shown = directory.scan(tags)
        parts = self._parts_in_source(directory)
        if parts == ():
            shown.pop(PRIVATE, None)
        table = self._table()
        return Listing(shown, table.names(parts), parts in table.opaque)

    def is_reserved(self, name: str) -> bool:
        """Give False: the one private name is taken in the root only, where `probe` knows it (M4)."""
        return False

    def touched(self, name: str) -> str | None:
        """Give the name itself; None for the private directory's, on whose coming and going all depends."""
        return None if name == PRIVATE else name

    def redirect(self, directory: Directory, name: str | None) -> str | None:
        """Give None: nothing in this format was ever moved."""
        return None

    def is_metacopy(self, directory: Directory, name: str) -> bool:
        """Give False: every file has its own data."""
        return False

    def side_directory(self, store: Store) -> Directory | None:
        """Give the source's private directory, where the table is or will be; None while there is none."""
        try:
            return self._source.root().child(PRIVATE)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _parts_in_source(self, directory: Directory) -> Parts | None:
        """Give a directory's place in the source; None above the prefix, where nothing is the source's."""
        parts, depth = directory.parts, len(self._at)
        return self._root + parts[depth:] if parts[:depth] == self._at else None

    def _table(self) -> _Table:
        """Give the table as it is now."""
        private = self.side_directory(self._source)
        if private is None:
            return _EMPTY
        try:
            # The stamp is taken before the contents, so it may be too old, and the table read once too
            # often, but never too new.
            stamp = _stamp(private.stat(TABLE))
            known = self._known
            if known is not None and known[0] == stamp:
                return known[1]
            table = _parse_table(private.place(TABLE), private.read(TABLE))
        except (FileNotFoundError, NotADirectoryError):
            return _EMPTY
        self._known = (stamp, table)
        return table


def _stamp(stat: Stat) -> _Stamp:
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _parse_table(place: str, data: bytes) -> _Table:
    """
    Play the log.

    Raises:
        MalformedLayerError (EIO): names the file and the first line that isn't as it should be.
    """
    *lines, torn = data.split(b"\n")
    if not lines:
        if HEADER.startswith(torn):
            return _EMPTY
        lines = [torn]
    if lines[0] != HEADER:
        problem = f"line 1: the first line is {HEADER.decode()!r} and not {lines[0][:40]!r}"
        raise MalformedLayerError(place, problem)
    table = _Table()
    for number, line in enumerate(lines[1:], start=2):
        try:
            _play(table, line)
        except (ValueError, RecursionError) as error:
            raise MalformedLayerError(place, f"line {number}: {error}") from error
    return table


def _play(table: _Table, line: bytes) -> None:
    """
    Carry out one line.

    Raises:
        ValueError: saying what is wrong with it. RecursionError: it is nested without end.
    """
    match json.loads(line.decode("utf-8")):
        case ["w", str(text)]:
            directory, name = _split(text)
            table.hidden.setdefault(directory, set()).add(name)
        case ["-w", str(text)]:
            directory, name = _split(text)
            table.hidden.get(directory, set()).discard(name)
        case ["o", str(text)]:
            table.opaque.add(_parse_path(text))
        case ["-o", str(text)]:
            table.opaque.discard(_parse_path(text))
        case _:
            raise ValueError('not a verb ("w", "-w", "o" or "-o") and a path, as in ["w","/a"]')


def _split(text: str) -> tuple[Parts, str]:
    """
    Part the path of a whiteout into its directory and its name.

    Raises:
        ValueError: as `_parse_path`, and for the root, which nothing can hide (M6).
    """
    parts = _parse_path(text)
    if not parts:
        raise ValueError("the root can't be whited out")
    return parts[:-1], parts[-1]


def _parse_path(text: str) -> Parts:
    """
    Check a path of the table: absolute, and in the only spelling that it may have.

    Raises:
        ValueError: it is anything else, or can't be a path at all.
    """
    check_text(text)
    if text == "/":
        return ()
    root, *components = text.split("/")
    if root or not components or any(component in ("", ".", "..") for component in components):
        raise ValueError(f"{text!r} is not an absolute path without empty, '.' and '..' components")
    return tuple(components)
