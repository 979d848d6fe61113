"""
Where changes land: what a store that can be written to fulfils, besides `model.store`.

Only the upper layer of a stack is written to. As for reading, one directory and one name in it are changed
at a time, so no change can follow a symbolic link or leave the tree (L11).

Implementers MUST keep these promises, besides those of `model.store`:

- A method that raises has changed nothing; one that returns is complete, and every other handle of the
  store shows it at once. No one ever sees a state in between.
- Nothing but `rename` replaces what has the name already.
- A symbolic link is changed itself, never what it leads to.
- What the store can't represent is EOPNOTSUPP, raised before the first change; whoever asked `capabilities`
  never meets it (E4).
- New names are checked by the caller (never empty, `.`, `..`, or with slash or NUL), or EINVAL.
- All methods that make a name raise FileExistsError (EEXIST) if it is taken, FileNotFoundError (ENOENT) if
  this directory was removed, and OSError (ENAMETOOLONG) for a name that the store can't hold. All that name
  an object raise FileNotFoundError (ENOENT) if it isn't there.
- Times and `st_nlink` follow as POSIX says; a new object in a set-group-ID directory takes its group (C10).
- `permissions` are the most that a new object gets: an operating system takes its umask off them.
"""

from __future__ import annotations

from enum import Enum
from io import RawIOBase
from typing import BinaryIO, Literal, Protocol, TypeAlias

from unionpath.model.entry import Kind
from unionpath.model.store import Directory, Store

RawMode: TypeAlias = Literal["wb", "ab", "xb", "rb+", "wb+", "ab+", "xb+"]
"""What may be done with a file opened for writing, in the words of `io.FileIO`."""


class Move(Enum):
    """What `WritableDirectory.rename` does about the two names."""

    REPLACE = "replace"
    """As rename(2): the target is replaced as R1 and R2 say."""
    EXCLUSIVE = "exclusive"
    """EEXIST if the target name is taken, by whatever (RENAME_NOREPLACE)."""
    EXCHANGE = "exchange"
    """Both names must be there and swap their objects, of any kinds (RENAME_EXCHANGE)."""
    WHITEOUT = "whiteout"
    """As REPLACE, and the old name shows a character device 0:0 from then on (RENAME_WHITEOUT)."""


class Lock(Protocol):
    """
    An advisory lock on one file or directory of a store, between threads, `Lock` objects and processes.

    Held by a process that dies, it is free. Not reentrant.
    """

    def acquire(self, *, wait: bool = True) -> bool:
        """Take it; False if `wait` is False and someone else has it."""

    def release(self) -> None:
        """Give it back."""

    def close(self) -> None:
        """Give up what is held open; in the child of a fork without giving back the parent's lock."""


