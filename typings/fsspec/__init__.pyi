# Only what unionpath calls; `python -m mypy.stubtest --ignore-missing-stub fsspec` compares it with the real one.
from fsspec.spec import AbstractFileSystem as AbstractFileSystem
