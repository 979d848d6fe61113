"""Layers that are swapped, replaced, taken away or locked while they are written; crashed volatile uppers."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grounds import BY_ID as GROUND
from grounds import scratch
from reliability import crash, syscalls, workers, world
from reliability.extent import LONG, SOME, numbers
from reliability.operations import BY_ID
from reliability.syscalls import Call, Decision, Kill
from reliability.world import Tree, World, difference, raw

if TYPE_CHECKING:
    from unionpath import UnionPath

SECONDS = 10.0 if LONG else 1.0
SECRET = b"outside of every layer"
FOLDERS = ("a", "a/b", "a/b/c", "b", "b/c", "c")
NAMES = ("a", "b", "c", "secret", "new")

needs_calls = pytest.mark.skipif(syscalls.missing() is not None, reason=syscalls.missing() or "")
needs_mounts = pytest.mark.skipif(workers.no_namespace() is not None, reason=workers.no_namespace() or "")

Worlds = Callable[[str], World]


@pytest.mark.rule("L11", "E2")
@pytest.mark.changes_lowers("another process does")
@pytest.mark.parametrize("kind", SOME)
def test_nothing_outside_is_ever_written_or_read(seed: int, kind: str) -> None:
    """Another process swaps directories of the upper for links to the outside while we write."""
    with scratch() as base:
        outside = _set_up(base)
        before = raw(outside, times=True)
        built = World(base, GROUND[kind])
        with _swapping(base, outside):
            done, failed = _write_for_a_while(built, random.Random(seed))
        assert difference(before, raw(outside, times=True)) == []
        assert [] == _holding_the_secret(base / "upper")
        assert done > 5
        assert failed, "nothing raced: the test proves nothing"


def _set_up(base: Path) -> Path:
    """An upper and a lower with the same directories, and the same outside, with a secret in each."""
    for top in ("upper", "layers/1", "layers/2", "outside"):
        for folder in ("", *FOLDERS):
            at = base / top / folder
            at.mkdir(parents=True, exist_ok=True)
            if top == "outside":
                (at / "secret").write_bytes(SECRET)
                (at / "only outside").write_bytes(SECRET)
            elif top == "layers/1":
                (at / "secret").write_bytes(b"inside")
    return base / "outside"


@contextmanager
def _swapping(base: Path, outside: Path) -> Iterator[None]:
    child = os.fork()
    if child == 0:
        try:
            _swap_for_ever(base, outside)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _swap_for_ever(base: Path, outside: Path) -> None:
    chance = random.Random(4711)
    aside = base / "aside"
    aside.mkdir()
    for number in range(10**9):
        inside = chance.choice(FOLDERS)
        at, to = base / "upper" / inside, aside / str(number)
        target = chance.choice((outside / inside, os.path.relpath(outside / inside, at.parent)))
        try:
            os.rename(at, to)
        except OSError:
            try:
                (base / "upper" / inside).mkdir(parents=True)
            except OSError:
                pass
            continue
        try:
            os.symlink(target, at)
            os.unlink(at)
            os.rename(to, at)
        except OSError:
            shutil.rmtree(to, ignore_errors=True)


def _write_for_a_while(built: World, chance: random.Random) -> tuple[int, Counter[int]]:
    done, failed = 0, Counter[int]()
    end = time.monotonic() + SECONDS
    stack = built.stack()
    while time.monotonic() < end:
        at = stack.root.joinpath(*chance.choices(NAMES, k=chance.randrange(1, 5)))
        other = stack.root.joinpath(*chance.choices(NAMES, k=chance.randrange(1, 5)))
        try:
            answer = chance.choice(WISHES)(at, other)
        except OSError as error:
            failed[error.errno or 0] += 1
            continue
        assert answer != SECRET, f"read the secret through {at}"
        done += 1
    try:
        stack.close()
    except OSError:
        pass
    return done, failed


def _append(at: UnionPath, other: UnionPath) -> None:
    with at.open("ab") as file:
        file.write(b"x")


def _change(at: UnionPath, other: UnionPath) -> None:
    with at.open("r+b", buffering=0) as file:
        file.write(b"x")


WISHES: tuple[Callable[[UnionPath, UnionPath], object], ...] = (
    lambda at, other: at.write_bytes(b"written"),
    lambda at, other: at.read_bytes(),
    _append,
    _change,
    lambda at, other: at.chmod(0o700),
    lambda at, other: at.mkdir(parents=True),
    lambda at, other: at.unlink(),
    lambda at, other: at.rename(other),
    lambda at, other: at.symlink_to("secret"),
    lambda at, other: at.hardlink_to(other),
    lambda at, other: at.rmtree(),
    lambda at, other: at.touch(),
    lambda at, other: at.copy(other),
)


def _holding_the_secret(top: Path) -> list[str]:
    return [
        os.path.join(at, name)
        for at, _, files in os.walk(top)
        for name in files
        if stat.S_ISREG(os.lstat(os.path.join(at, name)).st_mode) and SECRET in Path(at, name).read_bytes()
    ]


MIDWAY = (
    "write-lower",
    "write-new-deep",
    "open-a-lower-deep",
    "mkdir-over-whiteout",
    "unlink-both",
    "rename-lower",
    "rename-dir-merged",
    "chmod-lower-deep",
    "hardlink-lower",
    "rmtree-merged",
    "symlink-deep",
)


def _interrupted(
    built: World, prepared: crash.Prepared, number: int, disturb: Callable[[], object]
) -> syscalls.Ending:
    """Run an operation, and do something between two of its calls."""
    built.renew()
    count = 0

    def decide(call: Call) -> Decision:
        nonlocal count
        count += call.changes
        if call.changes and count == number:
            disturb()
        return None

    return crash.perform(built, prepared.operation, decide, cold=False)


@needs_calls
@pytest.mark.rule("E9", "E2")
@pytest.mark.parametrize("name", MIDWAY)
@pytest.mark.parametrize("kind", SOME)
def test_nothing_lands_in_what_took_the_uppers_place(world_of: Worlds, kind: str, name: str) -> None:
    """An upper that is replaced under an open stack is noticed; nothing lands in what took its place."""
    built = world_of(kind)
    prepared = crash.prepare(built, BY_ID[name])
    canary: list[Tree] = []

    def disturb() -> None:
        built.upper.rename(built.base / "old-upper")
        (built.upper / "ld/sub").mkdir(parents=True)
        (built.upper / "ld/sub/b").write_text("canary")
        (built.upper / "l.txt").write_text("canary")
        (built.upper / "both.txt").write_text("canary")
        (built.upper / "d").mkdir()
        canary.append(raw(built.upper, times=True))

    problems = []
    for number in numbers(prepared.total, 2, prepared.place):
        canary.clear()
        ending = _interrupted(built, prepared, number, disturb)
        if ending.crash is not None:
            problems.append(f"{number}: {ending.crash}")
        if difference(canary[0], now := raw(built.upper, times=True)):
            problems.append(f"{number}: {difference(canary[0], now)} {ending.result}")
    built.renew()
    assert [] == problems
    assert built.lowers_before == built.lowers_now()


@needs_calls
@pytest.mark.rule("E9", "C3")
@pytest.mark.parametrize("name", MIDWAY)
@pytest.mark.parametrize("kind", SOME)
def test_an_upper_that_vanishes_is_an_error(world_of: Worlds, kind: str, name: str) -> None:
    """The tree is removed while an operation runs: it ends, with an OSError or done, and lowers are whole."""
    built = world_of(kind)
    prepared = crash.prepare(built, BY_ID[name])
    problems = []
    for number in numbers(prepared.total, 2, prepared.place):
        ending = _interrupted(built, prepared, number, lambda: shutil.rmtree(built.upper))
        if ending.crash is not None:
            problems.append(f"{number}: {ending.crash}")
        if built.upper.exists():
            problems.append(f"{number}: the upper was made again: {difference({}, raw(built.upper))}")
    built.renew()
    assert [] == problems
    assert built.lowers_before == built.lowers_now()


@needs_calls
@pytest.mark.rule("E6", "C3")
@pytest.mark.changes_lowers("it is taken away and brought back")
@pytest.mark.parametrize("name", MIDWAY)
@pytest.mark.parametrize("kind", SOME)
def test_a_lower_that_vanishes_leaves_before_or_after(world_of: Worlds, kind: str, name: str) -> None:
    """A lower taken away in mid-operation: an OSError or done; brought back, all is before or after."""
    built = world_of(kind)
    prepared = crash.prepare(built, BY_ID[name])
    problems = []
    aside = built.base / "outside"
    for number in numbers(prepared.total, 2, prepared.place):
        ending = _interrupted(built, prepared, number, lambda: built.lowers[1].rename(aside))
        aside.rename(built.lowers[1])
        if ending.crash is not None:
            problems.append(f"{number}: {ending.crash}")
        if (problem := prepared.known.problem(built.seen_freshly(), prepared.operation)) is not None:
            problems.append(f"{number}: {problem}; {ending.result}")
        problems += built.litter()
    assert [] == problems


@needs_calls
@needs_mounts
@pytest.mark.rule("E6", "E5")
@pytest.mark.parametrize("kind", SOME)
def test_an_upper_that_becomes_read_only(kind: str) -> None:
    """A file system that goes read-only in mid-operation: EROFS or done; writable again, before or after."""
    with scratch() as base:
        assert [] == workers.privately(lambda: _become_read_only(base, kind))


def _become_read_only(base: Path, kind: str) -> list[str]:
    workers.mount_tmpfs(base, "size=64m")
    built = world.build(base, kind)
    problems: list[str] = []

    def lock() -> None:
        try:
            workers.mount_tmpfs(base, "size=64m", workers.MS_REMOUNT | workers.MS_RDONLY)
        except OSError as error:  # a file is open for writing
            assert error.errno == errno.EBUSY

    for name in MIDWAY:
        prepared = crash.prepare(built, BY_ID[name])
        for number in numbers(prepared.total, 2, prepared.place):
            ending = _interrupted(built, prepared, number, lock)
            when = f"{name}, {number}: "
            if ending.crash is not None:
                problems.append(when + ending.crash)
            try:
                seen = built.seen_as_it_is()
            finally:
                workers.mount_tmpfs(base, "size=64m", workers.MS_REMOUNT)
            found = [
                prepared.known.problem(each, prepared.operation) for each in (seen, built.seen_freshly())
            ]
            problems += [f"{when}{problem}; {ending.result}" for problem in found if problem is not None]
            problems += [when + each for each in built.litter()]
    return problems[:20]


@needs_calls
@pytest.mark.rule("E7", "E3")
@pytest.mark.parametrize("kind", SOME)
def test_a_crashed_volatile_upper_is_refused_until_adopted(world_of: Worlds, kind: str) -> None:
    """Of a writer that synced nothing nobody knows what it left behind."""
    from unionpath import LayerStack

    built = world_of(kind)
    prepared = crash.prepare(built, BY_ID["write-lower"]._replace(id="volatile", durability="volatile"))
    refused = 0
    for number in range(1, prepared.total + 2):
        _kill_after(built, prepared, number)
        if built.upper_now() == built.upper_before:
            continue
        refused += 1
        lowers = [built.layer(path) for path in built.lowers]
        for _ in range(2):
            with pytest.raises(ValueError, match="adopt"):
                LayerStack(lowers, upper=built.layer(built.upper))
        with LayerStack(lowers, upper=built.layer(built.upper), adopt=True) as stack:
            stack.root.joinpath("new").touch()
        with built.stack() as stack:
            assert stack.root.joinpath("new").exists()
            assert prepared.known.after["/l.txt"] == world.seen_row(stack.root / "l.txt")
    assert refused


def _kill_after(built: World, prepared: crash.Prepared, number: int) -> None:
    """Kill a writer at its n-th call, or, where there is none, after all, with its stack still open."""
    built.renew()
    count = 0

    def decide(call: Call) -> Decision:
        nonlocal count
        count += call.changes
        return Kill() if call.changes and count == number else None

    def body(control: syscalls.Control) -> None:
        stack = crash.stack_for(built, prepared.operation)
        control.begin()
        prepared.operation.act(stack.root)
        control.end()
        os.kill(os.getpid(), signal.SIGKILL)

    syscalls.supervise(body, decide)


@pytest.mark.rule("E7")
@pytest.mark.parametrize("kind", SOME)
def test_a_closed_volatile_upper_is_taken(world_of: Worlds, kind: str) -> None:
    """Closed in good order it is as any other."""
    built = world_of(kind)
    built.renew()
    with built.stack(durability="volatile") as stack:
        stack.root.joinpath("new").write_text("new")
    with built.stack() as stack:
        assert "new" == stack.root.joinpath("new").read_text()


@pytest.mark.rule("E3")
@pytest.mark.changes_lowers("one of them is gone in the end")
@pytest.mark.parametrize("kind", SOME)
def test_an_upper_with_other_lowers_is_refused_until_adopted(world_of: Worlds, kind: str) -> None:
    """Whiteouts and opaque directories say something about the lowers that they were made for."""
    from unionpath import LayerStack

    built = world_of(kind)
    built.renew()
    with built.stack() as stack:
        stack.root.joinpath("l.txt").unlink()
    other = built.base / "outside"
    other.mkdir(exist_ok=True)
    try:
        for others in ([other], [built.lowers[1], built.lowers[0]], [*built.lowers, other]):
            with pytest.raises(ValueError, match="adopt"):
                LayerStack([built.layer(path) for path in others], upper=built.layer(built.upper))
        lowers = [built.layer(path) for path in (*built.lowers, other)]
        with LayerStack(lowers, upper=built.layer(built.upper), adopt=True) as stack:
            assert not stack.root.joinpath("l.txt").exists()
            stack.root.joinpath("new").touch()
        LayerStack(lowers, upper=built.layer(built.upper)).close()
    finally:
        other.rmdir()
