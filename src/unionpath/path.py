"""
UnionPath: the face of a union, which is that of `pathlib.Path`.

Each method is one short call into the resolver, or pure text. A path holds its stack and its text, the
text always as `str(PurePosixPath(...))` would have it (a leading `//` being `/`), so that a join of something
already in order is one concatenation. No overlay rule is known here.

The base classes give identity only (`isinstance`, `copy` from other libraries); every body is ours. There is
no `__fspath__` on purpose: a union path names nothing on the host, and `open(path)` should say so.
"""

from __future__ import annotations

import errno
import io
import math
import os
import posixpath
import stat as _stat
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    BinaryIO,
    ClassVar,
    Concatenate,
    Final,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from upath.types import ReadablePath, WritablePath

from unionpath import globbing
from unionpath.copying import copy_into_union, copy_to_host
from unionpath.fileio import decode, encode, parse_arguments, wrap
from unionpath.model.change import Attributes
from unionpath.model.entry import KIND_MASK, Kind, Stat
from unionpath.model.errors import UnsupportedOperation, oserror
from unionpath.model.text import (
    before_children,
    in_order,
    is_within,
    name_of,
    parent_of,
    relative,
    split,
    unsplit,
)
from unionpath.model.typed import override
from unionpath.refusals import Tree, refuse_attributes, refuse_name, refuse_open
from unionpath.stack import Layer, LayerStack, named_stack

if TYPE_CHECKING:
    from _typeshed import (
        OpenBinaryMode,
        OpenBinaryModeReading,
        OpenBinaryModeUpdating,
        OpenBinaryModeWriting,
        OpenTextMode,
        ReadableBuffer,
    )

    from unionpath.resolve.explain import Explanation
    from unionpath.resolve.resolver import Resolver

__all__ = ["Segment", "UnionPath"]

Segment: TypeAlias = "str | os.PathLike[str] | UnionPath"
"""What can be joined: text, a pure or host path taken as text, a path of the same stack."""
_Target = TypeVar("_Target", bound="WritablePath | Path")
_PathT = TypeVar("_PathT", bound="UnionPath")
_Details = ParamSpec("_Details")

_FILE: Final = int(Kind.FILE)
_DIRECTORY: Final = int(Kind.DIRECTORY)
_SYMLINK: Final = int(Kind.SYMLINK)
_UNASKED: Final = -2
_new: Final = object.__new__


