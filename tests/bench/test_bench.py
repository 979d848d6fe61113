"""The benchmarks as tests: small ones with every run of the suite, all of them with `-m bench -s`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("run.py")


def test_both_sides_give_the_right_answers() -> None:
    """Small sizes; times count for nothing."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--quick"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.bench
def test_measure_all() -> None:
    """The same at full size, with its tables shown (`-s`)."""
    assert subprocess.run([sys.executable, str(PROGRAM)], check=False).returncode == 0
