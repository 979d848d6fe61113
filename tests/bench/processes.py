"""W1o and W11: what a new process pays, and what it loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.ground import TEXT, Forest, write_file
from bench.measure import WrongAnswer, turns
from bench.mounts import mounted
from bench.report import Row, duration
from bench.setting import LIVE, Setting

_BOTTOM = "config.toml"

_UNION = """
import sys, time
from unionpath import Layer, LayerStack
start = time.perf_counter_ns()
stack = LayerStack([Layer(layer, whiteouts=sys.argv[2]) for layer in sys.argv[3:]])
text = (stack / sys.argv[1]).read_text("utf-8")
print(time.perf_counter_ns() - start, text, sep="\\n", end="")
"""
_PATHLIB = """
import sys, time
from pathlib import Path
start = time.perf_counter_ns()
text = (Path(sys.argv[2]) / sys.argv[1]).read_text("utf-8")
print(time.perf_counter_ns() - start, text, sep="\\n", end="")
"""


def run_one_shot(setting: Setting) -> None:
    """W1o: new process, new stack, one file read in a directory of 100 000 entries per layer; wall time."""
    forest = _huge(setting)
    rounds = setting.size(25, 2)

    def ours() -> float:
        return _one_shot(setting, _UNION, setting.layout, *map(str, forest.layers))

    def kernel(point: Path) -> float:
        return _one_shot(setting, _PATHLIB, str(point))

    if setting.no_kernel:
        least = list(turns(rounds, ours))
        setting.note(Row("W1o", LIVE, duration(least[0]), "-", None, 3))
        return
    with mounted(forest.base, forest.kernel_layers) as point:
        mine, theirs = turns(rounds, ours, partial(kernel, point))
    setting.note(Row("W1o", f"{LIVE}, wall", duration(mine), duration(theirs), mine / theirs, 3))


def _one_shot(setting: Setting, program: str, *arguments: str) -> float:
    """Run a program; give the seconds between its imports and its answer."""
    elapsed, text = _python(setting, program, f"huge/{_BOTTOM}", *arguments).split("\n", 1)
    if text != TEXT[:1024]:
        raise WrongAnswer(f"a new process read {text[:100]!r}")
    return int(elapsed) / 1e9


def _huge(setting: Setting) -> Forest:
    """Make layers of one directory with many names; hard links are made faster than files."""
    base = setting.base / "huge"
    base.mkdir()
    count = setting.size(100_000, 500)
    layers = tuple(base / f"l{number}" for number in range(setting.depth))
    for number, layer in enumerate(layers):
        (layer / "huge").mkdir(parents=True)
        for start in range(0, count, 50_000):  # a file has at most 65 000 names on ext4
            _fill(layer / "huge", f"f{number:02}-{start // 50_000}", min(50_000, count - start))
    write_file(str(layers[-1] / "huge" / _BOTTOM), 1024)
    return Forest(base, layers, setting.layout, layers, None, {})  # no whiteouts: the formats look the same


def _fill(directory: Path, prefix: str, count: int) -> None:
    first = f"{directory}/{prefix}-00000"
    write_file(first, 1)
    for number in range(1, count):
        os.link(first, f"{directory}/{prefix}-{number:05}")


_LOAD = """
import sys
before = set(sys.modules)
{statement}
import json, time
used = time.process_time()
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps([used, peak, sorted(set(sys.modules) - before)]))
"""
FORBIDDEN = ("asyncio", "click", "fsspec", "rich", "tarfile", "upath.core", "zipfile")
"""Modules that nobody pays for who doesn't use them."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an import cost."""

    cpu: float
    """Seconds of CPU time, interpreter included."""
    peak: int
    """KiB of memory at most, interpreter included."""
    modules: tuple[str, ...]


def run_import(setting: Setting) -> None:
    """W11: CPU time and peak memory of `import unionpath` over `import pathlib`."""
    if not sys.platform.startswith("linux"):
        return
    runs: dict[str, list[Loaded]] = {"import unionpath": [], "import pathlib": []}
    for _ in range(setting.size(20, 2)):
        for statement, loads in runs.items():
            loads.append(_load(setting, statement))
    ours, theirs = (_least(loads) for loads in runs.values())
    heavy = [name for name in FORBIDDEN if name in ours.modules]
    if heavy:
        raise WrongAnswer(f"import unionpath loads {', '.join(heavy)}")
    cpu, peak = (ours.cpu - theirs.cpu) * 1e3, (ours.peak - theirs.peak) / 1024
    setting.note(Row("W11", "CPU over pathlib, ms", duration(ours.cpu), duration(theirs.cpu), cpu, 25))
    whole, least = f"{ours.peak / 1024:.1f} MiB", f"{theirs.peak / 1024:.1f} MiB"
    setting.note(Row("W11", "peak RSS over pathlib, MiB", whole, least, peak, 4))


def _load(setting: Setting, statement: str) -> Loaded:
    cpu, peak, modules = json.loads(_python(setting, _LOAD.format(statement=statement)))
    return Loaded(cpu, peak, tuple(modules))


def _least(loads: Sequence[Loaded]) -> Loaded:
    return Loaded(min(each.cpu for each in loads), min(each.peak for each in loads), loads[0].modules)


def _python(setting: Setting, program: str, *arguments: str) -> str:
    """Run a program in a new process; bytecode is cached, as it usually is, whatever the caller does."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(setting.base / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment,
    )
    return done.stdout
