"""Kernel overlay mounts of this process alone: it gets its own mount namespace, and they vanish with it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

OPTIONS = "redirect_dir=on,index=off,metacopy=off"

_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 16384 | (1 << 18)
_MNT_DETACH = 2


def become_private(base: Path) -> str | None:
    """
    Move this process into a mount namespace of its own, and try a mount; say why that's impossible, or None.

    Child processes see the same mounts.
    """
    if not sys.platform.startswith("linux"):
        return "overlay mounts need Linux"
    layers = [base / "try-top", base / "try-bottom"]
    try:
        _check(_libc().unshare(_CLONE_NEWNS))
        _check(_libc().mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
        for layer in layers:
            layer.mkdir()
        with mounted(base, layers):
            return None
    except OSError as error:
        return f"no overlay mount possible here: {error.strerror}"


@contextmanager
def mounted(base: Path, layers: Sequence[Path]) -> Iterator[Path]:
    """
    Mount layers of `base`, top first, read-only.

    A single layer gets an empty one below it: the kernel wants two where there is no upper.
    """
    if len(layers) == 1:
        empty = base / "empty"
        empty.mkdir(exist_ok=True)
        layers = [*layers, empty]
    with _mounted(base, layers, "") as point:
        yield point


@contextmanager
def mounted_writable(
    base: Path, lowers: Sequence[Path], place: Path, *, volatile: bool = False
) -> Iterator[Path]:
    """Mount layers of `base`, top first, below an empty upper in `place`; `volatile`: nothing is synced."""
    inside = upper_in(place).relative_to(base), (place / "work").relative_to(base)
    more = f",upperdir={inside[0]},workdir={inside[1]}{',volatile' if volatile else ''}"
    with _mounted(base, lowers, more) as point:
        yield point


@contextmanager
def fuse_mounted(lowers: Sequence[Path], place: Path) -> Iterator[Path]:
    """Mount the same with fuse-overlayfs."""
    point = place / "mount"
    point.mkdir()
    data = f"lowerdir={':'.join(map(str, lowers))},upperdir={upper_in(place)},workdir={place / 'work'}"
    subprocess.run(["fuse-overlayfs", "-o", data, str(point)], check=True)
    try:
        yield point
    finally:
        _unmount(point)


def no_fuse() -> str | None:
    """Say why fuse-overlayfs can't be compared with, or None."""
    return None if shutil.which("fuse-overlayfs") else "not installed"


def upper_in(place: Path) -> Path:
    """Make an empty upper and its work directory in `place`."""
    for name in ("upper", "work"):
        (place / name).mkdir(parents=True, exist_ok=True)
    return place / "upper"


@contextmanager
def _mounted(base: Path, layers: Sequence[Path], more: str) -> Iterator[Path]:
    point = base / "mount"
    point.mkdir(exist_ok=True)
    # Names relative to `base` keep the options within the one page that they may have.
    lowers = ":".join(str(layer.relative_to(base)) for layer in layers)
    back = os.getcwd()
    os.chdir(base)
    try:
        data = f"lowerdir={lowers}{more},{OPTIONS}".encode()
        _check(_libc().mount(b"overlay", os.fsencode(point), b"overlay", 0, data))
    finally:
        os.chdir(back)
    try:
        yield point
    finally:
        _unmount(point)


def _unmount(point: Path) -> None:
    if _libc().umount2(os.fsencode(point), 0) != 0:
        _check(_libc().umount2(os.fsencode(point), _MNT_DETACH))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
