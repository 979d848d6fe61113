"""W12: what an index of a million paths weighs."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from bench.ground import Format
from bench.measure import WrongAnswer
from bench.report import Row
from bench.setting import Setting
from unionpath import Cache, Layer, LayerStack, UnionPath
from unionpath.model.entry import Kind, Stat, make_stat
from unionpath.model.errors import oserror
from unionpath.model.store import Capability, Directory, Listener, Notifier, Watch

PER_DIRECTORY = 100
_WIDTH = 100
"""Directories in a directory."""
_NO_LIMIT = Cache(max_entries=10_000_000)


class Synthetic:
    """
    A store of a tree that is nowhere: directories of 100 directories of 100 files.

    A file is in one of the layers, half of the names occur once in the tree, the others in each directory.
    Names are made anew at each listing, as a real one's are.
    """

    def __init__(self, number: int, depth: int, tops: int) -> None:
        self.number = number
        self.depth = depth
        self.tops = tops
        self.name_max = 255
        self.notifier: Notifier | None = None

    @property
    def capabilities(self) -> Capability:
        return Capability.NONE

    @property
    def identity(self) -> Hashable:
        return "synthetic", self.number

    @property
    def real_path(self) -> None:
        return None

    @property
    def place(self) -> str:
        return f"synthetic-{self.number}"

    def close(self) -> None:
        pass

    def root(self) -> Directory:
        return SyntheticDirectory(self, ())


class SyntheticDirectory:
    """One directory: the root, one of its children, or a leaf."""

    __slots__ = ("_store", "parts")

    def __init__(self, store: Synthetic, parts: tuple[str, ...]) -> None:
        self._store = store
        self.parts = parts

    def place(self, name: str | None = None) -> str:
        return "/".join((self._store.place, *self.parts, *(() if name is None else (name,))))

    def status(self) -> Stat:
        return make_stat(Kind.DIRECTORY, permissions=0o755)

    def _names(self) -> Iterator[tuple[str, Kind]]:
        store = self._store
        if len(self.parts) < 2:
            count = _WIDTH if self.parts else store.tops
            yield from ((f"directory-{number:03}", Kind.DIRECTORY) for number in range(count))
            return
        tag = "".join(part[-3:] for part in self.parts)
        for number in range(store.number, PER_DIRECTORY, store.depth):
            name = f"file-{number:03}.txt" if number % 2 else f"file-{tag}-{number:03}"
            yield name, Kind.FILE

    def stat(self, name: str) -> Stat:
        kind = dict(self._names()).get(name)
        if kind is None:
            raise oserror(errno.ENOENT, self.place(name))
        return make_stat(kind, permissions=0o644, size=len(name))

    def scan(self, tags: Sequence[int]) -> dict[str, int]:
        return {name: tags[kind] for name, kind in self._names()}

    def child(self, name: str) -> Directory:
        return SyntheticDirectory(self._store, (*self.parts, name))

    def readlink(self, name: str) -> str:
        raise oserror(errno.EINVAL, self.place(name))

    def open(self, name: str) -> io.RawIOBase:
        raise oserror(errno.EACCES, self.place(name))

    def read(self, name: str) -> bytes:
        raise oserror(errno.EACCES, self.place(name))

    def getxattr(self, name: str | None, attribute: str) -> bytes | None:
        return None

    def listxattr(self, name: str | None) -> list[str]:
        return []

    def watch(self, listener: Listener, *, contents: bool = False) -> Watch | None:
        return None


def synthetic_stack(paths: int, depth: int) -> LayerStack:
    """Make a union of that many files."""
    tops = max(1, paths // (_WIDTH * PER_DIRECTORY))
    layers = [Layer(Synthetic(number, depth, tops), immutable=True) for number in range(depth)]
    return LayerStack(layers, cache=_NO_LIMIT)


def weigh(stack: LayerStack, *, traced: bool) -> dict[str, float]:
    """
    Walk a union and give what it keeps, in bytes a file: `names`, and `stats` once each was stat'ed too.

    `traced`: as counted by tracemalloc; otherwise as the process grew.
    """
    if traced:
        tracemalloc.start()
    start, grown = _used(traced), {}
    files = sum(len(names) for _top, _inner, names in stack.root.walk())
    grown["names"] = (_used(traced) - start) / files
    if traced:
        _stat_all(stack.root)
        grown["stats"] = (_used(traced) - start) / files
        tracemalloc.stop()
    return grown | {"files": files, "held": stack.cache_info().entries}


def _stat_all(root: UnionPath) -> None:
    for top, _inner, names in root.walk():
        if names:
            for name in names:
                (top / name).lstat()


def _used(traced: bool) -> int:
    gc.collect()
    if traced:
        return tracemalloc.get_traced_memory()[0]
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run_index(setting: Setting) -> None:
    """W12: bytes a path, of a made-up tree of 1 000 000 files, and of a real one of 100 000."""
    if not sys.platform.startswith("linux"):
        return
    count = setting.size(1_000_000, 10_000)
    what = f"{count:,} paths".replace(",", " ")
    traced = _elsewhere("synthetic", count, setting.depth, "traced")
    _check(traced, count)
    setting.note(_row(f"{what}, names + layer", traced["names"], 100))
    setting.note(_row(f"{what}, after stats", traced["stats"], 160))
    grown = _elsewhere("synthetic", count, setting.depth, "rss")
    setting.note(_row(f"{what}, process grew by", grown["names"], None))
    forest = setting.walk_forest
    real = _elsewhere("real", 0, setting.depth, "traced", setting.layout, *map(str, forest.layers))
    _check(real, forest.counts()[1])
    files = f"{int(real['files']):,} real files".replace(",", " ")
    setting.note(_row(f"{files}, names + layer", real["names"], 100))
    setting.note(_row(f"{files}, after stats", real["stats"], 160))


def _row(what: str, figure: float, target: float | None) -> Row:
    return Row("W12", what, f"{figure:.0f} bytes", "", figure, target)


def _check(weighed: dict[str, float], files: int) -> None:
    if weighed["files"] != files or weighed["held"] < files:
        raise WrongAnswer(f"an index of {files} files walked {weighed['files']} and holds {weighed['held']}")


def _elsewhere(*arguments: object) -> dict[str, float]:
    """Weigh in a new process, which nothing else has grown."""
    tests = str(Path(__file__).parents[1])
    program = f"import sys; sys.path.insert(0, {tests!r}); from bench.memory import main; main(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    weighed: dict[str, float] = json.loads(done.stdout)
    return weighed


def main(source: str, paths: str, depth: str, how: str, layout: str = "oci", *layers: str) -> None:
    """Weigh one union and print the figures."""
    if source == "synthetic":
        stack = synthetic_stack(int(paths), int(depth))
    else:
        whiteouts: Format = "overlayfs" if layout == "overlayfs" else "oci"
        made = [Layer(each, whiteouts=whiteouts, immutable=True) for each in layers]
        stack = LayerStack(made, cache=_NO_LIMIT)
    print(json.dumps(weigh(stack, traced=how == "traced")))
