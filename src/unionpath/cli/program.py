"""The commands: each asks the union (`look`) and hands the answer to `people` or to `documents`."""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import click
from typing_extensions import override

from unionpath.cli import documents, people
from unionpath.cli.changing import COMMANDS, changes, plan
from unionpath.cli.failures import complain
from unionpath.cli.job import Job, job_of, paths_argument
from unionpath.cli.look import Item, Listing
from unionpath.cli.screen import write_what_is_possible
from unionpath.cli.spelling import escaped
from unionpath.cli.union import union_options


def run(arguments: Sequence[str] | None) -> int:
    """Run the command line; give the exit code."""
    write_what_is_possible()
    try:
        code: object = program.main(arguments, prog_name="unionpath", standalone_mode=False)
    except click.ClickException as error:
        words = io.StringIO()
        error.show(words)
        sys.stderr.write(escaped(words.getvalue(), keep="\n"))
        return error.exit_code
    except click.Abort:
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


_INTERRUPTED = 128 + signal.SIGINT
_BROKEN_PIPE = 128 + 13  # SIGPIPE, which Windows has no name for


class Program(click.Group):
    """The group of commands, and what ends all of them alike."""

    @override
    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a reader that left, a full disk and Ctrl-C end it without a traceback."""
        try:
            with _warnings_as_lines():
                value: object = super().invoke(ctx)
                sys.stdout.flush()
                return value
        except BrokenPipeError:
            _let_go_of_stdout()
            ctx.exit(_BROKEN_PIPE)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)
        except OSError as error:
            _let_go_of_stdout()
            print(f"unionpath: standard output: {error.strerror or error}", file=sys.stderr)
            ctx.exit(1)


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"unionpath {version('unionpath')}")
        except PackageNotFoundError:
            click.echo("unionpath, not installed")
        context.exit()


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@union_options
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def program() -> None:
    """
    Look at many directory trees as one, and change that one.

    A PATH is a path in the union; it starts at the root with or without a slash. The options that say which
    union may stand before the command or after it. Changes need an upper; the lowers never change.
    """


@program.command()
@union_options
@click.option(
    "-a", "--all", is_flag=True, expose_value=False, help="For habit's sake: no name is ever left out."
)
@click.option("-l", "--long", is_flag=True, help="Mode, owner, group, size, time and layer of each name.")
@paths_argument(required=False)
@click.pass_context
def ls(context: click.Context, paths: tuple[str, ...], long: bool) -> None:
    """List the merged names of directories."""
    with job_of(context) as job:
        tried = [job.look.listing(path, details=long) for path in job.paths(paths or ("/",))]
        listings = [found for found in tried if found is not None]
        if not job.wish.json:
            _show_listings(job, listings, long=long, headers=len(paths) > 1)
        job.finish([documents.listing(found, job.layers) for found in listings])


def _show_listings(job: Job, listings: Sequence[Listing], *, long: bool, headers: bool) -> None:
    """Show what is no directory first, all together, as ls does; then each directory."""

    def put(items: Sequence[Item], *, as_paths: bool = False) -> None:
        columns = job.screen.columns
        job.screen.put(
            people.long_lines(items, job.layers, as_paths=as_paths)
            if long
            else people.names(items, columns, as_paths=as_paths)
        )

    others = [found.top for found in listings if found.entries is None]
    put(others, as_paths=True)
    is_first = not others
    for found in listings:
        if found.entries is not None:
            if headers:
                job.screen.put(people.header(found.top, is_first=is_first))
            put(found.entries)
            is_first = False


@program.command()
@union_options
@paths_argument(required=True)
@click.pass_context
def cat(context: click.Context, paths: tuple[str, ...]) -> None:
    """Write out the bytes of files."""
    with job_of(context) as job:
        results: list[Mapping[str, object]] = []
        output = sys.stdout.buffer
        for path in job.paths(paths):
            failed = len(job.report.failures)
            kept: list[bytes] = []
            for block in job.look.blocks(path):
                if job.wish.json:
                    kept.append(block)
                else:
                    output.write(block)
            if job.wish.json and len(job.report.failures) == failed:
                results.append(documents.content(str(path), b"".join(kept)))
        job.finish(results)


@program.command()
@union_options
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Go down so many levels.")
@click.option("--layers", is_flag=True, help="Mark what each layer has a part in.")
@paths_argument(required=False)
@click.pass_context
def tree(context: click.Context, paths: tuple[str, ...], depth: int | None, layers: bool) -> None:
    """
    Draw all that is below directories.

    Links are shown, not followed.
    """
    with job_of(context) as job:
        results: list[Mapping[str, object]] = []
        for path in job.paths(paths or ("/",)):
            nodes = job.look.tree(path, depth=depth, layers=layers)
            if job.wish.json:
                if found := list(nodes):
                    results.append(documents.tree(found, job.layers))
                continue
            branches = people.Branches(job.screen.guides)
            job.screen.put(branches.line(node, job.layers) for node in nodes)
            job.screen.put(branches.summary())
        job.finish(results)


@program.command()
@union_options
@click.option("-L", "--follow", is_flag=True, help="Where a link leads, not the link.")
@paths_argument(required=True)
@click.pass_context
def stat(context: click.Context, paths: tuple[str, ...], follow: bool) -> None:
    """Show kind, size, mode, owner, times and layers."""
    with job_of(context) as job:
        results: list[Mapping[str, object]] = []
        for path in job.paths(paths):
            found = job.look.status(path, follow=follow)
            if found is not None and job.wish.json:
                results.append(documents.item(found, job.layers))
            elif found is not None:
                job.screen.put(people.status_lines(found, job.layers))
        job.finish(results)


@program.command()
@union_options
@paths_argument(required=True)
@click.pass_context
def explain(context: click.Context, paths: tuple[str, ...]) -> None:
    """
    Show who provides a path, and what hides it.

    All layers have a line, top first. A path that shows nothing is no failure: its absence is explained.
    """
    with job_of(context) as job:
        results: list[Mapping[str, object]] = []
        for path in job.paths(paths):
            found = None
            with job.report.about(path):
                found = path.explain()
            if found is not None and job.wish.json:
                results.append(documents.explanation(found))
            elif found is not None:
                job.screen.put(people.explanation_lines(found))
        job.finish(results)


for _command in (*COMMANDS, changes, plan):
    program.add_command(_command)


@contextmanager
def _warnings_as_lines() -> Generator[None]:
    """Say what the library warns of (a misspelled marker) in one line, but not what is for developers."""

    def tell(message: Warning | str, *_where: object, **_more: object) -> None:
        complain(f"warning: {escaped(str(message))}")

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
        warnings.showwarning = tell
        yield


def _let_go_of_stdout() -> None:
    """Point stdout elsewhere, so that the interpreter's last flush has nothing to fail at."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except OSError:
        pass
