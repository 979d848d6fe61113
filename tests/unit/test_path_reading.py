"""The reading side of UnionPath, against pathlib.Path: one tree, plain and as a stack of one layer."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from unionpath import Layer, LayerStack, UnionPath, memory_layer

NEWEST = sys.version_info >= (3, 13)
TEXT = b"caf\xc3\xa9\r\nsecond\rthird\n\n"


def make_tree(top: Path) -> None:
    (top / "sub/deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "a.txt").write_bytes(TEXT)
    (top / ".hidden").write_bytes(b"")
    (top / "sub/f.py").write_text("pass\n")
    (top / "sub/deep/g.py").write_text("pass\n")
    (top / "link").symlink_to("a.txt")
    (top / "dirlink").symlink_to("sub")
    (top / "sub/up").symlink_to("../empty")
    (top / "dangling").symlink_to("nothing")
    (top / "loop").symlink_to("pool")
    (top / "pool").symlink_to("loop")
    os.mkfifo(top / "fifo")
    (top / "a.txt").chmod(0o640)
    os.utime(top / "a.txt", ns=(1_000_000_001, 2_000_000_002))


PLACES = [
    ".", "a.txt", ".hidden", "sub", "sub/f.py", "sub/deep/g.py", "empty", "link", "dirlink", "dirlink/f.py",
    "dirlink/deep/../f.py", "sub/up", "dangling", "loop", "pool", "loop/x", "fifo", "nothing", "nothing/x",
    "a.txt/x", "sub/..", "sub/../a.txt", "nothing/../a.txt", "dirlink/..", "dangling/x", "x" * 255,
]  # fmt: skip


class Pair:
    """One tree twice."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.stack = LayerStack([top])
        self.root = self.stack.root

    def at(self, place: str) -> tuple[Path, UnionPath]:
        return self.top / place, self.root / place

    def shown(self, value: object) -> object:
        """A value without where it was found."""
        if isinstance(value, UnionPath):
            return str(value).removeprefix("/")
        if isinstance(value, Path):
            return "" if value == self.top else str(value).removeprefix(f"{self.top}/")
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.shown, value))
        return tuple(value) if isinstance(value, os.stat_result) else value

    def outcome(self, ask: Callable[[], object]) -> object:
        """A value, or the type and errno of an exception."""
        try:
            return self.shown(ask())
        except OSError as error:
            return type(error), error.errno
        except (ValueError, TypeError, LookupError) as error:
            return type(error)

    def same(self, ask: Callable[[Any], object], place: str) -> None:
        plain, union = self.at(place)
        assert self.outcome(lambda: ask(plain)) == self.outcome(lambda: ask(union))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    top = tmp_path_factory.mktemp("tree")
    make_tree(top)
    made = Pair(top)
    yield made
    made.stack.close()


@pytest.mark.parametrize("place", PLACES)
class TestAgainstPath:
    @pytest.mark.parametrize(
        "question",
        [
            "exists", "is_dir", "is_file", "is_symlink", "is_block_device", "is_char_device", "is_fifo",
            "is_socket", "stat", "lstat", "owner", "group", "read_bytes",
        ],
    )  # fmt: skip
    def test_question(self, pair: Pair, place: str, question: str) -> None:
        if question.startswith("read") and "fifo" in place:
            pytest.skip("pathlib blocks")
        pair.same(lambda path: getattr(path, question)(), place)

    @pytest.mark.skipif(not NEWEST, reason="pathlib has these keywords from 3.13")
    @pytest.mark.parametrize("question", ["exists", "is_dir", "is_file", "stat", "owner", "group"])
    def test_question_about_the_link(self, pair: Pair, place: str, question: str) -> None:
        pair.same(lambda path: getattr(path, question)(follow_symlinks=False), place)

    def test_readlink(self, pair: Pair, place: str) -> None:
        plain, union = pair.at(place)
        assert pair.outcome(lambda: str(plain.readlink())) == pair.outcome(lambda: str(union.readlink()))

    def test_resolve_strictly(self, pair: Pair, place: str) -> None:
        if "loop" not in place and "pool" not in place:
            pair.same(lambda path: path.resolve(strict=True), place)
            return
        with pytest.raises(OSError) as caught:  # before 3.13 pathlib made a RuntimeError of it
            (pair.root / place).resolve(strict=True)
        assert errno.ELOOP == caught.value.errno

    def test_resolve(self, pair: Pair, place: str) -> None:
        if "loop" in place or "pool" in place:
            pytest.skip("what a loop resolves to differs by version")
        pair.same(lambda path: path.resolve(), place)

    def test_iterdir(self, pair: Pair, place: str) -> None:
        pair.same(lambda path: sorted(str(each.name) for each in path.iterdir()), place)

    def test_info_agrees_with_the_questions(self, pair: Pair, place: str) -> None:
        path = pair.root / place
        info = path.info
        for follow in (True, False):
            assert path.exists(follow_symlinks=follow) is info.exists(follow_symlinks=follow)
            assert path.is_dir(follow_symlinks=follow) is info.is_dir(follow_symlinks=follow)
            assert path.is_file(follow_symlinks=follow) is info.is_file(follow_symlinks=follow)
        assert path.is_symlink() is info.is_symlink()

    def test_relative_paths_start_at_the_root(self, pair: Pair, place: str) -> None:
        absolute, relative = pair.root / place, UnionPath(pair.stack, place)
        for question in ("exists", "is_dir", "lstat", "resolve"):
            assert pair.outcome(getattr(absolute, question)) == pair.outcome(getattr(relative, question))

    @pytest.mark.rule("E2")
    def test_errors_carry_the_union_path(self, pair: Pair, place: str) -> None:
        path = pair.root / place
        for ask in (path.stat, path.read_bytes, path.iterdir, path.readlink, lambda: path.open("w")):
            try:
                ask()
            except OSError as error:
                assert str(path) == error.filename


