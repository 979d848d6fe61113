"""
What must be done for a wish: facts in, steps out. Pure: nothing is touched here.

Rule 1: every decision about what an operation does to the upper, and every refusal that depends on what is
there, stands in this file; `apply.py` obeys. Rule 2: a plan's first step is never begun for a wish that can't
be granted (E4).

The theory is that of `resolve/rules.py`, turned round. What shows at a name is decided by the topmost layer
that says anything about it. So whatever is to show is put into the upper; whatever is to vanish is removed
from the upper, and if a lower would then show through, a whiteout takes its place (D1). A directory that
comes
to stand where lowers have something must be opaque, or it would merge with it (D4, R3).
"""

from __future__ import annotations

import errno
from typing import Literal, NamedTuple, TypeAlias

from unionpath.model.change import Attributes
from unionpath.model.entry import Kind
from unionpath.model.errors import UnsupportedOperation, oserror
from unionpath.model.store import Capability
from unionpath.mutate.steps import (
    CopyUp,
    Duplicate,
    Link,
    Make,
    Plan,
    Remove,
    Rename,
    SetAttributes,
    Step,
    Write,
)

RenameMode: TypeAlias = Literal["copy", "exdev", "redirect"]


class Facts(NamedTuple):
    """What a plan has to know of one name."""

    asked: str
    """The path as the user gave it, for errors (E2)."""
    path: str
    """Where it is; `/` for the root."""
    kind: Kind | None
    """What shows."""
    layer: int | None
    """Who provides it."""
    parents: tuple[CopyUp, ...] = ()
    """The directories above it that the upper lacks, top down."""
    below: bool = False
    """A lower would show something here if the upper had nothing to say about it."""
    marked: bool = False
    """The upper has a whiteout here."""
    special: Literal["", "root", ".."] = ""
    """The path ends with no name."""
    names: bool = False
    """A directory that shows names."""
    reserved: str = ""
    """Why the name, or one above it that the upper lacks, can't be made in the upper (M4)."""
    too_long: str = ""
    """Why the upper can't hold a whiteout of the name (M10)."""
    incomplete: bool = False
    """A file of the upper that holds metadata only, and finds its data by its place (M7)."""

    @property
    def in_upper(self) -> bool:
        """The upper has it, or a part of it."""
        return self.layer == 0


def unlink(facts: Facts) -> Plan:
    """Remove a name that isn't a directory's (D1, D2)."""
    if facts.special:
        raise oserror(errno.EISDIR, facts.asked)
    if facts.kind is None:
        raise oserror(errno.ENOENT, facts.asked)
    if facts.kind is Kind.DIRECTORY:
        raise oserror(errno.EISDIR, facts.asked)
    return _remove(facts)


def rmdir(facts: Facts) -> Plan:
    """Remove a directory that shows no names (D3)."""
    _check_directory(facts)
    if facts.names:
        raise oserror(errno.ENOTEMPTY, facts.asked)
    return _remove(facts)


def rmtree(facts: Facts) -> Plan:
    """Remove a directory with all that it shows, by one whiteout (D7)."""
    _check_directory(facts)
    return _remove(facts, tree=True)


def _check_directory(facts: Facts) -> None:
    """Refuse what isn't a directory that can be removed (D3, D7)."""
    if facts.special:
        raise oserror(errno.EBUSY if facts.special == "root" else errno.ENOTEMPTY, facts.asked)
    if facts.kind is None:
        raise oserror(errno.ENOENT, facts.asked)
    if facts.kind is not Kind.DIRECTORY:
        raise oserror(errno.ENOTDIR, facts.asked)


def _remove(facts: Facts, *, tree: bool = False) -> Plan:
    assert facts.kind is not None
    if facts.below:
        _check_whiteout(facts)
        return (*facts.parents, Remove(facts.path, facts.kind, facts.in_upper, whiteout=True, tree=tree))
    return (Remove(facts.path, facts.kind, in_upper=True, whiteout=False, tree=tree),)


