"""
Where bytes live: the protocols a store fulfils, and the flags by which it says what it can do.

A store shows one directory tree. It is asked through `Directory` handles, one directory at a time and
one name at a time: that is what lets a local store answer relative to directory descriptors, and what
makes it impossible for any store to follow a symbolic link on the way (L11).

Implementers MUST keep these promises:

- Names arrive checked: never empty, `.`, `..`, and without slash or NUL. A name that the store can't
  hold is ENAMETOOLONG.
- A symbolic link is never followed, neither by a handle nor by any of its methods.
- Absence is FileNotFoundError or NotADirectoryError; every other fault is another OSError, raised and
  never turned into absence (L8).
- Errors carry the store's own place of the object, but for absence, which is an answer and no fault; the
  resolver puts the union's path in front.
- Methods may be called from several threads at once.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable, Mapping, Sequence
from enum import Flag, auto
from io import RawIOBase
from typing import Final, Protocol

from unionpath.model.entry import Kind, Stat
from unionpath.model.parts import Parts


class Capability(Flag):
    """What a store can represent or promise; checked before the first change (E4), never by trying."""

    NONE = 0
    SYMLINKS = auto()
    """Symbolic links can be stored."""
    HARDLINKS = auto()
    """One object can have several names."""
    SPECIALS = auto()
    """FIFOs, sockets and device nodes can be stored."""
    MODES = auto()
    """Permission bits are real, not made up."""
    OWNERS = auto()
    """Owner and group are real."""
    TIMES = auto()
    """Times can be set, in nanoseconds."""
    XATTRS = auto()
    """Extended attributes can be stored."""
    DESCRIPTORS = auto()
    """Files opened have a `fileno()`."""
    WRITABLE = auto()
    """The store also is a `model.writable.WritableStore`."""
    WATCHABLE = auto()
    """`Directory.watch` may work: changes made elsewhere on this machine are reported."""
    RENAMES = auto()
    """
    Any object is moved in one step, replacing or not replacing what has the name
    (`WritableDirectory.rename`).
    """
    POSIX = SYMLINKS | HARDLINKS | SPECIALS | MODES | OWNERS | TIMES | RENAMES
    """What every POSIX file system can represent."""


WHY_NOT_OPENED: Final[Mapping[Kind, int]] = {
    Kind.DIRECTORY: errno.EISDIR,
    Kind.SYMLINK: errno.ELOOP,
    Kind.FIFO: errno.ENXIO,
    Kind.SOCKET: errno.ENXIO,
    # What a device node reaches lies outside the layer (L11): as on a mount with `nodev` (mount(8)).
    Kind.CHAR_DEVICE: errno.EACCES,
    Kind.BLOCK_DEVICE: errno.EACCES,
}
"""
The errno with which `Directory.open` refuses what isn't a regular file. A FIFO is refused only where it
can't be opened without waiting for a peer (C7).
"""


class Listener(Protocol):
    """Told of changes in a watched directory. Called under no promise of thread; must not block."""

    def changed(self, name: str | None) -> None:
        """One name came or went, or may have; None: the directory itself, or all of it."""

    def altered(self, name: str | None) -> None:
        """
        One name changed its attributes (mode, owner, times, xattrs) and nothing else; None: the directory
        itself.
        """


class Watch(Protocol):
    """A running watch."""

    def close(self) -> None:
        """Stop. The listener is not told of anything after that; closing twice is harmless."""


class Notifier(Protocol):
    """What delivers the events of a store's watches."""

    def poll(self) -> None:
        """
        Tell the listeners of every change that was complete before this call; cheap when there is none.

        Two threads may call at once: neither returns before the changes are delivered. An exception in the
        middle MUST NOT lose a change for the next call.
        """

    def flush(self) -> None:
        """Give back what closed watches still hold of the system."""


class Directory(Protocol):
    """One directory of one store."""

    @property
    def parts(self) -> Parts:
        """Its place in the store, from the store's root, when the handle was made."""

    def place(self, name: str | None = None) -> str:
        """Where this directory, or `name` in it, is, in the store's own words (a host path, a URL)."""

    def status(self) -> Stat:
        """Stat the directory itself."""

    def stat(self, name: str) -> Stat:
        """
        Stat one name in it, without following a link (as `os.lstat`).

        Raises:
            FileNotFoundError (ENOENT): no such name.
        """

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        """
        List the names in it, each with `tags[kind]` for its `Kind`, in the store's own order.

        The caller's tags (seven, one per `Kind`) spare a second pass over large directories. An eighth, if
        given, is for character devices 0:0, which mean something to a format.
        Names `.` and `..` are left out. A name that vanishes meanwhile may be listed or not.
        """

    def child(self, name: str) -> Directory:
        """
        Give the directory `name` in it.

        Raises:
            FileNotFoundError (ENOENT): no such name.
            NotADirectoryError (ENOTDIR): it is something else; a symbolic link is something else.
        """

    def readlink(self, name: str) -> str:
        """
        Give the target of a symbolic link, as stored.

        Raises:
            OSError (EINVAL): it is not a symbolic link.
        """

    def open(self, name: str) -> RawIOBase:
        """
        Open a regular file or FIFO for reading, unbuffered; never blocks waiting for a peer (C7).

        Raises:
            IsADirectoryError (EISDIR): it is a directory.
            OSError (ELOOP): it is a symbolic link. (ENXIO): a socket. (EACCES): a device node, as
                on a file system mounted `nodev`: what a device reaches lies outside the layer (L11).
        """

    def read(self, name: str) -> bytes:
        """Read a whole file; raises as `open`. A store that can do it faster than `open` does."""

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        """Give one extended attribute of `name` (None: of the directory itself), or None if absent."""

    def listxattr(self, name: str | None) -> list[str]:
        """Name the extended attributes of `name` (None: of the directory itself)."""

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        """
        Report changes of this directory to `listener` from now on; None if that can't be had.

        After a change made by anyone on this machine has returned, the next `Notifier.poll()` of the
        store MUST tell the listener before it returns. Reported: names created, removed, renamed in or
        out, changed in their attributes, and the directory's own removal, move or change of attributes;
        with `contents`, also files in it that were written to.
        """


class Store(Protocol):
    """One directory tree, for reading."""

    @property
    def capabilities(self) -> Capability:
        """What it can do."""

    @property
    def name_max(self) -> int:
        """The most bytes a name may have (L10)."""

    @property
    def identity(self) -> Hashable:
        """Equal for two stores exactly if they show the same tree; what equality of layers rests on."""

    @property
    def real_path(self) -> str | None:
        """Where the tree is on this machine, without links; None if it is no local directory (E3)."""

    @property
    def place(self) -> str:
        """Where the tree is, for people: a host path, a URL."""

    @property
    def notifier(self) -> Notifier | None:
        """What to poll before trusting a watch; None if its watches tell their listeners by themselves."""

    def close(self) -> None:
        """Give up what is held open; it is opened again when needed."""

    def root(self) -> Directory:
        """
        Give the root directory; cheap to call again.

        Raises:
            FileNotFoundError, NotADirectoryError: the tree is gone or was never one.
        """
