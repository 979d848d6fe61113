"""
The steps of a change, as data. Pure: nothing is touched here.

Each step is one change of the upper that is there wholly or not at all (E5), and after each step of a plan
the union shows either what it showed before the plan or what it shows after. Paths are absolute paths of the
union, free of links and `..`, which are also the upper's own.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from unionpath.model.change import Attributes
from unionpath.model.entry import KIND_WORDS, Kind


class CopyUp(NamedTuple):
    """
    Bring one object from a lower to the upper; a directory without what is in it (C2).

    From layer 0, the upper: its file held metadata only, and gets its data.
    """

    path: str
    kind: Kind
    layer: int
    """Who provides it."""
    data: bool = True
    """With its bytes; False: an empty file (C4)."""
    change: Attributes | None = None
    """What is set before anyone sees the copy."""
    whole: bool = False
    """A directory with all that it shows, opaque, in one step (R4)."""

    def __str__(self) -> str:
        what = "tree" if self.whole else KIND_WORDS[self.kind]
        extra = "" if self.data or self.kind is not Kind.FILE else " without data"
        change = "" if self.change is None else f" with {self.change}"
        return f"copy up {what} {self.path} from layer {self.layer}{extra}{change}"


class Make(NamedTuple):
    """Make a new object where nothing shows; the whiteout of its name goes in the same step (D5)."""

    path: str
    kind: Kind
    permissions: int
    target: str = ""
    """Of a symbolic link."""
    over_whiteout: bool = False
    """There is a whiteout of the name; a directory is made opaque (D4)."""

    def __str__(self) -> str:
        extra = f" to {self.target}" if self.kind is Kind.SYMLINK else ""
        where = " over a whiteout" if self.over_whiteout else ""
        opaque = ", opaque" if self.over_whiteout and self.kind is Kind.DIRECTORY else ""
        return f"make {KIND_WORDS[self.kind]} {self.path}{extra}{where}{opaque}"


class Write(NamedTuple):
    """Put a regular file with its whole content in place, new or in the place of another (C11)."""

    path: str
    size: int
    like: int | None = None
    """The layer whose file it takes the place of and whose metadata it keeps; None: a new file."""
    over_whiteout: bool = False
    change: Attributes | None = None
    """What is set before anyone sees it."""
    staged: str | None = None
    """The content is in the work area already, under this name."""

    def __str__(self) -> str:
        how = (
            "write new file"
            if self.like is None
            else "write file"
            if self.like == 0
            else "replace lower file"
        )
        return f"{how} {self.path}, {self.size} bytes"


class Link(NamedTuple):
    """Give an object of the upper a second name."""

    path: str
    source: str
    over_whiteout: bool = False

    def __str__(self) -> str:
        return f"link {self.path} to {self.source}"


class Remove(NamedTuple):
    """Take a name out of the union, with all below it."""

    path: str
    kind: Kind
    in_upper: bool
    """There is something in the upper to remove."""
    whiteout: bool
    """A lower would show through: a whiteout takes its place (D1)."""
    tree: bool = False
    """With all that it shows."""

    def __str__(self) -> str:
        words = [f"put whiteout {self.path}"] if self.whiteout else []
        words += [f"remove {KIND_WORDS[self.kind]} {self.path} from the upper"] if self.in_upper else []
        return ", ".join(words)


class Rename(NamedTuple):
    """Move an object of the upper to another name, in the place of what has it."""

    path: str
    target: str
    kind: Kind
    whiteout: bool
    """A lower would show through at the old name (R1)."""
    opaque: bool = False
    """A directory that must not merge with what lowers have at the new name (R3)."""
    over_whiteout: bool = False
    """There is a whiteout of the new name."""
    over_directory: bool = False
    """There is a directory of the new name in the upper, with nothing to see in it."""
    redirect: str | None = None
    """Where the lowers' part of the directory stays."""

    def __str__(self) -> str:
        extra = " and leave a whiteout" if self.whiteout else ""
        redirect = f", redirected to {self.redirect}" if self.redirect is not None else ""
        return f"rename {self.path} to {self.target}{extra}{redirect}"


class SetAttributes(NamedTuple):
    """Change metadata of an object of the upper."""

    path: str
    change: Attributes

    def __str__(self) -> str:
        return f"set {self.change} of {self.path}"


class Duplicate(NamedTuple):
    """Copy a file or tree to a new name: what comes before a removal where a store can't rename (R4, E5)."""

    path: str
    target: str
    kind: Kind
    over_whiteout: bool = False
    over_directory: bool = False
    """There is a directory that shows nothing; it is filled, and hides what lies below."""

    def __str__(self) -> str:
        return f"copy {KIND_WORDS[self.kind]} {self.path} to {self.target}"


Step: TypeAlias = CopyUp | Make | Write | Link | Remove | Rename | SetAttributes | Duplicate
Plan: TypeAlias = tuple[Step, ...]
"""What is to be done, in order."""
