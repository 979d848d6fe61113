"""The public surface of pathlib.Path, name by name: of this interpreter, and of the newest one on all."""

from __future__ import annotations

import importlib
import inspect
import io
import sys
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path, PurePosixPath

import pytest
from upath.types import ReadablePath, WritablePath

from unionpath import UnionPath

GONE = {
    "link_to": "removed in 3.12 in favour of hardlink_to",
}
"""Names of pathlib.Path that some supported Python still has and a union never gets."""

PUBLIC = sorted(name for name in dir(Path) if not name.startswith("_") and name not in GONE)
OPERATORS = [
    "__truediv__",
    "__rtruediv__",
    "__eq__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__hash__",
    "__str__",
]
ANY_NUMBER = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)

NEWEST = {
    "absolute": "(self)",
    "as_posix": "(self)",
    "as_uri": "(self)",
    "chmod": "(self, mode, *, follow_symlinks=True)",
    "copy": "(self, target, *, follow_symlinks=True, preserve_metadata=False)",
    "copy_into": "(self, target_dir, *, follow_symlinks=True, preserve_metadata=False)",
    "cwd": "()",
    "exists": "(self, *, follow_symlinks=True)",
    "expanduser": "(self)",
    "from_uri": "(uri)",
    "full_match": "(self, pattern, *, case_sensitive=None)",
    "glob": "(self, pattern, *, case_sensitive=None, recurse_symlinks=False)",
    "group": "(self, *, follow_symlinks=True)",
    "hardlink_to": "(self, target)",
    "home": "()",
    "is_absolute": "(self)",
    "is_block_device": "(self)",
    "is_char_device": "(self)",
    "is_dir": "(self, *, follow_symlinks=True)",
    "is_fifo": "(self)",
    "is_file": "(self, *, follow_symlinks=True)",
    "is_junction": "(self)",
    "is_mount": "(self)",
    "is_relative_to": "(self, other)",
    "is_reserved": "(self)",
    "is_socket": "(self)",
    "is_symlink": "(self)",
    "iterdir": "(self)",
    "joinpath": "(self, *pathsegments)",
    "lchmod": "(self, mode)",
    "lstat": "(self)",
    "match": "(self, path_pattern, *, case_sensitive=None)",
    "mkdir": "(self, mode=511, parents=False, exist_ok=False, *, parent_mode=None)",
    "move": "(self, target)",
    "move_into": "(self, target_dir)",
    "open": "(self, mode='r', buffering=-1, encoding=None, errors=None, newline=None)",
    "owner": "(self, *, follow_symlinks=True)",
    "read_bytes": "(self)",
    "read_text": "(self, encoding=None, errors=None, newline=None)",
    "readlink": "(self)",
    "relative_to": "(self, other, *, walk_up=False)",
    "rename": "(self, target)",
    "replace": "(self, target)",
    "resolve": "(self, strict=False)",
    "rglob": "(self, pattern, *, case_sensitive=None, recurse_symlinks=False)",
    "rmdir": "(self)",
    "samefile": "(self, other_path)",
    "stat": "(self, *, follow_symlinks=True)",
    "symlink_to": "(self, target, target_is_directory=False)",
    "touch": "(self, mode=438, exist_ok=True)",
    "unlink": "(self, missing_ok=False)",
    "walk": "(self, top_down=True, on_error=None, follow_symlinks=False)",
    "with_name": "(self, name)",
    "with_segments": "(self, *pathsegments)",
    "with_stem": "(self, stem)",
    "with_suffix": "(self, suffix)",
    "write_bytes": "(self, data)",
    "write_text": "(self, data, encoding=None, errors=None, newline=None)",
}
"""The methods of pathlib.Path as Python 3.14 has them."""
PROPERTIES = {
    "anchor",
    "drive",
    "info",
    "name",
    "parent",
    "parents",
    "parts",
    "root",
    "stem",
    "suffix",
    "suffixes",
}
OURS = {
    "chown",
    "copy_up",
    "explain",
    "getxattr",
    "layer",
    "listxattr",
    "origins",
    "removexattr",
    "rmtree",
    "setxattr",
    "stack",
    "utime",
    "versions",
}


