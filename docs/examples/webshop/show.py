"""The files of a web shop, from three trees: the site's own, a hardening layer, the packager's defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path

from unionpath import Layer, LayerStack, UnionPath

HERE = Path(__file__).parent
LAYERS = [Layer(HERE / name, name=name) for name in ("site", "hardening", "vendor")]  # top first


def show_tree(root: UnionPath) -> None:
    for directory, directories, files in root.walk():
        directories.sort()
        for name in sorted(files):
            path = directory / name
            target = f" -> {path.readlink()}" if path.is_symlink() else ""
            print(f"  {path.layer.name:10} {path}{target}")


def merged_settings(path: UnionPath) -> dict[str, str]:
    """Every setting as `section.key`, with its value and the layer that gave it; the topmost wins."""
    settings: dict[str, str] = {}
    for version in reversed(path.versions()):
        for section, values in tomllib.loads(version.read_text()).items():
            for key, value in values.items():
                settings[f"{section}.{key}"] = f"{value!r:22} from {version.layer.name}"
    return settings


def main() -> None:
    with LayerStack(LAYERS) as stack:
        print("What the shop sees, and who provides it:")
        show_tree(stack.root)

        print("\nSettings of all layers, merged key by key:")
        for key, value in merged_settings(stack / "etc/shop/shop.toml").items():
            print(f"  {key:22} = {value}")

        print("\nThe style sheet, through links of two layers:")
        style = stack / "share/style.css"
        print(f"  {style} is {style.resolve()}: {style.read_text().strip()}")

        print("\nWhy there are no demo users:")
        print((stack / "etc/shop/demo-users.toml").explain())


if __name__ == "__main__":
    main()
