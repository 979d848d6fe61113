"""
The command line: look at a union from a shell.

Only `main` stands here, and it loads nothing, so that without the extra `cli` it can say what is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

EXTRA = ("click", "rich")
"""What the extra `cli` brings; rich is loaded only where there are colours to show."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command line and give the exit code: 0 done, 1 a path failed, 2 wrong use, 130 Ctrl-C.

    `arguments` are those after the program's name; None: those of this process.
    """
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        needed = " and ".join(missing)
        print(f"unionpath: the command line needs {needed}: pip install 'unionpath[cli]'", file=sys.stderr)
        return 2
    try:
        from unionpath.cli.program import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130
