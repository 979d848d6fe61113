"""Plans without I/O: facts in, steps out, refusals before the first step."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Literal

import pytest

from unionpath.model.change import Attributes
from unionpath.model.entry import Kind
from unionpath.model.errors import UnsupportedOperation
from unionpath.model.store import Capability
from unionpath.mutate import plan as planner
from unionpath.mutate.plan import Facts, RenameMode
from unionpath.mutate.steps import CopyUp, Duplicate, Link, Make, Plan, Remove, Rename, SetAttributes, Write

POSIX = Capability.POSIX | Capability.XATTRS
OBJECTS = Capability.WRITABLE
"""What an object store can do."""
FILE, DIRECTORY, LINK = Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK


def facts(
    path: str,
    kind: Kind | None = None,
    layer: int | None = None,
    parents: tuple[CopyUp, ...] = (),
    *,
    below: bool = False,
    special: Literal["", "root", ".."] = "",
    names: bool = False,
) -> Facts:
    return Facts(path, path, kind, layer, parents, below=below, special=special, names=names)


UPPER = facts("/f", FILE, 0)
LOWER = facts("/f", FILE, 2, below=True)
BOTH = facts("/f", FILE, 0, below=True)
UPPER_DIRECTORY = facts("/d", DIRECTORY, 0)
LOWER_DIRECTORY = facts("/d", DIRECTORY, 1, below=True)
MISSING = facts("/new")
PARENTS = (CopyUp("/a", DIRECTORY, 1), CopyUp("/a/b", DIRECTORY, 1))


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(OSError) as caught:
        act()
    return errno.errorcode[caught.value.errno or 0]


@pytest.mark.rule("D1")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (UPPER, (Remove("/f", FILE, in_upper=True, whiteout=False),)),
        (LOWER, (Remove("/f", FILE, in_upper=False, whiteout=True),)),
        (BOTH, (Remove("/f", FILE, in_upper=True, whiteout=True),)),
    ],
)
def test_a_whiteout_only_where_a_lower_would_show(found: Facts, expected: Plan) -> None:
    assert expected == planner.unlink(found)


@pytest.mark.rule("C2")
def test_a_whiteout_needs_its_parents_and_they_come_top_down() -> None:
    found = facts("/a/b/f", FILE, 1, below=True, parents=PARENTS)
    assert (*PARENTS, Remove("/a/b/f", FILE, in_upper=False, whiteout=True)) == planner.unlink(found)


@pytest.mark.rule("D7")
def test_a_whole_tree_is_one_step() -> None:
    expected = Remove("/d", DIRECTORY, in_upper=False, whiteout=True, tree=True)
    assert (expected,) == planner.rmtree(LOWER_DIRECTORY)


@pytest.mark.rule("D2", "D3", "R6")
@pytest.mark.parametrize(
    ("plan", "found", "expected"),
    [
        (planner.unlink, UPPER_DIRECTORY, "EISDIR"),
        (planner.unlink, MISSING, "ENOENT"),
        (planner.unlink, facts("/", DIRECTORY, 0, special="root"), "EISDIR"),
        (planner.unlink, facts("/d/..", DIRECTORY, 0, special=".."), "EISDIR"),
        (planner.rmdir, UPPER, "ENOTDIR"),
        (planner.rmdir, UPPER_DIRECTORY._replace(names=True), "ENOTEMPTY"),
        (planner.rmdir, facts("/", DIRECTORY, 0, special="root"), "EBUSY"),
        (planner.rmdir, facts("/d/..", DIRECTORY, 0, special=".."), "ENOTEMPTY"),
        (planner.rmtree, UPPER, "ENOTDIR"),
        (planner.rmtree, MISSING, "ENOENT"),
        (planner.unlink, LOWER._replace(too_long="use 'table'"), "ENAMETOOLONG"),
        (planner.unlink, LOWER._replace(reserved="a marker"), "EINVAL"),
    ],
)
def test_what_is_not_removed(plan: Callable[[Facts], Plan], found: Facts, expected: str) -> None:
    assert expected == refusal(lambda: plan(found))


@pytest.mark.rule("D4", "D5")
@pytest.mark.parametrize("marked", [False, True])
def test_what_is_made_over_a_whiteout_says_so(marked: bool) -> None:
    steps = planner.make(MISSING._replace(marked=marked), DIRECTORY, 0o755, POSIX)
    assert (Make("/new", DIRECTORY, 0o755, over_whiteout=marked),) == steps
    assert marked is ("opaque" in str(steps[0]))


@pytest.mark.rule("D6", "M4")
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (UPPER, "EEXIST"),
        (LOWER, "EEXIST"),
        (facts("/l", LINK, 1), "EEXIST"),
        (facts("/", DIRECTORY, 0, special="root"), "EEXIST"),
        (MISSING._replace(reserved="a marker"), "EINVAL"),
    ],
)
def test_what_is_not_made(found: Facts, expected: str) -> None:
    assert expected == refusal(lambda: planner.make(found, FILE, 0o644, POSIX))


@pytest.mark.rule("C8")
def test_a_link_copies_its_source_up_first() -> None:
    expected = (CopyUp("/f", FILE, 2), Link("/new", "/f"))
    assert expected == planner.link(MISSING, LOWER, POSIX)
    assert (Link("/new", "/f"),) == planner.link(MISSING, UPPER, POSIX)
    assert "EPERM" == refusal(lambda: planner.link(MISSING, UPPER_DIRECTORY, POSIX))


@pytest.mark.rule("C5")
def test_metadata_are_set_on_the_copy_before_anyone_sees_it() -> None:
    wish = Attributes(permissions=0o600)
    assert (CopyUp("/f", FILE, 2, change=wish),) == planner.change(LOWER, wish, POSIX)
    assert (SetAttributes("/f", wish),) == planner.change(UPPER, wish, POSIX)


@pytest.mark.rule("C4", "C11")
def test_a_file_is_written_whole() -> None:
    assert (Write("/new", 3),) == planner.write(MISSING, 3, in_place=False)
    assert (Write("/f", 3, like=2),) == planner.write(LOWER, 3, in_place=False)
    assert (Write("/f", 3, like=0),) == planner.write(UPPER, 3, in_place=False)
    assert planner.write(UPPER, 3, in_place=True) is None
    assert "EISDIR" == refusal(lambda: planner.write(UPPER_DIRECTORY, 3, in_place=False))


def rename(
    source: Facts,
    target: Facts,
    mode: RenameMode = "copy",
    capabilities: Capability = POSIX,
    *,
    pure: bool = True,
    same: bool = False,
) -> Plan:
    return planner.rename(
        source, target, mode, capabilities, same_object=same, pure=pure, redirect="/d" if not pure else None
    )


@pytest.mark.rule("R1")
def test_a_lower_file_is_copied_up_and_moved_in_one_step() -> None:
    moved = Rename("/f", "/new", FILE, whiteout=True)
    assert (CopyUp("/f", FILE, 2), moved) == rename(LOWER, MISSING)
    assert (moved,) == rename(BOTH, MISSING)
    assert (Rename("/f", "/new", FILE, whiteout=False),) == rename(UPPER, MISSING)
    assert () == rename(UPPER, UPPER)
    assert () == rename(UPPER, facts("/g", FILE, 0), same=True)


@pytest.mark.rule("R4")
def test_a_directory_of_a_lower_in_three_modes() -> None:
    target = facts("/e")
    whole = CopyUp("/d", DIRECTORY, 1, whole=True)
    moved = Rename("/d", "/e", DIRECTORY, whiteout=True)
    assert (whole, moved) == rename(LOWER_DIRECTORY, target, pure=False)
    assert "EXDEV" == refusal(lambda: rename(LOWER_DIRECTORY, target, "exdev", pure=False))
    redirected = moved._replace(redirect="/d")
    assert (CopyUp("/d", DIRECTORY, 1), redirected) == rename(LOWER_DIRECTORY, target, "redirect", pure=False)


@pytest.mark.rule("R3")
def test_a_directory_that_would_merge_becomes_opaque() -> None:
    emptied = facts("/e", DIRECTORY, 1, below=True)
    assert rename(UPPER_DIRECTORY, emptied)[-1] == Rename("/d", "/e", DIRECTORY, whiteout=False, opaque=True)


@pytest.mark.rule("R2", "R6")
@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (MISSING, UPPER_DIRECTORY, "ENOENT"),
        (UPPER, UPPER_DIRECTORY, "EISDIR"),
        (UPPER_DIRECTORY, UPPER, "ENOTDIR"),
        (UPPER_DIRECTORY, facts("/e", DIRECTORY, 0, names=True), "ENOTEMPTY"),
        (UPPER_DIRECTORY, facts("/d/e"), "EINVAL"),
        (facts("/d/e", DIRECTORY, 0), UPPER_DIRECTORY, "ENOTEMPTY"),
        (facts("/", DIRECTORY, 0, special="root"), MISSING, "EBUSY"),
        (UPPER, facts("/d/..", DIRECTORY, 0, special=".."), "EBUSY"),
        (UPPER, MISSING._replace(reserved="a marker"), "EINVAL"),
    ],
)
def test_what_is_not_renamed(source: Facts, target: Facts, expected: str) -> None:
    assert expected == refusal(lambda: rename(source, target))


@pytest.mark.rule("E4", "E5")
def test_a_store_that_cannot_rename_shows_both_names_in_between() -> None:
    expected = (
        Duplicate("/f", "/new", FILE),
        Remove("/f", FILE, in_upper=False, whiteout=True),
    )
    assert expected == rename(LOWER, MISSING, capabilities=OBJECTS)


@pytest.mark.rule("E4")
@pytest.mark.parametrize(
    "act",
    [
        lambda: planner.make(MISSING, LINK, 0o777, OBJECTS, target="x"),
        lambda: planner.link(MISSING, UPPER, OBJECTS),
        lambda: planner.change(UPPER, Attributes(permissions=0o600), OBJECTS),
        lambda: planner.change(UPPER, Attributes(owner=(1, 1)), OBJECTS),
        lambda: planner.change(UPPER, Attributes(now=True), OBJECTS),
        lambda: planner.change(UPPER, Attributes(xattrs=(("user.x", b""),)), OBJECTS),
    ],
)
def test_what_a_store_has_no_form_for_is_found_before_the_first_step(act: Callable[[], object]) -> None:
    with pytest.raises(UnsupportedOperation):
        act()


def test_steps_are_for_people_too() -> None:
    steps = [
        *rename(LOWER, MISSING),
        Remove("/f", FILE, in_upper=True, whiteout=True),
        Write("/f", 3, like=2),
        Make("/l", LINK, 0o777, "/x"),
        SetAttributes(
            "/f", Attributes(permissions=0o640, owner=(0, -1), now=True, xattrs=(("user.a", None),))
        ),
    ]
    assert [
        "copy up file /f from layer 2",
        "rename /f to /new and leave a whiteout",
        "put whiteout /f, remove file /f from the upper",
        "replace lower file /f, 3 bytes",
        "make symbolic link /l to /x",
        "set mode 0640, owner 0:-1, times, attribute user.a of /f",
    ] == [str(step) for step in steps]
