"""
A real kernel overlay mount as judge: the client, and the worker process that mounts and looks.

The worker has its own mount namespace, so nothing that it mounts is seen by anyone else, and all of it
vanishes with the process. It enters the mounted tree by chroot: an absolute symlink then means the root
of the union, as in `UnionPath`. Nothing of unionpath is imported here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO, Self, TypeAlias, cast

import programs
from hands import HostHand
from programs import Op
from views import HostView, Row, Walked, outcome

OPTIONS = "redirect_dir=on,index=off,metacopy=off"
Question: TypeAlias = tuple[str, tuple[object, ...]]
"""A method of a view, or a function of `os`, and its arguments."""
Answer: TypeAlias = tuple[str, object]
"""As `views.outcome` gives it."""

_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 16384 | (1 << 18)
_MNT_DETACH = 2


@cache
def no_mounts(options: str = OPTIONS) -> str | None:
    """Say why no overlay can be mounted here, or None."""
    if not sys.platform.startswith("linux"):
        return "overlay mounts need Linux"
    with tempfile.TemporaryDirectory() as base, Kernel() as kernel:
        for name in ("top", "bottom"):
            os.mkdir(os.path.join(base, name))
        try:
            kernel.mount(Path(base), ["top", "bottom"], options=options)
        except OSError as error:
            return f"no overlay mount with {options} possible here: {error.strerror}"
        kernel.unmount()
    return None


class Kernel:
    """The worker process; a view of what it has mounted."""

    def __init__(self) -> None:
        here = Path(__file__)
        self._process = subprocess.Popen(
            [sys.executable, str(here)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(here.parent)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker, and with it every mount."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def mount(
        self, base: Path, lowers: Sequence[str], *, upper: str | None = None, options: str = OPTIONS
    ) -> None:
        """
        Mount directories of `base`, top first; an upper gets `work` beside it.

        A single lower gets an empty one below it: the kernel wants two where there is no upper.
        """
        named = list(lowers)
        if len(named) == 1 and upper is None:
            named.append("empty-bottom")
            (base / "empty-bottom").mkdir(exist_ok=True)
        if upper is not None:
            (base / "work").mkdir(exist_ok=True)
        self._value(("mount", (str(base), named, upper, options)))

    def unmount(self) -> None:
        """Leave and unmount."""
        self._value(("unmount", ()))

    def ask(self, questions: Iterable[Question]) -> list[Answer]:
        """Put many questions in one go."""
        return cast("list[Answer]", self._exchange(list(questions)))

    def run(self, program: Iterable[Op]) -> list[programs.Answer]:
        """Run a program inside the mount, in one go."""
        return self.ask([("run", (op,)) for op in program])

    def system(self, function: str, *arguments: object) -> object:
        """Call a function of `os` inside the mount."""
        return self._value((f"os.{function}", arguments))

    def write(self, path: str, data: bytes) -> None:
        """Write a file inside the mount."""
        self._value(("write", (path, data)))

    def whole(self) -> list[Row]:
        """Give the whole tree, with contents."""
        return cast("list[Row]", self._value(("whole", ())))

    def kind(self, path: str) -> str:
        return cast(str, self._value(("kind", (path,))))

    def lkind(self, path: str) -> str:
        return cast(str, self._value(("lkind", (path,))))

    def exists(self, path: str) -> bool:
        return cast(bool, self._value(("exists", (path,))))

    def mode(self, path: str) -> int:
        return cast(int, self._value(("mode", (path,))))

    def read(self, path: str) -> bytes:
        return cast(bytes, self._value(("read", (path,))))

    def names(self, path: str) -> list[str]:
        return cast("list[str]", self._value(("names", (path,))))

    def readlink(self, path: str) -> str:
        return cast(str, self._value(("readlink", (path,))))

    def resolve(self, path: str) -> str:
        return cast(str, self._value(("resolve", (path,))))

    def walk(self, path: str) -> Walked:
        return cast(Walked, self._value(("walk", (path,))))

    def _value(self, question: Question) -> object:
        [(kind, value)] = self.ask([question])
        if kind == "value":
            return value
        number = getattr(errno, str(value))
        raise OSError(number, os.strerror(number))

    def _exchange(self, message: object) -> object:
        there, back = self._process.stdin, self._process.stdout
        assert there is not None
        assert back is not None
        pickle.dump(message, there)
        there.flush()
        kind, answer = pickle.load(back)
        if kind == "crash":
            raise RuntimeError(f"the kernel worker failed:\n{answer}")
        return answer


class _Worker:
    """The other end of the pipe."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._point = tempfile.mkdtemp(prefix="unionpath-mount-")
        self._view = HostView("")
        self._hand = HostHand()
        self._host: int | None = None

    def serve(self, questions: BinaryIO, answers: BinaryIO) -> None:
        """Answer until the pipe ends."""
        while True:
            try:
                asked: list[Question] = pickle.load(questions)
            except EOFError:
                return
            try:
                answer: tuple[str, object] = "fine", [self._answer(*question) for question in asked]
            except Exception:  # noqa: BLE001 - whatever it is, the test shall show it
                answer = "crash", traceback.format_exc()
            pickle.dump(answer, answers)
            answers.flush()

    def clean_up(self) -> None:
        """Leave no mount point behind."""
        if self._host is not None:
            os.fchdir(self._host)
            os.chroot(".")
            self._libc.umount2(os.fsencode(self._point), _MNT_DETACH)
        os.rmdir(self._point)

    def _answer(self, name: str, arguments: tuple[object, ...]) -> Answer:
        if name.startswith("os."):
            return outcome(getattr(os, name.removeprefix("os.")), *arguments)
        if name == "run":
            [op] = arguments
            assert isinstance(op, Op)
            return programs.run(self._hand, op)
        owner = self if name in ("mount", "unmount", "write") else self._view
        return outcome(getattr(owner, name), *arguments)

    def mount(self, base: str, lowers: list[str], upper: str | None, options: str) -> None:
        """Mount and enter. Names relative to `base` keep the options within the page that they may have."""
        self._become_private()
        os.chdir(base)
        words = [f"lowerdir={':'.join(lowers)}", options]
        if upper is not None:
            words += [f"upperdir={upper}", "workdir=work"]
        data = ",".join(words).encode()
        self._check(self._libc.mount(b"overlay", os.fsencode(self._point), b"overlay", 0, data))
        os.chroot(self._point)
        os.chdir("/")

    def unmount(self) -> None:
        assert self._host is not None
        os.fchdir(self._host)
        os.chroot(".")
        self._check(self._libc.umount2(os.fsencode(self._point), 0))

    def write(self, path: str, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)

    def _become_private(self) -> None:
        if self._host is not None:
            return
        self._check(self._libc.unshare(_CLONE_NEWNS))
        self._check(self._libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
        # Opened in the new namespace: a descriptor of the old one shows none of our mounts.
        self._host = os.open("/", os.O_RDONLY | os.O_DIRECTORY)

    def _check(self, result: int) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    worker = _Worker()
    try:
        worker.serve(sys.stdin.buffer, sys.stdout.buffer)
    finally:
        worker.clean_up()