def make(facts: Facts, kind: Kind, permissions: int, capabilities: Capability, *, target: str = "") -> Plan:
    """Make a new directory, file or symbolic link (D4-D6)."""
    _check_free(facts)
    if kind is Kind.SYMLINK:
        _check_able(capabilities, Capability.SYMLINKS, facts, "symbolic links")
    return (*facts.parents, Make(facts.path, kind, permissions, target, over_whiteout=facts.marked))


def link(facts: Facts, source: Facts, capabilities: Capability) -> Plan:
    """Give what shows at `source` a second name; a lower's object is copied up first (C8)."""
    if source.kind is None:
        raise oserror(errno.ENOENT, source.asked, facts.asked)
    _check_free(facts, source)
    if source.kind is Kind.DIRECTORY:
        raise oserror(errno.EPERM, source.asked, facts.asked)
    _check_able(capabilities, Capability.HARDLINKS, facts, "hard links")
    return (
        *source.parents,
        *_copied_up(source),
        *_without(facts.parents, source.parents),
        Link(facts.path, source.path, over_whiteout=facts.marked),
    )


def change(facts: Facts, attributes: Attributes, capabilities: Capability) -> Plan:
    """Change metadata; a lower's object is copied up with it (C5)."""
    if facts.kind is None:
        raise oserror(errno.ENOENT, facts.asked)
    if facts.kind is Kind.SYMLINK and attributes.permissions is not None:
        raise oserror(errno.EOPNOTSUPP, facts.asked, hint="links have no permission bits of their own")
    named = (Kind.FILE, Kind.DIRECTORY)
    if facts.kind not in named and any(name.startswith("user.") for name, _value in attributes.xattrs):
        raise oserror(
            errno.EPERM, facts.asked, hint="only files and directories have user. attributes (xattr(7))"
        )
    _check_able(capabilities, _needed(attributes), facts, str(attributes))
    if facts.in_upper or facts.path == "/":
        return (SetAttributes(facts.path, attributes),)
    assert facts.layer is not None
    _check_name(facts)
    return (*facts.parents, CopyUp(facts.path, facts.kind, facts.layer, change=attributes))


def write(facts: Facts, size: int, *, in_place: bool) -> Plan | None:
    """
    Write a whole file (C11). None: what is there has to be opened and written in place.

    `in_place`: it is a file of the upper that has further names.
    """
    if facts.special or facts.kind is Kind.DIRECTORY:
        raise oserror(errno.EISDIR, facts.asked)
    if facts.kind is None:
        _check_free(facts)
        return (*facts.parents, Write(facts.path, size, over_whiteout=facts.marked))
    if facts.kind is not Kind.FILE or in_place:
        return None
    _check_name(facts)
    return (*facts.parents, Write(facts.path, size, like=facts.layer))


def copy_up(facts: Facts, *, data: bool = True) -> Plan:
    """Bring what shows to the upper; nothing to do if it is there, and whole."""
    if facts.kind is None:
        raise oserror(errno.ENOENT, facts.asked)
    return (*facts.parents, *_copied_up(facts, data=data))


def rename(
    source: Facts,
    target: Facts,
    mode: RenameMode,
    capabilities: Capability,
    *,
    same_object: bool,
    pure: bool,
    redirect: str | None,
) -> Plan:
    """
    Move what shows at `source` to `target` (R1-R6).

    `same_object`: both are names of one object of the upper. `pure`: a directory of the upper alone, with
    nothing from lowers in it. `redirect`: what a directory moved in mode `redirect` is sent back to.
    """
    for each in (source, target):
        if each.special:
            raise oserror(errno.EBUSY, source.asked, target.asked)
    if (number := _rename_problem(source, target)) != 0:
        raise oserror(number, source.asked, target.asked)
    if source.path == target.path or same_object:
        return ()
    assert source.kind is not None
    is_directory = source.kind is Kind.DIRECTORY
    moved_whole = is_directory and not pure
    if moved_whole and mode == "exdev":
        raise oserror(
            errno.EXDEV,
            source.asked,
            target.asked,
            hint="a directory from a lower; use move(), or rename_dir='copy'",
        )
    if target.names:
        raise oserror(errno.ENOTEMPTY, source.asked, target.asked)
    _check_name(target, source)
    if source.below:
        _check_whiteout(source, target)
    parents = (*source.parents, *_without(target.parents, source.parents))
    if Capability.RENAMES not in capabilities:
        return _rename_by_copy(source, target, parents)
    redirect = redirect if moved_whole and mode == "redirect" else None
    prepare: tuple[Step, ...] = _copied_up(source)
    if moved_whole and redirect is None:
        assert source.layer is not None
        prepare = (CopyUp(source.path, source.kind, source.layer, whole=True),)
    return (
        *parents,
        *prepare,
        Rename(
            source.path,
            target.path,
            source.kind,
            whiteout=source.below,
            opaque=is_directory and target.below and redirect is None,
            over_whiteout=target.marked,
            over_directory=target.in_upper and target.kind is Kind.DIRECTORY,
            redirect=redirect,
        ),
    )


