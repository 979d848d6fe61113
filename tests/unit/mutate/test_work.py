"""The work area: sessions, what the dead leave, what an upper remembers."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from unionpath import Layer, LayerStack, memory_layer
from unionpath.mutate.work import PRIVATE
from unionpath.opener import WhiteoutName


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    place = tmp_path / "lower"
    place.mkdir()
    (place / "f").write_text("old")
    return place


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    place = tmp_path / "upper"
    place.mkdir()
    return place


@pytest.fixture
def stack(lower: Path, upper: Path) -> Iterator[LayerStack]:
    with LayerStack([lower], upper=upper) as made:
        yield made


def stage_of(upper: Path) -> list[str]:
    stage = upper / PRIVATE / "stage"
    return sorted(os.listdir(stage)) if stage.exists() else []


def test_nothing_is_made_before_the_first_change(stack: LayerStack, upper: Path) -> None:
    assert "old" == (stack / "f").read_text()
    assert [] == os.listdir(upper)


def test_a_session_ends_with_the_stack(stack: LayerStack, upper: Path) -> None:
    (stack / "g").write_text("new")
    [session] = stage_of(upper)
    stack.close()
    assert [] == stage_of(upper)
    (stack / "h").write_text("new")
    [other] = stage_of(upper)
    assert session != other


@pytest.mark.rule("E5")
def test_the_next_open_clears_what_the_dead_left(lower: Path, upper: Path) -> None:
    child = os.fork()
    if not child:
        stack = LayerStack([lower], upper=upper)
        (stack / "g").write_text("new")
        (upper / PRIVATE / "stage" / stage_of(upper)[0] / "half").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert 1 == len(stage_of(upper))
    with LayerStack([lower], upper=upper) as stack:
        assert [] == stage_of(upper)
        assert "new" == (stack / "g").read_text()


@pytest.mark.rule("E5")
def test_the_living_are_left_alone(stack: LayerStack, lower: Path, upper: Path) -> None:
    (stack / "g").write_text("new")
    [mine] = stage_of(upper)
    with LayerStack([lower], upper=upper) as other:
        other.recover()
        assert mine in stage_of(upper)
    (stack / "f").unlink()
    assert not (stack / "f").exists()


@pytest.mark.rule("E7")
def test_a_volatile_writer_that_died_is_noticed(lower: Path, upper: Path) -> None:
    child = os.fork()
    if not child:
        stack = LayerStack([lower], upper=upper, durability="volatile")
        (stack / "g").write_text("new")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with pytest.raises(ValueError, match="adopt=True"):
        LayerStack([lower], upper=upper)
    with LayerStack([lower], upper=upper, adopt=True) as stack:
        assert "new" == (stack / "g").read_text()
    LayerStack([lower], upper=upper).close()


@pytest.mark.rule("E7")
def test_a_volatile_writer_that_closes_leaves_no_doubt(lower: Path, upper: Path) -> None:
    with LayerStack([lower], upper=upper, durability="volatile") as stack:
        (stack / "g").write_text("new")
    LayerStack([lower], upper=upper).close()


@pytest.mark.rule("E3")
@pytest.mark.parametrize("whiteouts", ["oci", "unionfs", "table", "overlayfs"])
def test_an_upper_knows_its_lowers(whiteouts: WhiteoutName, lower: Path, upper: Path, tmp_path: Path) -> None:
    if whiteouts == "overlayfs" and os.geteuid():
        pytest.skip("trusted attributes are root's")
    other = tmp_path / "other"
    other.mkdir()
    layer = Layer(upper, whiteouts=whiteouts)
    with LayerStack([lower], upper=layer) as stack:
        (stack / "f").unlink()
    with pytest.raises(ValueError, match="other lowers"):
        LayerStack([other], upper=layer)
    LayerStack([other], upper=layer, adopt=True).close()
    with LayerStack([other], upper=layer, adopt=True) as stack:
        (stack / "mine").touch()
    LayerStack([other], upper=layer).close()


@pytest.mark.rule("E3")
def test_an_upper_that_was_emptied_belongs_to_nobody(lower: Path, upper: Path, tmp_path: Path) -> None:
    with LayerStack([lower], upper=upper) as stack:
        (stack / "g").touch()
        (stack / "g").unlink()
    LayerStack([tmp_path / "upper"], upper=memory_layer()).close()
    (tmp_path / "other").mkdir()
    LayerStack([tmp_path / "other"], upper=upper).close()


def test_an_upper_cleared_under_a_living_writer(stack: LayerStack, upper: Path) -> None:
    (stack / "g").write_text("new")
    for name in (upper / PRIVATE / "stage").iterdir():
        name.rmdir()
    (upper / PRIVATE / "stage").rmdir()
    (upper / PRIVATE / "lowers").unlink()
    (upper / PRIVATE).rmdir()
    (stack / "f").write_text("again")
    assert "again" == (stack / "f").read_text()
    assert 1 == len(stage_of(upper))


@pytest.mark.rule("L11")
def test_a_link_in_the_place_of_the_work_area_is_not_followed(
    stack: LayerStack, upper: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (upper / PRIVATE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError) as caught:
        (stack / "f").write_text("new")
    assert errno.ENOTDIR == caught.value.errno
    assert [] == os.listdir(tmp_path / "elsewhere")


def test_a_work_directory_of_its_own(lower: Path, upper: Path, tmp_path: Path) -> None:
    layer = Layer(upper, workdir=tmp_path / "work")
    with LayerStack([lower], upper=layer) as stack:
        (stack / "f").write_text("new")
    assert ["f"] == os.listdir(upper)
    assert "new" == (upper / "f").read_text()


@pytest.mark.rule("C9")
def test_a_child_of_a_fork_writes_by_itself(stack: LayerStack, upper: Path) -> None:
    (stack / "g").write_text("new")
    [parents] = stage_of(upper)
    child = os.fork()
    if not child:
        (stack / "of-the-child").write_text("x")
        stack.close()
        os._exit(0)
    assert 0 == os.waitpid(child, 0)[1]
    assert [parents] == stage_of(upper)
    (stack / "f").unlink()
    assert ["g", "of-the-child"] == [path.name for path in stack.root.iterdir()]
