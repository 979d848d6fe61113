"""
The matrix of unionmount-testsuite, in our own words: ways of opening by what is there, rename families.

Each case is a short program. Who is right says what a plain file system says, so each program runs on a plain
directory of the host, too. Everything is done twice: before and after a copy-up.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from grounds import BY_ID, scratch
from trees import Dir, File, Link, Node, Whiteout, every
from unions import Builder
from views import HostView, UnionView
from writers import DiskWriter

if TYPE_CHECKING:
    from unionpath import UnionPath

    AnyPath: TypeAlias = UnionPath | Path

SETTINGS = [
    ("memory-oci", "lower"),
    ("memory-table", "both"),
    ("memory-overlayfs", "lower"),
    ("local-oci", "upper"),
]
"""Where every program of a matrix runs: each way of marking, each place of the objects, and a disk."""
PLACES = ["memory-oci", "memory-table", "memory-overlayfs"]
"""Where the longer programs run, on objects of a lower."""
matrix = pytest.mark.parametrize(("kind", "where"), SETTINGS)
places = pytest.mark.parametrize("kind", PLACES)
cheapest = pytest.mark.parametrize("kind", PLACES[:1])
FILE = b"abcdefghij"
OBJECTS: dict[str, Node] = {
    "file": File(FILE),
    "void": File(b""),
    "dir": Dir({"inside": File(b"inside")}),
    "bare": Dir(),
    "to-file": Link("file"),
    "to-to-file": Link("to-file"),
    "to-dir": Link("dir"),
    "to-to-dir": Link("to-dir"),
    "dangling": Link("absent"),
    "to-dangling": Link("dangling"),
    "loop": Link("loop"),
    "sub": Dir({"file": File(FILE), "up": Link("../file")}),
}
NAMES = [*OBJECTS, "absent", "sub/file", "sub/up", "to-dir/inside", "file/below", "absent/below", "dir/new"]
ODD = [".", "..", "dir/.", "dir/..", "./file", "dir/../file", "absent/../file", "to-dir/../file"]
MODES = ["rb", "r+b", "wb", "w+b", "ab", "a+b", "xb", "x+b"]


class Stage:
    """Where a program runs: a union, or a plain directory of the host that holds the same."""

    def __init__(self, root: AnyPath, whole: Callable[[], object]) -> None:
        self.root = root
        self.whole = whole


Make: TypeAlias = Callable[[Mapping[str, Node], Mapping[str, Node]], tuple[Stage, Stage]]


@pytest.fixture
def both(kind: str) -> Iterator[Make]:
    """Make a union of a lower and an upper, and a plain directory with what it should show."""
    with scratch() as place:
        builder = Builder(BY_ID[kind], place)
        builder.ground.require()
        yield lambda lower, upper: _both(builder, place / "plain", lower, upper)
        builder.close()


def _both(
    builder: Builder, plain: Path, lower: Mapping[str, Node], upper: Mapping[str, Node]
) -> tuple[Stage, Stage]:
    plain.mkdir()
    _fill(
        plain,
        Dir({name: node for name, node in {**lower, **upper}.items() if not isinstance(node, Whiteout)}),
    )
    root = builder.over(Dir(lower), upper=Dir(upper))
    union = Stage(root, lambda: _rows(UnionView(root)))
    return union, Stage(plain, lambda: _rows(HostView(str(plain))))


def _fill(directory: Path, tree: Dir) -> None:
    writer = DiskWriter(directory)
    for parts, node in every(tree):
        if isinstance(node, Dir):
            writer.mkdir(parts, node.mode)
        elif isinstance(node, File | Link):
            writer.make(parts, node)


def _rows(view: UnionView | HostView) -> list[tuple[str, str, int, str]]:
    return [(path, kind, mode, digest) for path, kind, mode, _, _, _, digest in view.whole()]


def told(call: Callable[..., object], *arguments: object) -> object:
    """Give the value, or the name of the errno."""
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def use(at: AnyPath, mode: str) -> list[object]:
    """Open, read what can be read, write what can be written, and tell of it."""
    with at.open(mode) as file:
        seen: list[object] = [file.readable(), file.writable(), file.tell()]
        if file.readable():
            seen.append(file.read())
        if file.writable():
            seen += [file.write(b"12345"), file.tell()]
        if file.readable():
            seen += [file.seek(0), file.read()]
        return [*seen, file.seek(0, io.SEEK_END)]


class TestOpening:
    """All modes, all objects, in each layer, twice each."""

    @pytest.mark.rule("C4", "C1", "D2", "D6", "S1", "S2")
    @pytest.mark.parametrize("mode", MODES)
    @matrix
    @pytest.mark.parametrize("name", NAMES)
    def test_matrix(self, both: Make, where: str, mode: str, name: str) -> None:
        """What opening gives, and what is there afterwards, is what a plain file system says."""
        union, plain = both(OBJECTS if where != "upper" else {}, OBJECTS if where != "lower" else {})
        for _ in range(2):  # the second time after the copy-up
            assert told(use, plain.root / name, mode) == told(use, union.root / name, mode)
            assert plain.whole() == union.whole()

    @places
    @pytest.mark.rule("C4", "L9", "R6")
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("name", ODD)
    def test_odd_spellings(self, both: Make, mode: str, name: str) -> None:
        """`.` and `..` in the path or at its end."""
        union, plain = both(OBJECTS, {})
        expected = "EISDIR" if name in (".", "..") and mode != "xb" else None
        for _ in range(2):
            host = f"{plain.root}/{name}"  # not through pathlib, which takes dots away
            answers = told(_use_host, host, mode), told(use, union.root / name, mode)
            if name == "..":  # of the root it is the root (L9), on the host another directory
                assert ("EEXIST" if "x" in mode else expected or "EISDIR") == answers[1]
                continue
            assert answers[0] == answers[1]
            assert plain.whole() == union.whole()

    @places
    @pytest.mark.rule("D5", "C4")
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("was", ["file", "dir", "to-file", "dangling"])
    def test_where_something_was_deleted(self, both: Make, mode: str, was: str) -> None:
        """A whited-out name is as good as one that never was."""
        union, plain = both(OBJECTS, {was: Whiteout()})
        for _ in range(2):
            assert told(use, plain.root / was, mode) == told(use, union.root / was, mode)
            assert plain.whole() == union.whole()

    @cheapest
    @pytest.mark.rule("C4", "C1")
    @pytest.mark.parametrize("first", MODES)
    @pytest.mark.parametrize("second", MODES)
    def test_one_after_another(self, both: Make, first: str, second: str) -> None:
        """Any mode after any other, on a file and through a link."""
        union, plain = both(OBJECTS, {})
        for name, mode in (
            ("file", first),
            ("to-file", second),
            ("file", second),
            ("absent", first),
            ("absent", second),
        ):
            assert told(use, plain.root / name, mode) == told(use, union.root / name, mode)
        assert plain.whole() == union.whole()

    @places
    @pytest.mark.rule("C4", "C5")
    @pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 4095, 4096, 4097, 1 << 20])
    @pytest.mark.parametrize("name", ["file", "void", "to-file", "dir", "dangling", "absent"])
    def test_truncating(self, both: Make, name: str, size: int) -> None:
        """Shorter, longer, the same; through links; of what is no file."""
        union, plain = both(OBJECTS, {})

        def cut(at: AnyPath) -> int:
            with at.open("r+b") as file:
                return file.truncate(size)

        for _ in range(2):
            assert told(cut, plain.root / name) == told(cut, union.root / name)
            assert plain.whole() == union.whole()


def _use_host(path: str, mode: str) -> list[object]:
    """Do as `use` does, with a path that nobody normalises."""

    class Spelled:
        def open(self, mode: str) -> io.BufferedIOBase:
            return open(path, mode)  # type: ignore[return-value]  # a binary mode

    return use(Spelled(), mode)  # type: ignore[arg-type]  # has what `use` needs


CHANGES: dict[str, Callable[[AnyPath], object]] = {
    "unlink": lambda at: at.unlink(),
    "rmdir": lambda at: at.rmdir(),
    "mkdir": lambda at: at.mkdir(),
    "mkdir parents": lambda at: at.mkdir(parents=True, exist_ok=True),
    "touch": lambda at: at.touch(),
    "touch, new": lambda at: at.touch(exist_ok=False),
    "symlink": lambda at: at.symlink_to("file"),
    "chmod": lambda at: at.chmod(0o711),
    "readlink": lambda at: str(at.readlink()),
    "list": lambda at: sorted(child.name for child in at.iterdir()),
    "write_bytes": lambda at: at.write_bytes(b"written"),
    "link to it": lambda at: at.with_name("linked").hardlink_to(str(at)),
    "rename it": lambda at: at.rename(str(at.with_name("renamed"))).name,
}


class TestOtherChanges:
    """Every other change of every object: mkdir, rmdir, unlink, hard link, readlink, symlink and more."""

    @pytest.mark.rule("D2", "D3", "D6", "C5", "C8", "R1", "R5")
    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    @matrix
    @pytest.mark.parametrize("name", [*NAMES, "to-dir/new", "dangling/new", "loop/new", "sub/absent"])
    def test_matrix(self, both: Make, where: str, change: Callable[[AnyPath], object], name: str) -> None:
        """Once, and once again on what is left."""
        union, plain = both(OBJECTS if where != "upper" else {}, OBJECTS if where != "lower" else {})
        for _ in range(2):
            assert told(change, plain.root / name) == told(change, union.root / name)
            assert plain.whole() == union.whole()

    @places
    @pytest.mark.rule("C8", "D6")
    @pytest.mark.parametrize(
        "source", ["file", "to-file", "dangling", "dir", "absent", "file/below", "sub/up"]
    )
    @pytest.mark.parametrize(
        "target", ["new", "void", "dir", "to-file", "dangling", "absent/new", "file/new", "dir/new"]
    )
    def test_hard_links(self, both: Make, source: str, target: str) -> None:
        """What may be linked where."""
        union, plain = both(OBJECTS, {})

        def link(root: AnyPath) -> None:
            if isinstance(root, Path):  # pathlib's doesn't say whether links are followed
                os.link(root / source, root / target, follow_symlinks=False)
            else:
                (root / target).hardlink_to(root / source)

        for _ in range(2):
            assert told(link, plain.root) == told(link, union.root)
            assert plain.whole() == union.whole()


class TestRenaming:
    """Rename families."""

    SOURCES = (
        "file",
        "void",
        "bare",
        "dir",
        "to-file",
        "to-dir",
        "dangling",
        "absent",
        "file/below",
        "sub/file",
    )
    TARGETS = (*SOURCES, "new", "dir/new", "absent/new", "to-dir/new", "sub", "loop")

    @pytest.mark.rule("R1", "R2", "R3", "R4", "R5")
    @pytest.mark.parametrize("source", SOURCES)
    @pytest.mark.parametrize("target", TARGETS)
    @matrix
    def test_matrix(self, both: Make, where: str, source: str, target: str) -> None:
        """Everything onto everything; then once more, and back."""
        union, plain = both(OBJECTS if where != "upper" else {}, OBJECTS if where != "lower" else {})
        for one, other in ((source, target), (source, target), (target, source)):
            answers = [told(_rename, root, one, other) for root in (plain.root, union.root)]
            assert answers[0] == answers[1]
            assert plain.whole() == union.whole()

    @places
    @pytest.mark.rule("R1", "R3", "R4", "D4")
    @pytest.mark.parametrize("length", [2, 3, 7])
    @pytest.mark.parametrize("thing", ["file", "dir", "link", "linked"])
    def test_in_circles(self, both: Make, thing: str, length: int) -> None:
        """Many objects, each to its neighbour's name, round and round: stale markers show here."""
        made: dict[str, Callable[[int], Node]] = {
            "file": lambda number: File(b"%d" % number),
            "dir": lambda number: Dir(
                {f"in{number}": File(b"%d" % number), "same": Dir({f"s{number}": File()})}
            ),
            "link": lambda number: Link(f"to{number}"),
            "linked": lambda number: File(b"%d" % number),
        }
        objects = {f"n{number}": made[thing](number) for number in range(length)}
        union, plain = both(objects, {})
        if thing == "linked":
            for stage in (union, plain):
                for number in range(length):
                    (stage.root / f"l{number}").hardlink_to(str(stage.root / f"n{number}"))
        for _ in range(length + 1):
            for stage in (union, plain):
                _rename(stage.root, "n0", "spare")
                for number in range(1, length):
                    _rename(stage.root, f"n{number}", f"n{number - 1}")
                _rename(stage.root, "spare", f"n{length - 1}")
            assert plain.whole() == union.whole()

    @places
    @pytest.mark.rule("R3", "R4", "D3", "D4", "D7")
    @pytest.mark.parametrize(
        "program",
        [
            ["mkdir new", "rename new bare"],
            [
                "mkdir new",
                "touch new/x",
                "rename new bare",
                "rmdir bare",
                "unlink bare/x",
                "rmdir bare",
                "mkdir bare",
            ],
            [
                "unlink dir/inside",
                "rmdir dir",
                "mkdir new",
                "touch new/inside",
                "rename new dir",
                "unlink dir/inside",
            ],
            ["unlink dir/inside", "mkdir new", "rename new dir", "rename dir again", "mkdir dir"],
            [
                "rename dir moved",
                "mkdir dir",
                "touch dir/inside",
                "rename moved/inside dir/inside",
                "rmdir moved",
            ],
            ["rename sub other", "rename dir sub", "rename other dir", "unlink dir/file", "touch sub/file"],
            ["rename dir bare", "rename bare dir", "rename dir bare", "mkdir dir", "rename dir bare"],
            [
                "mkdir new",
                "rename dir new/dir",
                "rename new sub/new",
                "unlink sub/new/dir/inside",
                "rmdir sub/new/dir",
            ],
            [
                "rename sub/file sub/moved",
                "rename sub sub2",
                "rename sub2/moved sub2/file",
                "rename sub2 sub",
            ],
            ["unlink file", "mkdir file", "touch file/x", "rename file f2", "touch file", "rename f2 file"],
            ["unlink file", "rename dir file", "rename file dir", "touch file"],
            [
                "rename to-dir moved",
                "rename moved/inside out",
                "rename dir dir2",
                "rename moved to-dir",
                "touch to-dir/x",
            ],
            ["rename file dir/inside", "rename dir/inside file", "rename void dir/inside", "rmdir dir"],
            [
                "mkdir new",
                "mkdir new/sub",
                "rename sub/file new/sub/file",
                "rename new dir",
                "rename new bare",
            ],
            ["touch new", "rename new file", "unlink file", "rename void file", "unlink file", "touch file"],
            [
                "rename dir/inside dir/new",
                "rename dir moved",
                "rename moved/new moved/inside",
                "rename moved dir",
            ],
        ],
        ids="; ".join,
    )
    def test_programs(self, both: Make, program: list[str]) -> None:
        """New directories over removed ones, parents and children both renamed, names used again."""
        union, plain = both(OBJECTS, {})
        for line in program:
            word, *names = line.split()
            answers = [told(_do, root, word, names) for root in (plain.root, union.root)]
            assert (line, answers[0]) == (line, answers[1])
            assert (line, plain.whole()) == (line, union.whole())


