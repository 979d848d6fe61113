"""
One object from a layer into the work area: data, then owner, attributes, mode, times (C2, C6, C10).

Linux `fs/overlayfs/copy_up.c` copies in the same spirit: everything is done to a private copy, and the copy
gets its name last.
"""

from __future__ import annotations

import errno
import os
import stat as _stat
import warnings
from collections.abc import Callable
from contextlib import closing
from io import RawIOBase
from typing import NamedTuple

from unionpath.model.change import Attributes
from unionpath.model.entry import Kind, Stat, kind_of
from unionpath.model.errors import UnsupportedOperation, oserror
from unionpath.model.layer import LayerView
from unionpath.model.store import Capability, Directory
from unionpath.model.whiteout import WhiteoutFormat
from unionpath.model.writable import WritableDirectory
from unionpath.stores.transfer import sync, transfer

_CAPABILITY = "security.capability"
_ACCESS_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
_PRIVATE_PERMISSIONS = 0o600


class OwnerNotKeptWarning(UserWarning):
    """
    A copy-up could not keep the owner of a lower's object; its set-user-ID and set-group-ID bits are gone
    (E10).
    """


class Origin(NamedTuple):
    """An object of a layer that is to be copied."""

    path: str
    """Where the union shows it."""
    directory: Directory
    """The layer's directory that has it; with `name` None: itself."""
    name: str | None
    format: WhiteoutFormat
    open: Callable[[], RawIOBase]
    """Opens a file's data."""

    def status(self) -> Stat:
        """Stat it."""
        return self.directory.status() if self.name is None else self.directory.stat(self.name)


def stage(
    origin: Origin,
    staging: WritableDirectory,
    name: str,
    upper: LayerView,
    *,
    data: bool = True,
    durable: bool = False,
    change: Attributes | None = None,
) -> Stat:
    """
    Make `name` in the staging directory the same as the origin, without what is in a directory.

    `data`: with its bytes. `durable`: bytes are on the disk when this returns. Gives the origin's stat.

    Raises:
        UnsupportedOperation: the upper can't hold such an object (C7, E4). OSError: as upper or layer fail.
    """
    status = origin.status()
    kind = kind_of(status.st_mode)
    check_able(kind, upper.store.capabilities, origin.path)
    if kind is Kind.CHAR_DEVICE and status.st_rdev == 0:
        raise oserror(errno.EPERM, origin.path, hint="a device 0:0 would be a whiteout")
    match kind:
        case Kind.FILE:
            with closing(staging.open_new(name, "wb", _PRIVATE_PERMISSIONS)) as target:
                if data:
                    with closing(origin.open()) as source:
                        transfer(source, target)
                # A file cut to nothing was changed just now; one that is the same was not.
                copy_attributes(origin, status, staging, name, upper, times=data)
                change_attributes(staging, name, change)
                if durable:
                    sync(target)
            return status
        case Kind.DIRECTORY:
            staging.mkdir(name, 0o700)
        case Kind.SYMLINK:
            assert origin.name is not None
            staging.symlink(name, origin.directory.readlink(origin.name))
        case _:
            staging.mknod(name, kind, _PRIVATE_PERMISSIONS, status.st_rdev)
    copy_attributes(origin, status, staging, name, upper)
    change_attributes(staging, name, change)
    return status


def check_able(kind: Kind, capabilities: Capability, path: str) -> None:
    """Refuse what the upper has no form for (E4)."""
    needed = {Kind.FILE: Capability.NONE, Kind.DIRECTORY: Capability.NONE, Kind.SYMLINK: Capability.SYMLINKS}
    if needed.get(kind, Capability.SPECIALS) not in capabilities:
        raise UnsupportedOperation(f"the upper of this stack can't hold a {kind.name}: {path!r}")


def copy_attributes(
    origin: Origin,
    status: Stat,
    target: WritableDirectory,
    name: str,
    upper: LayerView,
    *,
    times: bool = True,
    content: bool = True,
) -> None:
    """
    Give the object `name` the origin's owner, attributes, mode and times, as far as the store has such.

    `content`: it has the origin's bytes, too.

    The owner comes first: setting it drops `security.capability` and the set-user-ID bits (chown(2)). The
    mode comes after the access lists, which change it (acl(5)). The times come last: all the rest changes
    them.
    """
    capabilities = upper.store.capabilities
    is_link = _stat.S_ISLNK(status.st_mode)
    permissions = _stat.S_IMODE(status.st_mode)
    if Capability.OWNERS in capabilities:
        mine = target.stat(name)
        if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid) and not _copy_owner(
            origin, status, target, name
        ):
            permissions &= ~(_stat.S_ISUID | _stat.S_ISGID)
    if Capability.XATTRS in capabilities:
        _copy_xattrs(origin, target, name, upper.format, content=content)
    if Capability.MODES in capabilities and not is_link:
        target.chmod(name, permissions)
    if times and Capability.TIMES in capabilities:
        target.utime(name, (status.st_atime_ns, status.st_mtime_ns))


def _copy_owner(origin: Origin, status: Stat, target: WritableDirectory, name: str) -> bool:
    try:
        target.chown(name, status.st_uid, status.st_gid)
    except PermissionError:
        if os.geteuid() == 0:
            raise
        try:
            target.chown(name, -1, status.st_gid)
        except PermissionError:
            pass
        warnings.warn(
            f"the owner {status.st_uid}:{status.st_gid} of {origin.path} can't be kept in the upper",
            OwnerNotKeptWarning,
            stacklevel=2,
        )
        return False
    return True


def _copy_xattrs(
    origin: Origin, target: WritableDirectory, name: str, layout: WhiteoutFormat, *, content: bool
) -> None:
    for attribute in origin.directory.listxattr(origin.name):
        # Neither the marks of the lower's format, nor what would be a mark in the upper's (M3).
        if origin.format.is_private_attribute(attribute) or layout.is_private_attribute(attribute):
            continue
        if attribute == _CAPABILITY and not content:
            continue  # as any write does away with it
        value = origin.directory.getxattr(origin.name, attribute)
        if value is None:
            continue
        try:
            target.setxattr(name, attribute, value)
        except OSError as error:
            # As the kernel: what guards access has to be kept, the rest only where it can be
            # (`ovl_must_copy_xattr`).
            must = attribute in _ACCESS_LISTS or attribute == _CAPABILITY
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTSUP) and not must:
                continue
            # What only the superuser may give, capabilities and labels, someone else's copy goes without.
            if error.errno == errno.EPERM and attribute.startswith("security.") and os.geteuid() != 0:
                continue
            raise


def change_attributes(target: WritableDirectory, name: str | None, change: Attributes | None) -> None:
    """Set what is to be set of an object's metadata."""
    if change is None:
        return
    if change.owner is not None:
        target.chown(name, *change.owner)
    if change.permissions is not None:
        target.chmod(name, change.permissions)
    for attribute, value in change.xattrs:
        if value is None:
            target.removexattr(name, attribute)
        else:
            target.setxattr(name, attribute, value)
    if change.now:
        target.utime(name, None)
    elif change.times is not None:
        target.utime(name, change.times)
