"""Eight processes and sixteen threads on one upper: one winner, nothing lost, nothing half done."""

from __future__ import annotations

import errno
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import pytest

from reliability import workers
from reliability.extent import LONG, SOME
from reliability.workers import How
from reliability.world import World

if TYPE_CHECKING:
    from unionpath import LayerStack, UnionPath

CROWD: dict[How, int] = {"processes": 8, "threads": 16}
FEW = 60 if LONG else 8
SECONDS = 10.0 if LONG else 0.4

Worlds: TypeAlias = Callable[[str], World]
Create: TypeAlias = Callable[["UnionPath"], object]

everywhere = pytest.mark.parametrize("kind", SOME)
both_ways = pytest.mark.parametrize("how", ["processes", "threads"])


def _crowd(
    world: World, how: How, work: Callable[[UnionPath, int], object], *, stacks: int = 1
) -> list[object]:
    """Have everyone do the work at once: a stack for each process, and one or several for all threads."""
    count = CROWD[how]
    if how == "processes":

        def child(number: int) -> object:
            with world.stack() as stack:
                return work(stack.root, number)

        return workers.together(how, [lambda n=number: child(n) for number in range(count)])  # type: ignore[misc]
    with _stacks(world, stacks) as shared:
        return workers.together(
            how,
            [lambda n=number: work(shared[n % stacks].root, n) for number in range(count)],  # type: ignore[misc]
        )


class _stacks:  # noqa: N801 - used as a function
    def __init__(self, world: World, count: int) -> None:
        self._made = [world.stack() for _ in range(count)]

    def __enter__(self) -> list[LayerStack]:
        return self._made

    def __exit__(self, *_: object) -> None:
        for stack in self._made:
            stack.close()


def _settled(world: World) -> None:
    """Check what holds after any quarrel: nothing left over, no lower changed, all readable."""
    seen = world.seen_freshly()
    assert seen == world.seen_as_it_is()
    assert [] == world.litter()
    assert world.lowers_before == world.lowers_now()


CREATORS: dict[str, Create] = {
    "x": lambda at: at.open("x").close(),
    "mkdir": lambda at: at.mkdir(),
    "symlink": lambda at: at.symlink_to("u.txt"),
    "hardlink": lambda at: at.hardlink_to("/l.txt"),
    "touch": lambda at: at.touch(exist_ok=False),
}


@pytest.mark.rule("D6", "C9")
@pytest.mark.parametrize("creator", CREATORS)
@everywhere
@both_ways
def test_exclusive_creation_has_one_winner(world_of: Worlds, how: How, kind: str, creator: str) -> None:
    """mkdir, `x`, symlink and link over anything visible: EEXIST."""
    world = world_of(kind)
    world.renew()
    names = ["gone.txt", "gd", "ld/sub/new", "od/hidden", *(f"d/sub/{number}" for number in range(FEW))]

    def work(root: UnionPath, number: int) -> object:
        won = []
        for name in names:
            try:
                CREATORS[creator](root / name)
                won.append(name)
            except FileExistsError:
                pass
        return won

    winners = Counter(name for won in _crowd(world, how, work) for name in won)  # type: ignore[attr-defined]
    assert dict.fromkeys(names, 1) == winners
    _settled(world)


@pytest.mark.rule("D6", "C9", "N4")
@pytest.mark.parametrize("creator", CREATORS)
def test_two_stacks_of_one_process(world_of: Worlds, creator: str) -> None:
    """Several stacks over one upper know of each other's changes at once."""
    world = world_of("local-oci")
    world.renew()
    names = [f"d/{number}" for number in range(FEW)]

    def work(root: UnionPath, number: int) -> object:
        won = []
        for name in names:
            try:
                CREATORS[creator](root / name)
                won.append(name)
            except FileExistsError:
                assert (root / name).exists(follow_symlinks=False)
        return won

    winners = Counter(name for won in _crowd(world, "threads", work, stacks=2) for name in won)  # type: ignore[attr-defined]
    assert dict.fromkeys(names, 1) == winners
    _settled(world)


