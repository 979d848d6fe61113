"""
How an absence is written down: one format per file, each with the face of `model.whiteout.WhiteoutFormat`.

To add a format, add a file here and a row to `opener.py`; `tests/contract/format_contract.py` says whether
it is one.

A format reads through the `Directory` handles it is given and writes nothing. It says *as data* what stands
for a whiteout or for an opaque directory (an empty file of some name, a device, an attribute, lines of a
table); the planner makes steps of that, and `mutate/apply.py` is the only writer. Rule L6 decides the order
of those steps (E5): mark, then remove; publish, then unmark. Reading relies on it, where `probe` asks for
the object first. `docs/reference/formats.md` has all that is written, byte by byte.
"""
