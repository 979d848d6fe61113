from __future__ import annotations

import errno
import io
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shell import Shell, put
from unionpath import Layer, LayerStack, UnionPath
from unionpath.cli.look import BLOCK, Look

# --- ls --------------------------------------------------------------------------------------------


def test_ls_lists_the_merged_root_by_default(shell: Shell, layers: list[str]) -> None:
    done = shell(*layers, "ls")
    assert (0, "") == (done.code, done.err)
    assert ["bin", "broken", "etc", "link", r"$'new\nline'"] == done.lines


def test_ls_of_several_shows_files_first_and_then_each_directory(shell: Shell, layers: list[str]) -> None:
    done = shell(*layers, "ls", "etc", "bin/run", "link")
    expected = ["/bin/run", "", "/etc:", "app.toml", "d", "", "/link:", "1", "2"]
    assert expected == done.lines


def test_ls_long_says_which_layer_each_name_comes_from(shell: Shell, layers: list[str]) -> None:
    rows = [line.split() for line in shell(*layers, "ls", "-la").lines]
    assert ["top", "bottom", "top", "bottom", "bottom"] == [row[6] for row in rows]
    assert ["link", "->", "etc/d"] == next(row[7:] for row in rows if row[7] == "link")
    assert "drwxr-xr-x" == rows[0][0]