@pytest.mark.rule("C9", "C4")
@pytest.mark.parametrize("path", ["l.txt", "ld/sub/b", "both.txt", "new.txt"])
@everywhere
@both_ways
def test_appends_all_arrive_once(world_of: Worlds, how: How, kind: str, path: str) -> None:
    """Two writers racing to copy up the same file copy it once, and no write is lost."""
    world = world_of(kind)
    world.renew()
    start = {"l.txt": b"lower\n", "ld/sub/b": b"b", "both.txt": b"upper both\n", "new.txt": b""}[path]

    def work(root: UnionPath, number: int) -> None:
        for turn in range(FEW):
            with (root / path).open("ab") as file:
                file.write(f"<{number}.{turn}>".encode())

    _crowd(world, how, work)
    with world.stack() as stack:
        content = (stack / path).read_bytes()
    _check_appended(content, start, how)
    _settled(world)


@pytest.mark.rule("C9", "C4", "C1")
@everywhere
@both_ways
def test_appends_through_handles_opened_before_the_copy_up(world_of: Worlds, how: How, kind: str) -> None:
    """All open the lower's file; the first write copies it up; every handle then writes to the same file."""
    world = world_of(kind)
    world.renew()

    def work(root: UnionPath, number: int) -> None:
        with (root / "l.txt").open("ab", buffering=0) as file:
            time.sleep(0.05)
            for turn in range(FEW):
                file.write(f"<{number}.{turn}>".encode())

    _crowd(world, how, work)
    with world.stack() as stack:
        content = (stack / "l.txt").read_bytes()
    _check_appended(content, b"lower\n", how)
    _settled(world)


def _check_appended(content: bytes, start: bytes, how: How) -> None:
    assert start == content[: len(start)]
    records = content[len(start) :].decode().replace(">", "> ").split()
    expected = Counter(f"<{number}.{turn}>" for number in range(CROWD[how]) for turn in range(FEW))
    assert {} == expected - Counter(records), "lost"
    assert {} == Counter(records) - expected, "too many"


@pytest.mark.rule("C9")
@pytest.mark.parametrize("mode", ["ab", "r+b"])
@pytest.mark.parametrize("stacks", [1, 2])
@pytest.mark.parametrize("target", ["unlink", "rename", "rename parent"])
@everywhere
def test_a_handle_whose_file_goes_away(
    world_of: Worlds, kind: str, target: str, stacks: int, mode: str
) -> None:
    """What is written afterwards is in the file, wherever it is, or refused; it is never lost in silence."""
    world = world_of(kind)
    world.renew()
    with _stacks(world, stacks) as (first, *others):
        other = others[0] if others else first
        file = (first / "ld/sub/b").open(mode)
        where = None
        if target == "unlink":
            (other / "ld/sub/b").unlink()
        elif target == "rename":
            where = (other / "ld/sub/b").rename("/moved")
        else:
            where = (other / "ld").rename("/moved") / "sub/b"
        try:
            file.write(b"abc")
            file.close()
            refused = None
        except OSError as error:
            refused = error.errno
        assert not (first / "ld/sub/b").exists()
        if refused is not None:
            assert stacks == 2, "a stack knows what it did itself"
            assert refused in (errno.ESTALE, errno.ENOENT)
        elif where is not None:
            assert (b"babc" if mode == "ab" else b"abc") == where.read_bytes()
    _settled(world)


@pytest.mark.rule("C9", "C4")
@everywhere
@both_ways
def test_writers_of_one_lower_file_at_their_own_places(world_of: Worlds, how: How, kind: str) -> None:
    """Through `r+` each has its own bytes of a lower's file; all of them are there at the end."""
    world = world_of(kind)
    world.renew()

    def work(root: UnionPath, number: int) -> None:
        with (root / "big.bin").open("r+b", buffering=0) as file:
            for turn in range(FEW):
                file.seek((turn * 16 + number) * 16)
                file.write(b"%15d\n" % (number * 1000 + turn))

    _crowd(world, how, work)
    with world.stack() as stack:
        content = (stack / "big.bin").read_bytes()
    cells = [content[at : at + 16] for at in range(0, 65536, 16)]
    wrong = [
        (number, turn)
        for number in range(CROWD[how])
        for turn in range(FEW)
        if cells[turn * 16 + number] != b"%15d\n" % (number * 1000 + turn)
    ]
    assert [] == wrong
    assert len(content) == 65536
    _settled(world)