def _rename_by_copy(source: Facts, target: Facts, parents: tuple[CopyUp, ...]) -> Plan:
    """Copy, then remove: between the two both names show, never neither (E5)."""
    assert source.kind is not None
    steps: list[Step] = list(parents)
    over_directory = target.kind is Kind.DIRECTORY
    steps.append(
        Duplicate(
            source.path,
            target.path,
            source.kind,
            over_whiteout=target.marked,
            over_directory=over_directory,
        )
    )
    steps.append(Remove(source.path, source.kind, source.in_upper, whiteout=source.below))
    return tuple(steps)


def _rename_problem(source: Facts, target: Facts) -> int:
    """The order of questions is the kernel's (`do_renameat2`, `vfs_rename`)."""
    if source.kind is None:
        return errno.ENOENT
    if source.path == target.path:
        return 0
    if target.path.startswith(source.path + "/"):
        return errno.EINVAL
    if source.path.startswith(target.path + "/"):
        return errno.ENOTEMPTY
    if target.kind is None:
        return 0
    if source.kind is Kind.DIRECTORY and target.kind is not Kind.DIRECTORY:
        return errno.ENOTDIR
    if source.kind is not Kind.DIRECTORY and target.kind is Kind.DIRECTORY:
        return errno.EISDIR
    return 0


def _copied_up(facts: Facts, *, data: bool = True) -> tuple[CopyUp, ...]:
    if (facts.in_upper and not facts.incomplete) or facts.path == "/":
        return ()
    _check_name(facts)
    assert facts.kind is not None
    assert facts.layer is not None
    return (CopyUp(facts.path, facts.kind, facts.layer, data=data),)


def _without(steps: tuple[CopyUp, ...], done: tuple[CopyUp, ...]) -> tuple[CopyUp, ...]:
    return tuple(step for step in steps if step not in done)


def _check_free(facts: Facts, source: Facts | None = None) -> None:
    """Refuse to make a name that shows something (D6), or that the upper can't show (M4)."""
    if facts.special or facts.kind is not None:
        if source is None:
            raise oserror(errno.EEXIST, facts.asked)
        raise oserror(errno.EEXIST, source.asked, facts.asked)
    _check_name(facts, source)


def _check_name(facts: Facts, source: Facts | None = None) -> None:
    if facts.reserved:
        paths = (facts.asked, None) if source is None else (source.asked, facts.asked)
        raise oserror(errno.EINVAL, *paths, hint=facts.reserved)


def _check_whiteout(facts: Facts, target: Facts | None = None) -> None:
    paths = (facts.asked, None if target is None else target.asked)
    if facts.reserved:
        raise oserror(errno.EINVAL, *paths, hint=facts.reserved)
    if facts.too_long:
        raise oserror(errno.ENAMETOOLONG, *paths, hint=facts.too_long)


def _needed(attributes: Attributes) -> Capability:
    needed = Capability.NONE
    if attributes.permissions is not None:
        needed |= Capability.MODES
    if attributes.owner is not None:
        needed |= Capability.OWNERS
    if attributes.times is not None or attributes.now:
        needed |= Capability.TIMES
    if attributes.xattrs:
        needed |= Capability.XATTRS
    return needed


def _check_able(capabilities: Capability, needed: Capability, facts: Facts, what: str) -> None:
    if needed not in capabilities:
        raise UnsupportedOperation(f"the upper of this stack can't hold {what}: {facts.asked!r}")
