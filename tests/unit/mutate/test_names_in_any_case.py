"""Changes in a union that doesn't tell cases apart, over layers that do."""

from __future__ import annotations

import pytest

from places import Place
from unionpath import LayerStack


@pytest.fixture
def stack(each_place: Place) -> LayerStack:
    each_place.fill({"ReadMe": "low", "Dir/f": "1"})
    each_place.fill({"README": "up", "DIR/": ""}, each_place.upper)
    return each_place.stack(case="insensitive")


@pytest.mark.rule("N5", "D1")
@pytest.mark.parametrize("name", ["readme", "README", "ReadMe"])
def test_a_deleted_file_leaves_no_namesake(stack: LayerStack, each_place: Place, name: str) -> None:
    """A lower's file that is spelled otherwise is deleted with it."""
    (stack / name).unlink()
    for each in (stack, each_place.stack(case="insensitive")):
        assert ["dir"] == [path.name.lower() for path in each.root.iterdir()]
        assert not (each / "ReadMe").exists()


@pytest.mark.rule("N5", "D7")
@pytest.mark.parametrize("name", ["dir", "DIR", "Dir"])
def test_a_deleted_directory_leaves_no_namesake(stack: LayerStack, each_place: Place, name: str) -> None:
    """So is a lower's directory, and a new one holds nothing of it."""
    (stack / name).rmtree()
    for each in (stack, each_place.stack(case="insensitive")):
        assert ["readme"] == [path.name.lower() for path in each.root.iterdir()]
    (stack / "dir").mkdir()
    assert [] == [*(each_place.stack(case="insensitive") / "Dir").iterdir()]


@pytest.mark.rule("N5", "R1")
@pytest.mark.parametrize(("name", "again"), [("readme", "ReadMe"), ("ReadMe", "readme")])
def test_a_name_is_spelled_anew(each_place: Place, name: str, again: str) -> None:
    """Renaming to another spelling of the same name gives that spelling."""
    each_place.fill({name: "low"})
    stack = each_place.stack(case="insensitive")
    (stack / name).rename(f"/{again}")
    for each in (stack, each_place.stack(case="insensitive")):
        assert [again] == [path.name for path in each.root.iterdir()]
        assert "low" == (each / again).read_text()