class TestQuestions:
    def test_other_kinds(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "s"))
            root = LayerStack([tmp_path]).root
            assert (root / "s").is_socket()
            with pytest.raises(OSError) as caught:
                (root / "s").read_bytes()
            assert errno.ENXIO == caught.value.errno

    def test_only_the_root_is_a_mount(self, pair: Pair) -> None:
        mounts = {place for place in PLACES if (pair.root / place).is_mount()}
        assert {".", "sub/..", "dirlink/.."} == mounts
        assert UnionPath(pair.stack, ".").is_mount()
        assert not pair.root.is_junction()

    def test_samefile(self, pair: Pair, tmp_path: Path) -> None:
        root = pair.root
        assert (root / "link").samefile(root / "a.txt")
        assert (root / "a.txt").samefile("/sub/../a.txt")
        assert not (root / "a.txt").samefile("sub/f.py")
        assert not (root / "a.txt").samefile(pair.top / "a.txt")
        os.link(pair.top / "a.txt", pair.top / "hard")
        try:
            assert (root / "hard").samefile("a.txt")
        finally:
            (pair.top / "hard").unlink()
        assert not root.samefile(LayerStack([memory_layer()]).root)
        with pytest.raises(FileNotFoundError):
            root.samefile("nothing")

    def test_what_no_path_can_have_is_not_there(self, pair: Pair) -> None:
        for path in (pair.root / "a\0b", pair.root / "a\ud800"):
            assert not path.exists()
            assert not path.is_dir()
            assert not path.is_file()
            assert not path.is_symlink()
            assert not path.info.exists()
            with pytest.raises(ValueError):
                path.stat()

    @pytest.mark.rule("L10")
    def test_a_name_too_long_is_an_error(self, pair: Pair) -> None:
        with pytest.raises(OSError) as caught:
            (pair.root / ("x" * 256)).exists()
        assert errno.ENAMETOOLONG == caught.value.errno

    def test_owner_of_an_unknown_user(self, pair: Pair) -> None:
        if os.geteuid():
            pytest.skip("needs root to give a file away")
        given_away = pair.top / "given-away"
        given_away.touch()
        os.chown(given_away, 54_321, 54_321)
        try:
            for ask in (pair.root / "given-away").owner, (pair.root / "given-away").group:
                with pytest.raises(KeyError):
                    ask()
        finally:
            given_away.unlink()


class TestInfo:
    @pytest.mark.changes_lowers("to see the union follow")
    def test_it_is_asked_once(self, tmp_path: Path) -> None:
        path = LayerStack([tmp_path]).root / "a"
        info = path.info
        assert not info.exists()
        (tmp_path / "a").touch()
        assert path.info is info
        assert not info.exists()
        assert path.exists()
        assert path.joinpath().info.exists()

    def test_a_listing_fills_it(self, pair: Pair) -> None:
        children = {child.name: child for child in pair.root.iterdir()}
        assert children["sub"].info.is_dir()
        assert children["link"].info.is_symlink()
        assert children["link"].info.is_file()
        assert not children["link"].info.is_file(follow_symlinks=False)
        assert not children["dangling"].info.exists()
        assert children["dangling"].info.exists(follow_symlinks=False)
        assert not children["loop"].info.exists()
        (found,) = pair.root.glob("sub/f.py")
        assert found.info.is_file()

    @pytest.mark.changes_lowers("to see the union follow")
    def test_a_listing_is_not_asked_again(self, tmp_path: Path) -> None:
        (tmp_path / "a").touch()
        (child,) = LayerStack([tmp_path]).root.iterdir()
        (tmp_path / "a").unlink()
        assert child.info.exists()
        assert not child.exists()

    def test_repr(self, pair: Pair) -> None:
        assert "'/a.txt'" in repr((pair.root / "a.txt").info)


