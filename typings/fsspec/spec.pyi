from typing import IO, Any, ClassVar, Literal, overload

# What a file system tells of an object is `dict[str, object]`: it holds `name`, `size` and `type`, and what
# else the file system knows. A TypedDict would promise more than the many implementations keep.

class _Cached(type):
    def __init__(cls, *args: object, **kwargs: object) -> None: ...
    # A second call with the same arguments gives the same object; the type stays that of the class called.
    def __call__(cls, *args: object, **kwargs: object) -> Any: ...

class AbstractFileSystem(metaclass=_Cached):
    protocol: ClassVar[str | tuple[str, ...]]
    async_impl: ClassVar[bool]

    def __init__(self, *args: object, **storage_options: object) -> None: ...
    @overload
    def ls(self, path: str, detail: Literal[True] = True, **kwargs: object) -> list[dict[str, object]]: ...
    @overload
    def ls(self, path: str, detail: Literal[False], **kwargs: object) -> list[str]: ...
    def info(self, path: str, **kwargs: object) -> dict[str, object]: ...
    def open(
        self,
        path: str,
        mode: Literal["rb"] = "rb",
        block_size: int | None = None,
        cache_options: dict[str, object] | None = None,
        compression: str | None = None,
        **kwargs: object,
    ) -> IO[bytes]: ...
    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: object
    ) -> bytes: ...
    def invalidate_cache(self, path: str | None = None) -> None: ...
    def mv(
        self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **kwargs: object
    ) -> None: ...
    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None: ...
