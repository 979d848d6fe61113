"""
Our own format, `table`: whiteouts stand in one file, and every name is free for data.

It suits stores that have neither devices nor attributes, data named `.wh.…`, and names too long to put
`.wh.` in front. The file is `.wh..wh.unionpath/whiteouts` in the layer's root, a log in UTF-8:

    unionpath whiteouts 1
    ["w","/etc/motd"]           a whiteout of /etc/motd
    ["o","/srv"]                /srv is opaque
    ["r","/var"]                /var is removed: whatever is left of it, it isn't shown
    ["x","/var"]                no mark beneath /var counts any more
    ["-w","/etc/motd"]          no longer

Later lines win. A last line without its newline was cut short by a crash and counts for nothing.
`docs/reference/formats.md` has it byte by byte.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Hashable, Sequence
from stat import S_ISREG
from typing import Final, TypeAlias

from unionpath.model.entry import Stat
from unionpath.model.errors import MalformedLayerError, is_missing_name
from unionpath.model.parts import Parts, check_text, show_parts
from unionpath.model.store import Directory, Store
from unionpath.model.whiteout import Listing, Mark, MarkerAttribute, MarkerRecord, Present, Probe, SideTable

PRIVATE: Final = ".wh..wh.unionpath"
"""The private directory in the source's root: hidden there, an ordinary name further down."""
TABLE: Final = "whiteouts"
HEADER: Final = b"unionpath whiteouts 1"

_READS: Final = 8
"""How often a directory is listed at most while others keep writing to the table."""
_SMALL: Final = 1 << 14
"""A log of fewer bytes isn't worth shortening."""
_NOTHING: Final[frozenset[str]] = frozenset()
_Stamp: TypeAlias = tuple[int, int, int, int]


class _Table:
    """What a table says. Lines may be played on it while other threads ask: each line is one step."""

    __slots__ = ("hidden", "opaque", "removed")

    def __init__(self) -> None:
        self.hidden: dict[Parts, set[str]] = {}
        """Directory to the names whited out in it."""
        self.opaque: set[Parts] = set()
        self.removed: dict[Parts, set[str]] = {}
        """Directory to the names that are being removed from it, and that it doesn't show."""

    def is_whited_out(self, directory: Parts | None, name: str) -> bool:
        """Tell whether a whiteout hides the name: none does in an opaque directory (M5)."""
        if directory is None or directory in self.opaque:
            return False
        return name in self.hidden.get(directory, _NOTHING)

    def is_removed(self, directory: Parts | None, name: str) -> bool:
        """Tell whether the name is on its way out of the layer."""
        removed = self.removed
        return bool(removed) and directory is not None and name in removed.get(directory, _NOTHING)

    def lines(self) -> list[bytes]:
        """Say all of it again, in the order of paths."""
        marks = [("o", show_parts(parts)) for parts in self.opaque]
        for verb, names in (("r", self.removed), ("w", self.hidden)):
            marks += [
                (verb, show_parts((*parts, name))) for parts, inside in names.items() for name in inside
            ]
        return [_line(verb, path) for verb, path in sorted(marks, key=lambda mark: mark[::-1])]

    def forget_beneath(self, parts: Parts) -> None:
        """Drop every mark of what lies strictly beneath a path."""
        depth = len(parts)
        for names in (self.hidden, self.removed):
            for directory in [each for each in names if each[:depth] == parts]:
                del names[directory]
        for directory in [each for each in self.opaque if len(each) > depth and each[:depth] == parts]:
            self.opaque.discard(directory)


_EMPTY: Final = _Table()


class _Told:
    """A table and the bytes that were played on it: whole lines from the first on."""

    __slots__ = ("data", "lines", "stamp", "table")

    def __init__(self, stamp: _Stamp, data: bytes, lines: int, table: _Table) -> None:
        self.stamp = stamp
        self.data = data
        self.lines = lines
        self.table = table


