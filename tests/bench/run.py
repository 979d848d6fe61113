"""
Measure unionpath beside its peers: `python tests/bench/run.py`, or `nox -s bench`.

Fails (exit code 1) if any side whose answers count gives a wrong one; never because of a time.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # where the package `bench` is

from bench import changing, listings, lookups, memory, mounts, peers, processes
from bench.ground import Format
from bench.measure import Effort, WrongAnswer
from bench.report import as_markdown, as_text, main_table, others_table
from bench.setting import Setting

GROUPS: dict[str, Callable[[Setting], None]] = {
    "W0-W3": lookups.run,
    "W1c": lookups.run_first_touch,
    "flat": lookups.run_flat,
    "W4": listings.run_iterdir,
    "W5": listings.run_walk,
    "W6": changing.run_copy_up,
    "W6s": changing.run_sparse,
    "W6c": changing.run_chmod,
    "W7": changing.run_write,
    "W8": changing.run_unlink,
    "W9": changing.run_rmtree,
    "W10": listings.run_glob,
    "W1o": processes.run_one_shot,
    "W11": processes.run_import,
    "W12": memory.run_index,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for, and print the tables."""
    options = _options(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="unionpath-bench-", dir=options.dir) as base:
        setting = _setting(Path(base), options)
        print("\n".join(facts(setting)), flush=True)
        wrong = _measure(setting, options)
    show = as_markdown if options.markdown else as_text
    print("\n" + show(main_table(setting.rows)))
    print("\nOther peers, as ratios to the kernel mount; `!`: a wrong answer, usually whiteouts shown.\n")
    print(show(others_table(setting.rows)))
    print(f"\ntook {time.monotonic() - began:.0f} s")
    for each in wrong:
        print(f"WRONG ANSWER: {each}", file=sys.stderr)
    return 1 if wrong else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, few rounds: only answers count")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="only these")
    parser.add_argument("--format", choices=["overlayfs", "oci"], help="of the union's layers")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--dir", help="where the trees go; by default the directory for temporary files")
    parser.add_argument("--markdown", action="store_true", help="print the tables as markdown")
    return parser.parse_args(arguments)


def _setting(base: Path, options: argparse.Namespace) -> Setting:
    no_kernel = mounts.become_private(base)
    layout: Format = options.format or ("oci" if no_kernel else "overlayfs")
    effort = Effort(rounds=2, patience=0.1) if options.quick else Effort()
    return Setting(base, layout, options.layers, options.quick, no_kernel, effort)


def facts(setting: Setting) -> list[str]:
    """Say where and of what the figures are."""
    files, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return [
        f"{python}, {platform.system()} {platform.release()}, {os.cpu_count()} cores",
        f"load {os.getloadavg()[0]:.1f}, {files} descriptors",
        f"{setting.depth} layers, whiteouts in format {setting.layout}",
        f"kernel OverlayFS: {setting.no_kernel or f'mounted with {mounts.OPTIONS}'}",
        f"fuse-overlayfs: {mounts.no_fuse() or 'installed'}",
        f"MultiFS: {peers.no_multifs() or 'installed'}",
    ]


def _measure(setting: Setting, options: argparse.Namespace) -> list[str]:
    wrong: list[str] = []
    for name in options.only:
        began = time.monotonic()
        try:
            GROUPS[name](setting)
        except WrongAnswer as error:
            wrong.append(f"{name}: {error}")
        print(f"  {name} took {time.monotonic() - began:.0f} s")
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
