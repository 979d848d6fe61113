"""
What an upper changes, as seen from its lowers: a walk of the upper alone, compared with what the lowers show.

Only what the upper holds is looked at, so the cost follows the size of the changes and not that of the
lowers. Nothing is written. The walk is lazy: it sees each directory as it is when its turn comes.

What counts as a change, where both have an object of one kind:

| kind | modified, if | else metadata, if |
|---|---|---|
| file | size or bytes differ | mode, owner, group, mtime or an xattr differs |
| symbolic link | the target differs | owner, group, mtime or an xattr differs |
| device | the device number differs | as for a file |
| FIFO, socket | never | as for a file |
| directory | never; see below | mode, owner, group or an xattr differs |

Bytes are compared whenever the sizes are equal: times can be set, and two writes can share one, so neither
proves anything. What the upper's store can't hold (modes, owners, times, xattrs) is not compared. Times of
directories change with what is in them and don't count; of the root nothing counts but opacity, because the
upper's root was there before any change.

A directory merges with the lowers' if the upper has one, too; its changes are those below it. One that hides
the lowers' (opaque, or moved here from elsewhere) is `opaque` if there is anything to hide, and all that it
shows is `added`. An object over one of another kind is `modified`; what was below a directory goes unsaid.
"""

from __future__ import annotations

import errno
import stat as _stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BufferedReader
from typing import Final, Literal, NamedTuple, TypeAlias, cast

from unionpath.model.entry import KIND_MASK, KINDS, Kind, Stat, kind_of
from unionpath.model.errors import is_absence, is_missing_name, oserror
from unionpath.model.layer import Cache, LayerView
from unionpath.model.store import Capability, Directory
from unionpath.model.typed import override
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.model.writable import WritableStore
from unionpath.resolve.probing import gone
from unionpath.resolve.resolver import Resolver

What: TypeAlias = Literal["added", "modified", "metadata", "deleted", "opaque"]

LETTERS: Final[Mapping[What, str]] = {
    "added": "A",
    "modified": "M",
    "metadata": "m",
    "deleted": "D",
    "opaque": "O",
}
"""How `str` abbreviates what became of a path."""

_NO_XATTRS: Final = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP})
_BLOCK: Final = 1 << 20
"""Bytes of a file that are compared at a time."""


class Change(NamedTuple):
    """One path that the upper makes show something else than the lowers do."""

    path: str
    """Absolute, in the union."""
    what: What
    """What became of it; the module's docstring has the rules."""
    kind: Kind
    """What shows now; of something deleted: what the lowers show."""
    was: Kind | None
    """What the lowers show; None: nothing."""

    @override
    def __str__(self) -> str:
        return f"{LETTERS[self.what]} {self.path}"


def changes(
    layers: Sequence[LayerView],
    *,
    skip_faults: bool = False,
    fold: Callable[[str], str] | None = None,
) -> Iterator[Change]:
    """
    Say what the first of `layers`, the upper, changes relative to the others.

    In path order: names sorted by code points in each directory, a directory before what is in it. Markers,
    private names and the work area are none of it (M3). `skip_faults` and `fold` are the stack's (L8, N5).
    What vanishes during the walk is left out.

    Raises:
        OSError: a layer failed, with the union's path and the layer named (L8). ESTALE: the upper is gone.
        PermissionError (EPERM): a redirect or metacopy mark in a namespace that anyone may write (M7).
    """
    walk = _Walk(layers, skip_faults, fold)
    try:
        yield from walk.run()
    finally:
        walk.close()


class _Frame(NamedTuple):
    """One directory on the way."""

    path: str
    """The root's is empty."""
    directory: Directory | None
    """The upper's; None beneath a directory that was moved here, where the union as a whole is asked."""
    merges: bool
    """The lowers show a directory here, too, and what is in it shows through."""
    shown: Mapping[str, int]
    """The kinds of the names that show."""
    hidden: Mapping[str, str]
    """Names whited out, by what they compare by."""
    names: Iterator[str]
    """Those not yet told, in order."""


class _Object(NamedTuple):
    """One object of one layer, to be compared."""

    holder: Directory
    name: str
    layout: WhiteoutFormat

    def xattrs(self, also_private: WhiteoutFormat) -> dict[str, bytes]:
        """Read the extended attributes that belong to the object itself (M3)."""
        found: dict[str, bytes] = {}
        for attribute in _attributes(self.holder, self.name):
            if self.layout.is_private_attribute(attribute) or also_private.is_private_attribute(attribute):
                continue
            value = self.holder.getxattr(self.name, attribute)
            if value is not None:
                found[attribute] = value
        return found


