from __future__ import annotations

from pathlib import Path

import pytest

from shell import Shell, put


@pytest.fixture
def shell(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("FORCE_COLOR", "NO_COLOR", "UNIONPATH_STACK"):
        monkeypatch.delenv(name, raising=False)
    return Shell(capsysbinary)


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three layers, `top`, `middle` and `bottom`, in the current directory, as the options that name them."""
    put(tmp_path / "top", {"etc/app.toml": "top\n", "etc/d/1": "", "bin/run": "#!\n"})
    put(tmp_path / "middle", {"etc/.wh.gone": "", "etc/d/.wh..wh..opq": "", "etc/d/2": ""})
    put(
        tmp_path / "bottom",
        {"etc/app.toml": "bottom\n", "etc/gone": "gone\n", "etc/d/3": "", "new\nline": ""},
    )
    (tmp_path / "top" / "bin" / "run").chmod(0o755)
    (tmp_path / "bottom" / "link").symlink_to("etc/d")
    (tmp_path / "bottom" / "broken").symlink_to("etc/nothing")
    monkeypatch.chdir(tmp_path)
    return ["--lower", "top", "--lower", "middle", "--lower", "bottom"]
