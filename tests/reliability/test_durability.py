"""What is synced before it is published: seen in the order of the system calls."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeAlias

import pytest

from reliability import crash, syscalls
from reliability.extent import SOME
from reliability.operations import BY_ID
from reliability.syscalls import SYNCING, Call, text_at
from reliability.world import Durability, World

pytestmark = pytest.mark.skipif(syscalls.missing() is not None, reason=syscalls.missing() or "")

Object: TypeAlias = tuple[int, int]
"""Device and inode."""
WRITING = {"write": 0, "pwrite64": 0, "copy_file_range": 2, "sendfile": 0, "ftruncate": 0}
"""Which argument is the file that is written."""
NAMING = {
    "mkdirat": 0,
    "mknodat": 0,
    "symlinkat": 1,
    "linkat": 2,
    "unlinkat": 0,
    "renameat": 2,
    "renameat2": 2,
}
"""Which argument is the directory whose names change."""
PUBLISHING = (
    "write-new",
    "write-lower",
    "write-over-whiteout",
    "open-a-lower",
    "chmod-lower",
    "rename-lower",
    "rename-dir-merged",
    "hardlink-lower",
    "copy-up",
    "copy-into",
)
NAMED = (
    "write-new-deep",
    "write-over-whiteout",
    "open-x-new",
    "touch-new",
    "mkdir-deep",
    "mkdir-over-whiteout",
    "symlink-deep",
    "hardlink-lower",
    "unlink-both",
    "unlink-lower-deep",
    "rmdir-emptied",
    "rename-lower",
    "rename-both",
    "rename-dir-upper-over-whiteout",
    "rename-dir-merged",
    "rename-dir-lower-over-emptied",
    "rmtree-lower",
    "chmod-lower-deep",
)


def _trace(world: World, name: str, durability: Durability, see: Callable[[Call], object]) -> syscalls.Ending:
    world.renew()
    operation = BY_ID[name]._replace(durability=durability)

    def decide(call: Call) -> None:
        see(call)

    return crash.perform(world, operation, decide, cold=False)


def _object(call: Call, argument: int, name: str | None = None) -> os.stat_result | None:
    """Stat what a descriptor of the child is open on, or a name in it."""
    at = f"/proc/{call.pid}/fd/{call.arguments[argument]}"
    if name is not None and name.startswith("/proc/self/"):
        at, name = f"/proc/{call.pid}/{name.removeprefix('/proc/self/')}", None
    try:
        return os.stat(at) if name is None else os.lstat(os.path.join(at, name))
    except OSError:
        return None


def _key(found: os.stat_result) -> Object:
    return found.st_dev, found.st_ino


@pytest.mark.rule("E7", "C2", "C11")
@pytest.mark.parametrize("name", PUBLISHING)
@pytest.mark.parametrize("kind", SOME)
def test_data_is_synced_before_it_is_published(
    world_of: Callable[[str], World], kind: str, name: str
) -> None:
    """`durability="auto"`: data synced before publish."""
    dirty: set[Object] = set()
    early: list[str] = []
    published = 0

    def see(call: Call) -> None:
        nonlocal published
        if call.name in WRITING and (found := _object(call, WRITING[call.name])) is not None:
            dirty.add(_key(found))
        elif call.name in SYNCING and (found := _object(call, 0)) is not None:
            dirty.discard(_key(found))
        elif call.name in ("linkat", "renameat", "renameat2"):
            found = _object(call, 0, text_at(call.pid, call.arguments[1]))
            target = os.readlink(f"/proc/{call.pid}/fd/{call.arguments[2]}")
            if found is None or not stat.S_ISREG(found.st_mode) or ".unionpath" in target:
                return
            published += 1
            if found.st_size and _key(found) in dirty:
                early.append(call.describe())

    ending = _trace(world_of(kind), name, "auto", see)
    assert ending.crash is None
    assert [] == early
    assert published or name == "rename-dir-merged"


@pytest.mark.rule("E7")
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("kind", SOME)
def test_directories_are_synced_too(world_of: Callable[[str], World], kind: str, name: str) -> None:
    """`durability="strict"`: directories too, those that were staged as well."""
    world = world_of(kind)
    unsynced: dict[Object, str] = {}

    def see(call: Call) -> None:
        if call.name in SYNCING and (found := _object(call, 0)) is not None:
            unsynced.pop(_key(found), None)
        for found in _changed(call):
            if stat.S_ISDIR(found.st_mode):
                unsynced[_key(found)] = call.describe()

    ending = _trace(world, name, "strict", see)
    assert ending.crash is None
    there = {_key(os.stat(top)): top for top, _, _ in os.walk(world.upper) if ".wh..wh.unionpath" not in top}
    assert {} == {there[key]: call for key, call in unsynced.items() if key in there}


def _changed(call: Call) -> Iterator[os.stat_result]:
    """Give the directories whose names or attributes a call changes."""
    arguments: tuple[int, ...] = ()
    if call.name in NAMING:
        arguments = (NAMING[call.name], *((0,) if call.name.startswith("renameat") else ()))
    elif call.name == "fsetxattr":
        arguments = (0,)
    for argument in arguments:
        if (found := _object(call, argument)) is not None:
            yield found
    if call.name == "lsetxattr" and (path := text_at(call.pid, call.arguments[0])) is not None:
        with suppress(OSError):
            yield os.lstat(path.replace("/proc/self/", f"/proc/{call.pid}/"))


@pytest.mark.rule("E7")
@pytest.mark.parametrize("name", ["write-lower", "rename-dir-merged", "unlink-both"])
def test_a_volatile_upper_syncs_nothing(world_of: Callable[[str], World], name: str) -> None:
    """`durability="volatile"`: none."""
    synced: list[str] = []
    ending = _trace(
        world_of("local-oci"),
        name,
        "volatile",
        lambda call: synced.append(call.describe()) if call.name in SYNCING else None,
    )
    assert ending.crash is None
    assert [] == synced