@pytest.mark.rule("C11", "R1", "C9")
@pytest.mark.parametrize("writing", ["write_bytes", "replace"])
@everywhere
@both_ways
def test_a_replaced_file_is_never_seen_half_done(world_of: Worlds, how: How, kind: str, writing: str) -> None:
    """A lower's file is replaced over and over; a reader sees whole contents only, and always one."""
    world = world_of(kind)
    world.renew()
    end = time.monotonic() + SECONDS / 2

    def work(root: UnionPath, number: int) -> int:
        return _write(root, number) if number % 2 else _read(root)

    def _write(root: UnionPath, number: int) -> int:
        done = 0
        while time.monotonic() < end:
            data = b"%d" % (number % 10) * (1000 + done % 7 * 5000)
            if writing == "write_bytes":
                (root / "l.txt").write_bytes(data)
            else:
                (root / f"ud/{number}").write_bytes(data)
                (root / f"ud/{number}").replace(root / "l.txt")
            done += 1
        return done

    def _read(root: UnionPath) -> int:
        done = 0
        while time.monotonic() < end:
            data = (root / "l.txt").read_bytes()
            assert data == b"lower\n" or (len(set(data)) == 1 and len(data) % 5000 == 1000), data[:80]
            done += 1
        return done

    done = _crowd(world, how, work)
    assert any(done[0::2])
    assert any(done[1::2])
    _settled(world)


@pytest.mark.rule("R1", "R4", "L5")
@pytest.mark.parametrize("what", ["files", "directories"])
@everywhere
@both_ways
def test_a_storm_of_renames_keeps_everything_once(world_of: Worlds, how: How, kind: str, what: str) -> None:
    """Everyone renames whatever is there to a name of their own: nothing is lost, nothing is there twice."""
    world = world_of(kind)
    world.renew()
    with world.stack() as stack:
        for number in range(4):
            (stack / f"ud/{number}").mkdir()
            (stack / f"ud/{number}/token").write_text(f"token {number}")
    first = ["l.txt", "l2.txt", "u.txt", "both.txt"] if what == "files" else ["ld", "od", "d", "ud"]
    with world.stack() as stack:
        before = _tokens(stack.root, what)
    end = time.monotonic() + SECONDS / 2

    def work(root: UnionPath, number: int) -> int:
        chance, done = random.Random(number), 0
        while time.monotonic() < end:
            names = [each.name for each in root.iterdir() if _may_move(each.name, first)]
            if not names:  # a listing may miss what moves meanwhile, as readdir(3) may
                continue
            source = root / chance.choice(names)
            try:
                source.rename(root / f"moved-{number}-{done}")
                done += 1
            except FileNotFoundError:
                continue
        return done

    done = _crowd(world, how, work)
    assert sum(map(int, map(str, done))) > 0
    with world.stack() as stack:
        assert before == _tokens(stack.root, what)
    _settled(world)


def _may_move(name: str, first: list[str]) -> bool:
    return name in first or name.startswith("moved-")


def _tokens(root: UnionPath, what: str) -> Counter[object]:
    """Count what there is, whatever it is named at the top."""
    if what == "files":
        return Counter(
            each.read_bytes() for each in root.iterdir() if each.is_file() and not each.is_symlink()
        )
    return Counter(_inside(each) for each in root.iterdir() if each.is_dir() and not each.is_symlink())


def _inside(top: UnionPath) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        sorted(
            (str((folder / name).relative_to(top)), (folder / name).read_bytes())
            for folder, _, files in top.walk()
            for name in files
            if not (folder / name).is_symlink()
        )
    )


