"""Where lines for people go: as plain text, or coloured by rich where there is a terminal to show colours."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable

from unionpath.cli.people import ASCII, LINES, Guides, Line


class Screen:
    """The standard output, for people."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self._paint = _painter() if self.is_terminal or os.environ.get("FORCE_COLOR") else _plain

    @property
    def columns(self) -> int | None:
        """How wide the terminal is; None if it is none."""
        return shutil.get_terminal_size().columns if self.is_terminal else None

    @property
    def guides(self) -> Guides:
        """What a tree can be drawn with in the output's encoding."""
        try:
            LINES.inner.encode(sys.stdout.encoding)
        except UnicodeEncodeError:
            return ASCII
        return LINES

    def put(self, lines: Iterable[Line]) -> None:
        """Write lines, each as it comes."""
        for line in lines:
            sys.stdout.write(self._paint(line))


def write_what_is_possible() -> None:
    """Let characters that the output's encoding lacks be written as escapes, not end the program."""
    output: object = sys.stdout
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(errors="backslashreplace")


def _plain(line: Line) -> str:
    return "".join(text for text, _style in line) + "\n"


def _painter() -> Callable[[Line], str]:
    """Give what colours a line as the terminal and NO_COLOR will have it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    if console.color_system is None:
        return _plain

    def paint(line: Line) -> str:
        # Captured, not printed: what becomes of a broken pipe is not rich's to decide.
        with console.capture() as captured:
            console.print(Text.assemble(*line))
        return captured.get()

    return paint
