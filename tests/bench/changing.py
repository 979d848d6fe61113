"""W6 to W9: changes. Each pass has an upper of its own, new and empty, over the same lowers."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeGuard

from bench.ground import TEXT, Format, Piece, Plan, spread, write
from bench.measure import Effort, Side, Timing, Work, WrongAnswer, measure
from bench.mounts import fuse_mounted, mounted_writable, no_fuse, upper_in
from bench.report import Row, duration, ratio_in_words
from bench.setting import KERNEL, PLAIN, Setting
from unionpath import Layer, LayerStack

if TYPE_CHECKING:
    from unionpath import UnionPath

Root: TypeAlias = "UnionPath | Path"
"""What is changed: a union's root, a mount's, or a plain directory."""
Act: TypeAlias = Callable[[Root], object]

AUTO, VOLATILE, KERNEL_VOLATILE, FUSE = "auto", "volatile", "kernel, volatile", "fuse-overlayfs"
_PEERS: dict[str, str] = {AUTO: KERNEL, VOLATILE: KERNEL_VOLATILE}
"""Whom each durability is held against: who syncs against who syncs."""
_MIB = 1 << 20


class Lowers:
    """What all passes of one workload have below their uppers."""

    def __init__(
        self, setting: Setting, name: str, plans: Sequence[Plan] | None = None, *, large: bool = False
    ) -> None:
        """
        Write them; without `plans` each is one empty directory.

        `large`: what a pass made is removed at once. Otherwise it stays: for seconds after a removal, ext4
        looks long for a free inode, and who creates next would pay.
        """
        self.base = setting.base / name
        self._large = large
        self._passes = 0
        self.layout: Format = setting.layout
        self._setting = setting
        if plans is None:
            self.base.mkdir()
            self.layers = tuple(self.base / f"l{number}" for number in range(setting.depth))
            for layer in self.layers:
                write(layer, {"": Piece(), "d": Piece()}, setting.layout)
            self.kernel_layers, self.plain = self.layers, None
        else:
            forest = setting.grow(name, plans)
            self.layers, self.kernel_layers, self.plain = forest.layers, forest.kernel_layers, forest.plain

    def sides(self, act: Act, check: Act, prepare: Act = lambda root: None) -> list[Side]:
        """
        Give everyone who makes the same change.

        `check` is made after it and `prepare` before it, both untimed; a check raises WrongAnswer.
        """
        makers: dict[str, Callable[[Path], AbstractContextManager[Root]]] = {
            AUTO: partial(self._union, durability="auto"),
            VOLATILE: partial(self._union, durability="volatile"),
        }
        if self._setting.no_kernel is None:
            makers[KERNEL] = partial(self._kernel, volatile=False)
            makers[KERNEL_VOLATILE] = partial(self._kernel, volatile=True)
            if no_fuse() is None:
                makers[FUSE] = partial(fuse_mounted, self.kernel_layers)
        makers[PLAIN] = self._plain
        return [self._side(name, make, act, check, prepare) for name, make in makers.items()]

    def _side(
        self,
        name: str,
        make: Callable[[Path], AbstractContextManager[Root]],
        act: Act,
        check: Act,
        prepare: Act,
    ) -> Side:
        @contextmanager
        def fresh() -> Iterator[Work]:
            self._passes += 1
            place = self.base / f"pass{self._passes}"
            place.mkdir()
            try:
                with make(place) as root:
                    prepare(root)
                    os.sync()  # what earlier passes left isn't this one's to write
                    yield partial(act, root)
                    check(root)
            finally:
                if self._large:
                    shutil.rmtree(place)

        return Side(name, _named(name, fresh), cold=True)

    @contextmanager
    def _union(self, place: Path, durability: Literal["auto", "volatile"]) -> Iterator[Root]:
        lowers = [Layer(layer, whiteouts=self.layout) for layer in self.layers]
        upper = Layer(upper_in(place), whiteouts=self.layout)
        with LayerStack(lowers, upper=upper, durability=durability) as stack:
            yield stack.root

    def _kernel(self, place: Path, *, volatile: bool) -> AbstractContextManager[Root]:
        return mounted_writable(self.base, self.kernel_layers, place, volatile=volatile)

    @contextmanager
    def _plain(self, place: Path) -> Iterator[Root]:
        """Give a directory with what shows: hard links, which cost next to nothing."""
        root = place / "plain"
        if self.plain is None:
            (root / "d").mkdir(parents=True)
            (root / "lower").symlink_to(self.layers[-1])
        else:
            shutil.copytree(self.plain, root, copy_function=os.link)
        yield root


def _named(
    name: str, fresh: Callable[[], AbstractContextManager[Work]]
) -> Callable[[], AbstractContextManager[Work]]:
    @contextmanager
    def told() -> Iterator[Work]:
        try:
            with fresh() as work:
                yield work
        except WrongAnswer as error:
            raise WrongAnswer(f"{name}: {error}") from error

    return told


# --- W6: copy-up -----------------------------------------------------------------------------------


def run_copy_up(setting: Setting) -> None:
    """W6: `r+b` and one byte, of a dense file of 256 MiB; wall time."""
    lowers, size = _large(setting, "copy-up", sparse=False)
    _copies(setting, "W6", lowers, size, _one_byte, "copy, one byte", target=1.1)


def run_sparse(setting: Setting) -> None:
    """W6s: the same of a sparse file with 1 MiB of data, which stays sparse; wall time."""
    lowers, size = _large(setting, "sparse", sparse=True)
    _copies(setting, "W6s", lowers, size, _one_byte, "sparse, one byte", target=1.5, most=4 * _MIB)
    _copies(setting, "W6s", lowers, size, _one_byte, "first change of all", most=4 * _MIB, is_first=True)


def run_chmod(setting: Setting) -> None:
    """W6c: chmod of a file of 256 MiB; wall time."""
    lowers, size = _large(setting, "chmod", sparse=False)
    _copies(setting, "W6c", lowers, size, _chmod, "chmod", target=1.1)


def _large(setting: Setting, name: str, *, sparse: bool) -> tuple[Lowers, int]:
    """Put one large file into the bottom layer."""
    lowers = Lowers(setting, name, large=True)
    size = setting.size(256 * _MIB, 2 * _MIB)
    with (lowers.layers[-1] / "d" / "large").open("wb") as file:
        block = bytes(1) + os.urandom(min(_MIB, size) - 1)
        if sparse:
            file.seek(size // 2)
            file.write(block)
            file.truncate(size)
        else:
            for _ in range(0, size, len(block)):
                file.write(block)
        os.fsync(file.fileno())
    return lowers, size


def _copies(
    setting: Setting,
    name: str,
    lowers: Lowers,
    size: int,
    act: Act,
    what: str,
    *,
    target: float | None = None,
    most: int | None = None,
    is_first: bool = False,
) -> None:
    """
    Take the wall time of a change of the large file.

    `most`: bytes on disk that the copy may take. `is_first`: nothing was asked or changed before; otherwise
    others of the same directory were, so that the directory is there and known.
    """

    def check(root: Root) -> None:
        status = (root / "d" / "large").stat()
        is_dense = most is not None and status.st_blocks * 512 > most and not _is_plain(root)
        if status.st_size != size or is_dense:
            raise WrongAnswer(f"{status.st_size} bytes in {status.st_blocks} blocks, of {size}")
        original = (lowers.layers[-1] / "d" / "large").stat()
        with (root / "d" / "large").open("rb") as file:
            if (file.read(1) == b"!") == (act is _chmod) or original.st_mode & 0o777 == 0o600:
                raise WrongAnswer("the copy or the original is not as it should be")

    def prepare(root: Root) -> None:
        if (root / "lower").exists():  # the plain directory: what a copy costs
            (root / "from").symlink_to(lowers.layers[-1] / "d" / "large")
        if not is_first:
            for number in range(3):  # at the second look a union lists a directory
                (root / "d" / f"other{number}").write_bytes(b"")

    effort = setting.effort if setting.quick else Effort(rounds=7, patience=20)
    times = measure(lowers.sides(act, check, prepare), None, effort=effort, clock=time.perf_counter_ns)
    targets = {} if target is None else {AUTO: target, VOLATILE: target}
    _note(setting, name, times, 1, targets, f"{what}, wall")


def _one_byte(root: Root) -> None:
    _copied_if_plain(root)
    with (root / "d" / "large").open("r+b") as file:
        file.write(b"!")


def _chmod(root: Root) -> None:
    _copied_if_plain(root)
    (root / "d" / "large").chmod(0o600)


def _copied_if_plain(root: Root) -> None:
    """Do by hand what a copy-up does, where there is no union."""
    if _is_plain(root):
        shutil.copyfile(root / "from", root / "d" / "large")


def _is_plain(root: Root) -> TypeGuard[Path]:
    """Tell whether it is the plain directory, whose copy by shutil fills the holes."""
    return isinstance(root, Path) and root.name == "plain"


# --- W7: new files ---------------------------------------------------------------------------------


def run_write(setting: Setting) -> None:
    """W7: `write_text` of new files of 1 KiB."""
    lowers = Lowers(setting, "write")
    names = [f"n{number:04}" for number in range(setting.size(400, 20))]
    text = TEXT[:1024]

    def act(root: Root) -> None:
        for name in names:
            (root / "d" / name).write_text(text, encoding="utf-8")

    def check(root: Root) -> None:
        found = {path.name: path.read_text(encoding="utf-8") for path in (root / "d").iterdir()}
        if found != dict.fromkeys(names, text):
            raise WrongAnswer(f"{len(found)} files, not as written")

    def warm(root: Root) -> None:
        (root / "d" / "first").write_text(text, encoding="utf-8")
        (root / "d" / "first").unlink()

    times = measure(lowers.sides(act, check, warm), None, effort=setting.effort)
    _note(setting, "W7", times, len(names), {AUTO: 0.9, VOLATILE: 0.9}, "write_text")
    effort = Effort(rounds=min(5, setting.effort.rounds), patience=5)
    walls = measure(lowers.sides(act, check, warm), None, effort=effort, clock=time.perf_counter_ns)
    _note(setting, "W7", walls, len(names), {}, "write_text, wall")


# --- W8: whiteouts ---------------------------------------------------------------------------------


def run_unlink(setting: Setting) -> None:
    """W8: unlink of files that only the bottom layer has, and a listing of what is left, per whiteout."""
    count = setting.size(1000, 40)
    bottom = {f"f{number:05}": 1 for number in range(count)} | {"kept": 1}
    plans: list[Plan] = [{"": Piece(), "d": Piece()} for _ in range(setting.depth - 1)]
    lowers = Lowers(setting, "unlink", [*plans, {"": Piece(), "d": Piece(bottom)}])
    names = [name for name in bottom if name != "kept"]

    def unlink(root: Root) -> None:
        for name in names:
            (root / "d" / name).unlink()

    def listed(root: Root) -> None:
        if [path.name for path in (root / "d").iterdir()] != ["kept"]:
            raise WrongAnswer("something deleted is still listed")

    times = measure(lowers.sides(unlink, listed), None, effort=setting.effort)
    _note(setting, "W8", times, count, {AUTO: 0.7, VOLATILE: 0.7}, "unlink")
    times = measure(lowers.sides(listed, listed, unlink), None, effort=setting.effort)
    _note(setting, "W8", times, count, {AUTO: 0.7, VOLATILE: 0.7}, "iterdir after")


# --- W9: whole trees -------------------------------------------------------------------------------


def run_rmtree(setting: Setting) -> None:
    """W9: a merged tree of 10 000 files removed, as a whole and by a loop over it."""
    leaves = [f"tree/d{i:02}/e{j}" for i in range(setting.size(10, 2)) for j in range(10)]
    plans = spread(leaves, setting.size(100, 5), setting.depth)
    for plan in plans:
        plan["kept"] = Piece({"kept": 1})
    lowers = Lowers(setting, "rmtree", plans)
    count = sum(1 for _ in _files_of(lowers.plain))

    def check(root: Root) -> None:
        if [path.name for path in root.iterdir()] != ["kept"]:
            raise WrongAnswer("the tree is still there")

    effort = setting.effort if setting.quick else Effort(rounds=7, patience=4)
    for what, ours, target in (("rmtree", _remove_whole, 0.05), ("loop", _remove_each, 1.2)):
        times = measure(lowers.sides(ours, check), None, effort=effort)
        _note(setting, "W9", times, count, {AUTO: target, VOLATILE: target}, what)


def _files_of(plain: Path | None) -> Iterator[str]:
    assert plain is not None, "made from plans"
    for _top, _inner, names in os.walk(plain / "tree"):
        yield from names


def _remove_whole(root: Root) -> None:
    if isinstance(root, Path):
        shutil.rmtree(root / "tree")
    else:
        (root / "tree").rmtree()


def _remove_each(root: Root) -> None:
    """Remove as people write it with pathlib (its `walk` came with 3.12)."""
    pending, emptied = [root / "tree"], []
    while pending:
        here = pending.pop()
        emptied.append(here)
        for path in here.iterdir():
            if path.is_dir():
                pending.append(path)
            else:
                path.unlink()
    for directory in reversed(emptied):
        directory.rmdir()


# --- rows ------------------------------------------------------------------------------------------


def _note(
    setting: Setting,
    name: str,
    times: dict[str, Timing],
    count: int,
    targets: dict[str, float],
    what: str,
) -> None:
    """Note a row for each durability, beside the mount that promises the same."""
    for mode, peer in _PEERS.items():
        ours, base = times[mode].seconds, times.get(peer)
        under = times[PLAIN].seconds if base is None else base.seconds
        others = {PLAIN: ratio_in_words(times[PLAIN].seconds / under)}
        others[FUSE] = no_fuse() or (ratio_in_words(times[FUSE].seconds / under) if FUSE in times else "-")
        setting.note(
            Row(
                name,
                f"{what}, {mode}",
                duration(ours / count),
                "-" if base is None else duration(base.seconds / count),
                None if base is None or math.isinf(ours) else ours / base.seconds,
                targets.get(mode),
                others,
                f"{name} {what}, {mode}",
            )
        )
