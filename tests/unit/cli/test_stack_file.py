from __future__ import annotations

from pathlib import Path

import pytest

from shell import Shell, put
from unionpath.cli.failures import BadUnionError
from unionpath.cli.stack_file import read_stack_file


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    put(tmp_path / "site", {"etc/a": "site"})
    put(tmp_path / "vendor", {"etc/a": "vendor", "etc/b": "vendor"})
    (tmp_path / "changes").mkdir()
    return tmp_path


def written(base: Path, text: str) -> str:
    return str(put(base, {"stack.toml": text}) / "stack.toml")


def test_everything_that_can_be_said(trees: Path) -> None:
    stack = read_stack_file(
        written(
            trees,
            """
            name = "everything"
            rename_dir = "exdev"
            on_layer_error = "skip"
            durability = "volatile"
            case = "insensitive"

            [cache]
            ttl = 2
            max_entries = 10

            [upper]
            source = "changes"
            workdir = "work"

            [[lower]]
            source = "site"
            name = "the site"
            whiteouts = "overlayfs"
            userxattr = true

            [[lower]]
            source = "vendor"
            root = "/etc"
            at = "/usr/share"
            immutable = true
            """,
        )
    )
    assert ["changes", "the site", "vendor"] == [layer.name for layer in stack.layers]
    assert stack.upper is stack.layers[0]
    assert str(trees / "work") == stack.layers[0].workdir
    assert ("overlayfs", True) == (stack.layers[1].format.name, stack.layers[2].immutable)
    assert str(trees / "vendor") == stack.layers[2].source
    assert ("everything", "insensitive", "exdev") == (stack.name, stack.case, stack.rename_dir)
    assert "vendor" == (stack / "usr/share/b").read_text()


def test_short_forms_and_the_default(trees: Path) -> None:
    stack = read_stack_file(written(trees, 'lower = ["site", { source = "vendor" }]\nupper = "changes"'))
    assert ["changes", "site", "vendor"] == [layer.name for layer in stack.layers]
    assert "vendor" == (stack / "etc/b").read_text()


def test_directories_are_relative_to_the_file(
    trees: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(trees, 'lower = ["site"]')
    monkeypatch.chdir("/")
    assert ["etc"] == shell("ls", "--stack", file).lines
    assert ["etc"] == shell("ls", "--lower", trees / "vendor").lines
    monkeypatch.setenv("UNIONPATH_STACK", file)
    assert b"site" == shell("cat", "etc/a").out
    # What the command line says counts more than the environment.
    assert b"vendor" == shell("cat", "etc/a", "--lower", trees / "vendor").out


def test_a_url_stays_what_it_is(trees: Path) -> None:
    stack = read_stack_file(written(trees, f'lower = ["file://{trees}/site"]'))
    assert "site" == (stack / "etc/a").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a stack needs at least one layer"),
        ("x = = 1", "Invalid value (at line 1, column 5)"),
        ('lowers = ["site"]', "unknown key 'lowers'; known are rename_dir"),
        ('lower = "site"', "lower: a list is expected, not 'site'"),
        ("lower = [3]", "lower[1]: text or a table is expected, not 3"),
        ('lower = ["site", { name = "x" }]', "lower[2]: source is missing"),
        ('lower = [{ source = "site", at = 3 }]', "lower[1]: at: text is expected, not 3"),
        ('lower = [{ source = "site", imutable = true }]', "lower[1]: unknown key 'imutable'"),
        ('lower = [{ source = "site", workdir = "w" }]', "lower[1]: unknown key 'workdir'"),
        ('lower = [{ source = "site", immutable = 1 }]', "immutable: true or false is expected, not 1"),
        ('lower = [{ source = "site", whiteouts = "x" }]', "lower[1]: whiteouts='x': pick one of"),
        ('lower = [{ source = "site", root = "/nope" }]', "lower[1]: "),
        ('lower = ["nope"]', "lower[1]: No such file or directory: "),
        ('lower = [""]', "lower[1]: a layer's path is empty"),
        ('lower = ["site"]\nupper = "site"', "given twice, as upper site and lower[1] site;"),
        ('lower = ["site"]\nupper = 3', "upper: text or a table is expected, not 3"),
        ('lower = ["site"]\nupper = "site/etc"', "one layer lies inside another"),
        ('lower = ["site", "site"]', "the same tree is given twice"),
        ('rename_dir = "x"\nlower = ["site"]', "rename_dir='x': pick one of"),
        ('lower = ["site"]\ncache = 5', "cache: a table is expected, not 5"),
        ('lower = ["site"]\ncache = { ttl = true }', "cache: ttl: a number is expected, not True"),
        ('lower = ["site"]\ncache = { ttl = -1 }', "cache: Cache(ttl="),
        ('lower = ["site"]\ncache = { max_entries = 1.5 }', "max_entries: a whole number is expected"),
    ],
)
def test_a_file_that_is_wrong_says_where(trees: Path, text: str, message: str) -> None:
    file = written(trees, text)
    with pytest.raises(BadUnionError) as caught:
        read_stack_file(file)
    assert caught.value.message.startswith(f"{file}: ")
    assert message in caught.value.message
    assert 2 == caught.value.exit_code


def test_a_file_that_is_no_text(trees: Path) -> None:
    (trees / "stack.toml").write_bytes(b"lower = ['\xff']")
    with pytest.raises(BadUnionError, match="codec can't decode"):
        read_stack_file(str(trees / "stack.toml"))
    with pytest.raises(BadUnionError, match="Is a directory"):
        read_stack_file(str(trees))
