"""Patterns alone, and `glob` and `rglob` against pathlib on the same tree."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unionpath import LayerStack, UnionPath, memory_layer
from unionpath.globbing import compile_pattern, select
from unionpath.model.entry import Kind

like_pathlib = pytest.mark.skipif(sys.version_info < (3, 13), reason="pathlib globs so from 3.13")

FILES = [
    "a.py",
    "B.PY",
    ".hidden.py",
    "d/b.py",
    "d/.c",
    "d/e/f.py",
    "d/e/g/h.txt",
    "x[1].py",
    "d/x*",
    "é/ü.py",
]
DIRECTORIES = ["empty", "d/empty", ".dot/sub"]
LINKS = {"ln": "d", "d/e/up": "..", "fl": "a.py", "broken": "nothing", "loop": "loop", "d/ln2": "../é"}


DEEP = ("1", "2", "3", "4")
"""Where the tree is in the union, so that ".." in a pattern finds the same in the union and on the host."""


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("glob").joinpath(*DEEP)
    for name in DIRECTORIES:
        (made / name).mkdir(parents=True)
    for name in FILES:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).touch()
    for name, target in LINKS.items():
        (made / name).symlink_to(target)
    return made


@pytest.fixture(scope="module")
def root(top: Path) -> Iterator[UnionPath]:
    stack = LayerStack([top.parents[len(DEEP) - 1]])
    yield stack.root.joinpath(*DEEP)
    stack.close()


PATTERNS = [
    "*", "**", "*/", "**/", "*.py", "**/*.py", "**/*", "*/*", "**/**", "d/**", "d/**/", "*/**", "a.py",
    "d", "d/", "ln", "ln/", "ln/*", "ln/**", "fl", "fl/", "broken", "broken/", "loop", "loop/*", "nothing",
    "nothing/*", "d/../a.py", "..", "../..", "d/..", "**/..", "*/..", "*/../*.py", "../*", "**/e/**",
    "**/*/*.py", "**/ln/*", "**/empty", "**/empty/", "./d/*", "d//*", "[ab].py", "[!a].py", "?.py", "a.py/",
    "**/e/*.py", "x[[]1].py",
    "d/x[*]", ".*", "**/.*", ".dot/**", "**/sub", "a*", "**/[d-f]", "A.py", "b.py", "D/*", "*.PY", "**/*y",
    "é/*", "**/ü*", "***", "a**", "d/e/up/*", "*/e/up", "**/up/**", "a.py/*", "a.py/**", "*/*/..", "d/*/../*",
    "[", "[]", "d/[", "**/g/h.txt", "ln2", "**/ln2/*", "*/ln2/**",
]  # fmt: skip


def within(top: object, path: object) -> str:
    """The text of a path below `top`, which may lead through `..`."""
    return str(path).removeprefix(str(top)).removeprefix("/") or "."


def plain(top: Path, base: Path, pattern: str, **options: Any) -> list[str]:
    """What pathlib finds, each once and sorted; it gives some twice."""
    return sorted({within(top, each) for each in base.glob(pattern, **options)})


def merged(top: UnionPath, base: UnionPath, pattern: str, **options: Any) -> list[str]:
    found = [within(top, path) for path in base.glob(pattern, **options)]
    assert len(set(found)) == len(found), "something came twice"
    return sorted(found)


class TestAgainstPathlib:
    @like_pathlib
    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("case_sensitive", [None, True, False])
    def test_glob(self, top: Path, root: UnionPath, pattern: str, case_sensitive: bool | None) -> None:
        expected = plain(top, top, pattern, case_sensitive=case_sensitive)
        assert expected == merged(root, root, pattern, case_sensitive=case_sensitive)

    @like_pathlib
    @pytest.mark.parametrize("pattern", [each for each in PATTERNS if "up" not in each])
    def test_glob_through_links(self, top: Path, root: UnionPath, pattern: str) -> None:
        """As far as forty links go, so the tree is one where they lead down only."""
        expected = plain(top / "é", top / "é", pattern, recurse_symlinks=True)
        assert expected == merged(root / "é", root / "é", pattern, recurse_symlinks=True)

    @like_pathlib
    @pytest.mark.parametrize("pattern", PATTERNS)
    @pytest.mark.parametrize("base", ["d", "ln", "a.py", "nothing", "broken", "d/e/up", "d/.."])
    def test_glob_from_elsewhere(self, top: Path, root: UnionPath, base: str, pattern: str) -> None:
        assert plain(top, top / base, pattern) == merged(root, root / base, pattern)

    @like_pathlib
    @pytest.mark.parametrize("pattern", [*PATTERNS, ""])
    def test_rglob(self, top: Path, root: UnionPath, pattern: str) -> None:
        expected = plain(top, top, os.path.join("**", pattern))
        assert expected == sorted(within(root, path) for path in root.rglob(pattern))

    pieces = st.lists(
        st.sampled_from(
            ["*", "**", "d", "e", "*.py", "..", "?", "[a-f]*", "ln", "empty", ".*", "up", "nothing"]
        ),
        min_size=1,
        max_size=4,
    )

    @like_pathlib
    @given(pieces.map("/".join), st.sampled_from(["", "/"]), st.sampled_from([None, True, False]))
    def test_any_pattern(
        self, top: Path, root: UnionPath, pattern: str, end: str, case_sensitive: bool | None
    ) -> None:
        expected = plain(top, top, pattern + end, case_sensitive=case_sensitive)
        assert expected == merged(root, root, pattern + end, case_sensitive=case_sensitive)


class TestOnEveryPython:
    """What 3.13 made of `glob`, pinned down without it."""

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("d/e/**", ["d/e", "d/e/f.py", "d/e/g", "d/e/g/h.txt", "d/e/up"]),
            ("d/e/**/", ["d/e", "d/e/g"]),
            ("d/e/*/", ["d/e/g", "d/e/up"]),
            ("**/*.txt", ["d/e/g/h.txt"]),
            ("ln/*.py", ["ln/b.py"]),
            ("d/../a.py", ["d/../a.py"]),
            ("a**", ["a.py"]),
        ],
    )
    def test_glob(self, root: UnionPath, pattern: str, expected: list[str]) -> None:
        assert expected == merged(root, root, pattern)

    @pytest.mark.rule("N1")
    def test_order_is_by_name_within_each_directory(self, root: UnionPath) -> None:
        found = [within(root, path) for path in root.rglob("[Ba-f]*.[pP][yY]")]
        assert ["B.PY", "a.py", "d/b.py", "d/e/f.py"] == found
        assert ["d", "d/.c", "d/b.py", "d/e", "d/empty"] == [
            within(root, path) for path in root.glob("d/**")
        ][:5]

    def test_links_are_followed_only_if_asked(self, root: UnionPath) -> None:
        assert ["ln"] == [each for each in merged(root, root, "**/*") if each.startswith("ln")]
        followed = merged(root, root, "ln*/**", recurse_symlinks=True)
        assert {"ln/e/up/e/f.py", "ln/ln2/ü.py"} <= set(followed)

    def test_links_are_followed_up_to_forty(self, tmp_path: Path) -> None:
        (tmp_path / "self").symlink_to(".")
        found = list(LayerStack([tmp_path]).root.glob("**/self", recurse_symlinks=True))
        assert 41 == len(found)

    def test_relative_paths_find_relative_paths(self, root: UnionPath) -> None:
        here = root.relative_to("/")
        assert ["1/2/3/4/d/b.py", "1/2/3/4/d/e", "1/2/3/4/d/empty"] == [
            str(path) for path in here.glob("d/[be]*")
        ]
        assert ["1", "1/2"] == [str(path) for path in here.parents[3].glob("**")][1:3]
        assert "." == str(next(here.parents[3].glob("**")))

    def test_a_pattern_may_be_a_path(self, root: UnionPath) -> None:
        assert ["d/b.py"] == [within(root, path) for path in root.glob(PurePosixPath("d/b.py"))]
        assert ["d/b.py"] == [within(root, path) for path in root.rglob(PurePosixPath("b.py"))]

    @pytest.mark.parametrize("pattern", ["", ".", "./", "././."])
    def test_an_empty_pattern(self, root: UnionPath, pattern: str) -> None:
        with pytest.raises(ValueError, match="Unacceptable pattern"):
            root.glob(pattern)

    @pytest.mark.parametrize("pattern", ["/", "/a", "//a/*"])
    def test_an_absolute_pattern(self, root: UnionPath, pattern: str) -> None:
        for search in (root.glob, root.rglob):
            with pytest.raises(NotImplementedError):
                search(pattern)

    @pytest.mark.parametrize("pattern", [None, 3, b"*", ["*"]])
    def test_a_pattern_is_text(self, root: UnionPath, pattern: Any) -> None:
        with pytest.raises(TypeError):
            list(root.glob(pattern))

    @pytest.mark.rule("N5")
    def test_a_stack_that_ignores_case_finds_so(self, top: Path) -> None:
        found = LayerStack([top], case="insensitive").root.glob("D/*.PY")
        assert ["/d/b.py"] == [str(path) for path in found]

    @pytest.mark.rule("L5")
    def test_what_is_whited_out_is_not_found(self, tmp_path: Path) -> None:
        for layer, names in (("top", ["d/.wh.b.py", "d/c.py"]), ("low", ["d/a.py", "d/b.py"])):
            for name in names:
                (tmp_path / layer / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / layer / name).touch()
        root = LayerStack([tmp_path / "top", tmp_path / "low"]).root
        assert ["d/a.py", "d/c.py"] == merged(root, root, "**/*.py")
        assert [] == merged(root, root, "d/b.py")
        assert [] == merged(root, root, "d/.wh*")

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
    def test_an_unreadable_directory_is_passed_over(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            top = Path(name)
            top.chmod(0o755)
            (top / "closed").mkdir(mode=0o700)
            (top / "closed/x").touch()
            (top / "open").mkdir()
            (top / "open/y").touch()
            program = (
                "import os; from unionpath import LayerStack\n"
                f"root = LayerStack([{name!r}]).root\n"
                "for _ in '123': list(root.glob('**/*'))\n"  # all is imported while that is allowed
                "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                f"print(sorted(map(str, LayerStack([{name!r}]).root.glob('**/*'))))\n"
            )
            ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
            assert "['/closed', '/open', '/open/y']" == ran.stdout.strip()


class Broken:
    """A tree whose directory `bad` can't be listed; counts what it is asked."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked: list[str] = []

    def kind(self, path: str, follow: bool = True, /) -> int:
        self.asked.append(path)
        return Kind.DIRECTORY

    def listing(self, path: str, /, *, passing: bool = False) -> Mapping[str, int]:
        self.asked.append(path)
        if path == "/bad":
            raise OSError(self.number, os.strerror(self.number), path)
        return {"bad": Kind.DIRECTORY, "x": Kind.FILE} if path == "/" else {}