class TableFormat:
    """
    The table of one layer, read again whenever its file is another one or has changed.

    Coherence rests on the file's inode number, size, mtime and ctime: one stat per question. A change
    that keeps all four goes unseen, which takes a store that has no times. Of a log that grew, only the new
    lines are played.
    """

    __slots__ = ("_at", "_known", "_root", "_source", "_spare")

    def __init__(self, source: Store, *, root: Parts = (), at: Parts = ()) -> None:
        """
        Use the table in the root of `source`; nothing is asked of it before the first question.

        The layer shows the subtree `root` of `source`, under the prefix `at`. Its table is still that of
        the whole source, whose paths it holds.
        """
        self._source = source
        self._root = root
        self._at = at
        self._known: _Told | None = None
        # What may be played on further. Whoever takes it out has it alone; whoever finds none begins anew,
        # so that no thread ever waits for another one.
        self._spare: list[_Told] = []

    @property
    def name(self) -> str:
        """`table`."""
        return "table"

    @property
    def has_redirects(self) -> bool:
        """Always False: the table holds whiteouts and opaque directories only."""
        return False

    def own_marks(self, directory: Directory) -> None:
        """Give None: attributes mean nothing."""

    def probe(self, directory: Directory, name: str) -> Probe:
        """
        Ask for one name: a stat of it, then one of the table.

        In this order, because a writer marks and then removes (E5): whoever finds the object gone finds
        its whiteout in the table. The table may hide a name that is too long for its own layer (L10).

        Raises:
            MalformedLayerError (EIO): the table.

        Rules L6, L10, M3, M5.
        """
        parts = self._parts_in_source(directory.parts)
        if name == PRIVATE and self._is_private_place(directory.parts):
            return Mark.ABSENT
        try:
            stat = directory.stat(name)
        except OSError as error:
            if not is_missing_name(error):
                raise
            stat = None
        table = self._table()
        if table.is_removed(parts, name):
            return Mark.ABSENT if parts in table.opaque else Mark.WHITEOUT
        whited_out = table.is_whited_out(parts, name)
        if stat is None:
            return Mark.WHITEOUT if whited_out else Mark.ABSENT
        return Present(stat, alone=whited_out)

    def is_opaque(self, directory: Directory) -> bool:
        """
        Tell whether the table calls the directory opaque; the root may be (M8).

        Raises:
            MalformedLayerError (EIO): the table.
        """
        return self._parts_in_source(directory.parts) in self._table().opaque

    def read(self, directory: Directory, tags: Sequence[int]) -> Listing:
        """
        List the directory; its names are the store's, less the private directory and what is removed.

        Raises:
            MalformedLayerError (EIO): the table.

        Rules L6, M3, M5, M8.
        """
        parts = self._parts_in_source(directory.parts)
        before, shown, after = self._read(), directory.scan(tags), self._read()
        for _attempt in range(_READS):
            if before is after or (before and after and before.stamp == after.stamp):
                break
            # A writer publishes an object and then drops its whiteout: read once, both might be missed.
            before, shown, after = after, directory.scan(tags), self._read()
        if self._is_private_place(directory.parts):
            shown.pop(PRIVATE, None)
        table = _EMPTY if after is None else after.table
        if parts is None:
            return Listing(shown, _NOTHING, False)
        # Copies, since lines may be played on the table at any time.
        removed = frozenset(table.removed.get(parts, _NOTHING))
        for name in removed:
            shown.pop(name, None)
        if parts in table.opaque:
            return Listing(shown, _NOTHING, True)
        return Listing(shown, removed.union(table.hidden.get(parts, _NOTHING)), False)

    def is_reserved(self, directory: Parts, name: str) -> bool:
        """Tell whether it is the private name, in the root of the layer or of its source (M4)."""
        return name == PRIVATE and self._is_private_place(directory)

    def is_private_attribute(self, attribute: str) -> bool:
        """Give False: no attribute means anything, so OverlayFS's are data like others."""
        return False

    def whiteout(self, directory: Parts, name: str) -> MarkerRecord:
        """
        Give the lines about a name.

        Raises:
            ValueError: the directory is one that only the layer's prefix makes up; nothing can be there.
        """
        path = show_parts((*self._recorded(directory), name))
        put, drop, remove, back = (_line(verb, path) for verb in ("w", "-w", "r", "-r"))
        forget = _line("x", path) + _line("-o", path)
        return MarkerRecord(put, drop, remove, put + forget + back, forget + drop + back, forget, back)

    def opaque(self, directory: Parts) -> MarkerRecord:
        """
        Give the lines about a directory's opacity.

        Raises:
            ValueError: as `whiteout`.
        """
        path = show_parts(self._recorded(directory))
        return MarkerRecord(_line("o", path), _line("-o", path))

    def redirection(self, target: str) -> MarkerAttribute | None:
        """Give None: nothing in this format can be moved without its contents."""
        return None

    def table(self) -> SideTable:
        """
        Say where the table is: below the root of the whole source, whatever part of it the layer shows.

        Raises:
            OSError: the source's root can't be had.
        """
        return SideTable(
            self._source.root(), PRIVATE, TABLE, HEADER + b"\n", sound_length, self.pending, self.compacted
        )

    def pending(self) -> list[Parts]:
        """
        Give what is marked as removed and hasn't been reported gone, as paths in the layer, sorted.

        Of a source of which the layer shows only a part, what lies in that part.

        Raises:
            MalformedLayerError (EIO): the table.
        """
        depth = len(self._root)
        removed = [(*directory, name) for directory, names in self._table().removed.items() for name in names]
        return sorted(
            self._at + parts[depth:]
            for parts in removed
            if len(parts) > depth and parts[:depth] == self._root
        )

    def compacted(self) -> bytes | None:
        """
        Give a whole new file that says the same; None if that isn't worth it, or there is no table.

        To be asked, and put in the old one's place, by a writer that keeps others out.

        Raises:
            MalformedLayerError (EIO): the table.
        """
        known = self._own()
        if known is None or len(known.data) < _SMALL:
            return None
        new = b"".join([HEADER, b"\n", *known.table.lines()])
        return new if len(new) * 2 <= len(known.data) else None

    def touched(self, name: str) -> str | None:
        """Give the name itself; None for the private directory's, on whose coming and going all depends."""
        return None if name == PRIVATE else name

    def redirect(self, directory: Directory, name: str | None) -> str | None:
        """Give None: nothing in this format was ever moved."""
        return None

    def is_metacopy(self, directory: Directory, name: str) -> bool:
        """Give False: every file has its own data."""
        return False

    def side_news(self, known: Hashable) -> tuple[Hashable, list[Parts] | None]:
        """
        Tell which paths the lines are about that were added since.

        A log that doesn't continue the old one may say anything.

        Raises:
            MalformedLayerError (EIO): the table. OSError: it can't be read.
        """
        told = self._read()
        if told is None:
            return None, None if known is not None else []
        state = (told.stamp[0], len(told.data))
        if not isinstance(known, tuple) or known[0] != state[0] or not len(HEADER) < known[1] <= state[1]:
            return state, None
        depth = len(self._root)
        concerned: list[Parts] = []
        for line in told.data[known[1] :].split(b"\n")[:-1]:
            parts = _parse_path(json.loads(line)[1])
            if parts[:depth] == self._root:
                concerned.append(self._at + parts[depth:])
        return state, concerned

    def side_directory(self, store: Store) -> Directory | None:
        """
        Give the source's private directory, where the table is.

        While there is none: None if the layer shows the source as it is, since its root is watched anyway
        and `touched` knows the private name; else the source's root, where the directory would appear.

        Raises:
            MalformedLayerError (EIO): something else has the private directory's name.
            OSError: the source's root can't be had.
        """
        root = self._source.root()
        private = self._private(root)
        return root if private is None and (self._root or self._at) else private

    def _private(self, root: Directory) -> Directory | None:
        """Give the private directory, if there is one."""
        try:
            return root.child(PRIVATE)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise _misplaced(root.place(PRIVATE), "directory") from error

    def _is_private_place(self, directory: Parts) -> bool:
        """Tell whether the private name is kept here: it is in the source's root, and in the layer's."""
        return directory == self._at or self._parts_in_source(directory) == ()

    def _parts_in_source(self, parts: Parts) -> Parts | None:
        """Give a directory's place in the source; None above the prefix, where nothing is the source's."""
        depth = len(self._at)
        return self._root + parts[depth:] if parts[:depth] == self._at else None

    def _recorded(self, directory: Parts) -> Parts:
        parts = self._parts_in_source(directory)
        if parts is None:
            raise ValueError(f"no mark can be made in {show_parts(directory)}, above the layer's prefix")
        return parts

    def _table(self) -> _Table:
        """Give the table as it is now."""
        known = self._read()
        return _EMPTY if known is None else known.table

    def _own(self) -> _Told | None:
        """Give a table on which no other thread plays lines."""
        return TableFormat(self._source)._read()

    def _read(self) -> _Told | None:
        """Give the table as it is now, and its bytes; None if there is none."""
        try:
            private = self._private(self._source.root())
            if private is None:
                return None
            # The stamp is taken before the contents, so it may be too old, and the table read once too
            # often, but never too new.
            stat = private.stat(TABLE)
            stamp, known = _stamp(stat), self._known
            if known is not None and known.stamp == stamp:
                return known
            return self._play(private.place(TABLE), stamp, _contents(private, stat))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _play(self, place: str, stamp: _Stamp, data: bytes) -> _Told:
        """Play a log, or what is new of it since it was played last."""
        # Nothing is known while a table is in the making: an interrupt may leave it half played.
        self._known = None
        try:
            told = self._spare.pop()
        except IndexError:
            told = None
        if told is None or not data.startswith(told.data):
            told = _Told(stamp, b"", 0, _Table())
        whole = data[: sound_length(data)]
        if not whole and not HEADER.startswith(data):
            raise _not_a_header(place, data)
        new = whole[len(told.data) :].split(b"\n")[:-1]
        _play_lines(told.table, place, told.lines, new)
        self._known = told = _Told(stamp, whole, told.lines + len(new), told.table)
        if not self._spare:
            self._spare.append(told)
        return told