class TestIterdir:
    @pytest.mark.rule("N1")
    def test_sorted_by_code_points(self, tmp_path: Path) -> None:
        for name in ("b", "B", "a", "é", "_", "a b", "10", "9"):
            (tmp_path / name).touch()
        assert sorted(os.listdir(tmp_path)) == [path.name for path in LayerStack([tmp_path]).root.iterdir()]

    @pytest.mark.rule("N2")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_it_is_a_snapshot(self, tmp_path: Path) -> None:
        for name in "abc":
            (tmp_path / name).touch()
        root = LayerStack([tmp_path]).root
        for path in root.iterdir():
            (tmp_path / path.name).unlink()
        assert [] == list(root.iterdir())

    def test_errors_come_at_the_call(self, pair: Pair) -> None:
        with pytest.raises(NotADirectoryError):
            (pair.root / "a.txt").iterdir()
        with pytest.raises(FileNotFoundError):
            (pair.root / "nothing").iterdir()

    def test_children_of_a_relative_path_are_relative(self, pair: Pair) -> None:
        assert "a.txt" in [str(each) for each in UnionPath(pair.stack, ".").iterdir()]
        assert "sub/f.py" in [str(each) for each in UnionPath(pair.stack, "sub").iterdir()]


class TestWalk:
    @pytest.mark.skipif(sys.version_info < (3, 12), reason="pathlib has walk from 3.12")
    @pytest.mark.parametrize("top_down", [True, False])
    @pytest.mark.parametrize("follow", [True, False])
    @pytest.mark.parametrize("place", [".", "sub", "dirlink", "a.txt", "nothing", "empty"])
    def test_like_pathlib(self, pair: Pair, place: str, top_down: bool, follow: bool) -> None:
        def steps(path: Any) -> object:
            walked = path.walk(top_down=top_down, follow_symlinks=follow)
            return sorted([(pair.shown(top), sorted(dirs), sorted(files)) for top, dirs, files in walked])

        plain, union = pair.at(place)
        assert steps(plain) == steps(union)

    def walked(self, root: UnionPath, **options: Any) -> list[str]:
        return [str(top) for top, _, _ in root.walk(**options)]

    def test_order(self, pair: Pair) -> None:
        assert ["/", "/empty", "/sub", "/sub/deep"] == self.walked(pair.root)
        assert ["/empty", "/sub/deep", "/sub", "/"] == self.walked(pair.root, top_down=False)

    def test_directories_can_be_left_out_and_put_in_order(self, pair: Pair) -> None:
        visited: list[str] = []
        for top, dirs, _ in pair.root.walk():
            visited.append(str(top))
            dirs[:] = [name for name in reversed(dirs) if name != "deep"]
        assert ["/", "/sub", "/empty"] == visited

    def test_errors_go_to_on_error(self, pair: Pair) -> None:
        errors: list[OSError] = []
        assert [] == list((pair.root / "nothing").walk(on_error=errors.append))
        assert [] == list((pair.root / "nothing").walk())
        assert [("/nothing", errno.ENOENT)] == [(error.filename, error.errno) for error in errors]

    @pytest.mark.rule("S4")
    def test_links_are_followed_only_if_asked(self, pair: Pair) -> None:
        followed = self.walked(pair.root, follow_symlinks=True)
        assert {"/dirlink", "/dirlink/deep", "/dirlink/up", "/sub/up"} == set(followed) - set(
            self.walked(pair.root)
        )

    @pytest.mark.rule("L10")
    @pytest.mark.changes_lowers("to see the union follow")
    def test_depth_is_not_bounded_by_recursion(self, tmp_path: Path) -> None:
        levels = sys.getrecursionlimit() + 100
        before = os.getcwd()
        try:
            os.chdir(tmp_path)
            for _ in range(levels):
                os.mkdir("d")
                os.chdir("d")
        finally:
            os.chdir(before)
        root = LayerStack([tmp_path]).root
        try:
            assert levels + 1 == len(self.walked(root)) == len(self.walked(root, top_down=False))
            assert levels + 1 == len(list(root.glob("**")))
        finally:
            subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


