"""Runs the command line within the test's own process, the way a shell would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run did."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    @property
    def document(self) -> Any:
        """The one JSON document that was printed; members are picked by the test, which knows their types."""
        return json.loads(self.out)


class Shell:
    """
    Runs commands through `main`, not through click's own runner.

    So what `main` itself does is tested too, and the two streams are apart in every version of click.
    """

    def __init__(self, captured: pytest.CaptureFixture[bytes]) -> None:
        self._captured = captured

    def __call__(self, *arguments: str | Path) -> Outcome:
        from unionpath.cli import main

        self._captured.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = self._captured.readouterr()
        return Outcome(code, out, err.decode())


def put(base: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a directory, with the directories above them."""
    for name, content in files.items():
        file = base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return base
