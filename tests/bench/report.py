"""What came out, as a table for people or as markdown for docs/explanation/performance.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a workload in one mode."""

    workload: str
    what: str
    ours: str
    """In words with its unit, as the other figures."""
    peer: str = ""
    ratio: float | None = None
    """Or the figure itself, where the target isn't a ratio."""
    target: float | None = None
    others: dict[str, str] = field(default_factory=dict)
    """Further peers, by name."""
    label: str = ""
    """What the row of the further peers is called; by default as the workload."""

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty where there is none."""
        if self.target is None or self.ratio is None:
            return ""
        return "met" if self.ratio <= self.target else "NOT MET"


MAIN = ("workload", "mode", "union", "kernel", "ratio", "target", "")
OTHERS = ("plain", "fuse-overlayfs", "naive", "Multiplexed", "MultiFS", "UPath")


def main_table(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """Lay out ours beside the kernel mount."""
    return [
        MAIN,
        *(
            (
                row.workload,
                row.what,
                row.ours,
                row.peer,
                _figure(row.ratio),
                "" if row.target is None else f"≤ {row.target:g}",
                row.verdict,
            )
            for row in rows
        ),
    ]


def others_table(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """Lay out the other peers, as ratios to the kernel mount (without one, to the plain directory)."""
    return [
        ("workload", "live union", *OTHERS),
        *(
            (row.label or row.workload, _figure(row.ratio), *(row.others.get(name, "-") for name in OTHERS))
            for row in rows
            if row.others
        ),
    ]


def as_text(table: Sequence[Sequence[str]]) -> str:
    """Align the columns."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def as_markdown(table: Sequence[Sequence[str]]) -> str:
    """Give the same as a markdown table."""
    head, *body = (f"| {' | '.join(line)} |" for line in table)
    return "\n".join([head, "|---" * len(table[0]) + "|", *body])


def duration(seconds: float) -> str:
    """Write a time with three digits and a unit."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{_digits(seconds * factor)} {unit}"
    return f"{_digits(seconds)} s"


def ratio_in_words(ratio: float) -> str:
    """Write a ratio with two digits."""
    if math.isinf(ratio):
        return "fails"
    return f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}"


def _figure(value: float | None) -> str:
    return "" if value is None else _digits(value)


def _digits(value: float) -> str:
    if value <= 0 or not math.isfinite(value):
        return str(value)
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value < 100 else f"{value:.0f}"
