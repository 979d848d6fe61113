"""The text side of UnionPath, against the running interpreter's PurePosixPath."""

from __future__ import annotations

import copy
import operator
import os
import pickle
import posixpath
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from operator import getitem
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Self

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from upath import UPath
from upath.types import JoinablePath, ReadablePath, WritablePath

from unionpath import LayerStack, UnionPath, UnsupportedOperation, memory_layer

STACK = LayerStack([memory_layer()])
OTHER = LayerStack([memory_layer()])
NAMED = LayerStack([memory_layer()], name="lexical")

names = st.one_of(
    st.sampled_from(
        [".", "..", "", "a", "b", "a.b", ".a", "a.", "..a", "a..b", ".a.b", "~", "*", "...", "a b", "é"]
    ),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=4),
)
texts = st.builds("".join, st.lists(st.one_of(names, st.just("/"), st.just("//")), max_size=7))


def pure(text: str) -> PurePosixPath:
    """PurePosixPath without its one liberty: POSIX lets `//` at the start mean something else than `/`."""
    made = PurePosixPath(text)
    return PurePosixPath("/", *made.parts[1:]) if made.root == "//" else made


def union(text: str) -> UnionPath:
    return UnionPath(STACK, text)


def outcome(ask: Callable[[], object]) -> object:
    """A value as plain data, or the type of the exception."""
    try:
        value = ask()
    except (ValueError, TypeError, IndexError) as error:
        return type(error)
    if isinstance(value, (UnionPath, PurePosixPath)):
        return str(value)
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else value


class TestAgainstPurePosixPath:
    @given(texts)
    @pytest.mark.parametrize(
        "attribute", ["parts", "drive", "root", "anchor", "name", "suffix", "suffixes", "stem", "parent"]
    )
    def test_attribute(self, attribute: str, text: str) -> None:
        assert outcome(lambda: getattr(pure(text), attribute)) == outcome(
            lambda: getattr(union(text), attribute)
        )

    @given(texts)
    def test_text(self, text: str) -> None:
        assert str(pure(text)) == str(union(text)) == union(text).as_posix() == union(text).__vfspath__()

    @given(texts, st.lists(texts, max_size=3))
    def test_joins(self, text: str, others: list[str]) -> None:
        joined = union(text).joinpath(*others)
        segments = [text, *others]
        start = max((i for i, each in enumerate(segments) if each.startswith("/")), default=0)
        assert str(pure("/".join(filter(None, segments[start:])))) == str(joined)
        assert union(text).with_segments(text, *others) == joined == UnionPath(STACK, text, *others)

    @given(texts, texts)
    def test_slash_is_joinpath(self, left: str, right: str) -> None:
        assert union(left).joinpath(right) == union(left) / right == left / union(right)

    @given(texts)
    def test_parents(self, text: str) -> None:
        expected, got = pure(text).parents, union(text).parents
        assert [str(each) for each in expected] == [str(each) for each in got]
        assert len(expected) == len(got)
        for cut in (slice(None), slice(1, None), slice(None, -1), slice(None, None, -1), slice(-2, None, 2)):
            assert outcome(partial(getitem, expected, cut)) == outcome(partial(getitem, got, cut))
        for index in range(-4, 4):
            assert outcome(partial(getitem, expected, index)) == outcome(partial(getitem, got, index))

    @given(texts, st.one_of(names, texts))
    @pytest.mark.parametrize("method", ["with_name", "with_stem", "with_suffix"])
    def test_changed_name(self, method: str, text: str, new: str) -> None:
        expected = outcome(lambda: getattr(pure(text), method)(new))
        assert expected == outcome(lambda: getattr(union(text), method)(new))

    @given(texts, texts)
    def test_is_relative_to(self, text: str, other: str) -> None:
        expected = pure(text).is_relative_to(pure(other))
        assert expected is union(text).is_relative_to(other) is union(text).is_relative_to(union(other))

    @given(texts, texts)
    def test_relative_to(self, text: str, other: str) -> None:
        expected = outcome(lambda: pure(text).relative_to(pure(other)))
        assert expected == outcome(lambda: union(text).relative_to(other))
        assert expected == outcome(lambda: union(text).relative_to(union(other)))

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="pathlib has no walk_up before 3.12")
    @given(texts, texts)
    def test_relative_to_walk_up(self, text: str, other: str) -> None:
        walk_up: dict[str, Any] = {"walk_up": True}
        expected = outcome(lambda: pure(text).relative_to(pure(other), **walk_up))
        assert expected == outcome(lambda: union(text).relative_to(other, walk_up=True))

    @pytest.mark.skipif(
        sys.version_info < (3, 12), reason="3.12 changed how relative paths sort among absolute ones"
    )
    @given(texts, texts)
    @pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq])
    def test_order(self, compare: Callable[[object, object], bool], left: str, right: str) -> None:
        assert compare(pure(left), pure(right)) is compare(union(left), union(right))

    @given(texts)
    def test_is_absolute(self, text: str) -> None:
        assert pure(text).is_absolute() is union(text).is_absolute()

    patterns = st.builds(
        "".join,
        st.lists(
            st.sampled_from(["a", "b", "*", "**", "?", "[ab]", "[", "/", "/", ".", "..", "A"]), max_size=8
        ),
    )

    @pytest.mark.skipif(
        sys.version_info < (3, 13), reason="match settled in 3.13; ours is that one everywhere"
    )
    @given(texts, patterns, st.sampled_from([None, True, False]))
    def test_match(self, text: str, pattern: str, case_sensitive: bool | None) -> None:
        assume("***" not in pattern)
        case: dict[str, Any] = {"case_sensitive": case_sensitive}
        expected = outcome(lambda: pure(text).match(str(pure(pattern)), **case))
        assert expected == outcome(lambda: union(text).match(pattern, **case))

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="pathlib has no full_match before 3.13")
    @given(texts, patterns, st.sampled_from([None, True, False]))
    def test_full_match(self, text: str, pattern: str, case_sensitive: bool | None) -> None:
        assume("***" not in pattern)  # for pathlib it fits nothing at all, too
        case: dict[str, Any] = {"case_sensitive": case_sensitive}
        full_match: Callable[..., bool] = getattr(pure(text), "full_match")  # noqa: B009  # not in 3.11's stubs
        assert full_match(str(pure(pattern)), **case) is union(text).full_match(pattern, **case)


