"""
The examples in README and docs run, and links within them lead somewhere.

The fenced blocks of one file share one namespace, one temporary directory and their order:

- `python` is executed;
- `pycon` is executed as a doctest: what is printed must be what is shown;
- `console` holds `$ unionpath …` lines; each must succeed (or its shown output ends in `exit code N`), and
  where output is shown it must be what comes.

`docs/examples` is copied into the directory. What an example needs beforehand, and no reader wants to see,
stands in a `python` block inside an HTML comment. Everything else (`sh`, `text`, `toml`) is shown only.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)(?P<target>[^)#\s]+)")
SPOKEN = {"python", "pycon", "console"}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    language: str
    text: str
    line: int
    """The line of the file before its first line of text, counted from 1."""


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["language"], found["text"], text.count("\n", 0, found.start()) + 1)
        for found in FENCE.finditer(text)
        if found["language"] in SPOKEN
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name_of)
@pytest.mark.changes_lowers("to see the union follow")
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(REPOSITORY / "docs" / "examples", tmp_path / "docs" / "examples", symlinks=True)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            run_program(block, page, namespace)
        elif block.language == "pycon":
            run_session(block, page, namespace)
        else:
            run_commands(block, page)


def run_program(block: Block, page: Path, namespace: dict[str, object]) -> None:
    """Execute, with the page's own line numbers in a traceback."""
    exec(compile("\n" * block.line + block.text, page, "exec"), namespace)


def run_session(block: Block, page: Path, namespace: dict[str, object]) -> None:
    session = doctest.DocTestParser().get_doctest(block.text, namespace, name_of(page), str(page), block.line)
    complaints: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    failed, _ = runner.run(session, out=complaints.append, clear_globs=False)
    namespace.update(session.globs)
    assert failed == 0, "".join(complaints)


def run_commands(block: Block, page: Path) -> None:
    for command, shown in commands(block.text):
        place = f"{name_of(page)}, after line {block.line}: $ {command}"
        printed = run_command(command)
        if shown:
            same = doctest.OutputChecker().check_output(shown, printed, OPTIONS)
            assert same, f"{place}\nshown:\n{shown}\nprinted:\n{printed}"
        else:
            assert "exit code" not in printed, f"{place}\n{printed}"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, with the output shown under it (empty: not shown)."""
    for piece in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = piece.replace("\\\n", " ").partition("\n")
        assert command.startswith("unionpath "), f"only unionpath is run here, not {command!r}; use ```sh"
        yield command, shown.strip() and f"{shown.strip()}\n"


def run_command(command: str) -> str:
    """Give what it prints, errors included; an exit code that isn't 0 becomes a last line."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
    )
    return done.stdout if done.returncode == 0 else f"{done.stdout}exit code {done.returncode}\n"


@pytest.mark.parametrize("program", sorted((REPOSITORY / "docs" / "examples").rglob("*.py")), ids=name_of)
def test_example_programs_run(program: Path) -> None:
    done = subprocess.run([sys.executable, program], check=False, capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout


def links(page: Path) -> list[str]:
    return [found["target"] for found in LINK.finditer(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    assert [] == [target for target in links(page) if not (page.parent / target).exists()]


def test_every_page_is_reached_from_the_index() -> None:
    index = REPOSITORY / "docs" / "README.md"
    listed = {(index.parent / target).resolve() for target in links(index)}
    pages = {page for page in PAGES if page not in (index, REPOSITORY / "README.md")}
    assert set() == {name_of(page) for page in pages - listed}


def test_every_public_name_is_in_the_reference() -> None:
    import unionpath

    reference = (REPOSITORY / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    assert [] == [name for name in unionpath.__all__ if not re.search(rf"`{name}\b", reference)]


def test_every_check_is_given_bare_in_the_readme() -> None:
    """Each nox session runs a command that works without nox; the README has the table."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    sessions = re.findall(r"@session.*\ndef (\w+)", (REPOSITORY / "noxfile.py").read_text(encoding="utf-8"))
    assert sessions
    assert [] == [name for name in sessions if f"`nox -s {name}`" not in readme]
