"""
Changes as data: what is done to a tree, by whoever can do it, and what comes of it.

A program is a list of `Op`; a hand (`hands.py`, `changes_model.py`) has one method for each name. What an
operation comes to is a value or the name of an errno, so that two hands can be compared word by word.
Nothing of unionpath is imported here: the worker in a kernel mount runs the same programs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")
Answer: TypeAlias = tuple[str, object]
"""As `run` gives it: `("value", …)`, `("error", "ENOENT")` or `("crash", …)`, which is always wrong."""
Choose: TypeAlias = Callable[[Sequence[T]], T]
Xattrs: TypeAlias = tuple[tuple[str, bytes], ...]

NOW_AFTER = 1_500_000_000 * 10**9
"""Times set on purpose lie before, times taken from a clock after it; the latter compare as None."""


class Op(NamedTuple):
    """One operation: a method of a hand, a path, and the arguments after it."""

    name: str
    path: str
    arguments: tuple[object, ...] = ()

    def __repr__(self) -> str:
        words = ", ".join(repr(word) for word in (self.name, self.path))
        return f"Op({words}, {self.arguments!r})" if self.arguments else f"Op({words})"


class Seen(NamedTuple):
    """One object of a tree, with all that must agree."""

    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    mtime: int | None
    """In nanoseconds; None: of the time when the test ran."""
    nlink: int
    """Of what isn't a directory; the links of directories are nobody's promise."""
    content: bytes
    """Bytes of a file, target of a link."""
    xattrs: Xattrs
    """Those in the `user.` namespace, sorted."""


def shown_time(mtime_ns: int) -> int | None:
    """Give a modification time as it compares."""
    return None if mtime_ns > NOW_AFTER else mtime_ns


def shown_target(target: str) -> str:
    """Give the target of a link as a path shows it: "./a" is "a" to pathlib."""
    return str(PurePosixPath(target))


def run(hand: object, op: Op) -> Answer:
    """Do one operation."""
    try:
        return "value", getattr(hand, op.name)(op.path, *op.arguments)
    except OSError as error:
        if error.errno is None:
            return "crash", repr(error)
        return "error", errno.errorcode[error.errno]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a difference to be shown
        return "crash", f"{type(error).__name__}: {error}"


def run_all(hand: object, program: Iterable[Op]) -> Iterator[Answer]:
    """Do one operation after the other, whatever each comes to."""
    return (run(hand, op) for op in program)


class Difference(NamedTuple):
    """Where two hands part."""

    step: int
    op: Op
    expected: object
    actual: object

    def __str__(self) -> str:
        return f"step {self.step}, {self.op!r}\n  expected {self.expected!r}\n  actual   {self.actual!r}"


def first_difference(
    program: Sequence[Op], expected: Iterable[Answer], actual: Iterable[Answer]
) -> Difference | None:
    """Compare what two hands made of a program; a whole tree is cut down to the rows that differ."""
    for step, (op, mine, theirs) in enumerate(zip(program, expected, actual, strict=True)):
        if mine == theirs:
            continue
        if op.name == "whole" and mine[0] == theirs[0] == "value":
            return Difference(step, op, _only(mine[1], theirs[1]), _only(theirs[1], mine[1]))
        return Difference(step, op, mine, theirs)
    return None


def _only(one: object, other: object) -> list[object]:
    assert isinstance(one, list)
    assert isinstance(other, list)
    return [row for row in one if row not in other]


# Programs made by chance. `choose` is `random.Random.choice`, or a draw of hypothesis.

NAMES = ("a", "b", "c", "d")
TARGETS = (
    "a", "b", "c", "d", "a/b", "b/c", "/a", "/b", "/a/b", "/c/a", "../a", "../b", "../c/a", "..", ".", "/",
    "missing", "/missing/a", "../../a", "/a/../b", "./c",
)  # fmt: skip
DATA = (b"", b"1", b"twenty-two bytes here.", b"\0\0\0\0end")
OFFSETS = (0, 1, 5, 30, 50)
MODES = (0o644, 0o600, 0o755, 0o400, 0o4755, 0o2755, 0o777)
FOLDER_MODES = (0o755, 0o700, 0o777, 0o1777, 0o2775, 0o500)
HELD = {"1": "r+", "2": "a+", "3": "w", "4": "r+"}
"""Files that stay open, and how they are opened."""
OPEN_MODES = ("w", "a", "x", "r+", "w+", "a+", "x+")
TIMES = (0, 1, 123_456_789_012_345_678, 999_999_999_999_999_999)
OWNERS = (-1, 0, 1, 1000)
XATTRS = ("user.one", "user.two", "user.three")


class Known(NamedTuple):
    """What is in a tree."""

    folders: Sequence[str]
    others: Sequence[str]


# How often what kind of path is taken: a folder, something else, a name in a folder, a name in anything,
# by chance alone, with dots.
ANY, FOLDER, OTHER, NEW = "ffoooooniird.", "ffffffoind", "fooooooind", "fonnnnnnnnnid"
PREFERRED = {
    "mkdir": NEW, "symlink": NEW, "link": NEW, "rmdir": FOLDER, "rmtree": FOLDER, "names": FOLDER,
    "unlink": OTHER, "open": OTHER + NEW, "write": OTHER + NEW, "touch": OTHER + NEW, "read": OTHER,
    "readlink": OTHER,
}  # fmt: skip


class Maker:
    """Makes operations by chance, on paths that are often there."""

    def __init__(self, choose: Callable[[Sequence[object]], object]) -> None:
        self._choice = choose
        self._known: Known | None = None

    def op(self, known: Known | None = None) -> Op:
        """Make one; `known` is what is there now."""
        self._known = known
        kind = self._choose(KINDS)
        path = self._path(PREFERRED.get(kind, ANY))
        make = getattr(self, f"_{kind}", None)
        return Op(kind, path) if make is None else make(path)

    def _choose(self, these: Sequence[T]) -> T:
        return self._choice(these)  # type: ignore[return-value]  # a choice gives one of what it was given

    def _path(self, preferred: str = ANY) -> str:
        how = self._choose(preferred)
        if self._known is None or how in "rd.":
            return self._path_by_chance(how)
        if how == "n":
            return f"{self._choose(self._known.folders).rstrip('/')}/{self._choose(NAMES)}"
        if how == "i":
            return f"{self._choose(self._known.others).rstrip('/')}/{self._choose(NAMES)}"
        return self._choose(self._known.folders if how == "f" else self._known.others)

    def _path_by_chance(self, how: str) -> str:
        names = [self._choose(NAMES) for _ in range(self._choose((1, 1, 2, 2, 3)))]
        if how in "d.":
            names.append(self._choose(("..", "../a", "../b", "b/..", "missing")))
        return "/" + "/".join(names)

    def _open(self, path: str) -> Op:
        mode = self._choose(OPEN_MODES)
        actions = [self._action(mode) for _ in range(self._choose((0, 1, 1, 2, 3)))]
        if "+" in mode:
            actions += [("seek", 0), ("read", -1)]
        return Op("open", path, (mode, self._choose((-1, 0)), tuple(actions)))

    def _hold(self, path: str) -> Op:
        return Op("hold", path, (self._choose(tuple(HELD)), b"held"))

    def _held(self, path: str) -> Op:
        slot = self._choose(tuple(HELD))
        actions = tuple(self._action(HELD[slot]) for _ in range(self._choose((1, 1, 2))))
        return Op("held", "/", (slot, actions))

    def _action(self, mode: str) -> tuple[object, ...]:
        kind = self._choose(("write", "write", "write", "seek", "truncate"))
        if kind == "write":
            return kind, self._choose(DATA)
        return kind, self._choose(OFFSETS)

    def _write(self, path: str) -> Op:
        return Op("write", path, (self._choose(DATA),))

    def _mkdir(self, path: str) -> Op:
        plain = self._choose((True, True, True, False))
        if plain:
            return Op("mkdir", path, (self._choose((0o777, *FOLDER_MODES)), False, False))
        return Op("mkdir", path, (0o777, True, self._choose((True, False))))

    def _unlink(self, path: str) -> Op:
        return Op("unlink", path, (self._choose((False, False, False, True)),))

    def _rename(self, path: str) -> Op:
        return Op("rename", path, (self._path(self._choose((ANY, NEW, NEW))),))

    def _replace(self, path: str) -> Op:
        return Op("replace", path, (self._path(self._choose((ANY, NEW))),))

    def _symlink(self, path: str) -> Op:
        return Op("symlink", path, (self._choose((self._path(), *TARGETS, "")),))

    def _link(self, path: str) -> Op:
        return Op("link", path, (self._path(OTHER),))

    def _chmod(self, path: str) -> Op:
        return Op("chmod", path, (self._choose((*MODES, *FOLDER_MODES)),))

    def _lchmod(self, path: str) -> Op:
        return Op("lchmod", path, (self._choose(MODES),))

    def _chown(self, path: str) -> Op:
        return Op("chown", path, (self._choose(OWNERS), self._choose(OWNERS), self._choose((True, False))))

    def _utime(self, path: str) -> Op:
        return Op("utime", path, (self._choose(TIMES), self._choose(TIMES), self._choose((True, False))))

    def _touch(self, path: str) -> Op:
        return Op("touch", path, (self._choose((0o666, 0o600)), self._choose((True, True, False))))

    def _setxattr(self, path: str) -> Op:
        value, flags = self._choose((b"", b"value")), self._choose((0, 0, 1, 2))
        return Op("setxattr", path, (self._choose(XATTRS), value, flags, self._choose((True, True, False))))

    def _removexattr(self, path: str) -> Op:
        return Op("removexattr", path, (self._choose(XATTRS), self._choose((True, True, False))))

    def _rmtree(self, path: str) -> Op:
        # Of all that is there: left to tests of its own.
        return Op(self._choose(("rmtree", "rmtree_loop")), "/a" if path.endswith(("/", "..")) else path)

    def _whole(self, path: str) -> Op:
        return Op("whole", "/")

    def _reopen(self, path: str) -> Op:
        return Op("reopen", "/")


OFTEN = {
    "open": 4, "hold": 2, "held": 3, "write": 2, "mkdir": 4, "rmdir": 3, "unlink": 4, "rename": 5,
    "replace": 2, "symlink": 2, "link": 2, "chmod": 2, "lchmod": 1, "chown": 1, "utime": 2, "touch": 2,
    "setxattr": 2, "removexattr": 1, "rmtree": 2, "stat": 1, "lstat": 1, "names": 1, "read": 1, "readlink": 1,
    "resolve": 1, "xattrs": 1, "whole": 2, "reopen": 1,
}  # fmt: skip
"""How often each operation comes."""
KINDS = tuple(kind for kind, times in OFTEN.items() for _ in range(times))


def shrink(these: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Leave out, from the end, all that isn't needed for the failure."""
    size = max(1, len(these) // 2)
    while True:
        smaller = _without(these, size, fails)
        if len(smaller) == len(these) and size == 1:
            return these
        these, size = smaller, max(1, size // 2)


def _without(these: Sequence[T], size: int, fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    at = len(these) - size
    while at > -size:
        fewer = [*these[: max(at, 0)], *these[at + size :]]
        if len(fewer) < len(these) and fails(fewer):
            these = fewer
        at -= size
    return these