class TestFullMatch:
    """What holds on every Python, 3.11 and 3.12 included."""

    @pytest.mark.parametrize(
        ("text", "pattern", "expected"),
        [
            ("/a/b.py", "/a/*.py", True),
            ("/a/b.py", "*.py", False),
            ("/a/b.py", "**/*.py", True),
            ("/b.py", "/**/*.py", True),
            ("/b.py", "**/*.py", False),
            ("a/b/c", "a/**", True),
            ("a", "a/**", False),
            ("a", "**", True),
            (".", "**", True),
            (".", "", True),
            ("/", "/**", True),
            ("a/b/c/d", "a/**/d", True),
            ("a/d", "a/**/d", True),
            ("a/B", "a/b", False),
            ("a/b", "a[!x]b", False),
            (".a/.b", "*/*", True),
        ],
    )
    def test_case(self, text: str, pattern: str, expected: bool) -> None:
        assert expected is union(text).full_match(pattern)

    def test_ignoring_case(self) -> None:
        assert union("a/B.PY").full_match("**/*.py", case_sensitive=False)
        assert union("a/B.PY").match("*.py", case_sensitive=False)
        assert not union("a/B.PY").match("*.py")

    @pytest.mark.rule("N5")
    def test_a_stack_that_ignores_case_matches_so(self) -> None:
        stack = LayerStack([memory_layer()], case="insensitive")
        assert UnionPath(stack, "a/B.PY").match("b.py")
        assert UnionPath(stack, "a/B.PY").full_match("A/*.py")
        assert not UnionPath(stack, "a/B.PY").match("b.py", case_sensitive=True)