def sound_length(data: bytes) -> int:
    """
    Tell how many bytes of a table are whole lines; the rest was cut short by a crash.

    A writer cuts the rest off before it appends. 0: not even the header is whole, and it has to be written.
    """
    return data.rfind(b"\n") + 1


def _line(verb: str, path: str) -> bytes:
    """Write one line, all of it ASCII; a byte that isn't UTF-8 is the escape of its surrogate (PEP 383)."""
    return json.dumps([verb, path], separators=(",", ":")).encode("ascii") + b"\n"


def _contents(private: Directory, stat: Stat) -> bytes:
    """
    Read the file.

    Raises:
        MalformedLayerError (EIO): it is something else than a regular file. A link would give ELOOP, which
            says of a path that its own links lead round in circles.
    """
    if S_ISREG(stat.st_mode):
        try:
            return private.read(TABLE)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR):  # it was exchanged since
                raise
    raise _misplaced(private.place(TABLE), "regular file")


def _misplaced(place: str, expected: str) -> MalformedLayerError:
    return MalformedLayerError(place, f"the whiteouts are kept in a {expected}, which this is not")


def _stamp(stat: Stat) -> _Stamp:
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def _not_a_header(place: str, line: bytes) -> MalformedLayerError:
    problem = f"line 1: the first line is {HEADER.decode()!r} and not {line[:40]!r}"
    return MalformedLayerError(place, problem)


