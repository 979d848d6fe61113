"""Exceptions out of signal handlers, at any instant: nothing stays locked, half done or open."""

from __future__ import annotations

import errno
import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from places import Place, in_child
from unionpath import LayerStack, UnionPath
from unionpath.mutate.work import PRIVATE

SECONDS = 0.35


class Interrupt(BaseException):
    """What `KeyboardInterrupt` is to a program."""


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Let SIGALRM raise."""

    def raise_it(_number: int, _frame: FrameType | None) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, raise_it)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def interrupted(act: Callable[[], object], seed: int) -> int:
    """Do something again and again, interrupted at instants that nobody chose; give how often it was."""
    chance, end, count = random.Random(seed), time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        try:
            try:
                # Again after a while: an exception in a finalizer isn't heard of.
                signal.setitimer(signal.ITIMER_REAL, chance.random() * 0.001 + 1e-5, 0.02)
                while True:
                    act()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
            count += 1
        except OSError as error:
            assert errno.EBADF != error.errno  # a descriptor closed twice
    return count


def make_and_unlink(path: UnionPath) -> None:
    path.touch()
    path.unlink()


ACTS: dict[str, Callable[[UnionPath], object]] = {
    "chmod": lambda root: (root / "f").chmod(0o600),
    "write": lambda root: (root / "f").write_text("new"),
    "make": lambda root: make_and_unlink(root / "n"),
    "read": lambda root: (root / "f").read_bytes(),
    "copy": lambda root: (root / "f").copy(root / "g"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("act", ACTS)
def test_the_upper_is_free_afterwards(place: Place, interrupts: None, seed: int, act: str) -> None:
    """Another process can write, closing ends the session, and the stack works on."""
    place.fill({"f": "x"})
    stack = place.stack()
    (stack / "warm").touch()
    assert interrupted(lambda: ACTS[act](stack.root), seed) > 20

    def write() -> None:
        with LayerStack([place.lower], upper=place.upper) as other:
            (other / "q").touch()

    assert 0 == in_child(write, seconds=5)
    (stack / "f").write_text("done")
    stack.close()
    assert [] == os.listdir(place.upper / PRIVATE / "stage")
    gc.collect()  # what was left open in between is let go here, not in another test
    fresh = place.stack()
    assert "done" == (fresh / "f").read_text()
    assert (fresh / "q").exists()


@pytest.mark.rule("E7")
def test_what_is_open_at_exit_is_written(place: Place) -> None:
    """A handle that is only collected when the interpreter ends still copies its file up."""
    place.fill({"a": "1234"})
    script = """
import sys
from unionpath import LayerStack
handle = (LayerStack([sys.argv[1]], upper=sys.argv[2]) / "a").open("ab")
handle.write(b"5")
def keep():
    return handle
"""
    done = subprocess.run(
        [sys.executable, "-c", script, place.lower, place.upper], capture_output=True, text=True, check=True
    )
    assert "" == done.stderr
    assert "12345" == (place.upper / "a").read_text()


def test_an_interrupt_while_a_descriptor_changes_hands(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed once: a second time it might be another thread's."""
    import io

    place.fill({"f": "x"})
    stack = place.stack()
    (stack / "up").touch()
    closed: list[int] = []
    kept: list[object] = []

    class Interrupted(io.FileIO):
        def __init__(self, *arguments: object, **more: object) -> None:
            super().__init__(*arguments, **more)  # type: ignore[arg-type]  # handed on
            kept.append(self)
            raise Interrupt

    real = os.close

    def close(fd: int) -> None:
        closed.append(fd)
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(io, "FileIO", Interrupted)
        patch.setattr(os, "close", close)
        for name in ("f", "up", "new"):
            with pytest.raises(Interrupt):
                (stack / name).open("rb" if name != "new" else "wb", 0)
    for file in kept:
        assert isinstance(file, io.FileIO)
        assert file.fileno() not in closed
        file.close()