class TestConstruction:
    def test_from_a_stack_or_a_path(self) -> None:
        assert "/etc/app.yml" == str(UnionPath(STACK, "/etc", "app.yml"))
        assert "." == str(UnionPath(STACK))
        assert "/etc/app.yml" == str(UnionPath(UnionPath(STACK, "/etc"), "app.yml"))

    @pytest.mark.parametrize("first", ["/etc", None, 3, b"/", PurePosixPath("/"), [STACK]])
    def test_the_first_argument_is_a_stack_and_the_message_shows_how(self, first: Any) -> None:
        with pytest.raises(TypeError, match=r"UnionPath\(LayerStack\("):
            UnionPath(first, "/etc")

    @pytest.mark.parametrize("segment", [b"a", None, 3, 1.5, ["a"], union("a").joinpath])
    def test_a_segment_is_text(self, segment: Any) -> None:
        with pytest.raises(TypeError):
            UnionPath(STACK, segment)
        with pytest.raises(TypeError):
            union("a").joinpath(segment)
        with pytest.raises(TypeError):
            union("a") / segment
        with pytest.raises(TypeError):
            segment / union("a")
        with pytest.raises(TypeError):
            union("a").is_relative_to(segment)

    def test_a_path_of_another_stack_can_not_be_joined(self) -> None:
        for join in (union("a").joinpath, union("a").__truediv__, union("a").with_segments):
            with pytest.raises(TypeError, match="another stack"):
                join(UnionPath(OTHER, "b"))

    def test_pure_and_host_paths_are_taken_as_text(self) -> None:
        assert "/a/b" == str(union("/a") / PurePosixPath("b")) == str(union("/a").joinpath(Path("b")))
        assert "/a/b/c" == str(union("/a") / PureWindowsPath("b\\c"))
        assert "b/a" == str(PurePosixPath("b") / union("a"))

    def test_a_subclass_of_str_becomes_plain(self) -> None:
        class Text(str):
            __slots__ = ()

        assert str is type(str(union(Text("a")))) is type(str(union("b") / Text("a")))

    def test_nul_is_nobodys_business_before_the_tree_is_asked(self) -> None:
        path = union("a\0b") / "c"
        assert ("a\0b", "c") == path.parts
        assert not path.exists()
        with pytest.raises(ValueError, match="null"):
            path.stat()

    @pytest.mark.parametrize("attribute", ["__fspath__", "__bytes__", "path", "read", "write", "seek"])
    def test_names_that_would_lead_others_astray_are_absent(self, attribute: str) -> None:
        assert not hasattr(union("/etc/passwd"), attribute)

    def test_it_is_no_path_of_the_operating_system(self) -> None:
        uses: list[Callable[[Any], object]] = [open, os.stat, os.fspath, Path]
        for use in uses:
            with pytest.raises(TypeError):
                use(union("/etc/passwd"))

    def test_it_is_known_to_the_base_classes(self) -> None:
        path = union("/")
        assert isinstance(path, JoinablePath)
        assert isinstance(path, ReadablePath)
        assert isinstance(path, WritablePath)
        assert not isinstance(path, (Path, UPath, os.PathLike))
        assert posixpath is UnionPath.parser


class TestValue:
    def test_equality_needs_text_and_stack(self) -> None:
        assert union("/a") == union("//a/.")
        assert hash(union("/a")) == hash(union("/a/"))
        assert union("/a") != UnionPath(OTHER, "/a")
        for other in (PurePosixPath("/a"), Path("/a"), UPath("memory:///a"), "/a", None):
            assert union("/a") != other

    def test_paths_of_equal_stacks_are_equal(self, tmp_path: Path) -> None:
        one, two = (UnionPath(LayerStack([tmp_path]), "a") for _ in range(2))
        assert one == two
        assert hash(one) == hash(two)
        assert not one < two <= one / "b"

    @pytest.mark.parametrize("compare", [operator.lt, operator.le, operator.gt, operator.ge])
    @pytest.mark.parametrize("other", [UnionPath(OTHER, "/a"), PurePosixPath("/a"), "/a"])
    def test_no_order_across_stacks_or_types(
        self, compare: Callable[[Any, Any], bool], other: object
    ) -> None:
        with pytest.raises(TypeError):
            compare(union("/a"), other)

    def test_repr_names_the_stack(self) -> None:
        assert "UnionPath(<LayerStack 'lexical'>, '/a')" == repr(NAMED / "a")
        assert repr(STACK) in repr(union("a"))

    def test_copies_stay_in_the_stack(self) -> None:
        path = union("/a/b")
        for copied in (copy.copy(path), copy.deepcopy(path), copy.deepcopy([path])[0]):
            assert path == copied
            assert path is not copied
        assert {path} == {copy.deepcopy(path)}

    def test_pickle(self, tmp_path: Path) -> None:
        path = UnionPath(LayerStack([tmp_path]), "/a/b")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(path, protocol))
            assert (path, UnionPath) == (again, type(again))

    def test_weak_references(self) -> None:
        path = union("/a")
        assert weakref.ref(path)() is path

    def test_no_other_attributes(self) -> None:
        with pytest.raises(AttributeError):
            union("/a").note = "x"  # type: ignore[attr-defined]


class Plain(UnionPath):
    __slots__ = ()


class Tagged(UnionPath):
    """Carries a tag to derived paths, the way pathlib's documentation shows."""

    tag: str

    def __init__(self, stack: LayerStack | UnionPath, *segments: Any, tag: str) -> None:
        super().__init__(stack, *segments)
        self.tag = tag

    def with_segments(self, *pathsegments: Any) -> Self:
        return type(self)(self._stack, *pathsegments, tag=self.tag)


