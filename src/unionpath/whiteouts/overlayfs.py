"""
The format of the Linux kernel's OverlayFS: `overlayfs`.

Linux `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories":

    A whiteout is created as a character device with 0/0 device number or as a zero-size regular file
    with the xattr "trusted.overlay.whiteout".

    A directory is made opaque by setting the xattr "trusted.overlay.opaque" to "y".

    An opaque directory should not contain any whiteouts, because they do not serve any purpose. A merge
    directory containing regular files with the xattr "trusted.overlay.whiteout", should be additionally
    marked by setting the xattr "trusted.overlay.opaque" to "x" on the merge directory itself.

"renaming directories":

    Then the "trusted.overlay.redirect" extended attribute is set to the path of the original location
    from the root of the overlay.

"User xattr":

    The "-o userxattr" mount option forces overlayfs to use the "user.overlay." xattr namespace instead
    of "trusted.overlay.".

A layer has exactly one of the two namespaces; accepting both shows whiteouts that nobody wrote.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable, Sequence
from stat import S_ISCHR, S_ISREG
from typing import Final, NamedTuple

from unionpath.model.entry import Kind, Stat
from unionpath.model.errors import MalformedLayerError, is_missing_name
from unionpath.model.parts import Parts
from unionpath.model.store import Directory, Store
from unionpath.model.whiteout import (
    Listing,
    Mark,
    MarkerAttribute,
    MarkerDevice,
    Present,
    Probe,
    SideTable,
)

_OPAQUE: Final = b"y"
"""The directory hides all below it; whiteouts in it mean nothing (M5)."""
_XATTR_WHITEOUTS: Final = b"x"
"""The directory merges, and some of its zero-size files are whiteouts."""
_NO_XATTRS: Final = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP})
_WHITEOUT: Final = -1
"""The tag of a device 0:0 in a listing; no caller's is below 0."""
_NOTHING: Final[frozenset[str]] = frozenset()
_ESCAPED: Final = "overlay."
"""What follows the prefix twice in an attribute that a nested overlay sees as its own."""
_REDIRECT_MAX: Final = 4096
"""Bytes in the longest redirect that is followed: a path has no more (PATH_MAX)."""


