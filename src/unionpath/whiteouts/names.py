"""
Formats that write absence as file names: `oci` and `unionfs`.

OCI image-spec, `layer.md`, "Whiteouts":

    A whiteout filename consists of the prefix `.wh.` plus the basename of the path to be deleted.
    Once a whiteout is applied, the whiteout itself MUST also be hidden.
    Whiteout files MUST only apply to resources in lower/parent layers.

and "Opaque Whiteout":

    An opaque whiteout entry is a file with the name `.wh..wh..opq` indicating that all siblings are
    hidden in the lower layer.

Unionfs 2.x, `fs/unionfs/whiteout.c`:

    If a directory contains this file, then it is opaque.  We start with the .wh. flag so that it is
    blocked by lookup.
    #define UNIONFS_DIR_OPAQUE_NAME "__dir_opaque"
    #define UNIONFS_DIR_OPAQUE UNIONFS_WHPFX UNIONFS_DIR_OPAQUE_NAME

The two differ in nothing but the name of the opaque marker, so they are two values of one class. Only
names count: what kind of object bears a marker's name, and what is in it, is never looked at. Names
beginning `.wh..wh.` come from AUFS, which keeps its own files under them; they can't be whiteouts,
since no visible name begins with `.wh.` (M2, M4).
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Sequence
from stat import S_ISDIR
from typing import Final

from unionpath.model.errors import MalformedLayerError, is_missing_name
from unionpath.model.parts import Parts
from unionpath.model.store import Directory, Store
from unionpath.model.typed import override
from unionpath.model.whiteout import Listing, Mark, MarkerAttribute, MarkerFile, Present, Probe, SideTable

PREFIX: Final = ".wh."
PRIVATE_PREFIX: Final = ".wh..wh."
OCI_OPAQUE: Final = ".wh..wh..opq"
UNIONFS_OPAQUE: Final = ".wh.__dir_opaque"

_MISSPELLED_OPAQUE: Final = frozenset({".wh..wh.opq", ".wh..opq"})
_MALFORMED: Final = frozenset({PREFIX, PREFIX + ".", PREFIX + ".."})
_NOTHING: Final[frozenset[str]] = frozenset()


class MisspelledMarkerWarning(UserWarning):
    """A directory holds a name that was probably meant to make it opaque, and does not (M2)."""


class NameFormat:
    """
    A format whose whiteout of `x` is an object named `.wh.x` beside it; made by `oci` and `unionfs`.

    Args:
        name: `oci` or `unionfs`.
        opaque_markers: names that make their directory opaque; the first is the one to write, the others
            are read as well.
        misspellings: names that mean something else, or nothing, probably meant for an opaque marker.
    """

    __slots__ = ("_warned", "misspellings", "name", "opaque_markers")

    def __init__(self, name: str, opaque_markers: tuple[str, ...], misspellings: frozenset[str]) -> None:
        self.name: Final = name
        self.opaque_markers: Final = opaque_markers
        self.misspellings: Final = misspellings
        self._warned: set[str] = set()

    def _key(self) -> tuple[str, tuple[str, ...], frozenset[str]]:
        return self.name, self.opaque_markers, self.misspellings

    @override
    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, NameFormat) else NotImplemented

    @override
    def __hash__(self) -> int:
        return hash(self._key())

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return NameFormat, self._key()

    @property
    def has_redirects(self) -> bool:
        """Always False: image layers know neither redirects nor metadata-only files."""
        return False

    def own_marks(self, directory: Directory) -> None:
        """Give None: attributes mean nothing."""

    def probe(self, directory: Directory, name: str) -> Probe:
        """
        Ask for one name: one stat for what is there, one more for a directory or for what isn't there.

        Where a whiteout is found, `is_opaque` is asked too. The object is asked for before its marker: a
        writer marks and then removes (E5), so whoever finds the object gone finds the marker there.

        Rules L6, L10, M3-M5, M10.
        """
        if name.startswith(PREFIX):
            return Mark.ABSENT
        try:
            stat = directory.stat(name)
        except OSError as error:
            if not is_missing_name(error):
                raise
            return Mark.WHITEOUT if self._is_whited_out(directory, name) else Mark.ABSENT
        return Present(stat, alone=S_ISDIR(stat.st_mode) and self._is_whited_out(directory, name))

    def is_opaque(self, directory: Directory) -> bool:
        """Tell whether an opaque marker is in the directory; one stat per spelling that counts (M2, M8)."""
        return any(_holds(directory, marker) for marker in self.opaque_markers)

    def read(self, directory: Directory, tags: Sequence[int]) -> Listing:
        """
        List the directory without its markers; costs one pass over the names beyond the scan.

        Warns with `MisspelledMarkerWarning`, once per directory.

        Raises:
            MalformedLayerError (EIO): a marker without a name, or for `.` or `..` (M6).

        Rules L6, M2, M3, M5, M6.
        """
        shown = directory.scan(tags)
        markers = [name for name in shown if name.startswith(PREFIX)]
        if not markers:
            return Listing(shown, _NOTHING, False)
        for marker in markers:
            del shown[marker]
        self._check(directory, markers)
        if not set(markers).isdisjoint(self.opaque_markers):
            return Listing(shown, _NOTHING, True)
        hidden = {marker[len(PREFIX) :] for marker in markers if not marker.startswith(PRIVATE_PREFIX)}
        return Listing(shown, hidden, False)

    def is_reserved(self, directory: Parts, name: str) -> bool:
        """Tell whether the name is in the markers' name space, which is the same in every directory (M4)."""
        return name.startswith(PREFIX)

    def is_private_attribute(self, attribute: str) -> bool:
        """Give False: no attribute means anything, so OverlayFS's are data like others."""
        return False

    def whiteout(self, directory: Parts, name: str) -> MarkerFile:
        """
        Give the empty file `.wh.NAME`, beside the object.

        Its name may be longer than the layer can hold; whoever writes it has to ask (M10).
        """
        return MarkerFile(PREFIX + name)

    def opaque(self, directory: Parts) -> MarkerFile:
        """Give the format's own opaque marker, which goes into the directory; aliases are never written."""
        return MarkerFile(self.opaque_markers[0])

    def redirection(self, target: str) -> MarkerAttribute | None:
        """Give None: nothing in this format can be moved without its contents."""
        return None

    def table(self) -> SideTable | None:
        """Give None: every marker lies beside what it marks."""
        return None

    def touched(self, name: str) -> str | None:
        """Tell which shown name a changed name concerns; None for what concerns all of the directory."""
        if not name.startswith(PREFIX):
            return name
        if name in self.opaque_markers or name in _MALFORMED:
            return None
        return name if name.startswith(PRIVATE_PREFIX) else name[len(PREFIX) :]

    def redirect(self, directory: Directory, name: str | None) -> str | None:
        """Give None: nothing in this format was ever moved."""
        return None

    def is_metacopy(self, directory: Directory, name: str) -> bool:
        """Give False: every file has its own data."""
        return False

    def side_news(self, known: Hashable) -> tuple[None, list[Parts]]:
        """Give nothing: there is no side directory."""
        return None, []

    def side_directory(self, store: Store) -> Directory | None:
        """Give None: every marker lies beside what it marks."""
        return None

    def _is_whited_out(self, directory: Directory, name: str) -> bool:
        return _holds(directory, PREFIX + name) and not self.is_opaque(directory)

    def _check(self, directory: Directory, markers: Iterable[str]) -> None:
        """Refuse malformed markers; warn of misspelled ones."""
        for marker in markers:
            if marker in _MALFORMED:
                problem = "a whiteout names what it hides, and not '.' or '..'"
                raise MalformedLayerError(directory.place(marker), problem)
            if marker in self.misspellings:
                self._warn(directory, marker)

    def _warn(self, directory: Directory, marker: str) -> None:
        place = directory.place()
        if place in self._warned:
            return
        self._warned.add(place)
        message = (
            f"{directory.place(marker)} does not make its directory opaque: "
            f"in format {self.name!r} that is done by {self.opaque_markers[0]!r}"
        )
        warnings.warn(message, MisspelledMarkerWarning, stacklevel=2)


def oci(*, aliases: bool) -> NameFormat:
    """
    Make the format of OCI image layers, which is also that of AUFS.

    `aliases`: `.wh.__dir_opaque` counts as opaque too, as fits directory and memory layers; in image
    layers it is the whiteout of `__dir_opaque`, as the specification says (M2).
    """
    markers = (OCI_OPAQUE, UNIONFS_OPAQUE) if aliases else (OCI_OPAQUE,)
    return NameFormat("oci", markers, _MISSPELLED_OPAQUE)


def unionfs() -> NameFormat:
    """Make the format of Unionfs 1.x and 2.x; OCI's opaque marker means nothing in it, and gets a warning."""
    return NameFormat("unionfs", (UNIONFS_OPAQUE,), _MISSPELLED_OPAQUE | {OCI_OPAQUE})


def _holds(directory: Directory, marker: str) -> bool:
    """Tell whether a marker is in the directory; one that is too long to be there is not (M10)."""
    try:
        directory.stat(marker)
    except OSError as error:
        if not is_missing_name(error):
            raise
        return False
    return True