class Noted(UnionPath):
    """Overrides `__init__` only."""

    def __init__(self, stack: LayerStack | UnionPath, *segments: Any) -> None:
        super().__init__(stack, *segments)
        self.note = f"made with {len(segments)}"


def derived(path: UnionPath) -> Iterator[UnionPath]:
    """A path from each method that makes one without asking the tree."""
    yield from (path / "x", path / "x//y", "x" / path, path.joinpath("x", "y"), path.joinpath(), path.parent)
    yield from (
        *path.parents,
        path.parents[0],
        path.with_name("n"),
        path.with_stem("s"),
        path.with_suffix(".t"),
    )
    yield from (
        path.relative_to("/"),
        path.relative_to("/z", walk_up=True),
        path.absolute(),
        path.expanduser(),
    )
    yield from (
        path.relative_to("/").absolute(),
        copy.copy(path),
        copy.deepcopy(path),
        path.with_segments("x"),
    )


class TestSubclasses:
    def test_a_plain_subclass_is_kept(self) -> None:
        path = Plain(STACK, "/a/b.c")
        assert {Plain} == {type(each) for each in derived(path)}
        assert path == union("/a/b.c")

    def test_with_segments_makes_every_derived_path(self) -> None:
        assert {"t"} == {
            each.tag for each in derived(Tagged(STACK, "/a/b.c", tag="t")) if isinstance(each, Tagged)
        }
        assert {Tagged} == {type(each) for each in derived(Tagged(STACK, "/a/b.c", tag="t"))}

    def test_init_alone_is_honoured(self) -> None:
        assert {True} == {hasattr(each, "note") for each in derived(Noted(STACK, "/a/b.c"))}

    def test_a_mixin_is_honoured(self) -> None:
        made: list[tuple[object, ...]] = []

        class Spy:
            def with_segments(self, *segments: Any) -> Any:
                made.append(segments)
                return UnionPath(STACK, *segments)

        class Both(Spy, UnionPath):
            pass

        assert "/a/x" == str(Both(STACK, "/a") / "x")
        assert 1 == len(made)


class TestUris:
    @given(texts)
    def test_round_trip(self, text: str) -> None:
        assume("\0" not in text)
        path = (NAMED.root / text).absolute()
        assert path == UnionPath.from_uri(path.as_uri())

    def test_form(self) -> None:
        assert "union://lexical/a%20b/%C3%A9%23%3F.x" == (NAMED / "a b/é#?.x").as_uri()
        assert "union://lexical/" == NAMED.root.as_uri()
        assert "union://lexical/%FF" == (NAMED / "\udcff").as_uri()
        assert NAMED / "\udcff" == UnionPath.from_uri("union://lexical/%FF")

    def test_a_subclass_makes_its_own(self) -> None:
        assert Plain is type(Plain.from_uri("union://lexical/a"))

    def test_refusals_say_what_to_do(self) -> None:
        with pytest.raises(ValueError, match=r"absolute\(\)"):
            UnionPath(NAMED, "a").as_uri()
        with pytest.raises(ValueError, match="name="):
            union("/a").as_uri()

    @pytest.mark.parametrize("uri", ["file:///a", "union:///a", "union://lexical", "/a", "", "lexical/a"])
    def test_what_is_no_uri_of_a_union(self, uri: str) -> None:
        with pytest.raises(ValueError, match="union://NAME/path"):
            UnionPath.from_uri(uri)

    def test_a_name_nobody_gave(self) -> None:
        with pytest.raises(LookupError):
            UnionPath.from_uri("union://nobody-has-this-name/a")


class TestPlaces:
    @pytest.mark.rule("L9")
    def test_relative_paths_start_at_the_root(self) -> None:
        assert "/a/../b" == str(union("a/../b").absolute())
        assert "/" == str(union("").absolute())
        assert "/a" == str(union("/a").absolute())

    def test_a_union_has_no_own_directories(self) -> None:
        for ask in (UnionPath.cwd, UnionPath.home):
            with pytest.raises(UnsupportedOperation, match=r"stack\.root"):
                ask()
        assert issubclass(UnsupportedOperation, NotImplementedError)

    def test_expanduser_leaves_everything(self) -> None:
        path = union("~/a")
        assert path.expanduser() is path

    def test_no_name_is_reserved(self) -> None:
        if sys.version_info >= (3, 13):
            with pytest.warns(DeprecationWarning, match="is_reserved"):
                assert not union("nul").is_reserved()
        else:
            assert not union("nul").is_reserved()
