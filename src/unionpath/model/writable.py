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

from io import RawIOBase
from typing import Protocol

from unionpath.model.entry import Kind
from unionpath.model.store import Directory, Store


class WritableDirectory(Directory, Protocol):
    """One directory of one `WritableStore`."""

    def child(self, name: str) -> WritableDirectory:
        """As `Directory.child`."""

    def create(self, name: str, data: bytes = b"", permissions: int = 0o644) -> None:
        """Make a regular file with its whole content; no one MUST ever see it with less."""

    def open_writable(self, name: str, *, append: bool = False) -> RawIOBase:
        """
        Open a regular file for reading and writing, unbuffered, without cutting it.

        With `append`, every write MUST go to the end that the file has at that moment.

        Raises:
            IsADirectoryError (EISDIR): it is a directory.
            OSError (ELOOP): it is a symbolic link. (ENXIO): a FIFO or socket. (EACCES): a device node.
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

    def rename(self, name: str, target_directory: WritableDirectory, target_name: str) -> None:
        """
        Move an object, replacing what the target name had, as the system call does (R1, R2).

        The target name MUST show either the old or the new object at every moment. Two names of one object
        stay as they are.

        Raises:
            OSError (EXDEV): the directory is of another store. (EINVAL): a directory into its own subtree.
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


class WritableStore(Store, Protocol):
    """One directory tree, for reading and writing; its `capabilities` MUST hold `WRITABLE`."""

    def root(self) -> WritableDirectory:
        """As `Store.root`."""
