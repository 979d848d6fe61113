"""
How an absence is written down in a layer: the protocol of whiteout formats.

A format looks at one directory of one layer at a time, takes the markers out, and says what is left.
It decides nothing about other layers; that is `resolve/rules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from unionpath.model.entry import Stat
from unionpath.model.parts import Parts
from unionpath.model.store import Directory, Store


class Mark(Enum):
    """A layer's answer about a name that it doesn't show."""

    ABSENT = "absent"
    """The layer has nothing to say; ask below."""
    WHITEOUT = "whiteout"
    """The layer hides the name in all layers below (L5)."""


class Present(NamedTuple):
    """A layer's answer about a name that it shows."""

    stat: Stat
    alone: bool = False
    """A directory that also has a whiteout of its own name: shown, but merging with nothing below (L6)."""


Probe: TypeAlias = Present | Mark
"""One layer's answer about one name."""


class Listing(NamedTuple):
    """What one directory of one layer shows, markers taken out."""

    shown: dict[str, int]
    """Name to the caller's tag for its kind."""
    hidden: AbstractSet[str]
    """Names whited out for the layers below; may hold shown names too (L6). Empty if opaque (M5)."""
    opaque: bool
    """The directory hides all below it."""
    moved: bool = False
    """The directory may carry a redirect: `redirect` has to be asked before the layers below are."""
    own_marks: Hashable = None
    """As `own_marks` gave it when the directory was listed."""


class MarkerFile(NamedTuple):
    """A marker that is an empty regular file of a private name, beside what it hides or in what is opaque."""

    name: str


class MarkerDevice(NamedTuple):
    """A whiteout that is a character device 0:0 in the place of the name that it hides."""


class MarkerAttribute(NamedTuple):
    """A mark of a directory or file that is an extended attribute of its own."""

    attribute: str
    value: bytes


class MarkerRecord(NamedTuple):
    """
    A mark that is kept in the side table; each field is what to append to the table, in one write.

    `remove` makes the name vanish in its own layer, too, until `removed_hidden` or `removed` follows: what is
    left of it can then be cleared in many steps that nobody sees (E5). Cut short after any of its lines, a
    write leaves a state as consistent as the whole. Of an opaque directory there are `put` and `drop` only.
    """

    put: bytes
    drop: bytes
    remove: bytes = b""
    removed_hidden: bytes = b""
    """After the object is gone: no mark of it or beneath it is left but its whiteout."""
    removed: bytes = b""
    """After the object is gone: no mark of it or beneath it is left."""
    forget: bytes = b""
    """No mark beneath it is left, and it isn't opaque; its whiteout stays as it is."""
    restore: bytes = b""
    """Takes `remove` back: what is left of the name shows again."""


class SideTable(NamedTuple):
    """Where a format keeps its records; neither the directory nor the file need be there yet."""

    home: Directory
    """The directory in which the private directory is, or is to be made."""
    directory: str
    file: str
    header: bytes
    """What a new file begins with."""
    sound_length: Callable[[bytes], int]
    """How many bytes of the file are whole; a crash may have cut the rest short."""
    pending: Callable[[], list[Parts]]
    """The places of removals that were begun and not finished (`MarkerRecord.remove`)."""
    compacted: Callable[[], bytes | None]
    """
    A whole new file that says the same in much less, or None. To be asked by who keeps other writers out.
    """


Whiteout: TypeAlias = MarkerFile | MarkerDevice | MarkerRecord
Opaque: TypeAlias = MarkerFile | MarkerAttribute | MarkerRecord


class WhiteoutFormat(Protocol):
    """
    One way of writing whiteouts, opaque directories and private names.

    Implementers MUST:

    - match marker names exactly, never by prefix (M2), and never list or show one (M3);
    - give the same answer from `probe` and from `read`;
    - raise `MalformedLayerError` for a marker that means nothing (M6);
    - let every `OSError` of the directory pass (L8), except where one name is asked for that isn't there, or
      is longer than the layer can hold (L10): it is absent, and a mark may hide it all the same.
    """

    @property
    def name(self) -> str:
        """The word a user picks it by: `oci`, `unionfs`, `overlayfs`, `table`."""

    @property
    def has_redirects(self) -> bool:
        """Directories may carry redirects and files metacopy marks: both have to be asked for."""

    def own_marks(self, directory: Directory) -> Hashable:
        """
        Give what attributes of the directory itself say about it, for comparison; None in formats that ask
        none.

        As long as it stays the same, no other change of the directory's attributes changes an answer.
        """

    def probe(self, directory: Directory, name: str) -> Probe:
        """Ask for one name; `alone` need only be right for directories."""

    def is_opaque(self, directory: Directory) -> bool:
        """Tell whether the directory hides all below it."""

    def read(self, directory: Directory, tags: Sequence[int]) -> Listing:
        """List the directory; `tags` as in `Directory.scan`."""

    def is_reserved(self, directory: Parts, name: str) -> bool:
        """Tell whether the name can never be shown in this directory of a layer of this format (M3, M4)."""

    def is_private_attribute(self, attribute: str) -> bool:
        """Tell whether an extended attribute is the format's own: never shown, copied or set (M3)."""

    def whiteout(self, directory: Parts, name: str) -> Whiteout:
        """Say what stands for a whiteout of `name` in `directory`; writes nothing."""

    def opaque(self, directory: Parts) -> Opaque:
        """Say what makes `directory` opaque; writes nothing."""

    def redirection(self, target: str) -> MarkerAttribute | None:
        """Say what sends look-ups below a moved directory to `target`; None: the format can't (R4)."""

    def table(self) -> SideTable | None:
        """Say where records are kept; None if the format has none."""

    def touched(self, name: str) -> str | None:
        """
        Tell which shown name is concerned when `name` changed in a directory: itself for a plain name,
        `x` for a whiteout of `x`, None if the directory as a whole is (an opaque marker).
        """

    def redirect(self, directory: Directory, name: str | None) -> str | None:
        """
        Where the lower part of an object of this layer is: an absolute path from the layer's root, or a
        name beside the object; None if it was never moved. `name` None: the directory itself.

        Raises:
            OSError (EPERM): a redirect in a namespace that anyone may write (M7).
        """

    def is_metacopy(self, directory: Directory, name: str) -> bool:
        """
        Tell whether the file `name` holds metadata only, its data being in a layer below.

        Raises:
            OSError (EPERM): the mark stands in a namespace that anyone may write (M7).
        """

    def side_news(self, known: Hashable) -> tuple[Hashable, list[Parts] | None]:
        """
        Tell what changed in the side directory since `known`, which an earlier call gave (None: never).

        Gives the present state, and the paths in the layer whose answers may be others now; None: any.
        """

    def side_directory(self, store: Store) -> Directory | None:
        """A private directory whose changes may change the answer for any name of the layer, or None."""
