"""The direction of imports, the purity of the core, and what `import unionpath` may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "unionpath"

LINES = [
    {"cli", "__main__"},  # programs
    {"path"},  # face
    {"stack", "opener"},  # joiners
    {"mutate"},  # the only writer
    {"resolve", "stores", "whiteouts", "copying", "fileio", "globbing", "refusals"},  # meet only in model
    {"model"},  # words
]
"""
Who may import whom: a part imports only from lines below its own, and parts on one line are strangers.
The same table, for people, is in docs/explanation/architecture.md.
"""

NEIGHBOURS = {
    ("__main__", "cli"): "`python -m unionpath` is the command line",
    ("stack", "opener"): "a layer is made from what the user passes",
}
"""Pairs on one line that may meet all the same, in this direction, and why."""

LAZY = {("stack", "path"): '`stack / "etc"` makes a path'}
"""Upward, but only inside a function or for type checkers."""

PURE = ["model/*.py", "resolve/rules.py", "mutate/plan.py", "mutate/steps.py", "whiteouts/*.py"]
OUTSIDE = {
    "asyncio", "ctypes", "datetime", "fcntl", "fsspec", "glob", "io", "os", "pathlib", "posix", "random",
    "secrets", "select", "shutil", "socket", "subprocess", "tarfile", "tempfile", "threading", "time",
    "upath", "zipfile",
}  # fmt: skip
HARMLESS = {
    "os": {"strerror", "stat_result"},
    "io": {"RawIOBase", "BufferedIOBase", "IOBase"},
    "pathlib": {"UnsupportedOperation"},
}
"""Names of outside modules that touch nothing: words and types."""


class Import(NamedTuple):
    file: Path
    line: int
    module: str
    name: str | None
    """What is taken from the module; None if the module itself is."""
    lazy: bool
    """Inside a function, or for type checkers only."""


def imports_of(file: Path) -> Iterator[Import]:
    """Every import statement of a file, one item per imported name; relative ones are not used here."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(file.read_text(encoding="utf-8")), False)]
    while pending:
        node, lazy = pending.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, None, lazy)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write imports in full"
            for alias in node.names:
                yield Import(file, node.lineno, node.module or "", alias.name, lazy)
        inner = lazy or _is_put_off(node)
        pending.extend((child, inner) for child in ast.iter_child_nodes(node))


def _is_put_off(node: ast.AST) -> bool:
    """Imports beneath it happen when a function is called, or never."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def part_of(file: Path) -> str:
    """The part a source file belongs to: its package, or itself where it stands alone."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_part(found: Import) -> str | None:
    """The part of ours that an import reaches; None for other people's modules, "" for the package itself."""
    if found.module.partition(".")[0] != "unionpath":
        return None
    inside = found.module.removeprefix("unionpath").removeprefix(".") or found.name or ""
    first = inside.partition(".")[0]
    return first if (SOURCE / first).is_dir() or (SOURCE / f"{first}.py").is_file() else ""


def line_of(part: str) -> int:
    return next(number for number, parts in enumerate(LINES) if part in parts)


def is_allowed(importer: str, imported: str, *, lazy: bool) -> bool:
    if importer == imported or (importer, imported) in NEIGHBOURS:
        return True
    return line_of(imported) > line_of(importer) or (lazy and (importer, imported) in LAZY)


FILES = sorted(SOURCE.rglob("*.py"))


def test_every_file_belongs_to_a_line() -> None:
    known = {"__init__"}.union(*LINES)
    homeless = sorted({part_of(file) for file in FILES} - known)
    assert [] == homeless, "say in LINES, and in the docs, where it belongs"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_go_downwards(file: Path) -> None:
    importer = part_of(file)
    wrong = []
    for found in imports_of(file):
        imported = imported_part(found)
        if imported is None:
            continue
        if imported == "":
            wrong.append(f"{file.name}:{found.line} imports the package itself, which loads everything")
        elif importer == "__init__":
            assert imported not in LINES[0], "the package does not load its programs"
        elif not is_allowed(importer, imported, lazy=found.lazy):
            wrong.append(f"{file.name}:{found.line} imports {found.module}")
    assert [] == wrong


PURE_FILES = sorted(file for pattern in PURE for file in SOURCE.glob(pattern))


@pytest.mark.parametrize("file", PURE_FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_pure_files_know_no_clock_and_no_files(file: Path) -> None:
    touched = [
        f"{file.name}:{found.line} imports {found.module}.{found.name or ''}"
        for found in imports_of(file)
        if (top := found.module.partition(".")[0]) in OUTSIDE and found.name not in HARMLESS.get(top, set())
    ]
    opened = [
        f"{file.name}:{node.lineno} calls open()"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open"
    ]
    assert [] == touched + opened


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_only_the_upath_store_knows_fsspec_and_upath(file: Path) -> None:
    """pathlib's base classes, typed, come from `upath.types`, which loads neither fsspec nor upath itself."""
    if file.relative_to(SOURCE).as_posix() == "stores/upath.py":
        return
    foreign = [
        f"{file.name}:{found.line} imports {found.module}"
        for found in imports_of(file)
        if found.module.partition(".")[0] in {"fsspec", "upath"}
        and not found.lazy
        and not found.module.startswith("upath.types")
    ]
    assert [] == foreign


HEAVY = {"asyncio", "click", "fsspec", "inspect", "rich", "tarfile", "upath.core", "zipfile"}


def test_import_loads_nothing_heavy() -> None:
    """A program that never opens an archive or a remote tree does not pay for one (W11)."""
    count = "import sys; before = set(sys.modules); {}; print(*sorted(set(sys.modules) - before))"

    def loads(statement: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", count.format(statement)], check=True, capture_output=True, text=True
        )
        return set(done.stdout.split())

    base = loads("import dataclasses, pathlib, typing_extensions, upath.types")
    assert set() == (loads("import unionpath") & HEAVY) - base
    assert "upath.core" not in base
    assert "fsspec" not in base


def test_the_package_only_passes_names_on() -> None:
    """`__init__` defines nothing but how names are loaded late, and every name it promises is there."""
    import unionpath

    body = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8")).body
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert {"__dir__", "__getattr__"} == defined
    assert [] == [name for name in unionpath.__all__ if not hasattr(unionpath, name)]