class OverlayfsFormat(NamedTuple):
    """
    Layers as the kernel writes them, in one namespace of extended attributes.

    Reading `trusted.` attributes takes CAP_SYS_ADMIN; without it the kernel says that there are none, so
    whoever makes this format MUST see to it that they can be read.
    """

    userxattr: bool = False
    """Read `user.overlay.…` instead of `trusted.overlay.…`."""

    @property
    def name(self) -> str:
        """`overlayfs`."""
        return "overlayfs"

    @property
    def has_redirects(self) -> bool:
        """Always True: in the `user.` namespace they are looked for in order to refuse them (M7)."""
        return True

    def own_marks(self, directory: Directory) -> Hashable:
        """Give the values of `opaque` and `redirect`; None if there is neither."""
        marks = self._marks(directory, None)
        return self._own_marks(directory, marks, self._opacity(directory, marks))

    def _own_marks(self, directory: Directory, marks: set[str], opacity: bytes | None) -> Hashable:
        redirect = directory.getxattr(None, self._full_name("redirect")) if "redirect" in marks else None
        return None if opacity is None and redirect is None else (opacity, redirect)

    def probe(self, directory: Directory, name: str) -> Probe:
        """
        Ask for one name: one stat, and attributes only of zero-size files and of what looks like a whiteout.

        Rules L10, M1, M3, M5.
        """
        try:
            stat = directory.stat(name)
            if not self._may_hide(directory, name, stat):
                return Present(stat)
            opacity = self._opacity(directory, self._marks(directory, None))
        except OSError as error:
            if not is_missing_name(error):
                raise
            return Mark.ABSENT
        if opacity == _OPAQUE:
            return Mark.ABSENT
        if S_ISREG(stat.st_mode) and opacity != _XATTR_WHITEOUTS:
            return Present(stat)
        return Mark.WHITEOUT

    def is_opaque(self, directory: Directory) -> bool:
        """Tell whether the directory hides all below it; the root never does, as in the kernel (M8)."""
        return self._opacity(directory, self._marks(directory, None)) == _OPAQUE

    def read(self, directory: Directory, tags: Sequence[int]) -> Listing:
        """
        List the directory; the store tells devices 0:0 apart.

        Where `opaque` is `x` or `y`, all regular files are, and those of size zero for an attribute as well.

        Rules M1, M3, M5, M8.
        """
        shown = directory.scan((*tags[:7], _WHITEOUT))
        marks = self._marks(directory, None)
        opacity = self._opacity(directory, marks)
        hidden = set(_tagged(shown, _WHITEOUT))
        if opacity in (_OPAQUE, _XATTR_WHITEOUTS):
            files = _tagged(shown, tags[Kind.FILE])
            hidden.update(name for name in files if self._is_marker(directory, name))
        for name in hidden:
            del shown[name]
        own_marks = self._own_marks(directory, marks, opacity)
        if opacity == _OPAQUE:
            return Listing(shown, _NOTHING, True, own_marks=own_marks)
        return Listing(shown, hidden, False, moved="redirect" in marks, own_marks=own_marks)

    def is_reserved(self, directory: Parts, name: str) -> bool:
        """Give False: every name can be shown (M4)."""
        return False

    def is_private_attribute(self, attribute: str) -> bool:
        """
        Tell whether an attribute is OverlayFS's own, in the namespace of this layer.

        As `ovl_is_private_xattr` of the kernel: the escaped `overlay.overlay.…` of nested mounts belongs to
        an inner overlay, is data here, and is copied. The other namespace is data, too.
        """
        prefix = self._full_name("")
        return attribute.startswith(prefix) and not attribute.startswith(prefix + _ESCAPED)

    def whiteout(self, directory: Parts, name: str) -> MarkerDevice:
        """Give the device 0:0, which takes the place of the name."""
        return MarkerDevice()

    def opaque(self, directory: Parts) -> MarkerAttribute:
        """
        Give the attribute `opaque` with the value `y`; on the root it would mean nothing (M8).

        It takes the place of the value `x`, which a directory with whiteouts that are files has: those
        whiteouts mean nothing from then on (M5).
        """
        return MarkerAttribute(self._full_name("opaque"), _OPAQUE)

    def redirection(self, target: str) -> MarkerAttribute | None:
        """
        Give the attribute `redirect`; None in the `user.` namespace, where none is followed (M7).

        `target` is an absolute path from the layers' root, or the name that a directory had before, which
        holds only where it stayed in its parent. None, too, for one that is longer than is followed.
        """
        value = target.encode("utf-8", "surrogateescape")
        if self.userxattr or len(value) > _REDIRECT_MAX:
            return None
        return MarkerAttribute(self._full_name("redirect"), value)

    def table(self) -> SideTable | None:
        """Give None: every marker is in the place of what it marks."""
        return None

    def touched(self, name: str) -> str | None:
        """Give the name itself: a whiteout stands in the place of what it hides."""
        return name

    def redirect(self, directory: Directory, name: str | None) -> str | None:
        """
        Where the lower part of an object is, from the `redirect` attribute; the root is never moved.

        To be asked only of a directory that isn't opaque, or of a metacopy file, and only where layers lie
        below: elsewhere the kernel doesn't look at it either.

        Raises:
            MalformedLayerError (EPERM): it is in the `user.` namespace (M7).
            MalformedLayerError (EIO): it is no path from the root, and no name.
        """
        if name is None and not directory.parts:
            return None
        if "redirect" not in self._marks(directory, name):
            return None
        if self.userxattr:
            raise self._refused(directory, name, "redirect")
        value = directory.getxattr(name, self._full_name("redirect"))
        return None if value is None else _checked_redirect(directory.place(name), value)

    def is_metacopy(self, directory: Directory, name: str) -> bool:
        """
        Tell whether a file's data is in a layer below, from the `metacopy` attribute.

        Raises:
            MalformedLayerError (EPERM): it is in the `user.` namespace (M7).
        """
        found = "metacopy" in self._marks(directory, name)
        if found and self.userxattr:
            raise self._refused(directory, name, "metacopy")
        return found

    def side_news(self, known: Hashable) -> tuple[None, list[Parts]]:
        """Give nothing: there is no side directory."""
        return None, []

    def side_directory(self, store: Store) -> Directory | None:
        """Give None: every marker is in the place of what it marks."""
        return None

    def _full_name(self, attribute: str) -> str:
        return f"{'user' if self.userxattr else 'trusted'}.overlay.{attribute}"

    def _marks(self, directory: Directory, name: str | None) -> set[str]:
        """
        Name the attributes of an object that are OverlayFS's, without their namespace.

        Nearly every object has none. Listing none costs less than failing to get each, and takes no
        right to read the object.
        """
        try:
            attributes = directory.listxattr(name)
        except OSError as error:
            if error.errno in _NO_XATTRS:
                return set()
            raise
        prefix = self._full_name("")
        return {each.removeprefix(prefix) for each in attributes if each.startswith(prefix)}

    def _opacity(self, directory: Directory, marks: set[str]) -> bytes | None:
        """Give the value of `opaque`, which counts for the root only where it is `x` (M8)."""
        if "opaque" not in marks:
            return None
        value = directory.getxattr(None, self._full_name("opaque"))
        return None if value == _OPAQUE and not directory.parts else value

    def _may_hide(self, directory: Directory, name: str, stat: Stat) -> bool:
        """Tell whether an object is a whiteout, provided that its directory's mark lets it be one."""
        if S_ISCHR(stat.st_mode):
            return stat.st_rdev == 0
        if stat.st_size or not S_ISREG(stat.st_mode):
            return False
        return "whiteout" in self._marks(directory, name)

    def _is_marker(self, directory: Directory, name: str) -> bool:
        """Ask as `_may_hide` of a name that was just listed; one that has vanished since is none."""
        try:
            return self._may_hide(directory, name, directory.stat(name))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _refused(self, directory: Directory, name: str | None, attribute: str) -> MalformedLayerError:
        problem = f"user.overlay.{attribute} is not followed, because anyone may have set it"
        return MalformedLayerError(directory.place(name), problem, number=errno.EPERM)


def _tagged(shown: dict[str, int], tag: int) -> list[str]:
    """Pick the names of one kind; next to nothing when there is none, as there usually is no device."""
    return [name for name, its in shown.items() if its == tag] if tag in shown.values() else []


def _checked_redirect(place: str, value: bytes) -> str:
    """
    Make text of a redirect.

    Raises:
        MalformedLayerError (EIO): it is empty, over 4 096 bytes, holds a NUL, is relative with a slash,
            or has an empty, `.` or `..` component. The kernel refuses each of them.
    """
    path = value.decode("utf-8", "surrogateescape")
    components = path.removeprefix("/").split("/")
    if (
        len(value) > _REDIRECT_MAX
        or "\0" in path
        or any(component in ("", ".", "..") for component in components)
        or (len(components) > 1 and not path.startswith("/"))
    ):
        problem = f"redirect {path[:80]!r} is neither a name nor an absolute path without '.' and '..'"
        raise MalformedLayerError(place, problem)
    return path