def test_ls_aligns_and_puts_columns_on_a_terminal(
    shell: Shell, layers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from unionpath.cli import screen

    monkeypatch.setattr(screen.Screen, "columns", 20)
    put(Path("top/many"), dict.fromkeys(("a", "bb", "日本", "dddd", "e"), ""))
    assert ["a     dddd  日本", "bb    e"] == shell(*layers, "ls", "many").lines


def test_ls_reports_what_vanished_and_shows_the_rest(
    shell: Shell, layers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    item = Look.item

    def vanish(self: Look, path: object, **options: bool) -> object:
        if str(path) == "/etc/d":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/etc/d")
        return item(self, path, **options)  # type: ignore[arg-type]  # any path that the command made

    monkeypatch.setattr(Look, "item", vanish)
    done = shell(*layers, "ls", "/etc")
    assert (1, ["app.toml"]) == (done.code, done.lines)
    assert "unionpath: /etc/d: No such file or directory\n" == done.err


# --- cat -------------------------------------------------------------------------------------------


def test_cat_writes_bytes_as_they_are(shell: Shell, layers: list[str]) -> None:
    put(Path("top"), {"bytes": bytes(range(256))})
    assert b"top\n" + bytes(range(256)) == shell(*layers, "cat", "etc/app.toml", "/bytes").out


def test_cat_goes_on_after_a_failure(shell: Shell, layers: list[str]) -> None:
    done = shell(*layers, "cat", "etc/nope", "etc", "etc/gone", "broken", "bin/run/x", "etc/app.toml")
    assert (1, b"top\n") == (done.code, done.out)
    assert [
        "unionpath: /etc/nope: No such file or directory",
        "unionpath: /etc: Is a directory",
        "unionpath: /etc/gone: No such file or directory (whiteout of /etc/gone in middle)",
        "unionpath: /broken: No such file or directory (it leads to /etc/nothing)",
        "unionpath: /bin/run/x: Not a directory",
    ] == done.err.splitlines()


def test_cat_of_a_pipe_does_not_wait_for_a_writer(shell: Shell, layers: list[str]) -> None:
    os.mkfifo("top/pipe")
    done = shell(*layers, "cat", "pipe")
    assert (0, b"") == (done.code, done.out)


def test_cat_holds_one_block_at_a_time(shell: Shell, layers: list[str]) -> None:
    sizes: list[int] = []

    class Counting(io.BytesIO):
        def write(self, data: object) -> int:
            assert isinstance(data, bytes)
            sizes.append(len(data))
            return len(data)

    put(Path("top"), {"big": bytes(3 * BLOCK + 1)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(Counting()))
        from unionpath.cli import main

        assert 0 == main([*layers, "cat", "big"])
    assert [BLOCK, BLOCK, BLOCK, 1] == sizes


# --- tree ------------------------------------------------------------------------------------------


def test_tree_draws_all_below_and_marks_layers_when_asked(shell: Shell, layers: list[str]) -> None:
    assert [
        "/  [top, middle, bottom]",
        "├── bin  [top]",
        "│   └── run  [top]",
        "├── broken -> etc/nothing  [bottom]",
        "├── etc  [top, middle, bottom]",
        "│   ├── app.toml  [top]",
        "│   └── d  [top, middle]",
        "│       ├── 1  [top]",
        "│       └── 2  [middle]",
        "├── link -> etc/d  [bottom]",
        r"└── $'new\nline'  [bottom]",
        "",
        "3 directories, 7 files",
    ] == shell(*layers, "tree", "--layers").lines


def test_tree_stops_at_a_depth(shell: Shell, layers: list[str]) -> None:
    assert ["/etc", "├── app.toml", "└── d", "", "1 directory, 1 file"] == shell(
        *layers, "tree", "--depth", "1", "etc"
    ).lines


def test_tree_of_a_file_is_an_error(shell: Shell, layers: list[str]) -> None:
    done = shell(*layers, "tree", "etc/app.toml")
    assert (1, b"", "unionpath: /etc/app.toml: Not a directory\n") == (done.code, done.out, done.err)


@pytest.mark.changes_lowers("to see the union follow")
def test_tree_of_a_thousand_levels(shell: Shell, layers: list[str]) -> None:
    deep = Path("top/deep")
    for _level in range(1200):
        deep.mkdir()
        deep /= "d"
    try:
        done = shell(*layers, "tree", "--json", "deep")
        drawn = shell(*layers, "tree", "deep")
    finally:
        subprocess.run(["rm", "-r", "top/deep"], check=True)  # shutil's recursion gives up here
    assert 1199 == done.document["results"][0]["entries"][-1]["depth"]
    assert "1199 directories, 0 files" == drawn.lines[-1]


# --- stat, explain ---------------------------------------------------------------------------------


def test_stat_shows_an_object_and_its_layers(shell: Shell, layers: list[str]) -> None:
    lines = shell(*layers, "stat", "/etc/d", "/link").lines
    assert "/etc/d" == lines[0]
    assert ["  layer     top", "  merges    middle"] == lines[11:13]
    assert "/link -> etc/d" == lines[13]
    assert "  kind      directory" in shell(*layers, "stat", "-L", "/link").lines


def test_explain_has_a_line_for_every_layer(shell: Shell, layers: list[str]) -> None:
    done = shell(*layers, "explain", "etc/gone")
    here = Path.cwd()
    assert (0, "") == (done.code, done.err)
    assert [
        "/etc/gone: nothing",
        "  absent    top",
        "  whiteout  middle",
        f"  hidden    bottom  file {here}/bottom/etc/gone  (whiteout of /etc/gone in middle)",
    ] == done.lines


def test_explain_says_what_is_in_the_way(shell: Shell, layers: list[str]) -> None:
    beneath = "/etc/app.toml/x"
    first = shell(*layers, "explain", beneath).lines[0]
    assert "/etc/app.toml/x: nothing, because /etc/app.toml is a file in top" == first
    said = str(UnionPath(LayerStack([Layer(name, name=name) for name in layers[1::2]]), beneath).explain())
    assert said.startswith(f"{first}\n")


# --- JSON ------------------------------------------------------------------------------------------


def test_every_command_prints_one_document_of_one_shape(shell: Shell, layers: list[str]) -> None:
    for command in ("ls", "cat", "tree", "stat", "explain"):
        done = shell(command, *layers, "--json", "/etc", "/loop/x")
        document = done.document
        assert {"version", "command", "results", "errors"} == set(document)
        assert (1, command) == (document["version"], document["command"])
        assert done.code == int(bool(document["errors"]))


def test_json_of_ls_has_details_when_asked(shell: Shell, layers: list[str]) -> None:
    (short,) = shell(*layers, "ls", "--json", "etc").document["results"]
    assert {"name": "app.toml", "kind": "file"} == short["entries"][0]
    (long,) = shell(*layers, "ls", "--json", "-l", "etc").document["results"]
    found, status = long["entries"][0], Path("top/etc/app.toml").stat()
    assert ("top", ["top"], 4) == (found["layer"], found["layers"], found["size"])
    assert (f"{stat.S_IMODE(status.st_mode):04o}", status.st_mtime_ns) == (found["mode"], found["mtime_ns"])
    assert ["top", "middle"] == long["entries"][1]["layers"]


def test_json_of_cat_is_text_or_base64(shell: Shell, layers: list[str]) -> None:
    put(Path("top"), {"bytes": b"\xff\0"})
    assert [
        {"path": "/etc/app.toml", "size": 4, "text": "top\n"},
        {"path": "/bytes", "size": 2, "base64": "/wA="},
    ] == shell(*layers, "cat", "--json", "etc/app.toml", "bytes").document["results"]


def test_json_of_explain(shell: Shell, layers: list[str]) -> None:
    (found,) = shell(*layers, "explain", "--json", "etc/gone").document["results"]
    assert ("/etc/gone", "/etc/gone", None, None, None) == tuple(
        found[key] for key in ("path", "real_path", "kind", "provider", "obstacle")
    )
    assert {
        "layer": "bottom",
        "role": "hidden",
        "kind": "file",
        "place": str(Path.cwd() / "bottom/etc/gone"),
        "hidden_by": "whiteout of /etc/gone in middle",
    } == found["layers"][2]
    (beneath,) = shell(*layers, "explain", "--json", "etc/app.toml/x").document["results"]
    assert "/etc/app.toml is a file in top" == beneath["obstacle"]


def test_every_member_of_the_json_is_in_the_reference(shell: Shell, layers: list[str]) -> None:
    reference = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    promised = set(re.findall(r"`(\w+)`", reference.partition("## JSON")[2].partition("\n## ")[0]))
    put(Path("top"), {"bytes": b"\xff\0"})
    runs = ["ls -l", "tree --layers", "stat", "explain", "cat"]
    documents = [
        shell(*run.split(), *layers, "--json", "/etc", "/link", "/bytes", "/nothing").document for run in runs
    ]
    assert set() == {name for name in _members(documents) if not name.endswith("_base64")} - promised


def _members(value: object) -> set[str]:
    """Collect the names of members, however deep."""
    if isinstance(value, dict):
        return {str(key) for key in value}.union(*map(_members, value.values()))
    return set().union(*map(_members, value)) if isinstance(value, list) else set()


def test_json_names_errors_by_their_constant(shell: Shell, layers: list[str]) -> None:
    done = shell(*layers, "cat", "--json", "etc/gone", "etc/app.toml")
    assert 1 == done.code
    assert 1 == len(done.document["results"])
    assert [
        {
            "path": "/etc/gone",
            "error": "ENOENT",
            "message": "No such file or directory",
            "hint": "whiteout of /etc/gone in middle",
        }
    ] == done.document["errors"]


def test_names_that_are_no_text_survive(shell: Shell, layers: list[str]) -> None:
    put(Path("top/odd"), {os.fsdecode(b"a\xff\x1b[2Jb"): ""})
    assert [r"$'a\xff\e[2Jb'"] == shell(*layers, "ls", "odd").lines
    (found,) = shell(*layers, "ls", "--json", "odd").document["results"]
    assert {"name": "a\ufffd\x1b[2Jb", "name_base64": "Yf8bWzJKYg==", "kind": "file"} == found["entries"][0]
    done = shell(*layers, "cat", os.fsdecode(b"/nope\xff\x1b"))
    assert "unionpath: $'/nope\\xff\\e': No such file or directory\n" == done.err


# --- which union -----------------------------------------------------------------------------------


def test_options_stand_before_or_after_the_command(shell: Shell, layers: list[str]) -> None:
    expected = shell(*layers, "ls", "-l").out
    assert expected == shell("ls", "-l", "/", *layers).out
    assert expected == shell("--lower", "top", "ls", "-l", "--lower=middle", "--lower", "bottom").out
    assert shell(*layers[2:], "--upper", "top", "ls", "-l").out == expected
    assert shell("--upper", "top", "ls").lines == ["bin", "etc"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ls"], "Which union?"),
        (["--lower", "top", "ls", "--stack", "x.toml"], "--stack says all of the layers"),
        (["--lower", "top"], "Missing command"),
        (["--lower", "top", "cat"], "Missing argument"),
        (["--lower", "top", "nope"], "No such command"),
        (["--lower", "top", "ls", "--\x1b[2J"], "No such option"),
        (["--lower", "top", "tree", "--depth", "0"], "0 is not in the range"),
        (["--lower", "top", "cat", "a\0b"], "embedded null byte"),
        (["--lower", "top", "cat", "\ud800"], "surrogates not allowed"),
        (["--lower", "nope", "ls"], "unionpath: --lower nope: No such file or directory: "),
        (["--lower", "top/bin/run", "ls"], "unionpath: --lower top/bin/run: Not a directory"),
        (["--lower", "", "ls"], "a layer's path is empty"),
        (["--upper", "nope://x", "ls"], "unionpath: --upper nope://x: "),
        (["--lower", "top", "--lower", "./top", "ls"], "given twice, as --lower top and --lower ./top;"),
        (["--lower", "top", "--lower", "top", "ls"], "given twice, as --lower top and --lower top;"),
        (["--lower", "top", "--upper", "top", "ls"], "given twice, as --upper top and --lower top;"),
        (["--lower", "top", "--upper", "top/etc", "ls"], "inside another: --upper top/etc in --lower top;"),
        (["--stack", "nope.toml", "ls"], "unionpath: nope.toml: No such file or directory\n"),
    ],
)
def test_wrong_use(shell: Shell, layers: list[str], arguments: list[str], message: str) -> None:
    done = shell(*arguments)
    assert (2, b"") == (done.code, done.out)
    assert message in done.err
    assert done.err.replace("\n", "").isprintable()


def test_help_and_version_need_no_union(shell: Shell) -> None:
    assert 0 == shell("--help").code
    assert 0 == shell("tree", "-h").code
    assert shell("--version").lines[0].startswith("unionpath")


# --- faults ----------------------------------------------------------------------------------------


def test_a_fault_of_a_layer_names_the_layer(shell: Shell, layers: list[str]) -> None:
    put(Path("middle/bad"), {".wh.": ""})
    done = shell(*layers, "ls", "bad", "etc")
    assert (1, ["/etc:", "app.toml", "d"]) == (done.code, done.lines)
    assert done.err.startswith("unionpath: /bad: Input/output error (layer 'middle' (")


def test_a_warning_is_one_line(shell: Shell, layers: list[str]) -> None:
    put(Path("top/etc"), {".wh..wh.opq": ""})
    done = shell(*layers, "ls", "etc")
    assert (0, 1) == (done.code, done.err.count("\n"))
    assert done.err.startswith("unionpath: warning: ")


def test_ctrl_c_is_130(shell: Shell, layers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> Iterator[bytes]:
        yield b"begun"
        raise KeyboardInterrupt

    monkeypatch.setattr(Look, "blocks", interrupted)
    done = shell(*layers, "cat", "etc/app.toml")
    assert (130, b"begun", "") == (done.code, done.out, done.err)


def test_colours_where_they_are_wanted(
    shell: Shell, layers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    put(Path("top/odd"), {"[red]x": "", ":smile:": "", "x" * 200: ""})
    (Path("top/odd") / "dir").mkdir()
    plain = [":smile:", "[red]x", "\x1b[1;34mdir\x1b[0m", "x" * 200]
    assert plain == shell(*layers, "ls", "odd").lines
    monkeypatch.setenv("NO_COLOR", "1")
    assert "dir" == shell(*layers, "ls", "odd").lines[2].replace("\x1b[1m", "").replace("\x1b[0m", "")
