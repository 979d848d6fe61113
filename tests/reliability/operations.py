"""Every writing operation, on every kind of object that makes a difference, as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from reliability.world import OLD, Durability, RenameDir

if TYPE_CHECKING:
    from unionpath import UnionPath

Act: TypeAlias = Callable[["UnionPath"], object]
"""Does it; is given the root of the union."""

LONG = "a new content, longer than any before\n" * 300
LATER = OLD + 10**9


class Operation(NamedTuple):
    """One operation, and the states that lie in between by its own meaning."""

    id: str
    act: Act
    stages: tuple[Act, ...] = ()
    """What ends in the states that are in between: several steps on purpose, as in `mkdir(parents=True)`."""
    rename_dir: RenameDir = "copy"
    durability: Durability = "auto"
    several: bool = False
    """Many operations in a row: any of them may have been done, others not."""


def _write(path: str) -> Act:
    return lambda root: (root / path).write_text(LONG)


def _open(path: str, mode: str, data: bytes, seek: int = 0, buffering: int = -1) -> Act:
    def act(root: UnionPath) -> None:
        with (root / path).open(mode, buffering) as file:
            if seek:
                file.seek(seek)
            file.write(data)

    return act


def _cut(path: str, size: int) -> Act:
    def act(root: UnionPath) -> None:
        with (root / path).open("r+b") as file:
            file.truncate(size)

    return act


def _empty(path: str) -> Act:
    return lambda root: (root / path).open("wb").close()


def _rename(source: str, target: str) -> Act:
    return lambda root: (root / source).rename(root / target)


def _replace(source: str, target: str) -> Act:
    return lambda root: (root / source).replace(root / target)


def _note(path: str) -> Act:
    return lambda root: (root / path).setxattr("user.note", b"changed")


def _mkdir(path: str) -> Act:
    return lambda root: (root / path).mkdir(0o750)


def _rmtree(path: str) -> Act:
    return lambda root: (root / path).rmtree()


def _unlink(path: str) -> Act:
    return lambda root: (root / path).unlink()


def _chmod(path: str, mode: int) -> Act:
    return lambda root: (root / path).chmod(mode)


def _utime(path: str) -> Act:
    return lambda root: (root / path).utime(ns=(LATER, LATER))


def _touch_old(path: str) -> Act:
    return lambda root: (root / path).touch()


def _symlink(path: str) -> Act:
    return lambda root: (root / path).symlink_to("/d/one")


def _link(path: str, source: str) -> Act:
    return lambda root: (root / path).hardlink_to(root / source)


def _copy(source: str, folder: str) -> Act:
    return lambda root: (root / source).copy_into(root / folder)


def _copy_up(path: str) -> Act:
    return lambda root: (root / path).copy_up()


OPERATIONS = (
    Operation("write-new", _write("new.txt")),
    Operation("write-new-deep", _write("ld/sub/new.txt")),
    Operation("write-upper", _write("u.txt")),
    Operation("write-lower", _write("l.txt")),
    Operation("write-lower-deep", _write("d/sub/deep")),
    Operation("write-both", _write("both.txt")),
    Operation("write-over-whiteout", _write("gone.txt")),
    Operation("write-in-opaque-over-hidden", _write("od/hidden")),
    Operation("write-through-link", _write("link")),
    Operation("write-big", lambda root: (root / "big.bin").write_bytes(b"x" * 300_000)),
    Operation("open-w-new", _open("new.txt", "wb", b"abc"), stages=(_empty("new.txt"),)),
    Operation("open-w-upper", _open("u.txt", "wb", b"abc"), stages=(_empty("u.txt"),)),
    Operation("open-w-lower", _open("l.txt", "wb", b"abc"), stages=(_empty("l.txt"),)),
    Operation("open-w-over-whiteout", _open("gone.txt", "wb", b"abc"), stages=(_empty("gone.txt"),)),
    Operation("open-a-lower", _open("l.txt", "ab", b"abc")),
    Operation("open-a-lower-deep", _open("ld/sub/b", "ab", b"abc")),
    Operation("open-a-new", _open("new.txt", "ab", b"abc"), stages=(_empty("new.txt"),)),
    Operation("open-x-new", _open("new.txt", "xb", b"abc"), stages=(_empty("new.txt"),)),
    Operation("open-x-over-whiteout", _open("gone.txt", "xb", b"abc"), stages=(_empty("gone.txt"),)),
    Operation("open-r+-lower", _open("big.bin", "r+b", b"abc", seek=100)),
    Operation("open-r+-lower-unbuffered", _open("l.txt", "r+b", b"abc", buffering=0)),
    Operation("open-r+-both", _open("both.txt", "r+b", b"abc", seek=3)),
    Operation("open-r+-cut", _cut("big.bin", 10)),
    Operation("touch-new", lambda root: (root / "new.txt").touch(0o600)),
    Operation("touch-over-whiteout", lambda root: (root / "gone.txt").touch()),
    Operation("touch-lower", _touch_old("l.txt")),
    Operation("touch-upper", _touch_old("u.txt")),
    Operation("mkdir", _mkdir("new")),
    Operation("mkdir-deep", _mkdir("ld/sub/new")),
    Operation("mkdir-over-whiteout", _mkdir("gd")),
    Operation("mkdir-over-whiteout-of-file", _mkdir("gone.txt")),
    Operation("mkdir-in-opaque", _mkdir("od/hidden")),
    Operation(
        "mkdir-parents",
        lambda root: (root / "p/q/r").mkdir(parents=True),
        stages=(lambda root: (root / "p").mkdir(), lambda root: (root / "p/q").mkdir(parents=True)),
    ),
    Operation("rmdir-upper", lambda root: (root / "ue").rmdir()),
    Operation("rmdir-lower", lambda root: (root / "le").rmdir()),
    Operation("rmdir-emptied", lambda root: (root / "empty").rmdir()),
    Operation("unlink-upper", _unlink("u.txt")),
    Operation("unlink-lower", _unlink("l.txt")),
    Operation("unlink-both", _unlink("both.txt")),
    Operation("unlink-lower-deep", _unlink("ld/sub/b")),
    Operation("unlink-link", _unlink("link")),
    Operation("unlink-over-directory", _unlink("over")),
    Operation("unlink-in-opaque", _unlink("od/new")),
    Operation("rename-lower", _rename("l.txt", "new.txt")),
    Operation("rename-upper", _rename("u.txt", "new.txt")),
    Operation("rename-both", _rename("both.txt", "ld/sub/new.txt")),
    Operation("rename-lower-over-upper", _replace("l.txt", "u.txt")),
    Operation("rename-lower-over-lower", _replace("l.txt", "l2.txt")),
    Operation("rename-lower-over-whiteout", _rename("l.txt", "gone.txt")),
    Operation("rename-upper-over-lower", _replace("u.txt", "d/one")),
    Operation("rename-upper-over-whiteout", _rename("u.txt", "gone.txt")),
    Operation("rename-both-over-both", _replace("both.txt", "d/three")),
    Operation("rename-link", _rename("link", "new")),
    Operation("rename-dir-upper", _rename("ud", "new")),
    Operation("rename-dir-upper-deep", _rename("ud", "ld/sub/new")),
    Operation("rename-dir-upper-over-whiteout", _rename("ud", "gd")),
    Operation("rename-dir-upper-over-emptied", _replace("ud", "empty")),
    Operation("rename-dir-upper-over-lower-empty", _replace("ud", "le")),
    Operation("rename-dir-opaque", _rename("od", "new")),
    Operation("rename-dir-merged", _rename("d", "new")),
    Operation("rename-dir-merged-over-whiteout", _rename("d", "gd")),
    Operation("rename-dir-merged-over-emptied", _replace("d", "empty")),
    Operation("rename-dir-lower", _rename("ld", "new")),
    Operation("rename-dir-lower-deep", _rename("ld", "d/sub/new")),
    Operation("rename-dir-lower-over-emptied", _replace("ld", "empty")),
    Operation("redirect-dir-merged", _rename("d", "new"), rename_dir="redirect"),
    Operation("redirect-dir-merged-over-whiteout", _rename("d", "gd"), rename_dir="redirect"),
    Operation("redirect-dir-lower", _rename("ld", "d/sub/new"), rename_dir="redirect"),
    Operation("redirect-dir-lower-over-emptied", _replace("ld", "empty"), rename_dir="redirect"),
    Operation("redirect-dir-upper", _rename("ud", "new"), rename_dir="redirect"),
    Operation("exdev-dir-upper", _rename("ud", "gd"), rename_dir="exdev"),
    Operation("symlink", _symlink("new")),
    Operation("symlink-deep", _symlink("ld/sub/new")),
    Operation("symlink-over-whiteout", _symlink("gone.txt")),
    Operation("hardlink-lower", _link("new.txt", "l.txt")),
    Operation("hardlink-upper", _link("new.txt", "u.txt")),
    Operation("hardlink-over-whiteout", _link("gone.txt", "l2.txt")),
    Operation("hardlink-link", _link("new", "link")),
    Operation("chmod-lower", _chmod("l.txt", 0o600)),
    Operation("chmod-lower-deep", _chmod("ld/sub/b", 0o600)),
    Operation("chmod-lower-directory", _chmod("ld/sub", 0o700)),
    Operation("chmod-merged-directory", _chmod("d", 0o700)),
    Operation("chmod-big", _chmod("big.bin", 0o600)),
    Operation("utime-lower", _utime("l.txt")),
    Operation("utime-upper", _utime("u.txt")),
    Operation("chown-lower", lambda root: (root / "l2.txt").chown(1, 2)),
    Operation("setxattr-lower", _note("l.txt")),
    Operation("setxattr-lower-directory", _note("ld")),
    Operation("setxattr-upper", _note("u.txt")),
    Operation("removexattr-lower", lambda root: (root / "l.txt").removexattr("user.note")),
    Operation("copy-into", _copy("l.txt", "ud"), several=True),
    Operation("copy-into-lower", _copy("big.bin", "ld/sub"), several=True),
    Operation("copy-tree", _copy("d", "ud"), several=True),
    Operation("move-into", lambda root: (root / "l.txt").move_into(root / "ld")),
    Operation("rmtree-upper", _rmtree("ud")),
    Operation("rmtree-merged", _rmtree("d")),
    Operation("rmtree-lower", _rmtree("ld")),
    Operation("rmtree-lower-deep", _rmtree("d/sub")),
    Operation("rmtree-opaque", _rmtree("od")),
    Operation("copy-up", _copy_up("big.bin")),
    Operation("copy-up-directory", _copy_up("d/sub")),
    Operation("strict-write-lower", _write("l.txt"), durability="strict"),
    Operation("strict-rename-lower", _rename("l.txt", "ld/new.txt"), durability="strict"),
    Operation("strict-rename-dir-merged", _rename("d", "new"), durability="strict"),
)


def operations(kind: str) -> list[Operation]:
    """List what is possible on a kind of layer: only the kernel's own format has redirects."""
    return [each for each in OPERATIONS if each.rename_dir != "redirect" or kind == "local-overlayfs"]


BY_ID = {operation.id: operation for operation in OPERATIONS}
