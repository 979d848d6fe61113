from __future__ import annotations

import pytest

from unionpath.cli.accounts import account_name
from unionpath.cli.people import moment, names


@pytest.mark.parametrize("seconds", [10**12, 10**17, -(10**17)])
def test_a_time_beyond_the_calendar_is_a_number(seconds: int) -> None:
    assert f"{seconds} s" == moment(seconds * 1_000_000_000)


def test_a_time_has_its_zone() -> None:
    assert moment(1_700_000_000_999_999_999).startswith("2023-11-1")
    assert 25 == len(moment(0))


def test_a_number_without_a_name() -> None:
    assert (None, None) == (account_name("user", 4_000_000_123), account_name("group", 4_000_000_123))
    assert account_name("user", 2**70) is None


def test_nothing_has_no_columns() -> None:
    assert [] == list(names([], 80))
