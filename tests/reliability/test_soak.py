"""Random operations of several threads for a while, each against a model: right to the end, and no growth."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from reliability import workers
from reliability.extent import LONG
from reliability.world import CORE, World

if TYPE_CHECKING:
    from unionpath import UnionPath

SECONDS = float(os.environ.get("UNIONPATH_SOAK", "120" if LONG else "2"))
THREADS = 4
NAMES = ("a", "b", "c", "sub", "to")
Model: TypeAlias = dict[str, bytes | None]
"""Path below the thread's own directory to content; None is a directory."""

LOWER: Model = {"": None, "a": b"a", "sub": None, "sub/b": b"b"}


@pytest.mark.rule("C9", "E5", "C3")
@pytest.mark.parametrize("kind", CORE if LONG else CORE[:1])
def test_a_soak(world_of: Callable[[str], World], kind: str, seed: int) -> None:
    """Each thread changes a directory of its own, copied up from a lower's, and always finds what it left."""
    world = world_of(kind)
    world.renew()
    with world.stack() as stack:
        for number in range(THREADS):
            (stack / "ld").copy(stack / f"own-{number}", preserve_metadata=False)
            (stack / f"own-{number}" / "to").unlink()
        readings: list[tuple[int, int]] = []
        stop = threading.Event()

        def watch() -> int:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end and not stop.is_set():
                time.sleep(SECONDS / 20)
                readings.append((_resident(), len(os.listdir("/proc/self/fd"))))
            stop.set()
            return 1

        def work(number: int) -> int:
            chance, model, done = random.Random(seed + number), dict(LOWER), 0
            try:
                while not stop.is_set():
                    _act(stack / f"own-{number}", model, chance)
                    done += 1
                    if done % 50 == 0:
                        assert model == _seen(stack / f"own-{number}")
            finally:
                stop.set()
            assert model == _seen(stack / f"own-{number}")
            return done

        done = workers.together("threads", [watch, *(lambda n=n: work(n) for n in range(THREADS))])
        assert min(done[1:]) > 10
        gc.collect()
        assert [] == world.litter(alive=True)
        seen = world.seen(stack)
    assert seen == world.seen_freshly()
    assert [] == world.litter()
    _check_growth(readings)


def _check_growth(readings: list[tuple[int, int]]) -> None:
    """Compare the second third with the last one: the first is for warming up."""
    third = len(readings) // 3
    middle, late = readings[third : 2 * third], readings[2 * third :]
    memory, descriptors = (
        max(reading[at] for reading in late) - max(reading[at] for reading in middle) for at in (0, 1)
    )
    assert memory < 8 << 20, f"{memory} bytes more, {readings}"
    assert descriptors < 40, readings


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _seen(top: UnionPath) -> Model:
    found: Model = {"": None}
    for folder, folders, files in top.walk():
        at = str(folder)[len(str(top)) :].strip("/")
        found |= {f"{at}/{name}".strip("/"): None for name in folders}
        found |= {f"{at}/{name}".strip("/"): (folder / name).read_bytes() for name in files}
    return found


def _act(top: UnionPath, model: Model, chance: random.Random) -> None:
    """Do one thing to the union and to the model; both say yes, or both no."""
    name, other = ("/".join(chance.choices(NAMES, k=chance.randrange(1, 4))) for _ in range(2))
    act = chance.choice(ACTS)
    try:
        act(top, name, other, dict(model))
        done = True
    except OSError:
        done = False
    expected = act(None, name, other, model)
    assert expected == done, f"{act.__name__} {name} {other}: expected {expected}; {model}"


def _is_free(model: Model, name: str) -> bool:
    return name not in model and _parent(model, name)


def _parent(model: Model, name: str) -> bool:
    return model.get(name.rpartition("/")[0], b"") is None


def _inside(model: Model, name: str) -> list[str]:
    return [each for each in model if each.startswith(f"{name}/")]


def _write(top: UnionPath | None, name: str, other: str, model: Model) -> bool:
    data = other.encode() * 100
    if top is not None:
        (top / name).write_bytes(data)
    if not _parent(model, name) or model.get(name, b"") is None:
        return False
    model[name] = data
    return True


def _append(top: UnionPath | None, name: str, other: str, model: Model) -> bool:
    if top is not None:
        with (top / name).open("ab") as file:
            file.write(b"+")
    if not _parent(model, name) or model.get(name, b"") is None:
        return False
    model[name] = (model.get(name) or b"") + b"+"
    return True


def _make(top: UnionPath | None, name: str, other: str, model: Model) -> bool:
    if top is not None:
        (top / name).mkdir()
    if not _is_free(model, name):
        return False
    model[name] = None
    return True


def _unlink(top: UnionPath | None, name: str, other: str, model: Model) -> bool:
    if top is not None:
        (top / name).unlink()
    if model.get(name) is None:
        return False
    del model[name]
    return True


def _remove(top: UnionPath | None, name: str, other: str, model: Model) -> bool:
    if top is not None:
        (top / name).rmdir()
    if model.get(name, b"") is not None or _inside(model, name):
        return False
    del model[name]
    return True


def _remove_all(top: UnionPath | None, name: str, other: str, model: Model) -> bool:
    if top is not None:
        (top / name).rmtree()
    if model.get(name, b"") is not None:
        return False
    for each in (name, *_inside(model, name)):
        del model[each]
    return True


def _move(top: UnionPath | None, name: str, other: str, model: Model) -> bool:
    if top is not None:
        (top / name).replace(top / other)
    if name not in model or not _parent(model, other) or other.startswith(f"{name}/"):
        return False
    if name == other:
        return True
    if other in model and ((model[name] is None) != (model[other] is None) or _inside(model, other)):
        return False
    for each in (name, *_inside(model, name)):
        model[other + each[len(name) :]] = model.pop(each)
    return True


ACTS = (_write, _write, _append, _make, _unlink, _remove, _remove_all, _move, _move)
