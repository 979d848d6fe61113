"""Look-ups while another process renames, deletes, and swaps directories for links to the outside (L11)."""

from __future__ import annotations

import errno
import gc
import os
import random
import signal
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grounds import scratch

if TYPE_CHECKING:
    from unionpath import LayerStack, UnionPath

pytestmark = pytest.mark.property

SECONDS = 4.0
SECRET = b"outside of every layer"
EXPECTED = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP}
"""What a look-up may say of a name that comes, goes, or is another kind of thing by now."""
NAMES = ("a", "b", "c", "secret")


@pytest.mark.rule("L11", "E2")
@pytest.mark.parametrize("immutable", [False, True], ids=["live", "immutable"])
@pytest.mark.changes_lowers("to see the union follow")
def test_nothing_outside_is_ever_reached(seed: int, immutable: bool) -> None:
    """A layer never follows symlinks, not even when a directory is swapped for one in mid-lookup."""
    from unionpath import Layer, LayerStack

    with scratch() as base:
        outside = _set_up(base)
        chance = random.Random(seed)
        secret = os.stat(outside / "secret")
        with _swapping(base, outside):
            layers = [Layer(base / name, immutable=immutable) for name in ("upper", "lower")]
            with LayerStack(layers) as stack:
                tried, failed = _ask(stack, chance, (secret.st_dev, secret.st_ino), refresh=immutable)
        del stack, layers
        gc.collect()
        assert [] == _open_below(base)
        assert failed.keys() <= EXPECTED, failed
        assert tried > 1_000
        assert failed, "nothing raced: the test proves nothing"
        assert outside.joinpath("secret").read_bytes() == SECRET


def _set_up(base: Path) -> Path:
    """Two layers with the same directories, and the same names outside, with the secret in each."""
    for top in ("upper", "lower", "outside"):
        for folder in ("", "a", "a/b", "a/b/c", "b", "b/c", "c"):
            at = base / top / folder
            at.mkdir(parents=True, exist_ok=True)
            if top == "outside":
                (at / "secret").write_bytes(SECRET)
                (at / "only outside").write_bytes(SECRET)
    for folder in ("a", "a/b", "a/b/c", "b"):
        (base / "lower" / folder / "secret").write_bytes(b"inside")
    return base / "outside"


@contextmanager
def _swapping(base: Path, outside: Path) -> Iterator[None]:
    """Have another process at it for a while."""
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
    places = [
        base / top / folder for top in ("upper", "lower") for folder in ("a", "a/b", "a/b/c", "b", "b/c")
    ]
    aside = base / "aside"
    aside.mkdir()
    for number in range(10**9):
        at = chance.choice(places)
        inside = os.path.relpath(at, base).split("/", 1)[1]
        target = chance.choice((str(outside / inside), os.path.relpath(outside / inside, at.parent)))
        try:
            chance.choice((_swap, _swap, _delete, _file))(at, aside / str(number), target)
        except OSError:
            continue


def _swap(at: Path, aside: Path, target: str) -> None:
    os.rename(at, aside)
    os.symlink(target, at)
    os.unlink(at)
    os.rename(aside, at)


def _delete(at: Path, aside: Path, target: str) -> None:
    os.rename(at, aside)
    os.mkdir(at)
    os.rename(aside, at)


def _file(at: Path, aside: Path, target: str) -> None:
    os.rename(at, aside)
    (at).write_bytes(b"inside")
    os.unlink(at)
    os.rename(aside, at)


def _ask(
    stack: LayerStack, chance: random.Random, secret: tuple[int, int], *, refresh: bool
) -> tuple[int, Counter[int]]:
    """Ask as much as there is time for; give the number of questions, and of every errno."""
    questions: list[Callable[[UnionPath], object]] = [_read, _open, _list, _walk, _stat, _resolve, _exists]
    tried, failed = 0, Counter[int]()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        at = stack.root.joinpath(*chance.choices(NAMES, k=chance.randrange(1, 5)))
        tried += 1
        if refresh and tried % 50 == 0:
            stack.refresh()
        try:
            answer = chance.choice(questions)(at)
        except OSError as error:
            failed[error.errno or 0] += 1
            assert str(at) == error.filename or str(error.filename).startswith(f"{at}/")
            continue
        assert answer != SECRET, f"read the secret through {at}"
        assert answer != secret, f"reached the secret through {at}"
        assert not (isinstance(answer, set) and "only outside" in answer), f"listed outside through {at}"
    return tried, failed


def _read(at: UnionPath) -> bytes:
    return at.read_bytes()


def _open(at: UnionPath) -> bytes:
    with at.open("rb", buffering=0) as file:
        return file.read()


def _list(at: UnionPath) -> set[str]:
    return {child.name for child in at.iterdir()}


def _walk(at: UnionPath) -> set[str]:
    return {name for _, folders, files in at.walk() for name in (*folders, *files)}


def _stat(at: UnionPath) -> tuple[int, int] | None:
    status = at.stat()
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _resolve(at: UnionPath) -> str:
    return str(at.resolve(strict=True))


def _exists(at: UnionPath) -> bool:
    return at.exists() and at.is_file()


def _open_below(base: Path) -> list[str]:
    """List what this process has open beneath a directory."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the descriptor by which they were listed
            continue
    return [at for at in found if at.startswith(f"{base}/")]
