"""Every check as one session; each runs a command that the README also gives bare."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = []
nox.options.error_on_missing_interpreters = False

Session: TypeAlias = Callable[[nox.Session], None]

PROJECT = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [
    found[1]
    for classifier in PROJECT["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier))
]


def session(*, default: bool = True, python: list[str] | str | None = None) -> Callable[[Session], Session]:
    """Register a session; those marked default run when nox is called without `-s`."""

    def register(function: Session) -> Session:
        nox.session(python=python)(function)
        if default:
            nox.options.sessions = [*(nox.options.sessions or ()), function.__name__]
        return function

    return register


def pytest(run: nox.Session, *arguments: str) -> None:
    """Install the project with its test tools and run pytest."""
    run.install("-e", ".[test]")
    run.run("python", "-m", "pytest", *arguments, *run.posargs)


@session(python=PYTHONS)
def tests(run: nox.Session) -> None:
    """Run the whole suite on every supported Python."""
    pytest(run)


@session(default=False)
def semantics(run: nox.Session) -> None:
    """Run the tests of the union's rules, and the check that no rule and no mark is alone."""
    pytest(run, "tests/semantics", "tests/test_rules.py")


@session(default=False, python=PYTHONS[-2])
def coverage(run: nox.Session) -> None:
    """Run the suite with branch coverage and show the gaps."""
    run.install("-e", ".[dev]")
    run.run("python", "-m", "coverage", "run", "-m", "pytest", *run.posargs)
    run.run("python", "-m", "coverage", "report")


@session(default=False)
def property(run: nox.Session) -> None:  # noqa: A001 - the word for it
    """Try the laws on many more generated cases (`-- --seed N` repeats a run)."""
    pytest(run, "-m", "property", "--hypothesis-profile", "long")


@session()
def types(run: nox.Session) -> None:
    """Check the types with mypy and pyright, and the stubs against what they describe."""
    run.install("-e", ".[dev]")
    run.run("python", "-m", "mypy")
    run.run("python", "-m", "mypy", "--python-version", PYTHONS[-1])
    run.run("python", "-m", "mypy.stubtest", "--ignore-missing-stub", "fsspec", env={"MYPYPATH": "typings"})
    run.run("python", "-m", "pyright")


@session()
def lint(run: nox.Session) -> None:
    """Check style and format."""
    run.install("ruff>=0.14")
    run.run("ruff", "check")
    run.run("ruff", "format", "--check")


@session(default=False, python=PYTHONS[0])
def minimums(run: nox.Session) -> None:
    """Run the suite with the lowest versions that the dependencies may have."""
    ours = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"][1:]]
    ours += PROJECT["optional-dependencies"]["cli"]
    theirs = ["fsspec==2024.5.0", "pathlib-abc==0.5.1"]  # the bounds of universal-pathlib
    run.install("-e", ".[test]", *(re.sub(r">=([\d.]+)", _pinned, each) for each in ours), *theirs)
    run.run("python", "-m", "pytest", *run.posargs)


def _pinned(bound: re.Match[str]) -> str:
    """Turn a lower bound into the lowest release that meets it: `>=8.1` into `==8.1.*` or `==8.1.0`."""
    version = bound[1]
    return f"=={version}" if version.count(".") > 1 else f"=={version}.0"


@session(default=False)
def interop(run: nox.Session) -> None:
    """Compare with real kernel overlay mounts (root on Linux; skips with a reason elsewhere)."""
    pytest(run, "-m", "kernel", "-rs")


@session()
def docs(run: nox.Session) -> None:
    """Run every example in README and docs, and check that links lead somewhere."""
    pytest(run, "tests/test_docs.py")


@session(default=False)
def bench(run: nox.Session) -> None:
    """Measure against the peers side by side and print ratios; a wrong answer fails."""
    run.install("fs>=2.4.16", "setuptools<81")  # a peer, and the pkg_resources that it needs
    pytest(run, "tests/bench", "-m", "bench", "-s")


@session(default=False)
def fidelity(run: nox.Session) -> None:
    """Compare generated trees and look-ups with kernel mounts, at length (`-- --seed N` repeats a run)."""
    pytest(run, "-m", "kernel and property", "--hypothesis-profile", "long", "-rs")


@session(default=False)
def reliability(run: nox.Session) -> None:
    """Kill and fail every operation at every system call, at length."""
    run.env["UNIONPATH_LONG"] = "1"
    pytest(run, "tests/reliability", "-rs")


@session(default=False)
def build(run: nox.Session) -> None:
    """Build the distributions, install the wheel alone and start it."""
    run.install("build")
    target = Path(run.create_tmp()) / "dist"
    run.run("python", "-m", "build", "--outdir", str(target))
    run.install(f"{next(target.glob('*.whl'))}[cli]")
    run.run("python", "-c", "import unionpath; print(unionpath.UnionPath)")
    run.run("unionpath", "--help")