MODES = ["r", "rt", "rb", "tr", "br", "", "x", "z", "rw", "rr", "rbt", "b", "t", "r+b+", "U", "rU"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"buffering": 0},
    {"buffering": 1},
    {"buffering": 2},
    {"buffering": 100_000},
    {"buffering": -5},
    {"buffering": "x"},
    {"encoding": "utf-8"},
    {"encoding": "utf-16"},
    {"encoding": "ascii"},
    {"encoding": "ascii", "errors": "replace"},
    {"encoding": "no-such-encoding"},
    {"encoding": 5},
    {"errors": "ignore"},
    {"errors": 5},
    {"newline": ""},
    {"newline": "\n"},
    {"newline": "\r"},
    {"newline": "\r\n"},
    {"newline": "x"},
    {"newline": 5},
]


class TestOpen:
    @pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "x"])
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    @pytest.mark.filterwarnings("ignore:line buffering")
    def test_like_pathlib(self, pair: Pair, mode: str, options: dict[str, Any]) -> None:
        def look(path: Any) -> object:
            with path.open(mode, **options) as file:
                layers = type(file), type(getattr(file, "buffer", None))
                abilities = file.readable(), file.writable(), file.seekable(), file.isatty()
                text = getattr(file, "encoding", None), getattr(file, "errors", None)
                words = (
                    os.path.basename(file.name),
                    file.mode,
                    file.closed,
                    getattr(file, "line_buffering", None),
                )
                data = file.readline(), file.tell() if mode in ("rb", "br") else None, file.read()
                file.seek(0)
                return layers, abilities, text, words, data, file.read(3), file.fileno() > 2

        pair.same(look, "a.txt")

    @pytest.mark.parametrize("mode", MODES)
    def test_bad_modes_say_what_pathlib_says(self, pair: Pair, mode: str) -> None:
        def message(path: Any) -> str | None:
            try:
                path.open(mode).close()
            except ValueError as error:
                return str(error)
            except FileExistsError:
                return None
            return None

        plain, union = pair.at("a.txt")
        assert message(plain) == message(union)

    @pytest.mark.parametrize("mode", [None, 3, b"r"])
    def test_a_mode_is_a_str(self, pair: Pair, mode: Any) -> None:
        with pytest.raises(TypeError):
            (pair.root / "a.txt").open(mode)

    @pytest.mark.parametrize("place", ["sub", "nothing", "dangling", "loop", "a.txt/x", ".", "dirlink"])
    @pytest.mark.parametrize("mode", ["r", "rb"])
    def test_failures(self, pair: Pair, place: str, mode: str) -> None:
        pair.same(lambda path: path.open(mode), place)

    def test_line_buffering_is_not_for_bytes(self, pair: Pair) -> None:
        with pytest.warns(RuntimeWarning, match="line buffering") as caught:
            (pair.root / "a.txt").open("rb", 1).close()
        assert __file__ == caught[0].filename

    def test_a_file_is_closed_if_wrapping_it_fails(self, pair: Pair) -> None:
        with warnings.catch_warnings(), pytest.raises(LookupError):
            warnings.simplefilter("error", ResourceWarning)
            (pair.root / "a.txt").open(encoding="no-such-encoding")

    def test_its_name_is_the_union_path(self, pair: Pair) -> None:
        for mode in ("r", "rb"):
            with (pair.root / "sub" / "f.py").open(mode) as file:
                assert "/sub/f.py" == file.name
        with (pair.root / "sub" / "f.py").open("rb", 0) as raw:
            assert "/sub/f.py" == getattr(raw, "name", None)

    def test_hooks_for_other_libraries(self, pair: Pair) -> None:
        path = pair.root / "a.txt"
        for opened in (path.__open_reader__(), path.__open_rb__(), path.__open_rb__(0)):
            with opened as file:
                assert TEXT == file.read()

    def test_others_take_it_as_it_is(self, pair: Pair) -> None:
        assert isinstance(pair.root, Traversable)
        with (pair.root / "a.txt").open("rb") as file:
            assert io.BytesIO(TEXT).read() == file.read()
        (pair.top / "x.json").write_text("[1]")
        with (pair.root / "x.json").open() as text:
            assert [1] == json.load(text)
        (pair.top / "x.json").unlink()

    def test_many_threads_read(self, pair: Pair) -> None:
        answers: list[bytes] = []
        threads = [
            threading.Thread(
                target=lambda: answers.extend((pair.root / "a.txt").read_bytes() for _ in range(50))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [TEXT] * 400 == answers

    @pytest.mark.rule("C7")
    def test_a_fifo_does_not_block(self, pair: Pair) -> None:
        with (pair.root / "fifo").open("rb", 0) as file:
            assert not file.read(1)

    @pytest.mark.rule("C7")
    @pytest.mark.changes_lowers("a FIFO takes the time of what is written through it")
    def test_a_fifo_with_a_writer_is_read_to_its_end(self, tmp_path: Path) -> None:
        """Opening never waits; reading does, as for the system, while somebody may still write."""
        os.mkfifo(tmp_path / "fifo")
        path = LayerStack([tmp_path]) / "fifo"

        def read_opened(buffering: int) -> bytes:
            with path.open("rb", buffering) as file:
                return file.read()

        def write_and_close(fd: int) -> None:
            os.write(fd, TEXT)
            os.close(fd)

        for read in (path.read_bytes, lambda: read_opened(-1), lambda: read_opened(0)):
            writer = os.open(tmp_path / "fifo", os.O_RDWR)
            late = threading.Timer(0.05, write_and_close, (writer,))
            late.start()
            assert TEXT == read()
            late.join()


class TestReadText:
    encodings = st.sampled_from(
        ["utf-8", "UTF-8", "utf8", "ascii", "latin-1", "utf-16", "utf-8-sig", "cp1252", "utf-7"]
    )
    pieces = st.sampled_from(
        [b"a", b"\r", b"\n", b"\r\n", b"\xc3\xa9", b"\xff", b"\x00", b"\xef\xbb\xbf", b"\x85", b"\x1a"]
    )

    @given(
        st.lists(pieces, max_size=8).map(b"".join),
        encodings,
        st.sampled_from([None, "strict", "replace", "ignore", "surrogateescape", "backslashreplace"]),
        st.sampled_from([None, "", "\n", "\r", "\r\n", "x"]),
    )
    def test_like_a_text_file(
        self, pair: Pair, data: bytes, encoding: str, errors: str | None, newline: str | None
    ) -> None:
        (pair.top / "generated").write_bytes(data)

        def read(path: Any) -> object:
            with path.open(encoding=encoding, errors=errors, newline=newline) as file:
                return file.read()

        plain, union = pair.at("generated")
        expected = pair.outcome(lambda: read(plain))
        assert expected == pair.outcome(lambda: read(union))
        assert expected == pair.outcome(lambda: union.read_text(encoding, errors, newline))

    def test_the_locale_decides_if_nothing_else_does(self, pair: Pair) -> None:
        assert (pair.top / "a.txt").read_text() == (pair.root / "a.txt").read_text()
        assert (pair.top / "a.txt").read_text("locale") == (pair.root / "a.txt").read_text("locale")

    @pytest.mark.parametrize("code", ["path.read_text()", "path.open().close()"])
    def test_encoding_warnings_point_at_the_caller(self, pair: Pair, code: str) -> None:
        program = (
            "import sys, warnings, pathlib; from unionpath import LayerStack\n"
            "warnings.simplefilter('always', EncodingWarning)\n"
            f"top = {str(pair.top)!r}\n"
            "for path in (pathlib.Path(top) / 'a.txt', LayerStack([top]) / 'a.txt'):\n"
            "    with warnings.catch_warnings(record=True) as caught:\n"
            f"        {code}\n"
            "    print([(w.filename, w.category.__name__) for w in caught])\n"
        )
        command = [sys.executable, "-X", "warn_default_encoding", "-c", program]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        plain, union = ran.stdout.splitlines()
        assert "[('<string>', 'EncodingWarning')]" == plain == union

    def test_arguments(self, pair: Pair) -> None:
        for arguments in ((5,), (None, 5), (None, None, 5)):
            with pytest.raises(TypeError):
                (pair.root / "a.txt").read_text(*arguments)


class TestWhereItComesFrom:
    @pytest.fixture
    def stack(self, tmp_path: Path) -> LayerStack:
        for name in ("site", "dist"):
            (tmp_path / name / "etc").mkdir(parents=True)
            (tmp_path / name / "etc/app.yml").write_text(name)
        (tmp_path / "dist/etc/only.yml").write_text("dist")
        return LayerStack([Layer(tmp_path / "site", name="site"), Layer(tmp_path / "dist", name="dist")])

    def names(self, layers: tuple[Layer, ...]) -> list[str]:
        return [layer.name for layer in layers]

    def test_layer(self, stack: LayerStack) -> None:
        assert "site" == (stack / "etc/app.yml").layer.name
        assert "dist" == (stack / "etc/only.yml").layer.name
        assert stack.layers[0] is (stack / "etc").layer

    def test_origins(self, stack: LayerStack) -> None:
        assert ["site"] == self.names((stack / "etc/app.yml").origins())
        assert ["site", "dist"] == self.names((stack / "etc").origins())
        assert ["site", "dist"] == self.names(stack.root.origins())

    def test_versions(self, stack: LayerStack) -> None:
        path = stack / "etc/app.yml"
        assert ["site", "dist"] == [version.read_text() for version in path.versions()]
        assert ["/etc/app.yml"] * 2 == [str(version) for version in path.versions()]
        assert ["dist"] == [version.read_text() for version in (stack / "etc/only.yml").versions()]

    def test_absence(self, stack: LayerStack) -> None:
        path = stack / "etc/nothing"
        for ask in (lambda: path.layer, path.origins, path.versions):
            with pytest.raises(FileNotFoundError):
                ask()

    def test_explain(self, stack: LayerStack) -> None:
        told = str((stack / "etc/app.yml").explain())
        assert "site" in told
        assert "dist" in told


class TestCopyOut:
    """To the host and to other libraries' paths."""

    def tree(self, top: Any) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(Path(top).rglob("*")):
            name = str(path.relative_to(top))
            found[name] = (
                f"-> {os.readlink(path)}"
                if path.is_symlink()
                else None
                if path.is_dir()
                else path.read_bytes()
            )
        return found

    def test_a_file(self, pair: Pair, tmp_path: Path) -> None:
        copied = (pair.root / "a.txt").copy(tmp_path / "copy")
        assert tmp_path / "copy" == copied
        assert TEXT == copied.read_bytes()

    def test_a_file_over_a_file(self, pair: Pair, tmp_path: Path) -> None:
        (tmp_path / "copy").write_bytes(b"x" * 1000)
        assert TEXT == (pair.root / "link").copy(tmp_path / "copy").read_bytes()

    def test_a_large_file(self, tmp_path: Path) -> None:
        data = os.urandom(3 << 20) + b"end"
        (tmp_path / "layer").mkdir()
        (tmp_path / "layer/big").write_bytes(data)
        copied = (LayerStack([tmp_path / "layer"]) / "big").copy_into(tmp_path)
        assert tmp_path / "big" == copied
        assert data == copied.read_bytes()

    @pytest.mark.parametrize("follow", [True, False])
    def test_a_tree(self, pair: Pair, tmp_path: Path, follow: bool) -> None:
        copied = (pair.root / "sub").copy(tmp_path / "copy", follow_symlinks=follow)
        expected: dict[str, object] = {
            "deep": None, "deep/g.py": b"pass\n", "f.py": b"pass\n", "up": None if follow else "-> ../empty"
        }  # fmt: skip
        assert expected == self.tree(copied)

    def test_metadata(self, pair: Pair, tmp_path: Path) -> None:
        os.utime(pair.top / "sub", ns=(3_000_000_003, 4_000_000_004))
        (pair.top / "sub").chmod(0o750)
        for name, plain in (("a.txt", pair.top / "a.txt"), ("sub", pair.top / "sub")):
            copied = (pair.root / name).copy_into(tmp_path, preserve_metadata=True, follow_symlinks=False)
            expected, got = plain.stat(), copied.stat()
            assert stat.S_IMODE(expected.st_mode) == stat.S_IMODE(got.st_mode)
            assert expected.st_mtime_ns == got.st_mtime_ns
        expected, got = (pair.top / "sub/up").lstat(), (tmp_path / "sub/up").lstat()
        assert expected.st_mtime_ns == got.st_mtime_ns

    def test_refusals(self, pair: Pair, tmp_path: Path) -> None:
        with pytest.raises(FileExistsError):
            (pair.root / "sub").copy(tmp_path)
        with pytest.raises(FileNotFoundError):
            (pair.root / "nothing").copy(tmp_path / "x")
        with pytest.raises(ValueError, match="empty name"):
            pair.root.copy_into(tmp_path)
        with pytest.raises(TypeError):
            (pair.root / "sub").copy(None)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            (pair.root / "sub").copy_into(3)  # type: ignore[call-overload]

    @pytest.mark.rule("C7")
    def test_a_fifo_is_refused(self, pair: Pair, tmp_path: Path) -> None:
        with pytest.raises(OSError) as caught:
            (pair.root / "fifo").copy(tmp_path / "x")
        assert errno.EOPNOTSUPP == caught.value.errno
        assert not (tmp_path / "x").exists()

    def test_to_other_libraries(self, pair: Pair) -> None:
        memory = UPath("memory:///unionpath-copies")
        memory.mkdir(parents=True, exist_ok=True)
        copied = (pair.root / "a.txt").copy_into(memory)
        assert TEXT == copied.read_bytes()
        (pair.root / "sub/deep").copy(memory / "deep")
        assert b"pass\n" == (memory / "deep/g.py").read_bytes()
        memory.fs.rm(memory.path, recursive=True)

    def test_onto_or_into_itself(self, pair: Pair) -> None:
        for target in (pair.root / "sub", pair.root / "sub/deep/x", "/sub"):
            with pytest.raises(OSError) as caught:
                (pair.root / "sub").copy(target)
            assert (errno.EINVAL, "/sub") == (caught.value.errno, caught.value.filename)


Act = Callable[[UnionPath], object]
REFUSED: list[tuple[str, Act, int]] = [
    ("nothing", lambda p: p.unlink(), errno.EROFS),
    ("a.txt", lambda p: p.unlink(), errno.EROFS),
    ("sub", lambda p: p.unlink(), errno.EROFS),
    ("nothing", lambda p: p.unlink(missing_ok=True), errno.EROFS),
    ("nothing/x", lambda p: p.unlink(), errno.ENOENT),
    ("nothing/x", lambda p: p.unlink(missing_ok=True), 0),
    ("a.txt/x", lambda p: p.unlink(), errno.ENOTDIR),
    (".", lambda p: p.unlink(), errno.EISDIR),
    ("sub/..", lambda p: p.unlink(), errno.EISDIR),
    ("empty", lambda p: p.rmdir(), errno.EROFS),
    ("sub", lambda p: p.rmdir(), errno.EROFS),
    ("nothing", lambda p: p.rmdir(), errno.EROFS),
    ("nothing/x", lambda p: p.rmdir(), errno.ENOENT),
    ("loop/x", lambda p: p.rmdir(), errno.ELOOP),
    (".", lambda p: p.rmdir(), errno.EBUSY),
    ("sub/..", lambda p: p.rmdir(), errno.ENOTEMPTY),
    ("new", lambda p: p.mkdir(), errno.EROFS),
    ("sub", lambda p: p.mkdir(), errno.EEXIST),
    ("dangling", lambda p: p.mkdir(), errno.EEXIST),
    (".", lambda p: p.mkdir(), errno.EEXIST),
    ("sub/..", lambda p: p.mkdir(), errno.EEXIST),
    ("new/x", lambda p: p.mkdir(), errno.ENOENT),
    ("new/x", lambda p: p.mkdir(parents=True), errno.EROFS),
    ("a.txt/x", lambda p: p.mkdir(parents=True), errno.ENOTDIR),
    ("sub", lambda p: p.mkdir(exist_ok=True), 0),
    ("sub", lambda p: p.mkdir(parents=True, exist_ok=True), 0),
    ("a.txt", lambda p: p.mkdir(exist_ok=True), errno.EEXIST),
    ("new", lambda p: p.mkdir(exist_ok=True), errno.EROFS),
    ("new", lambda p: p.symlink_to("a.txt"), errno.EROFS),
    ("a.txt", lambda p: p.symlink_to("x"), errno.EEXIST),
    ("nothing/x", lambda p: p.symlink_to("x"), errno.ENOENT),
    ("new", lambda p: p.hardlink_to("/a.txt"), errno.EROFS),
    ("new", lambda p: p.hardlink_to("/nothing"), errno.ENOENT),
    ("link", lambda p: p.hardlink_to("/a.txt"), errno.EEXIST),
    ("a.txt", lambda p: p.chmod(0o600), errno.EROFS),
    ("nothing", lambda p: p.chmod(0o600), errno.ENOENT),
    ("dangling", lambda p: p.chmod(0o600), errno.ENOENT),
    ("dangling", lambda p: p.lchmod(0o600), errno.EROFS),
    ("a.txt", lambda p: p.touch(), errno.EROFS),
    ("new", lambda p: p.touch(), errno.EROFS),
    ("sub", lambda p: p.touch(), errno.EISDIR),
    ("a.txt", lambda p: p.touch(exist_ok=False), errno.EEXIST),
    ("new", lambda p: p.touch(exist_ok=False), errno.EROFS),
    ("a.txt", lambda p: p.rename("/new"), errno.EROFS),
    ("nothing", lambda p: p.rename("/new"), errno.EROFS),
    ("a.txt", lambda p: p.replace("/sub/f.py"), errno.EROFS),
    ("a.txt", lambda p: p.rename("/nothing/x"), errno.ENOENT),
    ("nothing/x", lambda p: p.rename("/new"), errno.ENOENT),
    ("a.txt", lambda p: p.rename("/"), errno.EBUSY),
    (".", lambda p: p.rename("/x"), errno.EBUSY),
    ("a.txt", lambda p: p.rename(LayerStack([memory_layer()]) / "x"), errno.EXDEV),
    ("a.txt", lambda p: p.move("/new"), errno.EROFS),
    ("a.txt", lambda p: p.move_into("/sub"), errno.EROFS),
    ("a.txt", lambda p: p.move(Path("/nonexistent-directory/x")), errno.EROFS),
    ("a.txt", lambda p: p.open("w"), errno.EROFS),
    ("new", lambda p: p.open("w"), errno.EROFS),
    ("sub", lambda p: p.open("w"), errno.EISDIR),
    (".", lambda p: p.open("wb"), errno.EISDIR),
    ("nothing/x", lambda p: p.open("w"), errno.ENOENT),
    ("a.txt/x", lambda p: p.open("w"), errno.ENOTDIR),
    ("loop", lambda p: p.open("w"), errno.ELOOP),
    ("dangling", lambda p: p.open("w"), errno.EROFS),
    ("a.txt", lambda p: p.open("a"), errno.EROFS),
    ("sub", lambda p: p.open("a"), errno.EISDIR),
    ("a.txt", lambda p: p.open("x"), errno.EEXIST),
    ("dangling", lambda p: p.open("x"), errno.EEXIST),
    ("sub", lambda p: p.open("x"), errno.EEXIST),
    ("new", lambda p: p.open("x"), errno.EROFS),
    ("a.txt", lambda p: p.open("r+"), errno.EROFS),
    ("new", lambda p: p.open("r+"), errno.ENOENT),
    ("sub", lambda p: p.open("r+b"), errno.EISDIR),
    ("a.txt", lambda p: p.open("w+b", 0), errno.EROFS),
    ("a.txt", lambda p: p.write_text("x"), errno.EROFS),
    ("a.txt", lambda p: p.write_bytes(b"x"), errno.EROFS),
    ("a.txt", lambda p: p.__open_writer__("w"), errno.EROFS),
    ("a.txt", lambda p: p.__open_wb__(), errno.EROFS),
    ("new", lambda p: (p.parent / "a.txt").copy(p), errno.EROFS),
    ("new", lambda p: (p.parent / "sub").copy(p), errno.EROFS),
    ("sub", lambda p: (p.parent / "a.txt").copy_into(p), errno.EROFS),
    ("sub", lambda p: (p.parent / "empty").copy("/empty2"), errno.EROFS),
]


def refusal(act: Callable[[Any], object], path: object) -> int:
    try:
        act(path)
    except OSError as error:
        return error.errno or -1
    return 0


@pytest.mark.rule("E1", "R6")
class TestReadOnly:
    @pytest.mark.parametrize(("place", "act", "expected"), REFUSED)
    def test_errno(self, pair: Pair, place: str, act: Act, expected: int) -> None:
        assert expected == refusal(act, pair.root / place)

    @pytest.mark.parametrize(
        ("act", "wrong"),
        [
            ("write_text", (b"x",)),
            ("write_text", (None,)),
            ("write_bytes", ("x",)),
            ("write_bytes", (None,)),
            ("chmod", ("x",)),
            ("symlink_to", (None,)),
            ("hardlink_to", (3,)),
            ("rename", (b"x",)),
            ("replace", (None,)),
            ("move", (3,)),
            ("move_into", (None,)),
            ("open", ("w", "x")),
        ],
    )
    def test_wrong_types_come_first(self, pair: Pair, act: str, wrong: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError):
            getattr(pair.root / "a.txt", act)(*wrong)

    def test_both_paths_of_a_rename_are_named(self, pair: Pair) -> None:
        with pytest.raises(OSError) as caught:
            (pair.root / "a.txt").rename("/new")
        assert ("/a.txt", "/new") == (caught.value.filename, caught.value.filename2)
