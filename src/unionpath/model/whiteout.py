"""
How an absence is written down in a layer: the protocol of whiteout formats.

A format looks at one directory of one layer at a time, takes the markers out, and says what is left.
It decides nothing about other layers; that is `resolve/rules.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from unionpath.model.entry import Stat
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

    def probe(self, directory: Directory, name: str) -> Probe:
        """Ask for one name; `alone` need only be right for directories."""

    def is_opaque(self, directory: Directory) -> bool:
        """Tell whether the directory hides all below it."""

    def read(self, directory: Directory, tags: Sequence[int]) -> Listing:
        """List the directory; `tags` as in `Directory.scan`."""

    def is_reserved(self, name: str) -> bool:
        """Tell whether the name can never be shown in a layer of this format (M3, M4)."""

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

    def side_directory(self, store: Store) -> Directory | None:
        """A private directory whose changes may change the answer for any name of the layer, or None."""
