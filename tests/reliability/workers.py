"""Many at once: children that start together and tell what came of it, threads too; and private mounts."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeAlias, TypeVar, cast

from reliability.syscalls import limit

T = TypeVar("T")

How: TypeAlias = Literal["processes", "threads"]
CLONE_NEWNS = 0x00020000
MS_RDONLY = 1
MS_REMOUNT = 32
_MS_REC_PRIVATE = 16384 | (1 << 18)
PATIENCE = 60.0


def together(how: How, bodies: Sequence[Callable[[], T]]) -> list[T]:
    """Run all at the same time, and give their results; one that raises makes this raise."""
    return _processes(bodies) if how == "processes" else _threads(bodies)


def _threads(bodies: Sequence[Callable[[], T]]) -> list[T]:
    barrier = threading.Barrier(len(bodies))
    results: dict[int, T] = {}
    failures: list[str] = []

    def run(number: int, body: Callable[[], T]) -> None:
        try:
            barrier.wait(PATIENCE)
            results[number] = body()
        except BaseException:  # noqa: BLE001 - whatever it is, the test shall show it
            failures.append(traceback.format_exc())

    threads = [
        threading.Thread(target=run, args=(number, body), daemon=True) for number, body in enumerate(bodies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "threads hang"
    assert not failures, failures[0]
    return [results[number] for number in range(len(bodies))]


def _processes(bodies: Sequence[Callable[[], T]]) -> list[T]:
    gate, opener = os.pipe()
    children = [Child(body, gate, (opener,)) for body in bodies]
    os.close(gate)
    os.close(opener)  # they all read an end of file at once
    return [child.result() for child in children]


class Child(Generic[T]):
    """A function that runs in a child of this process."""

    def __init__(self, body: Callable[[], T], gate: int | None = None, unwanted: Sequence[int] = ()) -> None:
        self._reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for fd in (self._reader, *unwanted):
                os.close(fd)
            _be_child(body, gate, writer)
        os.close(writer)

    def fileno(self) -> int:
        """Readable when it has ended."""
        return self._reader

    def result(self, seconds: float = PATIENCE) -> T:
        """Wait for its result."""
        try:
            with limit(seconds), os.fdopen(self._reader, "rb") as file:
                data = file.read()
        finally:
            self.kill()
        assert data, "the child died"
        value, failure = pickle.loads(data)
        assert failure is None, failure
        return cast("T", value)

    def kill(self) -> None:
        """End it, if it hasn't ended."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _be_child(body: Callable[[], object], gate: int | None, writer: int) -> None:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            if gate is not None:
                os.read(gate, 1)
            message: tuple[object, str | None] = body(), None
        except BaseException:  # noqa: BLE001 - whatever it is, the parent shall show it
            message = None, traceback.format_exc()
        with os.fdopen(writer, "wb") as file:
            pickle.dump(message, file)
    finally:
        os._exit(0)


def no_namespace() -> str | None:
    """Say why a process can't have mounts of its own here, or None."""
    if os.name != "posix" or not hasattr(os, "fork") or not os.path.isdir("/proc/self/ns"):
        return "private mounts need Linux"
    if os.geteuid() != 0:
        return "private mounts need root"
    child = Child(_enter)
    try:
        child.result(20)
    except AssertionError:
        return "private mounts aren't allowed here"
    return None


def privately(body: Callable[[], T]) -> T:
    """Run a function in a child with a mount namespace of its own; its mounts vanish with it."""

    def run() -> T:
        _enter()
        return body()

    child = Child(run)
    return child.result(PATIENCE * 10)


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNS))
    _check(libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))


def mount_tmpfs(at: str | os.PathLike[str], options: str, flags: int = 0) -> None:
    """Mount a file system in memory, or change it with MS_REMOUNT."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.mount(b"tmpfs", os.fsencode(at), b"tmpfs", flags, options.encode()))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