def _rename(root: AnyPath, source: str, target: str) -> None:
    (root / source).rename(str(root / target))


def _do(root: AnyPath, word: str, names: list[str]) -> None:
    if word == "rename":
        _rename(root, *names)
    else:
        getattr(root / names[0], word)()


class TestImpermissible:
    """What may not be done: as an unprivileged user, on the objects of another."""

    @pytest.mark.rule("E10", "C1")
    @pytest.mark.parametrize("mode", ["r+b", "ab", "wb", "xb"])
    def test_of_lowers_that_can_not_be_read(
        self, tmp_path_factory: pytest.TempPathFactory, mode: str
    ) -> None:
        """EACCES or EPERM for whoever may not read what would have to be copied; EEXIST comes first."""
        if os.getuid() != 0:
            pytest.skip("making files of others needs root")
        import shutil
        import tempfile

        place = Path(tempfile.mkdtemp(prefix="unionpath-tests-"))
        try:
            place.chmod(0o755)
            for name in ("lower", "upper"):
                (place / name).mkdir()
            BY_ID["local-oci"].site(place / "lower").build(Dir({"f": File(b"secret", 0o600)}))
            os.chown(place / "upper", 65534, 65534)
            allowed = {"xb": {"EEXIST"}, "wb": {"EACCES", "EPERM", "None"}}.get(mode, {"EACCES", "EPERM"})
            found = _as_nobody_would(place, mode)
            assert found in allowed
            assert b"secret" == (place / "lower/f").read_bytes()
        finally:
            shutil.rmtree(place)


def _as_nobody_would(place: Path, mode: str) -> str:
    """Open and write in a child process that isn't root; give the errno's name."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            import warnings

            from unionpath import LayerStack

            warnings.simplefilter("ignore")
            stack = LayerStack([place / "lower"], upper=place / "upper", durability="volatile")
            answer = told(_write, stack / "f", mode)
            os.write(writing, str(answer).encode())
        except BaseException as error:  # noqa: BLE001  # told to the parent
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    return answer


def _write(at: UnionPath, mode: str) -> None:
    with at.open(mode) as file:
        file.write(b"new")
