"""What type checkers make of UnionPath; checked by mypy, never run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from os import stat_result
from pathlib import Path
from typing import IO, Any, BinaryIO, assert_type

from upath import UPath
from upath.types import PathInfo, ReadablePath, WritablePath

from unionpath import Explanation, Layer, LayerStack, UnionPath


class Sub(UnionPath):
    """A subclass keeps its type."""


def made(stack: LayerStack, path: UnionPath, sub: Sub) -> None:
    assert_type(UnionPath(stack, "/etc", "app.yml"), UnionPath)
    assert_type(UnionPath(path, "x"), UnionPath)
    assert_type(stack / "etc", UnionPath)
    assert_type(path / "x", UnionPath)
    assert_type(sub / "x", Sub)
    assert_type(sub / Path("x") / sub, Sub)
    assert_type("x" / sub, Sub)
    assert_type(sub.joinpath("x", sub), Sub)
    assert_type(sub.parent, Sub)
    assert_type(sub.parents, Sequence[Sub])
    assert_type(sub.parents[0], Sub)
    assert_type(sub.with_suffix(".x"), Sub)
    assert_type(sub.relative_to("/", walk_up=True), Sub)
    assert_type(Sub.from_uri("union://a/b"), Sub)
    assert_type(sub.resolve(), Sub)
    assert_type(sub.readlink(), Sub)


def listed(sub: Sub) -> None:
    assert_type(sub.iterdir(), Iterator[Sub])
    assert_type(sub.glob("*"), Iterator[Sub])
    assert_type(sub.rglob("*", recurse_symlinks=True), Iterator[Sub])
    assert_type(sub.walk(), Iterator[tuple[Sub, list[str], list[str]]])


def opened(path: UnionPath, mode: str, size: int) -> None:
    assert_type(path.open(), io.TextIOWrapper)
    assert_type(path.open("rt", encoding="utf-8"), io.TextIOWrapper)
    assert_type(path.open("rb"), io.BufferedReader)
    assert_type(path.open("wb"), io.BufferedWriter)
    assert_type(path.open("r+b"), io.BufferedRandom)
    assert_type(path.open("rb", buffering=0), io.RawIOBase)
    assert_type(path.open("rb", size), BinaryIO)
    assert_type(path.open(mode), IO[Any])
    assert_type(path.read_text(), str)
    assert_type(path.read_bytes(), bytes)


def asked(path: UnionPath) -> None:
    assert_type(path.stat(), stat_result)
    assert_type(path.exists(), bool)
    assert_type(path.parts, tuple[str, ...])
    assert_type(path.layer, Layer)
    assert_type(path.origins(), tuple[Layer, ...])
    assert_type(path.versions(), tuple[UnionPath, ...])
    assert_type(path.explain(), Explanation)
    info: PathInfo = path.info
    assert_type(info.is_dir(), bool)


def copied(sub: Sub, host: Path, remote: UPath) -> None:
    assert_type(sub.copy(host), Path)
    assert_type(sub.copy(remote), UPath)
    assert_type(sub.copy(sub), Sub)
    assert_type(sub.copy("/x"), Sub)
    assert_type(sub.copy_into(host, follow_symlinks=False, preserve_metadata=True), Path)
    assert_type(sub.move(host), Path)
    assert_type(sub.move_into("/x"), Sub)


def passed(path: UnionPath) -> None:
    readable: ReadablePath = path
    writable: WritablePath = path
    assert_type(readable.name, str)
    assert_type(writable.name, str)


def refused(stack: LayerStack, path: UnionPath) -> None:
    """Each is an error for a type checker; mypy warns if an `ignore` here has become needless."""
    with open(path):  # type: ignore[call-overload]
        pass
    Path(path)  # type: ignore[arg-type]
    UnionPath("/etc")  # type: ignore[arg-type]
    UnionPath(stack, b"x")  # type: ignore[arg-type]
    path / 3  # type: ignore[operator]
    assert path < "x"  # type: ignore[operator]
    path.chmod("0o644")  # type: ignore[arg-type]