class WritableDirectory(Directory, Protocol):
    """One directory of one `WritableStore`."""

    def child(self, name: str) -> WritableDirectory:
        """As `Directory.child`."""

    def create(self, name: str, data: bytes = b"", permissions: int = 0o644, *, sync: bool = False) -> None:
        """
        Make a regular file with its whole content; no one MUST ever see it with less.

        `sync`: the content is on the disk before the name is there (E7).
        """

    def open_new(self, name: str, mode: RawMode, permissions: int = 0o666) -> RawIOBase:
        """
        Make an empty regular file, and open it as `open_writable` does: exactly one of several makers wins.

        Stores without RENAMES show the file when it is closed, whole; EEXIST may come as late as that.
        """

    def open_writable(self, name: str, mode: RawMode, *, truncate: bool = False) -> RawIOBase:
        """
        Open a regular file that is there, unbuffered, for what `mode` allows; cut it to nothing if
        `truncate`.

        In the modes with `a`, every write MUST go to the end that the file has at that moment. `mode`,
        `readable()` and `writable()` of the result are those that `io.FileIO` shows for `mode`.
        Stores without RENAMES show what was written when the file is flushed or closed, all of it at once.

        Raises:
            IsADirectoryError (EISDIR): it is a directory.
            OSError (ELOOP): it is a symbolic link. (ENXIO): a FIFO or socket. (EACCES): a device node.
        """

    def put(
        self, name: str, source: BinaryIO | RawIOBase, permissions: int = 0o644, *, sync: bool = False
    ) -> None:
        """
        Make or replace a regular file with all that `source` reads, in one step, in bounded memory.

        Raises:
            IsADirectoryError (EISDIR): the name is a directory's.
        """

    def mkdir(self, name: str, permissions: int = 0o755) -> WritableDirectory:
        """Make an empty directory and give its handle."""

    def symlink(self, name: str, target: str) -> None:
        """
        Make a symbolic link; the target MUST be kept to the byte.

        Raises:
            OSError (ENAMETOOLONG): the target is too long. FileNotFoundError (ENOENT): it is empty (S2).
            ValueError: it holds a NUL.
        """

    def mknod(self, name: str, kind: Kind, permissions: int, rdev: int = 0) -> None:
        """
        Make a FIFO, a socket, a device node for `rdev`, or an empty file.

        Raises:
            OSError (EINVAL): a directory or symbolic link, which can't be made like this.
            PermissionError (EPERM): the process may not make device nodes.
        """

    def link(self, name: str, source_directory: WritableDirectory, source_name: str) -> None:
        """
        Give the object `source_name` of `source_directory` a further name here.

        Raises:
            OSError (EXDEV): the directory is of another store. PermissionError (EPERM): a directory (C8).
        """

    def unlink(self, name: str) -> None:
        """
        Remove a name that isn't a directory's; files opened before MUST stay readable and writable.

        Raises:
            IsADirectoryError (EISDIR): it is a directory's (D2).
        """

    def rmdir(self, name: str) -> None:
        """
        Remove an empty directory.

        Raises:
            NotADirectoryError (ENOTDIR): it is something else. OSError (ENOTEMPTY): it has names.
        """

    def rename(
        self,
        name: str,
        target_directory: WritableDirectory,
        target_name: str,
        how: Move = Move.REPLACE,
    ) -> None:
        """
        Move an object, in one step that no one ever sees half done (R1, R2).

        With REPLACE, two names of one object stay as they are.

        Raises:
            OSError (EXDEV): the directory is of another file system or store. (EOPNOTSUPP): the store
                can't do it in one step. (EINVAL): a directory into its own subtree.
                (ENOTEMPTY): onto a directory that has names.
            IsADirectoryError (EISDIR): something else onto a directory.
            NotADirectoryError (ENOTDIR): a directory onto something else.
        """

    def chmod(self, name: str | None, permissions: int) -> None:
        """
        Set the permission bits of `name` (None: of the directory itself).

        Raises:
            OSError (EOPNOTSUPP): a link, where links have none of their own.
        """

    def chown(self, name: str | None, uid: int = -1, gid: int = -1) -> None:
        """
        Set owner and group; -1 keeps.

        Raises:
            PermissionError (EPERM): the process may not.
        """

    def utime(self, name: str | None, ns: tuple[int, int] | None = None) -> None:
        """Set access and modification time in nanoseconds since the epoch; None: now."""

    def setxattr(self, name: str | None, attribute: str, value: bytes) -> None:
        """
        Set one extended attribute, new or not.

        Raises:
            OSError (EOPNOTSUPP): the store holds none of this namespace, or none on such an object.
            PermissionError (EPERM): the process may not. OSError (ENOSPC, E2BIG): it is too large.
        """

    def removexattr(self, name: str | None, attribute: str) -> None:
        """
        Remove one extended attribute.

        Raises:
            OSError (ENODATA): there is none of this name.
        """

    def sync(self, name: str | None) -> None:
        """
        Bring `name` (None: the names in this directory) to the disk, so that a power loss doesn't undo it.
        """

    def lock(self, name: str | None) -> Lock:
        """Make a lock on the file or directory `name`, which is there (None: on this directory)."""


class WritableStore(Store, Protocol):
    """One directory tree, for reading and writing; its `capabilities` MUST hold `WRITABLE`."""

    def root(self) -> WritableDirectory:
        """As `Store.root`."""

    def home(self) -> WritableDirectory:
        """
        The topmost directory in which names can be made: the root, or what a prefix was put in front of.
        """

    def confirm(self) -> None:
        """
        See that the tree is still where it was when the store was made.

        Raises:
            OSError (ESTALE): it is gone, or another one stands there (E9).
        """

    def neighbour(self, name: str, *, make: bool = True) -> WritableStore | None:
        """
        Give a store for a private directory on the same volume but outside the tree, made if need be
        (`make`);
        `rename` moves objects between the two. None if there is none, or can be none.
        """
