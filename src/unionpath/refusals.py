"""
How a stack without an upper refuses a change: with the errno that a read-only file system gives (E1).

The order of questions is the kernel's: the directory that holds the name must be there (ENOENT, ENOTDIR),
then comes what is odd about the last component (R6), then whether the name is taken, and only then EROFS.
"""

from __future__ import annotations

import errno
from typing import Final, NamedTuple, Protocol

from unionpath.model.entry import Kind
from unionpath.model.errors import oserror
from unionpath.model.text import name_of, parent_of


class Tree(Protocol):
    """What is asked before a refusal; the resolver of a stack is one."""

    def kind(self, path: str, follow: bool = True, /) -> int:
        """The `Kind` of what is there, as an int, or -1."""

    def stat(self, path: str, follow: bool = True, /) -> object:
        """Raises if nothing is there."""


class _Answers(NamedTuple):
    """The errno in the special cases of one operation."""

    root: int
    dotdot: int
    taken: int = 0
    """If the name shows something; 0: that makes no difference."""


_CREATOR: Final = _Answers(root=errno.EEXIST, dotdot=errno.EEXIST, taken=errno.EEXIST)
_ANSWERS: Final = {
    "mkdir": _CREATOR,
    "symlink": _CREATOR,
    "link": _CREATOR,
    "unlink": _Answers(root=errno.EISDIR, dotdot=errno.EISDIR),
    "rmdir": _Answers(root=errno.EBUSY, dotdot=errno.ENOTEMPTY),
    "rename": _Answers(root=errno.EBUSY, dotdot=errno.EBUSY),
}


def refuse_name(tree: Tree, path: str, operation: str, path2: str | None = None) -> OSError:
    """
    Give the error of mkdir, symlink, link, unlink, rmdir, or of a rename of `path` to `path2`.

    Raises:
        OSError: the directory that holds a name can't be reached (ENOENT, ENOTDIR, ELOOP).
    """
    answers = _ANSWERS[operation]
    paths = (path,) if path2 is None else (path, path2)
    for each in paths:
        _check_parent(tree, each)
    for each in paths:
        if special := _special(answers, each):
            return oserror(special, path, path2)
    if answers.taken and tree.kind(path, False) >= 0:
        return oserror(answers.taken, path)
    return oserror(errno.EROFS, path, path2)


def refuse_attributes(tree: Tree, path: str, follow: bool) -> OSError:
    """
    Give the error of a change of mode, owner or times.

    Raises:
        FileNotFoundError (ENOENT): there is nothing to change.
    """
    tree.stat(path, follow)
    return oserror(errno.EROFS, path)


def refuse_open(tree: Tree, path: str, action: str) -> OSError:
    """
    Give the error of opening a file for writing; `action` is `r` (for `r+`), `w`, `a` or `x`.

    Raises:
        FileNotFoundError (ENOENT): `r+` of a missing name, or no directory to create it in.
    """
    if action == "r":
        tree.stat(path)
    else:
        _check_parent(tree, path)
    if action == "x":
        return oserror(errno.EROFS if tree.kind(path, False) < 0 else errno.EEXIST, path)
    return oserror(errno.EISDIR if tree.kind(path) == Kind.DIRECTORY else errno.EROFS, path)


def _check_parent(tree: Tree, path: str) -> None:
    """Raise unless the last component of `path` stands in a directory."""
    parent = parent_of(path)
    try:
        if tree.kind(parent) == Kind.DIRECTORY:
            return
        tree.stat(parent)
    except OSError as error:
        raise oserror(error.errno or errno.EIO, path) from error
    raise oserror(errno.ENOTDIR, path)


def _special(answers: _Answers, path: str) -> int:
    """Give the errno for the root or a `..` at the end, else 0."""
    name = name_of(path)
    return answers.root if not name else answers.dotdot if name == ".." else 0
