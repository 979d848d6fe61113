from __future__ import annotations

import os
import shutil
import subprocess
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unionpath.cli.spelling import escaped, shown, text_fields, width

names = st.binary(max_size=20).map(os.fsdecode)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain name", "plain name"),
        ("日本", "日本"),
        ("it's", "it's"),
        ("", "$''"),
        ("a\nb\x1b[31m\x7f", r"$'a\nb\e[31m\x7f'"),
        ("\x85\u202e\U000e0001", r"$'\u0085\u202e\U000e0001'"),
        ("\udcff'\\", r"$'\xff\'\\'"),
        ("$'a'", r"$'$\'a\''"),
    ],
)
def test_names_are_quoted_where_they_must_be(name: str, expected: str) -> None:
    assert expected == shown(name)


@given(names)
def test_no_name_acts_on_a_terminal(name: str) -> None:
    assert shown(name).isprintable()
    assert escaped(name).isprintable()
    shown(name).encode("utf-8")


@given(names, names)
def test_different_names_look_different(one: str, other: str) -> None:
    assert (one == other) == (shown(one) == shown(other))


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_reads_a_quoted_name_as_the_same_bytes() -> None:
    raw = bytes(range(1, 256)) + "\u202e\U000e0001".encode()
    program = f"printf %s {shown(os.fsdecode(raw))}"
    locale = {**os.environ, "LC_ALL": "C.UTF-8"}
    assert raw == subprocess.run(["bash", "-c", program], check=True, capture_output=True, env=locale).stdout


@given(names)
def test_json_members_lose_no_byte(name: str) -> None:
    fields = text_fields("name", name)
    fields["name"].encode("utf-8")
    exact = b64decode(fields["name_base64"]) if "name_base64" in fields else fields["name"].encode()
    assert os.fsencode(name) == exact


def test_width_counts_columns() -> None:
    assert [3, 4, 1] == [width("abc"), width("日本"), width("e\u0301")]
