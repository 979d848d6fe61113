"""Options, profiles and fixtures that all tests share, and the summary of what was skipped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

import guard

PROFILE = "--hypothesis-profile"
REASONS = 8
"""How many lines the reasons of skips may take."""
SLOW_MACHINE = (HealthCheck.too_slow, HealthCheck.data_too_large)
MARKS = (
    "changes_lowers(why): the test changes a lower behind the union's back; lowers aren't compared after it",
    "large_lowers: lowers are compared after the test however many entries they have",
)

# No deadlines: on a shared machine they measure the neighbours.
settings.register_profile(
    "ci", max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=SLOW_MACHINE
)
settings.register_profile("dev", max_examples=200, deadline=None, suppress_health_check=SLOW_MACHINE)
settings.register_profile("long", max_examples=5_000, deadline=None, suppress_health_check=SLOW_MACHINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, default=None, help="make every generated case follow from this number"
    )
    parser.addoption(
        "--every", type=int, default=1, help="run one test in so many, always the same ones: a sample"
    )
    parser.addoption("--rule", default=None, help="run only the tests that prove this rule, such as L3")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile before hypothesis reads it; `ci` ignores seeds, as its cases are always the same."""
    chosen: int | None = config.option.seed
    if chosen is not None:
        config.option.hypothesis_seed = str(chosen)
    if config.option.hypothesis_profile is None:
        config.option.hypothesis_profile = "ci" if chosen is None else "dev"
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    guard.install()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave benchmarks out unless their mark is asked for, and keep to one rule if `--rule` names it."""
    left_out = [item for item in items if not _is_wanted(item, config)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _is_wanted(item, config)]


def _is_wanted(item: pytest.Item, config: pytest.Config) -> bool:
    if item.get_closest_marker("bench") and "bench" not in config.option.markexpr:
        return False
    every: int = config.option.every
    if every > 1 and crc32(item.nodeid.encode()) % every:
        return False
    rule: str | None = config.option.rule
    return rule is None or any(rule in mark.args for mark in item.iter_markers("rule"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what a green run did not prove: skips by reason, and what was compared with a kernel mount."""
    _write_skips(terminalreporter)
    ran = sum(
        "kernel" in report.keywords
        for outcome in ("passed", "failed", "xfailed", "xpassed")
        for report in terminalreporter.getreports(outcome)
        if isinstance(report, pytest.TestReport)
    )
    reasons = Counter(
        _reason(report)
        for report in terminalreporter.getreports("skipped")
        if isinstance(report, pytest.TestReport) and "kernel" in report.keywords
    )
    why = f" ({'; '.join(sorted(reasons))})" if reasons else ""
    terminalreporter.write_line(f"kernel oracle: {ran} ran, {reasons.total()} skipped{why}")


def _write_skips(reporter: pytest.TerminalReporter) -> None:
    """Count skips by reason, the most frequent first, in a few lines."""
    counts = Counter(
        _reason(report)
        for report in reporter.getreports("skipped")
        if isinstance(report, pytest.TestReport | pytest.CollectReport)
    ).most_common()
    shown = counts if len(counts) <= REASONS else counts[: REASONS - 1]
    for reason, count in shown:
        reporter.write_line(f"skipped: {count:4}: {reason}")
    if rest := counts[len(shown) :]:
        tests = sum(count for _, count in rest)
        reporter.write_line(f"skipped: {tests:4}: {len(rest)} other reasons (-rs gives all)")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped, in its own words."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return "no reason given"


@pytest.fixture(autouse=True)
def _lowers_stay_as_they_are(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare the lowers of every stack that the test made with what they were (C3)."""
    node: pytest.Item = request.node
    if node.get_closest_marker("changes_lowers") or node.get_closest_marker("bench"):
        yield
        return
    watching = guard.Guard(most=None if node.get_closest_marker("large_lowers") else guard.MOST_OBJECTS)
    guard.begin(watching)
    try:
        yield
    finally:
        guard.end()
    assert [] == watching.check(), "a lower was changed"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Give the number from which a test draws its random cases; always the same, unless `--seed` is given."""
    chosen: int | None = request.config.option.seed
    return 0 if chosen is None else chosen
