from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shell import Shell, put


@pytest.fixture
def union(layers: list[str]) -> list[str]:
    """The three layers as lowers, below an empty upper, `upper`."""
    Path("upper").mkdir()
    return [*layers, "--upper", "upper"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Say what stdin has."""

    def say(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return say


def contents(directory: str) -> list[str]:
    """List all that an upper holds, its work area left out."""
    found = (path.relative_to(directory).as_posix() for path in Path(directory).rglob("*"))
    return sorted(name for name in found if not name.startswith(".wh..wh.unionpath"))


# --- cp --------------------------------------------------------------------------------------------


def test_cp_of_a_file(shell: Shell, union: list[str]) -> None:
    done = shell(*union, "cp", "etc/app.toml", "copy")
    assert (0, b"", "") == (done.code, done.out, done.err)
    assert b"top\n" == shell(*union, "cat", "copy").out


def test_cp_of_several_goes_into_a_directory(shell: Shell, union: list[str]) -> None:
    assert 0 == shell(*union, "cp", "etc/app.toml", "bin/run", "etc/d").code
    assert ["1", "2", "app.toml", "run"] == shell(*union, "ls", "etc/d").lines
    done = shell(*union, "cp", "etc/app.toml", "bin/run", "bin/run")
    assert (1, "unionpath: /bin/run: Not a directory\n") == (done.code, done.err)


def test_cp_of_a_directory_takes_r(shell: Shell, union: list[str]) -> None:
    done = shell(*union, "cp", "etc", "copy")
    assert (1, "unionpath: /etc: Is a directory (-r copies directories)\n") == (done.code, done.err)
    assert 0 == shell(*union, "cp", "-r", "etc", "copy").code
    assert ["app.toml", "d"] == shell(*union, "ls", "copy").lines
    assert ["1", "2"] == shell(*union, "ls", "copy/d").lines


def test_cp_follows_links_unless_recursive(shell: Shell, union: list[str]) -> None:
    Path("top/to").symlink_to("etc/app.toml")
    assert 0 == shell(*union, "cp", "to", "file").code
    assert 0 == shell(*union, "cp", "-r", "to", "other").code
    kinds = [each["kind"] for each in shell(*union, "stat", "--json", "file", "other").document["results"]]
    assert ["file", "symlink"] == kinds


def test_cp_crosses_to_the_host_and_back(shell: Shell, union: list[str], tmp_path: Path) -> None:
    assert 0 == shell(*union, "cp", "-r", "etc", f"host:{tmp_path}/out").code
    assert "top\n" == (tmp_path / "out" / "app.toml").read_text()
    (tmp_path / "out" / "app.toml").write_text("host\n")
    assert 0 == shell(*union, "cp", "-r", "host:out", "host:upper/../out/app.toml", "/").code
    assert b"host\nhost\n" == shell(*union, "cat", "/out/app.toml", "/app.toml").out


def test_a_name_that_begins_like_the_hosts_takes_a_slash(shell: Shell, union: list[str]) -> None:
    assert 0 == shell(*union, "cp", "etc/app.toml", "/host:x").code
    assert b"top\n" == shell(*union, "cat", "/host:x").out


def test_cp_preserves_when_asked(shell: Shell, union: list[str]) -> None:
    os.utime("top/bin/run", ns=(5, 5))
    assert 0 == shell(*union, "cp", "-p", "bin/run", "run").code
    (found,) = shell(*union, "stat", "--json", "run").document["results"]
    assert ("0755", 5) == (found["mode"], found["mtime_ns"])


def test_cp_onto_a_name_and_not_into_it(shell: Shell, union: list[str]) -> None:
    done = shell(*union, "cp", "-T", "etc/app.toml", "bin")
    assert (1, b"") == (done.code, done.out)
    assert done.err.startswith("unionpath: /etc/app.toml: Is a directory")
    assert ["run"] == shell(*union, "ls", "bin").lines


# --- mv --------------------------------------------------------------------------------------------


def test_mv_renames_and_leaves_a_whiteout(shell: Shell, union: list[str]) -> None:
    assert 0 == shell(*union, "mv", "etc/app.toml", "etc/new.toml").code
    assert ["d", "new.toml"] == shell(*union, "ls", "etc").lines
    assert ["etc", "etc/.wh.app.toml", "etc/new.toml"] == contents("upper")


def test_mv_of_a_directory_into_another(shell: Shell, union: list[str]) -> None:
    assert 0 == shell(*union, "mv", "etc/d", "bin").code
    assert ["1", "2"] == shell(*union, "ls", "bin/d").lines
    assert ["app.toml"] == shell(*union, "ls", "etc").lines


def test_mv_says_both_ends(shell: Shell, union: list[str]) -> None:
    done = shell(*union, "mv", "-T", "bin", "etc")
    assert 1 == done.code
    assert done.err == "unionpath: /bin: Directory not empty (to /etc)\n"


def test_mv_crosses_to_the_host_and_back(shell: Shell, union: list[str], tmp_path: Path) -> None:
    assert 0 == shell(*union, "mv", "etc/d", f"host:{tmp_path}").code
    assert ["1", "2"] == sorted(os.listdir("d"))
    assert ["app.toml"] == shell(*union, "ls", "etc").lines
    assert 0 == shell(*union, "mv", "host:d", "back").code
    assert ["1", "2"] == shell(*union, "ls", "back").lines
    assert not Path("d").exists()


# --- rm, mkdir, touch ------------------------------------------------------------------------------


@pytest.mark.rule("D7")
def test_rm(shell: Shell, union: list[str]) -> None:
    done = shell(*union, "rm", "etc", "bin/run", "nothing")
    assert 1 == done.code
    assert [
        "unionpath: /etc: Is a directory (-r removes directories, -d empty ones)",
        "unionpath: /nothing: No such file or directory",
    ] == done.err.splitlines()
    assert [] == shell(*union, "ls", "bin").lines
    assert 0 == shell(*union, "rm", "-d", "bin").code
    assert 0 == shell(*union, "rm", "-rf", "etc", "nothing", "etc/x").code
    assert ["broken", "link", r"$'new\nline'"] == shell(*union, "ls").lines
    assert [".wh.bin", ".wh.etc"] == contents("upper")


def test_rm_of_a_link_leaves_what_it_leads_to(shell: Shell, union: list[str]) -> None:
    assert 0 == shell(*union, "rm", "link").code
    assert ["1", "2"] == shell(*union, "ls", "etc/d").lines


@pytest.mark.rule("R6")
def test_rm_of_the_root_is_refused(shell: Shell, union: list[str]) -> None:
    done = shell(*union, "rm", "-rf", "/")
    assert (1, "unionpath: /: Device or resource busy\n") == (done.code, done.err)


def test_mkdir(shell: Shell, union: list[str]) -> None:
    done = shell(*union, "mkdir", "a/b", "etc")
    assert [
        "unionpath: /a/b: No such file or directory",
        "unionpath: /etc: File exists",
    ] == done.err.splitlines()
    assert 0 == shell(*union, "mkdir", "-p", "-m", "1777", "a/b", "etc").code
    assert 0o1777 == stat.S_IMODE(os.stat("upper/a/b").st_mode)
    assert 0o1777 != stat.S_IMODE(os.stat("upper/a").st_mode)
    assert ["a", "a/b"] == contents("upper")
    assert 2 == shell(*union, "mkdir", "-m", "888", "c").code


def test_touch(shell: Shell, union: list[str]) -> None:
    before = os.stat("top/etc/app.toml").st_mtime_ns
    assert 0 == shell(*union, "touch", "-c", "nothing").code
    assert 0 == shell(*union, "touch", "new", "etc/app.toml").code
    assert ["etc", "etc/app.toml", "new"] == contents("upper")
    assert os.stat("upper/etc/app.toml").st_mtime_ns > before


# --- write -----------------------------------------------------------------------------------------


@pytest.mark.rule("C11")
def test_write_replaces_and_appends(shell: Shell, union: list[str], typed: Callable[[bytes], None]) -> None:
    typed(b"new\n")
    assert 0 == shell(*union, "write", "etc/app.toml").code
    assert b"new\n" == shell(*union, "cat", "etc/app.toml").out
    typed(b"more\n")
    assert 0 == shell(*union, "write", "-a", "etc/app.toml").code
    assert b"new\nmore\n" == shell(*union, "cat", "etc/app.toml").out
    assert "top\n" == Path("top/etc/app.toml").read_text()


def test_write_where_there_is_no_directory(
    shell: Shell, union: list[str], typed: Callable[[bytes], None]
) -> None:
    typed(b"new\n")
    done = shell(*union, "write", "nothing/file")
    assert (1, "unionpath: /nothing/file: No such file or directory\n") == (done.code, done.err)


# --- without an upper ------------------------------------------------------------------------------


@pytest.mark.rule("E1")
@pytest.mark.parametrize(
    "command",
    ["rm bin/run", "rm -r etc", "mkdir new", "touch new", "mv bin/run run", "cp bin/run run", "write new"],
)
@pytest.mark.parametrize("plan", [[], ["plan"]], ids=["done", "planned"])
def test_without_an_upper_it_says_how_to_give_one(
    shell: Shell, layers: list[str], typed: Callable[[bytes], None], command: str, plan: list[str]
) -> None:
    typed(b"")
    done = shell(*layers, *plan, *command.split())
    assert (1, b"") == (done.code, done.out)
    assert "Read-only file system (there is no upper; give one with --upper DIR" in done.err


# --- changes ---------------------------------------------------------------------------------------


@pytest.fixture
def changed(union: list[str]) -> list[str]:
    """The union with an upper that was written by hand."""
    put(Path("upper"), {"etc/app.toml": "new", "etc/d/3": "", "etc/.wh.link": "", ".wh.bin": "", "x\x1b": ""})
    return union


def test_changes_of_an_upper(shell: Shell, changed: list[str]) -> None:
    done = shell(*changed, "changes")
    assert (0, "") == (done.code, done.err)
    assert ["D /bin", "M /etc/app.toml", "A /etc/d/3", r"A $'/x\e'"] == done.lines
    assert ["M /etc/app.toml"] == shell(*changed, "changes", "/etc/app.toml", "nothing").lines


def test_changes_as_json(shell: Shell, changed: list[str]) -> None:
    document = shell(*changed, "changes", "--json", "etc", "bin").document
    assert ("changes", []) == (document["command"], document["errors"])
    assert [
        {"path": "/bin", "change": "deleted", "kind": "directory", "was": "directory"},
        {"path": "/etc/app.toml", "change": "modified", "kind": "file", "was": "file"},
        {"path": "/etc/d/3", "change": "added", "kind": "file", "was": None},
    ] == document["results"]


def test_changes_without_an_upper(shell: Shell, layers: list[str]) -> None:
    done = shell(*layers, "changes")
    assert (2, b"") == (done.code, done.out)
    assert "there is no upper" in done.err


# --- plan ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "rm -r etc",
        "rm bin/run",
        "mv etc etc2",
        "mv bin/run host:out",
        "mkdir -p a/b/c",
        "touch bin/run new",
        "write etc/app.toml",
        "cp -r etc new",
        "cp -r host:top new",
    ],
)
def test_plan_says_steps_and_does_nothing(shell: Shell, union: list[str], command: str) -> None:
    done = shell(*union, "plan", *command.split())
    assert (0, "") == (done.code, done.err)
    assert done.lines
    assert [] == contents("upper")
    assert not Path("out").exists()
    (*_others, last) = shell(*union, "plan", "--json", *command.split()).document["results"]
    assert {"step", "path", "text"} == set(last["steps"][-1])


def test_plan_of_rm_names_the_whiteout(shell: Shell, union: list[str]) -> None:
    assert ["put whiteout /etc"] == shell(*union, "plan", "rm", "-r", "etc").lines


def test_plan_of_cp_names_all_that_is_made(shell: Shell, union: list[str]) -> None:
    lines = shell(*union, "plan", "cp", "-r", "etc", "new").lines
    assert [
        "make directory /new",
        "write new file /new/app.toml, 4 bytes",
        "make directory /new/d",
        "write new file /new/d/1, 0 bytes",
        "write new file /new/d/2, 0 bytes",
    ] == lines


def test_plan_of_nothing(shell: Shell, union: list[str]) -> None:
    assert ["nothing to do"] == shell(*union, "plan", "rm", "-f", "nothing").lines


def test_plan_fails_as_the_command_would(
    shell: Shell, union: list[str], typed: Callable[[bytes], None]
) -> None:
    typed(b"")
    for command in ("rm nothing", "mkdir etc", "mv nothing x", "rm etc", "write nothing/x", "mkdir a/b"):
        planned = shell(*union, "plan", *command.split())
        done = shell(*union, *command.split())
        assert (1, b"") == (planned.code, planned.out)
        assert done.err == planned.err


# --- use -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cp", "a"], "where 'a' is to go"),
        (["mv", "host:a", "host:b"], "the system's own cp and mv"),
        (["cp", "host:", "b"], "host: is followed by a path"),
        (["mkdir", "-m", "rwx", "a"], "is no mode"),
        (["plan"], "Missing command"),
        (["plan", "ls"], "No such command"),
        (["write"], "Missing argument"),
    ],
)
def test_wrong_use(shell: Shell, union: list[str], arguments: list[str], message: str) -> None:
    done = shell(*union, *arguments)
    assert (2, b"") == (done.code, done.out)
    assert message in done.err


@pytest.mark.rule("E3")
def test_an_upper_of_other_lowers_is_taken_over_when_asked(shell: Shell, union: list[str]) -> None:
    assert 0 == shell(*union, "touch", "new").code
    other = ["--lower", "bottom", "--upper", "upper"]
    done = shell(*other, "ls")
    assert 2 == done.code
    assert "--adopt" in done.err
    assert 0 == shell(*other, "ls", "--adopt").code


def test_every_member_of_the_json_is_in_the_reference(shell: Shell, union: list[str]) -> None:
    reference = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    promised = set(re.findall(r"`(\w+)`", reference.partition("## JSON")[2].partition("\n## ")[0]))
    runs = ["plan mv etc/app.toml new", "mv etc/app.toml new", "rm bin/run", "changes"]
    documents = [shell(*run.split(), *union, "--json").document for run in runs]
    assert ["plan", "mv", "rm", "changes"] == [document["command"] for document in documents]
    members = {name for document in documents for result in document["results"] for name in result}
    assert set() == members - promised