class UnionPath(ReadablePath, WritablePath):
    """
    A path in a union: everything `pathlib.Path` has, and where things come from.

        UnionPath(stack, "/etc/app.yml")
        UnionPath(other_path, "sub", "file")

    Paths are values: equal if text and stack are. Relative paths start at the root, as a union has no
    working directory (L9).

    Raises:
        TypeError: the first argument is neither a stack nor a path of one, or a segment is no text
            (bytes, None, an int) or belongs to another stack.
    """

    __slots__ = ("__weakref__", "_info", "_stack", "_text")

    # A class attribute, as in pathlib; other libraries ask `cls.parser is posixpath`.
    parser = posixpath  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    _stack: LayerStack
    _text: str
    _info: _Info | int
    _plain: ClassVar[bool] = True

    def __init__(self, stack: LayerStack | UnionPath, *segments: Segment) -> None:
        if isinstance(stack, LayerStack):
            self._stack = stack
            self._text = self._joined(".", segments)
        elif isinstance(stack, UnionPath):
            self._stack = stack._stack
            self._text = self._joined(stack._text, segments)
        else:
            raise TypeError(
                "the first argument of UnionPath is a LayerStack or another UnionPath, "
                f'not {type(stack).__name__}: UnionPath(LayerStack(["/srv/site"]), "/etc/app.yml")'
            )

    def __init_subclass__(cls, **options: Any) -> None:
        """Note whether the subclass wants a say in how derived paths are made."""
        super().__init_subclass__(**options)
        own = takewhile(lambda each: each is not UnionPath, cls.__mro__)
        cls._plain = not any(name in vars(each) for each in own for name in _CONSTRUCTION)

    # --- making paths ------------------------------------------------------------------------------

    @override
    def with_segments(self, *pathsegments: Segment) -> Self:
        """
        Make a path of the same stack and class from any number of segments.

        Every derived path comes from here in a subclass that overrides this method or `__init__`.
        """
        return type(self)(self._stack, *pathsegments)

    def _derive(self, text: str) -> Self:
        """Make a path of the same stack and class from text in order."""
        if not self._plain:
            return self.with_segments(text)
        path = _new(type(self))
        path._stack = self._stack
        path._text = text
        return path

    def _joined(self, text: str, segments: Iterable[Segment]) -> str:
        for segment in segments:
            piece = segment if type(segment) is str else self._text_of(segment)
            text = piece if piece.startswith("/") else f"{text}/{piece}"
        return in_order(text)

    def _text_of(self, segment: object) -> str:
        """Give the text of a segment; TypeError if it can't be one."""
        if isinstance(segment, str):
            return str.__str__(segment)
        if isinstance(segment, UnionPath):
            if segment._stack != self._stack:
                raise TypeError(
                    f"{segment!r} belongs to another stack than {self._stack!r}; join its text, str(path), "
                    "if that is what is meant"
                )
            return segment._text
        if isinstance(segment, PurePath):
            return segment.as_posix()
        if isinstance(segment, os.PathLike):
            text: object = os.fspath(cast("os.PathLike[str]", segment))
            if isinstance(text, str):
                return text
        raise TypeError(f"a segment of a UnionPath is a str or a path, not {type(segment).__name__}")

    @override
    def joinpath(self, *pathsegments: Segment) -> Self:
        """Join segments to this path; an absolute one starts again at the root."""
        if self._plain:
            return self._derive(self._joined(self._text, pathsegments))
        return self.with_segments(self, *pathsegments)

    @override
    def __truediv__(self, key: Segment) -> Self:
        # The common case by itself: a str that is in order needs no parsing.
        if (
            type(key) is str
            and key
            and (key[0] not in "/." or (key[0] == "." != key and key[1] != "/"))
            and key[-1] != "/"
            and "//" not in key
            and "/." not in key
            and self._plain
        ):
            path = _new(type(self))
            path._stack = self._stack
            text = self._text
            path._text = "/" + key if text == "/" else key if text == "." else f"{text}/{key}"
            return path
        if isinstance(key, (str, UnionPath, os.PathLike)):
            return self.joinpath(key)
        return NotImplemented

    @override
    def __rtruediv__(self, key: str | os.PathLike[str]) -> Self:
        if isinstance(key, (str, os.PathLike)):
            return self.with_segments(key, self)
        return NotImplemented

    # --- being a value -----------------------------------------------------------------------------

    def __str__(self) -> str:
        return self._text

    @override
    def __vfspath__(self) -> str:
        return self._text

    def as_posix(self) -> str:
        """Give the text."""
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._stack!r}, {self._text!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnionPath):
            return NotImplemented
        return self._text == other._text and (self._stack is other._stack or self._stack == other._stack)

    def __hash__(self) -> int:
        return hash((self._stack, self._text))

    def _comparable(self, other: object) -> bool:
        return isinstance(other, UnionPath) and (self._stack is other._stack or self._stack == other._stack)

    def __lt__(self, other: UnionPath) -> bool:
        if not self._comparable(other):
            return NotImplemented
        return self._text.split("/") < other._text.split("/")

    def __le__(self, other: UnionPath) -> bool:
        if not self._comparable(other):
            return NotImplemented
        return self._text.split("/") <= other._text.split("/")

    def __gt__(self, other: UnionPath) -> bool:
        if not self._comparable(other):
            return NotImplemented
        return self._text.split("/") > other._text.split("/")

    def __ge__(self, other: UnionPath) -> bool:
        if not self._comparable(other):
            return NotImplemented
        return self._text.split("/") >= other._text.split("/")

    def __reduce__(self) -> tuple[type[Self], tuple[LayerStack, str]]:
        return type(self), (self._stack, self._text)

    def __copy__(self) -> Self:
        return self._derive(self._text)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        # A stack is a value: a deep copy of a path is in the same union, not in a second one.
        return self._derive(self._text)

    # --- text --------------------------------------------------------------------------------------

    @property
    @override
    def parts(self) -> tuple[str, ...]:
        """The components, after "/" if the path is absolute."""
        return tuple(split(self._text))

    @property
    def drive(self) -> str:
        """Always empty."""
        return ""

    @property
    def root(self) -> str:
        """A slash if the path is absolute, else empty."""
        return "/" if self._text[0] == "/" else ""

    @property
    @override
    def anchor(self) -> str:
        """The same as `root`."""
        return self.root

    @property
    @override
    def name(self) -> str:
        """The last component; empty for the root and for "."."""
        return name_of(self._text)

    # What a suffix is has changed in 3.14 ("a." has one), so the running interpreter is asked.

    @property
    @override
    def suffix(self) -> str:
        """The last suffix of the name with its dot, or empty."""
        name = self.name
        return PurePosixPath(name).suffix if "." in name else ""

    @property
    @override
    def suffixes(self) -> list[str]:
        """All suffixes of the name, each with its dot."""
        return PurePosixPath(self.name).suffixes

    @property
    @override
    def stem(self) -> str:
        """The name without its last suffix."""
        name = self.name
        return PurePosixPath(name).stem if "." in name else name

    def _pure(self) -> PurePosixPath:
        if not self.name:
            raise ValueError(f"{self!r} has an empty name")
        return PurePosixPath(self._text)

    @override
    def with_name(self, name: str) -> Self:
        """
        Change the name.

        Raises:
            ValueError: `name` can't be one, or the path has none.
        """
        return self._derive(str(self._pure().with_name(name)))

    @override
    def with_stem(self, stem: str) -> Self:
        """
        Change the name but for its last suffix.

        Raises:
            ValueError: the name would not be one, or the path has none.
        """
        return self._derive(str(self._pure().with_stem(stem)))

    @override
    def with_suffix(self, suffix: str) -> Self:
        """
        Change or (if empty) remove the last suffix, or add one.

        Raises:
            ValueError: `suffix` can't be one, or the path has no name.
        """
        return self._derive(str(self._pure().with_suffix(suffix)))

    @property
    @override
    def parent(self) -> Self:
        """The path without its last component; the root and "." are their own."""
        above = parent_of(self._text)
        return self if above == self._text else self._derive(above)

    @property
    @override
    def parents(self) -> Sequence[Self]:
        """All parents, the nearest first; takes negative indexes and slices."""
        return _Parents(self._text, self._derive, type(self).__name__)

    def is_absolute(self) -> bool:
        """Tell whether the path starts at the root."""
        return self._text[0] == "/"

    def absolute(self) -> Self:
        """Put the root in front of a relative path; resolves nothing."""
        if self._text[0] == "/":
            return self
        return self._derive("/" if self._text == "." else "/" + self._text)

    def expanduser(self) -> Self:
        """Give the path itself: a union has no home directories."""
        return self

    def is_reserved(self) -> bool:
        """Tell that no name is reserved, as on POSIX; deprecated as in pathlib."""
        if sys.version_info >= (3, 13):
            warnings.warn(
                "is_reserved() is deprecated: it is False for every path", DeprecationWarning, stacklevel=2
            )
        return False

    def is_relative_to(self, other: Segment) -> bool:
        """Tell whether `other` is this path or a parent of it, by text."""
        if isinstance(other, UnionPath) and not self._comparable(other):
            return False
        return is_within(self._text, self._joined(".", (other,)))

    def relative_to(self, other: Segment, *, walk_up: bool = False) -> Self:
        """
        Give the relative path from `other` to this one, by text; `walk_up` allows "..".

        Raises:
            ValueError: there is none.
        """
        if isinstance(other, UnionPath) and not self._comparable(other):
            raise ValueError(f"{self!r} and {other!r} are in different stacks")
        return self._derive(relative(self._text, self._joined(".", (other,)), walk_up=walk_up))

    def match(self, path_pattern: Segment, *, case_sensitive: bool | None = None) -> bool:
        """
        Match a pattern without `**` from the right, or the whole path if the pattern is absolute.

        Raises:
            ValueError: the pattern is empty.
        """
        patterns = split(self._joined(".", (path_pattern,)))
        if not patterns:
            raise ValueError("empty pattern")
        return globbing.fits_from_the_right(split(self._text), patterns, self._ignores_case(case_sensitive))

    def full_match(self, pattern: Segment, *, case_sensitive: bool | None = None) -> bool:
        """Match a pattern, which may hold `**`, against the whole path."""
        text = self._joined(".", (pattern,))
        compiled = globbing.compile_full(text, self._ignores_case(case_sensitive))
        return compiled.fits(split(self._text))

    def _ignores_case(self, case_sensitive: bool | None) -> bool:
        return self._stack.case == "insensitive" if case_sensitive is None else not case_sensitive

    def as_uri(self) -> str:
        """
        Write the path as `union://NAME/path`.

        Raises:
            ValueError: the path is relative, or its stack has no name.
        """
        if self._text[0] != "/":
            raise ValueError(f"a relative path has no URI: {self!r}; use absolute()")
        name = self._stack.name
        if name is None:
            raise ValueError(
                f"the stack of {self!r} has no name to write in a URI; give it one: LayerStack(…, name=…)"
            )
        from urllib.parse import quote

        return f"union://{quote(name, safe='')}{quote(self._text, errors='surrogateescape')}"

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """
        Read `union://NAME/path` for a stack that is named NAME in this process.

        Raises:
            ValueError: it isn't such a URI.
            LookupError: there is no stack of that name.
        """
        scheme, _, rest = uri.partition("://")
        name, slash, path = rest.partition("/")
        if scheme != "union" or not name or not slash:
            raise ValueError(f"a URI of a union is union://NAME/path, not {uri!r}")
        from urllib.parse import unquote

        return cls(named_stack(unquote(name)), unquote("/" + path, errors="surrogateescape"))

    @classmethod
    def cwd(cls) -> Self:
        """Refuse: a union has no working directory."""
        raise UnsupportedOperation(
            f"a union has no working directory; start from stack.root, or {cls.__name__}(stack)"
        )

    @classmethod
    def home(cls) -> Self:
        """Refuse: a union has no home directory."""
        raise UnsupportedOperation(
            f"a union has no home directory; start from stack.root, or {cls.__name__}(stack)"
        )

    # --- what is there -----------------------------------------------------------------------------

    def stat(self, *, follow_symlinks: bool = True) -> Stat:
        """
        Give the metadata that the union shows (L7 for directories).

        Raises:
            OSError: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, or what a layer failed with (L8).
        """
        return self._stack.resolver.stat(self._text, follow_symlinks)

    def lstat(self) -> Stat:
        """Do as `stat`, for a link itself."""
        return self._stack.resolver.stat(self._text, False)

    def _is(self, kind: int, follow: bool) -> bool:
        try:
            return self._stack.resolver.kind(self._text, follow) == kind
        except OSError as error:
            return _false_for_a_loop(error)
        except ValueError:
            return False

    # Each of these is False for what isn't there, for a loop of links and for text that no path can
    # have, as in pathlib 3.13; every other fault of a layer is raised (L8).

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether something shows here; a broken link doesn't, unless links aren't followed."""
        try:
            return self._stack.resolver.kind(self._text, follow_symlinks) >= 0
        except OSError as error:
            return _false_for_a_loop(error)
        except ValueError:
            return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether this is a directory."""
        return self._is(_DIRECTORY, follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether this is a regular file."""
        return self._is(_FILE, follow_symlinks)

    def is_symlink(self) -> bool:
        """Tell whether this is a symbolic link."""
        return self._is(_SYMLINK, False)

    def is_block_device(self) -> bool:
        """Tell whether this is a block device."""
        return self._is(Kind.BLOCK_DEVICE, True)

    def is_char_device(self) -> bool:
        """Tell whether this is a character device."""
        return self._is(Kind.CHAR_DEVICE, True)

    def is_fifo(self) -> bool:
        """Tell whether this is a FIFO."""
        return self._is(Kind.FIFO, True)

    def is_socket(self) -> bool:
        """Tell whether this is a socket."""
        return self._is(Kind.SOCKET, True)

    def is_mount(self) -> bool:
        """Tell whether this is the root of the union, the one place where something is mounted."""
        return (
            self.name in ("", "..")
            and self.is_dir()
            and self._stack.resolver.realpath(self._text, strict=True) == "/"
        )

    def is_junction(self) -> bool:
        """Tell that this is no junction: they are a thing of Windows."""
        return False

    @property
    @override
    def info(self) -> _Info:
        """
        What is known of the kind of this path: asked once and then kept, unlike `exists` and its like.

        Paths from `iterdir` and `glob` know from the start what the listing said.
        """
        try:
            known = self._info
        except AttributeError:
            known = _UNASKED
        if isinstance(known, int):
            known = self._info = _Info(self._stack.resolver, self._text, known)
        return known

    def samefile(self, other_path: Segment) -> bool:
        """
        Tell whether both paths lead to one object; a path that isn't of this stack never does.

        Raises:
            OSError: one of them leads nowhere.
        """
        if not isinstance(other_path, UnionPath):
            if isinstance(other_path, Path):
                return False
            other_path = self.with_segments(other_path)
        if not self._comparable(other_path):
            return False
        resolver = self._stack.resolver
        one, two = resolver.lookup(self._text), resolver.lookup(other_path._text)
        if one.path == two.path:
            return True
        first, second = self.stat(), other_path.stat()
        same = (first.st_ino, first.st_dev) == (second.st_ino, second.st_dev)
        return same and first.st_ino != 0 and one.layer == two.layer

    def owner(self, *, follow_symlinks: bool = True) -> str:
        """
        Name the owner, in the words of this machine.

        Raises:
            KeyError: this machine has no name for the user id. UnsupportedOperation: it has no users.
        """
        try:
            import pwd
        except ImportError:
            raise UnsupportedOperation("owner() needs a system with the pwd database") from None
        return pwd.getpwuid(self.stat(follow_symlinks=follow_symlinks).st_uid).pw_name

    def group(self, *, follow_symlinks: bool = True) -> str:
        """
        Name the group, in the words of this machine.

        Raises:
            KeyError: this machine has no name for the group id. UnsupportedOperation: it has no groups.
        """
        try:
            import grp
        except ImportError:
            raise UnsupportedOperation("group() needs a system with the grp database") from None
        return grp.getgrgid(self.stat(follow_symlinks=follow_symlinks).st_gid).gr_name

    @override
    def readlink(self) -> Self:
        """
        Give what a link points to, as a path of this stack.

        Raises:
            OSError: EINVAL for anything else.
        """
        return self.with_segments(self._stack.resolver.readlink(self._text))

    def resolve(self, strict: bool = False) -> Self:
        """
        Follow all links within the union and take out "..": an absolute path (S1, L9).

        Raises:
            OSError: strict: ENOENT, ENOTDIR, ELOOP. Otherwise only a fault of a layer.
        """
        return self._derive(self._stack.resolver.realpath(self._text, strict=strict))

    # --- reading -----------------------------------------------------------------------------------

    @overload
    def open(
        self,
        mode: OpenTextMode = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.TextIOWrapper: ...
    @overload
    def open(  # type: ignore[overload-overlap]  # a literal 0 is told apart from any other int
        self,
        mode: OpenBinaryMode,
        buffering: Literal[0],
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> io.RawIOBase: ...
    @overload
    def open(
        self,
        mode: OpenBinaryModeUpdating,
        buffering: Literal[-1, 1] = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> io.BufferedRandom: ...
    @overload
    def open(
        self,
        mode: OpenBinaryModeWriting,
        buffering: Literal[-1, 1] = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> io.BufferedWriter: ...
    @overload
    def open(
        self,
        mode: OpenBinaryModeReading,
        buffering: Literal[-1, 1] = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> io.BufferedReader: ...
    @overload
    def open(
        self,
        mode: OpenBinaryMode,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> BinaryIO: ...
    @overload
    def open(
        self,
        mode: str,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]: ...
    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> object:
        """
        Open the file, as `pathlib.Path.open` does; the file object's `name` is the union's path.

        Raises:
            OSError: EISDIR for a directory, ENXIO for a socket, EACCES for a device; as `stat`; for a mode
                that writes, without an upper, as E1 says.
            ValueError, TypeError, LookupError: for arguments, as `io.open`.
        """
        if "b" not in mode:
            encoding = io.text_encoding(encoding)
        parsed = parse_arguments(mode, buffering, encoding, errors, newline)
        if parsed.reads_only:
            raw = self._stack.resolver.open(self._text)
        else:
            engine = self._stack.writer
            if engine is None:
                self._refuse(refuse_open, parsed.action)
            raw = engine.open(self._text, parsed.raw)
        return wrap(raw, self._text, parsed, buffering, encoding, errors, newline)

    @override
    def read_bytes(self) -> bytes:
        """Read the whole file; raises as `open`."""
        return self._stack.resolver.read(self._text)

    @override
    def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """Read the whole file as text; raises as `open`, and UnicodeDecodeError."""
        encoding = io.text_encoding(encoding)
        return decode(self._stack.resolver.read(self._text), encoding, errors, newline)

    # pathlib's hooks for `open` on any path: their names in pathlib-abc and 3.15, and in 3.14.

    @override
    def __open_reader__(self) -> io.BufferedReader:
        return self.open("rb")

    def __open_rb__(self, buffering: int = -1) -> BinaryIO:
        return self.open("rb", buffering)

    @override
    def __open_writer__(self, mode: Literal["a", "w", "x"]) -> BinaryIO:
        return self.open(_BINARY_MODES[mode])

    def __open_wb__(self, buffering: int = -1) -> BinaryIO:
        return self.open("wb", buffering)

    @override
    def iterdir(self) -> Iterator[Self]:
        """
        Give the paths in this directory, sorted by name: a snapshot, taken at once (N1, N2).

        Raises:
            OSError: ENOENT, ENOTDIR, and as `stat`; at the call, not at the first path.
        """
        listing = self._stack.resolver.listing(self._text)
        before = before_children(self._text)
        return self._known((before + name, code) for name, code in listing.items())

    def _known(self, found: Iterable[tuple[str, int]]) -> Iterator[Self]:
        """Make paths whose kind is known."""
        cls, stack = type(self), self._stack
        if not self._plain:
            for text, code in found:
                path = self.with_segments(text)
                path._info = code & KIND_MASK
                yield path
            return
        for text, code in found:
            path = _new(cls)
            path._stack = stack
            path._text = text
            path._info = code & KIND_MASK
            yield path

    @override
    def walk(
        self,
        top_down: bool = True,
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> Iterator[tuple[Self, list[str], list[str]]]:
        """
        Walk the tree as `pathlib.Path.walk` does: (directory, names of directories, other names), sorted.

        Top down, the list of directory names may be changed in place to say where to go. Links count as
        other names unless they are followed (S4). A directory that can't be listed goes to `on_error`,
        which does nothing unless given.
        """
        pending: list[str | tuple[Self, list[str], list[str]]] = [self._text]
        while pending:
            top = pending.pop()
            if not isinstance(top, str):
                yield top
                continue
            try:
                directories, others = self._split_listing(top, follow_symlinks)
            except OSError as error:
                if on_error is not None:
                    on_error(error)
                continue
            step = self._derive(top), directories, others
            if top_down:
                yield step
            else:
                pending.append(step)
            before = before_children(top)
            pending.extend([before + name for name in reversed(directories)])

    def _split_listing(self, text: str, follow: bool) -> tuple[list[str], list[str]]:
        """Divide the names in a directory in those of directories and others."""
        listing = self._stack.resolver.listing(text, passing=True)
        inner = {name for name, code in listing.items() if code & KIND_MASK == _DIRECTORY}
        if follow:
            before = before_children(text)
            links = [name for name, code in listing.items() if code & KIND_MASK == _SYMLINK]
            inner.update(name for name in links if self._derive(before + name)._leads_to_directory())
        if not inner:
            return [], list(listing)
        return [name for name in listing if name in inner], [name for name in listing if name not in inner]

    def _leads_to_directory(self) -> bool:
        try:
            return self.is_dir()
        except OSError:
            return False

    @override
    def glob(
        self,
        pattern: str | os.PathLike[str],
        *,
        case_sensitive: bool | None = None,
        recurse_symlinks: bool = False,
    ) -> Iterator[Self]:
        """
        Give the paths below that fit a pattern, each once, the matches of a directory sorted by name.

        As pathlib since 3.13: `**` at the end yields files too, a "/" at the end asks for directories, `**`
        follows links only with `recurse_symlinks`. Directories that can't be entered are passed over; any
        other fault of a layer is raised (L8).

        Raises:
            NotImplementedError: the pattern is absolute. ValueError: it is empty.
        """
        compiled = globbing.compile_pattern(
            os.fspath(pattern), case_sensitive=case_sensitive, ignore_case=self._ignores_case(None)
        )
        resolver = self._stack.resolver
        return self._known(globbing.select(resolver, self._text, compiled, follow_links=recurse_symlinks))

    def rglob(
        self,
        pattern: str | os.PathLike[str],
        *,
        case_sensitive: bool | None = None,
        recurse_symlinks: bool = False,
    ) -> Iterator[Self]:
        """Do as `glob` with `**/` in front of the pattern."""
        anywhere = posixpath.join("**", os.fspath(pattern))
        return self.glob(anywhere, case_sensitive=case_sensitive, recurse_symlinks=recurse_symlinks)

    # --- where it comes from -----------------------------------------------------------------------

    @property
    def stack(self) -> LayerStack:
        """The stack it is a path of."""
        return self._stack

    @property
    def layer(self) -> Layer:
        """
        The layer that provides what shows here; of a merged directory the topmost (L7).

        Raises:
            OSError: nothing shows here.
        """
        return self.origins()[0]

    def origins(self) -> tuple[Layer, ...]:
        """
        Give the layers that make up what shows here, top first; more than one for merged directories only.

        Raises:
            OSError: nothing shows here.
        """
        layers = self._stack.layers
        return tuple(layers[index] for index in self._stack.resolver.origins(self._text))

    def versions(self) -> tuple[UnionPath, ...]:
        """
        Give this path as each layer has it, top first: what is in use, then what it shadows.

        Each is a path on a stack of that one layer. Layers that are hidden by a whiteout, or by what an
        upper layer put in the way, have no say.

        Raises:
            OSError: nothing shows here.
        """
        found = self._stack.resolver.versions(self._text)
        return tuple(UnionPath(self._stack.only(index), text) for index, text in found)

    def explain(self) -> Explanation:
        """Tell what shows here and why, or what hides it; `str()` of the answer is for people."""
        from unionpath.resolve.explain import explain

        return explain(self._stack.resolver, self._text)

    # --- copying -----------------------------------------------------------------------------------

    @overload  # type: ignore[override]  # the base takes any keyword, this one what pathlib has
    def copy(
        self, target: _Target, *, follow_symlinks: bool = True, preserve_metadata: bool = False
    ) -> _Target: ...
    @overload
    def copy(self, target: str, *, follow_symlinks: bool = True, preserve_metadata: bool = False) -> Self: ...
    def copy(  # pyright: ignore[reportIncompatibleMethodOverride]  # as above
        self, target: object, *, follow_symlinks: bool = True, preserve_metadata: bool = False
    ) -> object:
        """
        Copy the file or tree: to a path of any writable kind, or (as text) within this union.

        Raises:
            OSError: EINVAL for a copy onto or into itself; as reading and writing do.
            TypeError: the target is no path that can be written.
        """
        goal = self._target(target)
        _check_distinct(self, goal)
        if isinstance(goal, Path):
            resolver = self._stack.resolver
            copy_to_host(
                resolver,
                self._text,
                goal,
                follow_symlinks=follow_symlinks,
                preserve_metadata=preserve_metadata,
            )
        elif preserve_metadata:
            goal._copy_from(self, follow_symlinks=follow_symlinks, preserve_metadata=True)  # type: ignore[call-arg]
        else:
            goal._copy_from(self, follow_symlinks=follow_symlinks)
        return goal.joinpath()

    @overload  # type: ignore[override]  # as above
    def copy_into(
        self, target_dir: _Target, *, follow_symlinks: bool = True, preserve_metadata: bool = False
    ) -> _Target: ...
    @overload
    def copy_into(
        self, target_dir: str, *, follow_symlinks: bool = True, preserve_metadata: bool = False
    ) -> Self: ...
    def copy_into(  # pyright: ignore[reportIncompatibleMethodOverride]  # as above
        self, target_dir: object, *, follow_symlinks: bool = True, preserve_metadata: bool = False
    ) -> object:
        """
        Copy the file or tree into a directory, under its own name; raises as `copy`.

        Raises:
            ValueError: this path has no name.
        """
        target = self._target(target_dir) / self._own_name()
        return self.copy(target, follow_symlinks=follow_symlinks, preserve_metadata=preserve_metadata)

    def _own_name(self) -> str:
        if not self.name:
            raise ValueError(f"{self!r} has an empty name")
        return self.name

    def _target(self, target: object) -> WritablePath | Path:
        if isinstance(target, (WritablePath, Path)):
            return target
        return self._derive(in_order(self._text_of(target)))

    # --- changes ------------------------------------------------------------------------------------

    def _refuse(
        self,
        refuse: Callable[Concatenate[Tree, str, _Details], OSError],
        *details: _Details.args,
        **more: _Details.kwargs,
    ) -> NoReturn:
        """Raise the error that a change of a stack without an upper gets (E1)."""
        raise refuse(self._stack.resolver, self._text, *details, **more)

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """
        Create an empty file, or bring the times of what is there to now.

        Raises:
            FileExistsError (EEXIST): it exists and `exist_ok` is False. OSError: as a change does (C12).
        """
        _check_type("mode", mode, int)
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_open, "w" if exist_ok else "x")
        if exist_ok:
            try:
                engine.change(self._text, Attributes(now=True))
                return
            except FileNotFoundError:
                pass
        engine.open(self._text, "ab" if exist_ok else "xb", mode).close()

    @override
    def mkdir(
        self,
        mode: int = 0o777,
        parents: bool = False,
        exist_ok: bool = False,
        *,
        parent_mode: int | None = None,
    ) -> None:
        """
        Create a directory; with `parents` those above it that are missing, too, with `parent_mode`.

        Raises:
            FileExistsError (EEXIST): the name shows something (D6). FileNotFoundError (ENOENT): a parent is
                missing.
        """
        _check_type("mode", mode, int)
        if parent_mode is not None:
            _check_type("parent_mode", parent_mode, int)
        try:
            self._mkdir(mode)
        except FileNotFoundError:
            if not parents or self.parent == self:
                raise
            above = 0o777 if parent_mode is None else parent_mode
            for parent in reversed(tuple(self._missing_parents())):
                parent.mkdir(above, exist_ok=True)
            self.mkdir(mode, exist_ok=exist_ok)
        except OSError:
            if not (exist_ok and self.is_dir()):
                raise

    def _mkdir(self, mode: int) -> None:
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_name, "mkdir")
        engine.mkdir(self._text, mode)

    def _missing_parents(self) -> Iterator[Self]:
        """Give the parents up to the first that is there, the nearest first."""
        for parent in self.parents:
            if parent.exists():
                return
            yield parent

    def rmdir(self) -> None:
        """
        Remove a directory that shows no names (D3).

        Raises:
            OSError: ENOTEMPTY, ENOTDIR, ENOENT; EBUSY for the root (R6).
        """
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_name, "rmdir")
        engine.rmdir(self._text)

    def rmtree(self) -> None:
        """
        Remove a directory with all that it shows, in one step: one whiteout, however much lies below (D7).

        Raises:
            OSError: ENOTDIR for anything else, a link included; ENOENT; EBUSY for the root.
        """
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_name, "rmdir")
        engine.rmtree(self._text)

    def unlink(self, missing_ok: bool = False) -> None:
        """
        Remove a name that isn't a directory's (D1, D2).

        Raises:
            IsADirectoryError (EISDIR): a directory. FileNotFoundError (ENOENT): nothing, unless `missing_ok`.
        """
        engine = self._stack.writer
        try:
            if engine is None:
                self._refuse(refuse_name, "unlink")
            engine.unlink(self._text)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """
        Set the permission bits (C5).

        Raises:
            OSError: EOPNOTSUPP for a link itself, as on Linux; ENOENT.
        """
        _check_type("mode", mode, int)
        self._set(Attributes(permissions=_stat.S_IMODE(mode)), follow_symlinks)

    def lchmod(self, mode: int) -> None:
        """Do as `chmod`, for a link itself."""
        self.chmod(mode, follow_symlinks=False)

    def chown(self, uid: int = -1, gid: int = -1, *, follow_symlinks: bool = True) -> None:
        """
        Set owner and group, as `os.chown`; -1 leaves one as it is.

        Raises:
            PermissionError (EPERM): this process may not. OSError: ENOENT.
        """
        _check_type("uid", uid, int)
        _check_type("gid", gid, int)
        self._set(Attributes(owner=(uid, gid)), follow_symlinks)

    def utime(
        self,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        """
        Set access and modification time, as `os.utime`: in seconds, or in nanoseconds since the epoch; else
        to now.

        Raises:
            ValueError: both are given. OSError: ENOENT.
        """
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        if times is not None:
            _check_pair("times", times, (int, float))
            ns = _nanoseconds(times[0]), _nanoseconds(times[1])
        elif ns is not None:
            _check_pair("ns", ns, (int,))
        self._set(Attributes(times=ns, now=ns is None), follow_symlinks)

    def _set(self, attributes: Attributes, follow: bool) -> None:
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_attributes, follow)
        engine.change(self._text, attributes, follow)

    def getxattr(self, attribute: str, *, follow_symlinks: bool = True) -> bytes:
        """
        Give the value of an extended attribute, as `os.getxattr`; the marks of layers are hidden (M3).

        Raises:
            OSError: ENODATA if there is none of that name; ENOENT.
        """
        _check_type("attribute", attribute, str)
        value = self._stack.resolver.getxattr(self._text, attribute, follow_symlinks)
        if value is None:
            raise oserror(errno.ENODATA, self._text)
        return value

    def listxattr(self, *, follow_symlinks: bool = True) -> list[str]:
        """Name the extended attributes, as `os.listxattr`, without the marks of layers (M3)."""
        return self._stack.resolver.listxattr(self._text, follow_symlinks)

    def setxattr(
        self, attribute: str, value: ReadableBuffer, flags: int = 0, *, follow_symlinks: bool = True
    ) -> None:
        """
        Set an extended attribute, as `os.setxattr`; `flags` as there.

        Raises:
            OSError: EPERM for an attribute that marks layers (M3); EEXIST, ENODATA as `flags` ask; ENOENT.
        """
        _check_type("attribute", attribute, str)
        _check_type("flags", flags, int)
        data = bytes(memoryview(value))
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_attributes, follow_symlinks)
        present = False if flags & _XATTR_CREATE else True if flags & _XATTR_REPLACE else None
        engine.set_xattr(self._text, attribute, data, present, follow_symlinks)

    def removexattr(self, attribute: str, *, follow_symlinks: bool = True) -> None:
        """
        Remove an extended attribute, as `os.removexattr`.

        Raises:
            OSError: ENODATA if there is none of that name; ENOENT.
        """
        _check_type("attribute", attribute, str)
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_attributes, follow_symlinks)
        engine.set_xattr(self._text, attribute, None, True, follow_symlinks)

    def copy_up(self) -> None:
        """
        Bring the file to the upper, or the directory without what is in it; what shows stays the same (C2).

        Raises:
            OSError: ENOENT; what the upper failed with.
        """
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_attributes, True)
        engine.copy_up(self._text)

    def rename(self, target: Segment) -> Self:
        """
        Rename within the stack, replacing a file or an empty directory; give the new path (R1-R6).

        Raises:
            OSError: EXDEV for a path of another stack or kind, which `move` reaches (R5), or for a directory
                of a lower if the stack says `rename_dir="exdev"`; EISDIR, ENOTDIR, ENOTEMPTY, EINVAL, ENOENT,
                EBUSY.
        """
        if _is_elsewhere(target) or (isinstance(target, UnionPath) and not self._comparable(target)):
            raise oserror(errno.EXDEV, self._text, str(target), hint="rename stays in one stack; use move()")
        text = self._joined(".", (target,))
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_name, "rename", text)
        engine.rename(self._text, text)
        return self._derive(text)

    def replace(self, target: Segment) -> Self:
        """Do as `rename`."""
        return self.rename(target)

    @overload
    def move(self, target: _Target) -> _Target: ...
    @overload
    def move(self, target: str) -> Self: ...
    def move(self, target: object) -> object:
        """
        Move the file or tree: renamed within the stack, copied and then removed where a rename can't go.

        Raises:
            OSError: as `rename`, `copy` and `rmtree` do.
        """
        goal = self._target(target)
        if self._stack.upper is None and not (isinstance(goal, UnionPath) and self._comparable(goal)):
            self._refuse(refuse_name, "unlink")
        if isinstance(goal, UnionPath) and self._comparable(goal):
            try:
                return self.rename(goal)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        moved = self.copy(goal, follow_symlinks=False, preserve_metadata=True)
        if self.is_dir() and not self.is_symlink():
            self.rmtree()
        else:
            self.unlink()
        return moved

    @overload
    def move_into(self, target_dir: _Target) -> _Target: ...
    @overload
    def move_into(self, target_dir: str) -> Self: ...
    def move_into(self, target_dir: object) -> object:
        """Move the file or tree into a directory, under its own name; raises as `move`."""
        return self.move(self._target(target_dir) / self._own_name())

    @override
    def symlink_to(self, target: Segment, target_is_directory: bool = False) -> None:  # type: ignore[override]
        """
        Make this path a symbolic link to `target`, kept as it is written.

        Raises:
            OSError: EEXIST (D6); ENOENT for an empty target, ENAMETOOLONG for one over 4095 bytes (S2).
        """
        text = self._text_of(target)
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_name, "symlink")
        engine.symlink(self._text, text)

    def hardlink_to(self, target: Segment) -> None:
        """
        Make this path a second name of `target`, which is copied up if a lower has it (C8).

        Raises:
            OSError: EEXIST (D6); ENOENT; EPERM for a directory; EXDEV for a path of another stack or kind.
        """
        if _is_elsewhere(target) or (isinstance(target, UnionPath) and not self._comparable(target)):
            raise oserror(errno.EXDEV, str(target), self._text)
        existing = self._joined(".", (target,))
        engine = self._stack.writer
        if engine is None:
            self._stack.resolver.stat(existing, False)
            self._refuse(refuse_name, "link")
        engine.link(self._text, existing)

    @override
    def write_bytes(self, data: ReadableBuffer) -> int:
        """
        Write the whole file, all or nothing (C11); a file that is there keeps its owner and mode.

        Raises:
            TypeError: `data` is no bytes. OSError: EISDIR; ENOENT for the directory; as a change does.
        """
        view = memoryview(data)
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_open, "w")
        engine.write(self._text, data if isinstance(data, bytes) else bytes(view))
        return view.nbytes

    @override
    def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> int:
        """
        Write the whole file as text; raises as `write_bytes`, and UnicodeEncodeError before anything changes.
        """
        _check_type("data", data, str)
        encoded = encode(data, io.text_encoding(encoding), errors, newline)
        engine = self._stack.writer
        if engine is None:
            self._refuse(refuse_open, "w")
        engine.write(self._text, encoded)
        return len(data)

    @override
    def _copy_from(
        self,
        source: ReadablePath | Path,
        follow_symlinks: bool = True,
        preserve_metadata: bool = False,
    ) -> None:
        """
        Copy any readable file or tree to here (pathlib's hook for `copy`); each file is whole or not there.
        """
        engine = self._stack.writer
        if engine is None:
            if (
                source.is_dir()
                if isinstance(source, Path)
                else source.info.is_dir(follow_symlinks=follow_symlinks)
            ):
                self.mkdir()
            self._refuse(refuse_open, "w")
        copy_into_union(
            engine, self._text, source, follow_symlinks=follow_symlinks, preserve_metadata=preserve_metadata
        )


class _Parents(Sequence[_PathT]):
    """The parents of a path, made when asked for."""

    __slots__ = ("_label", "_make", "_parts")

    def __init__(self, text: str, make: Callable[[str], _PathT], label: str) -> None:
        self._parts = split(text)
        self._make = make
        self._label = label

    def __len__(self) -> int:
        return len(self._parts) - (self._parts[:1] == ["/"])

    @overload
    def __getitem__(self, index: int) -> _PathT: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_PathT, ...]: ...
    def __getitem__(self, index: int | slice) -> _PathT | tuple[_PathT, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._make(unsplit(self._parts[: -1 - index % len(self)]))

    def __repr__(self) -> str:
        return f"<{self._label}.parents>"


class _Info:
    """What is known of the kind of one path; asked at most once with, and once without following links."""

    __slots__ = ("_followed", "_own", "_resolver", "_text")

    def __init__(self, resolver: Resolver, text: str, kind: int) -> None:
        self._resolver = resolver
        self._text = text
        self._own = kind
        self._followed = _UNASKED if kind == _SYMLINK else kind

    def __repr__(self) -> str:
        return f"<info of {self._text!r}>"

    def _kind(self, follow: bool) -> int:
        known = self._followed if follow else self._own
        if known == _UNASKED:
            known = self._ask(follow)
            if follow:
                self._followed = known
            else:
                self._own = known
        return known

    def _ask(self, follow: bool) -> int:
        try:
            return self._resolver.kind(self._text, follow)
        except OSError as error:
            return -1 + _false_for_a_loop(error)
        except ValueError:
            return -1

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether something is there."""
        return self._kind(follow_symlinks) >= 0

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a directory."""
        return self._kind(follow_symlinks) == _DIRECTORY

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a regular file."""
        return self._kind(follow_symlinks) == _FILE

    def is_symlink(self) -> bool:
        """Tell whether it is a symbolic link."""
        return self._kind(False) == _SYMLINK


_XATTR_CREATE: Final = getattr(os, "XATTR_CREATE", 1)
_XATTR_REPLACE: Final = getattr(os, "XATTR_REPLACE", 2)
_CONSTRUCTION: Final = ("__init__", "__new__", "with_segments")
"""What a subclass overrides when it wants to have a say in how derived paths are made."""
_BINARY_MODES: Final[dict[str, Literal["ab", "wb", "xb"]]] = {"a": "ab", "w": "wb", "x": "xb"}


def _false_for_a_loop(error: OSError) -> bool:
    """Give False for a loop of links; raise any other fault."""
    if error.errno != errno.ELOOP:
        raise error
    return False


def _check_type(name: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted):
        raise TypeError(f"{name} must be {wanted.__name__}, not {type(value).__name__}")


def _check_pair(name: str, value: object, types: tuple[type, ...]) -> None:
    pair = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    if len(pair) != 2 or not all(isinstance(each, types) for each in pair):
        raise TypeError(f"utime: {name!r} must be either a tuple of two numbers or None")


def _nanoseconds(seconds: float) -> int:
    """Turn a time in seconds into nanoseconds, downwards as `os.utime` does."""
    return seconds * 1_000_000_000 if isinstance(seconds, int) else math.floor(seconds * 1e9)


def _is_elsewhere(target: object) -> bool:
    """Tell whether a path is a concrete one of another kind, not text for a path of this stack."""
    return not isinstance(target, (str, UnionPath)) and isinstance(target, (Path, ReadablePath, WritablePath))


def _check_distinct(source: UnionPath, target: WritablePath | Path) -> None:
    """Raise EINVAL for a copy onto itself or into itself: by the text, or where the layers have it."""
    if target == source:
        raise oserror(errno.EINVAL, str(source), str(target), hint="source and target are the same path")
    inside = source in target.parents
    if not inside:
        own = [_real(place) for place in _places_in(source, follow=False)]
        there = [_real(place) for place in _places_of(target)]
        inside = any(place == mine or place.startswith(mine + "/") for place in there for mine in own)
    if inside:
        raise oserror(
            errno.EINVAL, str(source), str(target), hint="the target is the source, or inside of it"
        )


def _places_of(target: WritablePath | Path) -> list[str]:
    """Say where a copy to `target` would come to lie."""
    if isinstance(target, UnionPath):
        above = _places_in(target.parent, follow=True)
        return [f"{place}/{target.name}" for place in above] + _places_in(target, follow=True)
    return [os.fspath(target) if isinstance(target, os.PathLike) else str(target)]


def _places_in(path: UnionPath, *, follow: bool) -> list[str]:
    """Say where the layers have what shows at a path; nowhere, if nothing does."""
    try:
        return path.stack.resolver.places(str(path), follow)
    except OSError:
        return []


def _real(place: str) -> str:
    return os.path.realpath(place) if place.startswith("/") else place


def _register_with_pathlib() -> None:
    """Make the standard library's own, private base classes (3.14) know the class, where they exist."""
    if sys.version_info >= (3, 14):
        import pathlib.types as abstract

        for name in ("_ReadablePath", "_WritablePath"):
            base = getattr(abstract, name, None)
            if base is not None:
                base.register(UnionPath)


_register_with_pathlib()