def bare(function: Callable[..., object]) -> str:
    """A signature without annotations."""
    signature = inspect.signature(function)
    parameters = [each.replace(annotation=Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there_in_the_same_role(name: str) -> None:
    theirs, ours = inspect.getattr_static(Path, name), inspect.getattr_static(UnionPath, name)
    assert isinstance(ours, property) is (isinstance(theirs, property) or inspect.isdatadescriptor(theirs))
    assert isinstance(ours, classmethod) is isinstance(theirs, classmethod)
    assert callable(getattr(UnionPath, name)) is callable(getattr(Path, name))


@pytest.mark.parametrize("name", [name for name in PUBLIC if callable(getattr(Path, name))])
def test_every_call_that_pathlib_takes_is_taken(name: str) -> None:
    theirs = inspect.signature(getattr(Path, name)).parameters
    ours = inspect.signature(getattr(UnionPath, name)).parameters
    named = {key: each for key, each in theirs.items() if each.kind not in ANY_NUMBER}
    for key, each in named.items():
        assert key in ours, f"{name}() lacks {key}"
        assert each.default == ours[key].default
        assert each.kind is ours[key].kind or each.kind is Parameter.POSITIONAL_ONLY
    assert [key for key in ours if key in named] == list(named), "the order of arguments"
    new = [each for key, each in ours.items() if key not in theirs and each.kind not in ANY_NUMBER]
    if not any(each.kind in ANY_NUMBER for each in theirs.values()):
        assert all(each.default is not Parameter.empty for each in new), "new arguments are optional"


@pytest.mark.parametrize("name", sorted(NEWEST))
def test_the_newest_signatures_are_there_on_every_python(name: str) -> None:
    assert NEWEST[name] == bare(getattr(UnionPath, name))


def test_the_table_is_complete() -> None:
    public = {name for name in dir(UnionPath) if not name.startswith("_")}
    assert public == {*NEWEST, *PROPERTIES, *OURS, "parser"}
    if sys.version_info >= (3, 14):
        assert set(PUBLIC) <= public


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    theirs, ours = getattr(PurePosixPath, name), getattr(UnionPath, name)
    assert len(inspect.signature(theirs).parameters) == len(inspect.signature(ours).parameters)


@pytest.mark.parametrize("base", [ReadablePath, WritablePath])
def test_no_body_is_inherited(base: type) -> None:
    """What the bases bring opens files in other ways (`design.md`, "Why UnionPath is what it is")."""
    names = [name for each in base.__mro__[:-2] for name in vars(each) if callable(getattr(each, name))]
    inherited = {name for name in names if not name.startswith("_abc") and name not in vars(UnionPath)}
    assert inherited <= {"__init_subclass__", "__class_getitem__"}


def test_hooks_of_other_versions_of_pathlib() -> None:
    assert "(self, buffering=-1)" == bare(UnionPath.__open_rb__) == bare(UnionPath.__open_wb__)
    assert "(self)" == bare(UnionPath.__open_reader__)
    assert "(self, mode)" == bare(UnionPath.__open_writer__)
    assert "(self, source, follow_symlinks=True, preserve_metadata=False)" == bare(UnionPath._copy_from)


def test_arguments_of_open_are_those_of_the_builtin() -> None:
    builtin = list(inspect.signature(io.open).parameters.values())[1:6]
    ours = list(inspect.signature(UnionPath.open).parameters.values())[1:]
    assert [(each.name, each.default) for each in builtin] == [(each.name, each.default) for each in ours]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="pathlib's own base classes came with 3.14")
def test_it_is_known_to_the_standard_library() -> None:
    types = importlib.import_module("pathlib.types")
    for name in ("_JoinablePath", "_ReadablePath", "_WritablePath"):
        assert issubclass(UnionPath, getattr(types, name, object))
