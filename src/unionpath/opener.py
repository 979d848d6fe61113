"""
The one place that picks a concrete store and format from what a user passes.

A new kind of source or format is entered here, and nowhere else.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

from unionpath.model.errors import oserror
from unionpath.model.parts import Parts
from unionpath.model.store import Capability, Store
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.model.writable import WritableStore
from unionpath.stores.local import LocalStore, can_read_trusted_xattrs
from unionpath.whiteouts.names import oci, unionfs

if TYPE_CHECKING:
    from typing_extensions import TypeIs
    from upath.types import ReadablePath

WhiteoutName: TypeAlias = Literal["oci", "unionfs", "overlayfs", "table"]
"""The whiteout formats, by the word that picks one."""

LayerSource: TypeAlias = "str | os.PathLike[str] | ReadablePath | Store"
"""What a layer can be made of."""


def is_local_path(source: object) -> TypeIs[str | os.PathLike[str]]:
    """Tell whether a layer's source is a path of this machine, and not a URL or an object."""
    if isinstance(source, str):
        return "://" not in source and "::" not in source
    return isinstance(source, os.PathLike)


def open_tree(
    source: object, root: Parts, at: Parts, whiteouts: WhiteoutName, *, userxattr: bool
) -> tuple[Store, WhiteoutFormat]:
    """
    Open what a layer is made of: the subtree `root` of `source`, shown at `at`, and its whiteout format.

    Raises:
        TypeError: `source` is nothing a layer can be made of.
        ValueError: it is empty text; there is no format of that name; `userxattr` is given to one that has no
            xattrs; the store can't hold the format (E3).
        FileNotFoundError, NotADirectoryError: there is no directory (E3).
        PermissionError (EPERM): the format's marks can't be read without privileges that this process lacks.
    """
    store = whole = _pick_store(source)
    if root or at:
        from unionpath.stores.prefixed import PrefixedStore, SubtreeStore

        store = SubtreeStore(store, root) if root else store
        store = PrefixedStore(store, at) if at else store
    return store, _pick_format(whiteouts, whole, root, at, userxattr=userxattr)


def open_workdir(path: str) -> WritableStore:
    """
    Open the directory named for an upper's work in progress, made if it isn't there.

    Raises:
        OSError: it can't be made, or is something else.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    return LocalStore(path)


def _pick_format(
    name: WhiteoutName, store: Store, root: Parts, at: Parts, *, userxattr: bool
) -> WhiteoutFormat:
    if name not in get_args(WhiteoutName):
        raise ValueError(f"whiteouts={name!r}: pick one of {', '.join(get_args(WhiteoutName))}")
    if userxattr and name != "overlayfs":
        raise ValueError("userxattr=True goes with whiteouts='overlayfs'")
    if name == "oci":
        return oci(aliases=True)
    if name == "unionfs":
        return unionfs()
    if name == "overlayfs":
        from unionpath.whiteouts.overlayfs import OverlayfsFormat

        _check_xattrs(store, userxattr=userxattr)
        return OverlayfsFormat(userxattr=userxattr)
    from unionpath.whiteouts.table import TableFormat

    # The table lies in the root of the whole tree, wherever a part of that is shown.
    return TableFormat(store, root=root, at=at)


def _check_xattrs(store: Store, *, userxattr: bool) -> None:
    """See that the marks of an overlayfs layer can be read: not seeing them would be a wrong answer."""
    if Capability.XATTRS not in store.capabilities:
        raise ValueError(
            f"whiteouts='overlayfs' needs extended attributes, which {store.place} can't have;"
            " use 'oci' or 'table'"
        )
    if not userxattr and Capability.DESCRIPTORS in store.capabilities and not can_read_trusted_xattrs():
        raise oserror(
            errno.EPERM,
            store.place,
            hint="only root can read the trusted.overlay attributes of an overlayfs layer;"
            " one that was written with userxattr is read with userxattr=True",
        )


def _pick_store(source: object) -> Store:
    if isinstance(source, str):
        return _from_text(source)
    if is_local_path(source):
        path: object = os.fspath(source)
        if isinstance(path, str):
            return LocalStore(path)
        raise TypeError(f"a layer's path must give str, not {type(path).__name__}: {source!r}")
    if isinstance(source, (bytes, int)) or source is None:
        raise _not_a_source(source)
    if hasattr(source, "capabilities") and hasattr(source, "notifier"):
        return cast("Store", source)
    from unionpath.stores.upath import open_path

    try:
        return open_path(source)
    except TypeError:
        raise _not_a_source(source) from None


def _not_a_source(source: object) -> TypeError:
    return TypeError(f"a layer is made of a path, a URL, a UPath or a store, not of {source!r}")


def _from_text(text: str) -> Store:
    if not text:
        raise ValueError("a layer's path is empty; write '.' for the current directory")
    if is_local_path(text):
        return LocalStore(text)
    from upath import UPath

    return _pick_store(UPath(text))
