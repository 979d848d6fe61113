"""A small union with one object of every kind, made quickly and often; and what is seen of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import guard
from grounds import BY_ID, Ground, Site, no_user_xattrs, scratch
from trees import Dir, File, Link, Whiteout
from views import KINDS

if TYPE_CHECKING:
    from unionpath import Layer, LayerStack, UnionPath

RenameDir: TypeAlias = Literal["copy", "exdev", "redirect"]
Durability: TypeAlias = Literal["auto", "strict", "volatile"]
Row: TypeAlias = tuple[object, ...]
"""Kind, permissions, owner, group, time (of what isn't a directory), content or target."""
Tree: TypeAlias = Mapping[str, Row]
"""Path to row."""

OLD = 1_000_000_000 * 10**9
"""When everything was made; a newer time is just `new`, as it differs from run to run."""
BIG = b"0123456789abcdef" * 4096
GROUNDS = ("local-oci", "local-unionfs", "local-table", "local-overlayfs", "local-userxattr")
CORE = GROUNDS[:4]

LOWER_0 = Dir(
    {
        "top.txt": File(b"upper lower\n", 0o600),
        "d": Dir({"two": File(b"2", 0o640), "sub": Dir({"mid": File(b"m")})}, mode=0o750),
        "over": File(b"a file over a directory"),
    }
)
LOWER_1 = Dir(
    {
        "l.txt": File(b"lower\n", 0o640),
        "l2.txt": File(b"another lower\n"),
        "top.txt": File(b"never seen"),
        "both.txt": File(b"lower both\n", 0o604),
        "gone.txt": File(b"deleted\n"),
        "big.bin": File(BIG),
        "link": Link("l.txt"),
        "d": Dir({"one": File(b"1"), "sub": Dir({"deep": File(b"deep")}, mode=0o711), "out": File()}),
        "ld": Dir({"a": File(b"a"), "sub": Dir({"b": File(b"b", 0o400)}), "to": Link("a")}, mode=0o755),
        "le": Dir(mode=0o700),
        "gd": Dir({"old": File(b"old"), "sub": Dir({"older": File(b"older")})}),
        "empty": Dir({"x": File(b"x"), "y": Dir({"z": File(b"z")})}),
        "od": Dir({"hidden": File(b"hidden")}),
        "over": Dir({"below": File(b"below")}),
    }
)
UPPER = Dir(
    {
        "u.txt": File(b"upper\n", 0o644),
        "both.txt": File(b"upper both\n", 0o620),
        "gone.txt": Whiteout(),
        "gd": Whiteout(),
        "d": Dir({"three": File(b"3"), "out": Whiteout()}, mode=0o755),
        "ud": Dir({"x": File(b"x"), "sub": Dir({"y": File(b"y")})}),
        "ue": Dir(),
        "empty": Dir({"x": Whiteout(), "y": Whiteout()}),
        "od": Dir({"new": File(b"new")}, opaque=True),
        "ulink": Link("ud/x"),
    }
)


@dataclass
class World:
    """
    Two lowers and an upper below one directory.

    The lowers are made once and must never change, the upper is copied from a template for each try.
    """

    base: Path
    ground: Ground
    sites: list[Site] = field(default_factory=list)
    lowers_before: Tree = field(default_factory=dict)
    upper_before: Tree = field(default_factory=dict)

    @property
    def upper(self) -> Path:
        return self.base / "upper"

    @property
    def lowers(self) -> tuple[Path, Path]:
        return self.base / "layers" / "1", self.base / "layers" / "2"

    def layer(self, path: Path) -> Layer:
        from unionpath import Layer

        return Layer(path, whiteouts=self.ground.whiteouts, userxattr=self.ground.userxattr)

    def stack(self, *, rename_dir: RenameDir = "copy", durability: Durability = "auto") -> LayerStack:
        """Make a fresh stack that writes to the upper."""
        from unionpath import LayerStack

        lowers = [self.layer(path) for path in self.lowers]
        return LayerStack(lowers, upper=self.layer(self.upper), rename_dir=rename_dir, durability=durability)

    def onlooker(self) -> LayerStack:
        """Make a fresh stack that only reads, and so puts nothing in order first."""
        from unionpath import LayerStack

        layers = [self.layer(path) for path in (self.upper, *self.lowers)]
        guard.release(layers[0].store)
        return LayerStack(layers)

    def renew(self) -> None:
        """Put the upper back to what it was."""
        for name in os.listdir(self.base):
            if name not in ("layers", "outside"):
                remove(self.base / name)
        subprocess.run(["cp", "-a", str(self.base / "layers" / "0"), str(self.upper)], check=True)

    def seen(self, stack: LayerStack) -> Tree:
        """Read the whole union."""
        return dict(look(stack.root))

    def seen_freshly(self) -> Tree:
        """Read the whole union with a stack that has never seen it, and that puts it in order first."""
        with self.stack() as stack:
            return self.seen(stack)

    def seen_as_it_is(self) -> Tree:
        """Read the whole union without putting anything in order."""
        with self.onlooker() as stack:
            return self.seen(stack)

    def lowers_now(self) -> Tree:
        """Read all of the lowers, byte by byte and with all metadata."""
        return {**raw(self.lowers[0], times=True), **raw(self.lowers[1], times=True)}

    def upper_now(self) -> Tree:
        """Read what is really in the upper, work areas left out."""
        return raw(self.upper, leave_out=is_work)

    def litter(self, *, alive: bool = False) -> list[str]:
        """List what is staged in work areas; sessions that are `alive` have a place there, an empty one."""
        found = []
        for at in (self.upper / ".wh..wh.unionpath", self.base / ".upper.unionpath"):
            inside = sorted((at / "stage").glob("*/*" if alive else "*"))
            found += [str(each.relative_to(self.base)) for each in inside]
        known = {"layers", "upper", ".upper.unionpath", "outside"}
        return found + sorted(set(os.listdir(self.base)) - known)


def build(base: Path, kind: str) -> World:
    """Put the layers down."""
    ground = BY_ID[kind]
    ground.require(UPPER, LOWER_0, LOWER_1)
    layers = base / "layers"
    layers.mkdir()
    world = World(base, ground)
    world.sites = ground.sites(layers, [UPPER, LOWER_0, LOWER_1])
    bottom = layers / "2"
    os.link(bottom / "l2.txt", bottom / "l3.txt")
    if no_user_xattrs() is None:
        for at in (bottom / "l.txt", bottom / "ld", bottom / "both.txt", layers / "0" / "u.txt"):
            os.setxattr(at, "user.note", b"kept")
    for top, folders, files in os.walk(layers, topdown=False):
        for name in (*files, *folders):
            os.utime(os.path.join(top, name), ns=(OLD, OLD), follow_symlinks=False)
    world.renew()
    world.lowers_before = world.lowers_now()
    world.upper_before = world.upper_now()
    return world


def worlds(kind: str) -> Iterator[World]:
    """Give a world in a scratch directory, for a fixture."""
    with scratch() as base:
        yield build(base, kind)


def look(root: UnionPath) -> Iterator[tuple[str, Row]]:
    """Read all that a path shows; every listed name must stat, and every file be readable (N3)."""
    yield "/", seen_row(root)
    for top, folders, files in root.walk(on_error=_raise):
        for name in (*folders, *files):
            at = top / name
            yield str(at), seen_row(at)


def _raise(error: OSError) -> None:
    raise error


def seen_row(at: UnionPath) -> Row:
    status = at.lstat()
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    content = b""
    if kind == "file":
        content = at.read_bytes()
    elif kind == "link":
        content = os.fsencode(str(at.readlink()))
    names = _xattrs(at)
    time = "" if kind == "dir" else when(status.st_mtime_ns)
    mode = stat.S_IMODE(status.st_mode)
    return kind, oct(mode), status.st_uid, status.st_gid, time, shown(content), names


def _xattrs(at: UnionPath) -> tuple[tuple[str, bytes], ...]:
    names: Callable[..., list[str]] | None = getattr(at, "listxattr", None)
    if names is None:
        return ()
    return tuple(
        (name, at.getxattr(name, follow_symlinks=False)) for name in sorted(names(follow_symlinks=False))
    )


def when(mtime: int) -> str:
    """Show a time: exactly if it is old, else as new."""
    return str(mtime) if mtime < OLD + 500_000_000 * 10**9 else "new"


def shown(content: bytes) -> str:
    """Show content: as it is if short, else by size and digest."""
    if len(content) <= 60:
        return content.decode("ascii", "backslashreplace")
    return f"{len(content)} bytes, {hashlib.sha256(content).hexdigest()[:12]}"


def is_work(name: str) -> bool:
    """Tell whether a name in an upper is private to unionpath: there it does what it likes."""
    return name == ".wh..wh.unionpath"


def raw(
    top: Path, *, times: bool = False, leave_out: Callable[[str], bool] = lambda name: False
) -> dict[str, Row]:
    """Read a real tree, with nothing of unionpath."""
    rows = {str(top) if times else "/": _raw_row(os.fspath(top), times)}
    pending = [os.fspath(top)]
    while pending:
        at = pending.pop()
        for name in os.listdir(at):
            if leave_out(name):
                continue
            inner = os.path.join(at, name)
            row = _raw_row(inner, times)
            rows[inner if times else inner[len(os.fspath(top)) :]] = row
            if row[0] == "dir":
                pending.append(inner)
    return rows


def _raw_row(at: str, times: bool) -> Row:
    status = os.lstat(at)
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    content = b""
    if kind == "file":
        with open(at, "rb") as file:
            content = file.read()
    elif kind == "link":
        content = os.readlink(os.fsencode(at))
    marks: tuple[tuple[str, bytes], ...] = ()
    if hasattr(os, "listxattr"):
        names = sorted(os.listxattr(at, follow_symlinks=False))
        marks = tuple((name, os.getxattr(at, name, follow_symlinks=False)) for name in names)
    exact = (status.st_mtime_ns, status.st_nlink, status.st_ino) if times else ()
    return kind, oct(status.st_mode & 0o7777), status.st_uid, status.st_gid, *exact, shown(content), marks


def difference(expected: Tree, actual: Tree) -> list[str]:
    """Say in a few lines what differs between two trees."""
    lines = [f"- {path} {expected[path]}" for path in sorted(expected.keys() - actual.keys())]
    lines += [f"+ {path} {actual[path]}" for path in sorted(actual.keys() - expected.keys())]
    lines += [
        f"! {path} {expected[path]} -> {actual[path]}"
        for path in sorted(expected.keys() & actual.keys())
        if expected[path] != actual[path]
    ]
    return lines[:12]


def remove(at: Path) -> None:
    """Take away a tree or file."""
    if at.is_dir() and not at.is_symlink():
        shutil.rmtree(at)
    else:
        at.unlink(missing_ok=True)


def without_times(tree: Tree) -> Tree:
    """Leave the times of files out of a tree."""
    return {path: row[:4] + row[5:] for path, row in tree.items()}
