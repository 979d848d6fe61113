"""A trial of changes to the web shop: all of them in an upper of its own, none in the trees of show.py."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from unionpath import Layer, LayerStack, UnionPath

HERE = Path(__file__).parent
LAYERS = [Layer(HERE / name, name=name) for name in ("site", "hardening", "vendor")]  # top first


def prepare_spring_sale(root: UnionPath) -> None:
    settings = root / "etc/shop/shop.toml"
    settings.write_text(settings.read_text() + "\n[sale]\npercent = 20\n")  # whole or not at all
    with (root / "share/mail/welcome.txt").open("a") as mail:  # copied up at the first byte
        mail.write("Everything is 20 % off until May.\n")
    (root / "share/mail/invoice.txt").unlink()
    (root / "share/themes/plain").rename(root / "share/themes/classic")
    payments = root / "etc/shop/payment.d"
    payments.rmtree()
    payments.mkdir()  # what was in it stays away
    (payments / "10-card.toml").write_text("name = 'Card'\n")


def main(upper: Path) -> None:
    with LayerStack(LAYERS, upper=Layer(upper, name="sale")) as stack:
        prepare_spring_sale(stack.root)

        print("What was changed (A: added, M: modified, D: deleted, O: all of the lowers hidden):")
        for change in stack.changes():
            print(f"  {change}")

        print("\nWhy there is no invoice:")
        print((stack / "share/mail/invoice.txt").explain())

    with LayerStack(LAYERS) as stack:
        print("\nWithout the upper all is as it was:")
        print(f"  {stack / 'share/mail/invoice.txt'} exists: {(stack / 'share/mail/invoice.txt').exists()}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))  # an empty directory, to look at afterwards
    else:
        with TemporaryDirectory() as scratch:
            main(Path(scratch))