@pytest.mark.rule("L5", "D1", "D5", "E5")
@everywhere
@both_ways
def test_a_quarrel_over_few_names(world_of: Worlds, how: How, kind: str) -> None:
    """Everything at once on a few names: only whole contents, none twice, no deleted one comes back."""
    world = world_of(kind)
    world.renew()
    names = ["l.txt", "l2.txt", "u.txt", "both.txt", "gone.txt", "ld/a", "ld/sub/b", "d/one"]
    end = time.monotonic() + SECONDS
    allowed = {errno.ENOENT, errno.EEXIST}

    def work(root: UnionPath, number: int) -> list[int]:
        chance, errors = random.Random(number), []
        turns = iter(range(10**9))
        while time.monotonic() < end:
            at, other = (root / name for name in chance.sample(names, 2))
            try:
                chance.choice(ACTS)(at, other, f"<{number}.{next(turns)}>")
            except OSError as error:
                errors.append(error.errno or 0)
                assert error.errno in allowed, repr(error)
        return errors

    _crowd(world, how, work)
    with world.stack() as stack:
        contents = [(stack / name).read_bytes() for name in names if (stack / name).exists()]
    tokens = Counter(content[:40] for content in contents)
    assert [] == [token for token, count in tokens.items() if count > 1], "one object under two names"
    whole = {b"lower\n", b"another lower\n", b"upper\n", b"upper both\n", b"a", b"b", b"1"}
    assert [] == [each for each in contents if each not in whole and not _is_whole(each)]
    assert b"deleted\n" not in contents, "what was deleted at the start came back"
    assert b"lower both\n" not in contents, "what was shadowed at the start came back"
    _settled(world)


def _is_whole(content: bytes) -> bool:
    return content.endswith(b">" * 3000) and content.startswith(b"<")


def _put(at: UnionPath, other: UnionPath, token: str) -> None:
    at.write_text(token + ">" * 3000)


def _move(at: UnionPath, other: UnionPath, token: str) -> None:
    at.replace(other)


def _change_mode(at: UnionPath, other: UnionPath, token: str) -> None:
    at.chmod(0o600 + hash(token) % 8)


ACTS: tuple[Callable[[UnionPath, UnionPath, str], object], ...] = (
    _put,
    _move,
    _move,
    _change_mode,
    lambda at, other, token: at.unlink(),
    lambda at, other, token: at.read_bytes(),
    lambda at, other, token: at.stat(),
    lambda at, other, token: list(at.parent.iterdir()),
)


@pytest.mark.rule("D7", "D3", "L5")
@everywhere
@both_ways
def test_creating_in_a_directory_that_others_remove(world_of: Worlds, how: How, kind: str) -> None:
    """Files are made in a lower's directory while it is removed and made again: old content never returns."""
    world = world_of(kind)
    world.renew()
    end = time.monotonic() + SECONDS
    allowed = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
    with world.stack() as stack:
        (stack / "ld").rmtree()

    def work(root: UnionPath, number: int) -> int:
        chance, done = random.Random(number), 0
        while time.monotonic() < end:
            at = root / "ld"
            try:
                chance.choice(DIRECTORY_ACTS)(at, f"{number}")
                done += 1
            except OSError as error:
                assert error.errno in allowed, repr(error)
        return done

    _crowd(world, how, work)
    seen = world.seen_freshly()
    old = {"/ld/a", "/ld/sub/b", "/ld/to"} & seen.keys()
    assert set() == old, "deleted content came back"
    _settled(world)


DIRECTORY_ACTS: tuple[Callable[[UnionPath, str], object], ...] = (
    lambda at, name: at.mkdir(exist_ok=True),
    lambda at, name: (at / name).write_text(name),
    lambda at, name: (at / "sub").mkdir(exist_ok=True),
    lambda at, name: (at / "sub" / name).touch(),
    lambda at, name: (at / name).unlink(),
    lambda at, name: at.rmtree(),
    lambda at, name: at.rmdir(),
    lambda at, name: [each.name for each in at.iterdir()],
)