def _play_lines(table: _Table, place: str, before: int, lines: Sequence[bytes]) -> None:
    """
    Play the lines of a log that come after the first `before` ones.

    Raises:
        MalformedLayerError (EIO): names the file and the first line that isn't as it should be.
    """
    for number, line in enumerate(lines, start=before + 1):
        if number == 1:
            if line != HEADER:
                raise _not_a_header(place, line)
            continue
        try:
            _carry_out(table, line)
        except (ValueError, RecursionError) as error:
            raise MalformedLayerError(place, f"line {number}: {error}") from error


def _carry_out(table: _Table, line: bytes) -> None:
    """
    Carry out one line.

    Raises:
        ValueError: saying what is wrong with it. RecursionError: it is nested without end.
    """
    match json.loads(line.decode("utf-8")):
        case [("w" | "r") as verb, str(text)]:
            directory, name = _split(text)
            names = table.hidden if verb == "w" else table.removed
            names.setdefault(directory, set()).add(name)
        case [("-w" | "-r") as verb, str(text)]:
            directory, name = _split(text)
            names = table.hidden if verb == "-w" else table.removed
            _discard(names, directory, name)
        case ["o", str(text)]:
            table.opaque.add(_parse_path(text))
        case ["-o", str(text)]:
            table.opaque.discard(_parse_path(text))
        case ["x", str(text)]:
            table.forget_beneath(_parse_path(text))
        case _:
            raise ValueError(
                'not a verb ("w", "-w", "o", "-o", "r", "-r" or "x") and a path, as in ["w","/a"]'
            )


def _discard(names: dict[Parts, set[str]], directory: Parts, name: str) -> None:
    inside = names.get(directory)
    if inside is not None:
        inside.discard(name)
        if not inside:
            del names[directory]


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