class TestFaults:
    @pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP])
    def test_what_pathlib_passes_over(self, number: int) -> None:
        found = select(Broken(number), "/", compile_pattern("**/*", case_sensitive=None), follow_links=False)
        assert ["/bad", "/x"] == [text for text, _ in found]

    @pytest.mark.rule("L8")
    @pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EMFILE])
    def test_other_faults_are_raised(self, number: int) -> None:
        found = select(Broken(number), "/", compile_pattern("**/*", case_sensitive=None), follow_links=False)
        with pytest.raises(OSError) as caught:
            list(found)
        assert (number, "/bad") == (caught.value.errno, caught.value.filename)


class TestWhatIsAsked:
    def asked(self, pattern: str) -> list[str]:
        tree = Broken(0)
        list(select(tree, "/", compile_pattern(pattern, case_sensitive=None), follow_links=False))
        return tree.asked

    def test_a_literal_is_looked_up_once_at_its_end(self) -> None:
        assert ["/a/b/c"] == self.asked("a/b/c")

    def test_literals_in_front_are_not_looked_up(self) -> None:
        assert ["/a/b"] == self.asked("a/b/*")

    def test_files_are_not_entered(self) -> None:
        assert ["/"] == self.asked("x*/*")

    def test_a_pattern_is_compiled_once(self) -> None:
        assert compile_pattern("*.py", case_sensitive=None) is compile_pattern("*.py", case_sensitive=None)

    def test_many_stars_cost_no_more_than_one(self) -> None:
        stack = LayerStack([memory_layer()])
        assert [] == list(stack.root.glob("/".join(["**", "*a*"] * 20)))
        assert not (stack / ("a/" * 40 + "b")).full_match("/" + "/".join(["**", "a"] * 20))
