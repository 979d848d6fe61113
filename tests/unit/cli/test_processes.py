"""The command line as a shell starts it: real processes, real pipes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shell import put

SOURCE = Path(__file__).parents[3] / "src"
COMMAND = [sys.executable, "-m", "unionpath"]


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in {"FORCE_COLOR", "NO_COLOR"}}
    return {**kept, "PYTHONPATH": str(SOURCE), **more}


def start(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], check=False, capture_output=True, env=environment(**variables)
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return put(tmp_path / "layer", {"etc/app": "text\n", "big": bytes(4 << 20), "é": ""})


def test_output_errors_and_exit_code(tree: Path) -> None:
    done = start("--lower", tree, "cat", "etc/app", "nope")
    assert (1, b"text\n") == (done.returncode, done.stdout)
    assert b"unionpath: /nope: No such file or directory\n" == done.stderr


def test_json_is_ascii_and_one_document(tree: Path) -> None:
    done = start("ls", "--lower", tree, "--json", PYTHONIOENCODING="ascii")
    assert ["big", "etc", "é"] == [
        entry["name"] for entry in json.loads(done.stdout)["results"][0]["entries"]
    ]


def test_an_output_that_lacks_characters_gets_escapes(tree: Path) -> None:
    done = start("tree", "--lower", tree, PYTHONIOENCODING="ascii")
    assert (0, b"") == (done.returncode, done.stderr)
    assert [b"/", b"|-- big", b"|-- etc", b"|   `-- app", rb"`-- \xe9"] == done.stdout.splitlines()[:5]


def test_a_reader_that_leaves_ends_it_quietly(tree: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--lower", tree, "cat", "big"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert 10 == len(process.stdout.read(10))
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (141, b"") == (process.wait(60), errors)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["cat", "etc/app"], ["ls"], ["ls", "--json"]])
def test_a_full_disk_is_said(tree: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "--lower", str(tree), *arguments],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
        )
    assert (1, b"unionpath: standard output: No space left on device\n") == (done.returncode, done.stderr)


def test_ctrl_c_ends_it_quietly(tree: Path) -> None:
    """A reader with a full pipe holds the program in the middle of its work."""
    # A background job of a shell ignores SIGINT, and so would its children; a handler they don't inherit.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*COMMAND, "--lower", tree, "cat", "big"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _rest, errors = process.communicate(timeout=60)
    assert (130, b"") == (process.returncode, errors)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_says_what_to_install(tree: Path, missing: str) -> None:
    program = (
        f"import runpy, sys; sys.modules[{missing!r}] = None; "
        "sys.argv = ['unionpath', 'ls']; runpy.run_module('unionpath', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, env=environment()
    )
    assert (2, b"") == (done.returncode, done.stdout)
    expected = f"unionpath: the command line needs {missing}: pip install 'unionpath[cli]'\n"
    assert expected.encode() == done.stderr


def test_a_pipe_costs_no_rich(tree: Path) -> None:
    program = "import sys; from unionpath.cli import main; main(sys.argv[1:]); print('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, "--lower", str(tree), "ls", "-l", "etc"],
        check=True,
        capture_output=True,
        env=environment(),
    )
    assert b"False" == done.stdout.splitlines()[-1]


def test_write_takes_what_a_pipe_brings(tree: Path, tmp_path: Path) -> None:
    union = ["--lower", str(tree), "--upper", str(tmp_path / "upper")]
    (tmp_path / "upper").mkdir()
    for options, data in (([], bytes(range(256)) * 9000), (["-a"], b"more")):
        done = subprocess.run(
            [*COMMAND, *union, "write", *options, "etc/app"],
            check=False,
            input=data,
            capture_output=True,
            env=environment(),
        )
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    assert bytes(range(256)) * 9000 + b"more" == start(*union, "cat", "etc/app").stdout
    assert b"M /etc/app\n" == start(*union, "changes").stdout
    assert "text\n" == (tree / "etc" / "app").read_text()