class _Walk:
    """One walk of an upper."""

    def __init__(
        self, layers: Sequence[LayerView], skip_faults: bool, fold: Callable[[str], str] | None
    ) -> None:
        self._layers = layers
        self._skip_faults = skip_faults
        self._key = _same if fold is None else fold
        self._fold = fold
        self._format = layers[0].format
        self._before = self._resolver(layers[1:])
        self._union: Resolver | None = None

    def run(self) -> Iterator[Change]:
        """Give the changes."""
        try:
            top, hides = self._root()
        except OSError as error:
            raise self._blame(gone(self._layers[0]) if is_absence(error) else error, "/") from error
        if hides and self._has_content("/"):
            yield Change("/", "opaque", Kind.DIRECTORY, Kind.DIRECTORY)
        frames = [top]
        while frames:
            frame = frames[-1]
            name = next(frame.names, None)
            if name is None:
                frames.pop()
                continue
            path = f"{frame.path}/{name}"
            try:
                change, below = self._child(frame, name, path)
            except OSError as error:
                if is_absence(error):
                    continue  # it vanished meanwhile
                raise self._blame(error, path) from error
            if change is not None:
                yield change
            if below is not None:
                frames.append(below)

    def close(self) -> None:
        """Let go of what was kept and watched."""
        for resolver in (self._before, self._union):
            if resolver is not None:
                resolver.refresh()

    # --- one name ----------------------------------------------------------------------------------

    def _child(self, frame: _Frame, name: str, path: str) -> tuple[Change | None, _Frame | None]:
        """Judge one name; give its change, and the directory to go on in."""
        was = self._kind_before(path) if frame.merges else None
        if name not in frame.shown:
            return (None if was is None else self._deletion(frame, path, was)), None
        kind = Kind(frame.shown[name])
        if kind is Kind.DIRECTORY:
            return self._directory(frame, name, path, was)
        if was is None:
            return Change(path, "added", kind, None), None
        assert frame.directory is not None, "only the upper's own directories merge"
        what: What | None = "modified"
        if kind is was:
            what = self._difference(frame.directory, name, path, kind)
        return (None if what is None else Change(path, what, kind, was)), None

    def _deletion(self, frame: _Frame, path: str, was: Kind) -> Change:
        if self._fold is not None:  # the whiteout may be spelled otherwise (N5)
            path = f"{frame.path}/{self._before.lookup(path, False).path.rpartition('/')[2]}"
        return Change(path, "deleted", was, was)

    def _directory(
        self, frame: _Frame, name: str, path: str, was: Kind | None
    ) -> tuple[Change | None, _Frame | None]:
        """Judge a directory of the upper."""
        kind = Kind.DIRECTORY
        if frame.directory is None:
            return Change(path, "added", kind, None), self._moved(path)
        child = frame.directory.child(name)
        hides = self._key(name) in frame.hidden or self._format.is_opaque(child)
        moved = not hides and len(self._layers) > 1 and self._is_moved(child)
        what: What | None
        if was is not kind:
            what = "added" if was is None else "modified"
        elif (hides or moved) and self._has_content(path):
            what = "opaque"
        else:
            what = self._difference(frame.directory, name, path, kind)
        merges = was is kind and not hides
        below = self._moved(path) if moved else self._frame(path, child, merges=merges)
        return (None if what is None else Change(path, what, kind, was)), below

    def _is_moved(self, directory: Directory) -> bool:
        return self._format.has_redirects and self._format.redirect(directory, None) is not None

    # --- comparing ---------------------------------------------------------------------------------

    def _difference(self, directory: Directory, name: str, path: str, kind: Kind) -> What | None:
        """Compare what the upper has with what the lowers show, both being of one kind."""
        found = self._before.lookup(path, False)
        theirs = _Object(found.holder, found.name, self._before.layers[found.layer].format)
        mine = _Object(directory, name, self._format)
        my_stat, their_stat = directory.stat(name), theirs.holder.stat(theirs.name)
        if kind_of(my_stat.st_mode) is not kind or kind_of(their_stat.st_mode) is not kind:
            return "modified"  # changed since it was listed
        if self._content_differs(mine, my_stat, theirs, their_stat, path):
            return "modified"
        if self._is_ours_by_making(directory, kind):
            return None
        return "metadata" if self._metadata_differ(mine, my_stat, theirs, their_stat) else None

    def _content_differs(
        self, mine: _Object, my_stat: Stat, theirs: _Object, their_stat: Stat, path: str
    ) -> bool:
        match kind_of(my_stat.st_mode):
            case Kind.FILE:
                return my_stat.st_size != their_stat.st_size or (
                    my_stat.st_size > 0 and self._bytes_differ(mine, my_stat.st_size, path)
                )
            case Kind.SYMLINK:
                return mine.holder.readlink(mine.name) != theirs.holder.readlink(theirs.name)
            case Kind.CHAR_DEVICE | Kind.BLOCK_DEVICE:
                return my_stat.st_rdev != their_stat.st_rdev
            case _:
                return False

    def _bytes_differ(self, mine: _Object, size: int, path: str) -> bool:
        """Compare two files of one size, in bounded memory."""
        holder, name = mine.holder, mine.name
        layout = self._format
        is_elsewhere = layout.has_redirects and layout.is_metacopy(holder, name)
        if is_elsewhere and layout.redirect(holder, name) is None:
            return False  # its data are the lowers' own (M7)
        if size <= _BLOCK and not is_elsewhere:
            return holder.read(name) != self._before.read(path)
        opened = self._whole().open(path) if is_elsewhere else holder.open(name)
        with BufferedReader(opened, _BLOCK) as ours, BufferedReader(self._before.open(path), _BLOCK) as lower:
            while block := ours.read(_BLOCK):
                if block != lower.read(_BLOCK):
                    return True
            return lower.read(1) != b""

    def _metadata_differ(self, mine: _Object, my_stat: Stat, theirs: _Object, their_stat: Stat) -> bool:
        can = self._layers[0].store.capabilities
        kind = kind_of(my_stat.st_mode)
        return (
            # Linux has no modes for links.
            (Capability.MODES in can and kind is not Kind.SYMLINK and _mode(my_stat) != _mode(their_stat))
            or (Capability.OWNERS in can and _owners(my_stat) != _owners(their_stat))
            or (
                Capability.TIMES in can
                and kind is not Kind.DIRECTORY
                and my_stat.st_mtime_ns != their_stat.st_mtime_ns
            )
            or (Capability.XATTRS in can and mine.xattrs(theirs.layout) != theirs.xattrs(mine.layout))
        )

    def _is_ours_by_making(self, directory: Directory, kind: Kind) -> bool:
        """Tell whether a directory came with the layer: it leads to where the prefix `at` puts the tree."""
        store = self._layers[0].store
        if kind is not Kind.DIRECTORY or Capability.WRITABLE not in store.capabilities:
            return False
        return len(directory.parts) < len(cast("WritableStore", store).home().parts)

    # --- what is asked -----------------------------------------------------------------------------

    def _root(self) -> tuple[_Frame, bool]:
        """Enter the upper; tell also whether it hides all of the lowers."""
        root = self._layers[0].store.root()
        hides = self._format.is_opaque(root)
        return self._frame("", root, merges=len(self._layers) > 1 and not hides), hides

    def _frame(self, path: str, directory: Directory, *, merges: bool) -> _Frame:
        listing = self._format.read(directory, KINDS)
        hidden = {self._key(name): name for name in listing.hidden}
        names = [*listing.shown]
        if merges:
            shown = {self._key(name) for name in names}
            names += [name for key, name in hidden.items() if key not in shown]
        return _Frame(path, directory, merges, listing.shown, hidden, iter(sorted(names)))

    def _moved(self, path: str) -> _Frame:
        """Go into a directory whose lower part is elsewhere: all that the union shows in it is new here."""
        codes = self._whole().listing(path, passing=True)
        shown = {name: code & KIND_MASK for name, code in codes.items()}
        return _Frame(path, None, False, shown, {}, iter(shown))

    def _kind_before(self, path: str) -> Kind | None:
        """Tell what the lowers show at a path, all of whose parents they show as directories."""
        try:
            kind = self._before.kind(path, False)
        except OSError as error:
            if not is_missing_name(error):
                raise
            return None  # too long a name for the lowers
        return None if kind < 0 else Kind(kind)

    def _has_content(self, path: str) -> bool:
        """Tell whether the lowers show anything in a directory."""
        return len(self._layers) > 1 and bool(self._before.listing(path, passing=True))

    def _whole(self) -> Resolver:
        if self._union is None:
            self._union = self._resolver(self._layers)
        return self._union

    def _resolver(self, layers: Sequence[LayerView]) -> Resolver:
        return Resolver(layers, cache=Cache(), skip_faults=self._skip_faults, fold=self._fold)

    def _blame(self, error: OSError, path: str) -> OSError:
        """Put the union's path on an error of the upper (E2); those of the lowers have it already."""
        if error.filename == path:
            return error
        layer = self._layers[0]
        raised = oserror(error.errno or errno.EIO, path)
        raised.add_note(f"layer {layer.name!r} ({layer.store.place}) failed: {error}")
        return raised


def _mode(stat: Stat) -> int:
    return _stat.S_IMODE(stat.st_mode)


def _owners(stat: Stat) -> tuple[int, int]:
    return stat.st_uid, stat.st_gid


def _same(name: str) -> str:
    return name


def _attributes(holder: Directory, name: str) -> list[str]:
    try:
        return holder.listxattr(name)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return []
        raise
