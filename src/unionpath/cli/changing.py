"""The commands that change a union, `changes` that shows what was changed, and `plan` that does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from unionpath.cli import documents, people
from unionpath.cli.failures import NO_UPPER
from unionpath.cli.hands import Actor, Hands, Planner, Steps
from unionpath.cli.job import Job, checked, is_plan, job_of, paths_argument
from unionpath.cli.places import Place, pairs, place_of, spelled
from unionpath.cli.union import union_options
from unionpath.model.text import is_within
from unionpath.mutate.changes import Change
from unionpath.path import UnionPath

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])


class _Answers:
    """What becomes of a run: a result for each thing done, or planned."""

    def __init__(self, job: Job, *, planned: bool) -> None:
        self._job = job
        self._planned = planned
        self.results: list[Mapping[str, object]] = []

    def add(self, path: str, steps: Steps, target: str | None = None) -> None:
        """Note one, and show its steps if it is only planned."""
        if self._job.wish.json:
            self.results.append(documents.deed(path, target, steps))
        elif self._planned:
            self._job.screen.put(people.step_lines(steps or ()))


def _for_each(context: click.Context, texts: Sequence[str], act: Callable[[Actor, UnionPath], Steps]) -> None:
    """Do something to each path; what fails is told, and the others are done."""
    planned = is_plan(context)
    actor: Actor = Planner() if planned else Hands()
    with job_of(context) as job:
        answers = _Answers(job, planned=planned)
        for path in job.paths(texts):
            done, steps = False, None
            with job.report.about(path):
                steps, done = act(actor, path), True
            if done:
                answers.add(str(path), steps)
        job.finish(answers.results)


def _for_pairs(
    context: click.Context,
    texts: Sequence[str],
    *,
    is_name: bool,
    act: Callable[[Actor, Place, Place], Steps],
) -> None:
    """Do something to each source and where it is to go."""
    *sources, target = texts
    if not sources:
        raise click.UsageError(f"Missing argument: where {target!r} is to go.")
    planned = is_plan(context)
    actor: Actor = Planner() if planned else Hands()
    with job_of(context) as job:
        answers = _Answers(job, planned=planned)
        found: Sequence[tuple[Place, Place]] = ()
        with job.report.about(spelled(place_of(job.stack, target))):
            found = pairs(job.stack, sources, target, is_name=is_name)
        for source, goal in found:
            done, steps = False, None
            with job.report.about(source, spelled(source), spelled(goal)):
                steps, done = act(actor, source, goal), True
            if done:
                answers.add(spelled(source), steps, spelled(goal))
        job.finish(answers.results)


def _pairs_argument(command: _CommandT) -> _CommandT:
    return click.argument("paths", nargs=-1, metavar="SOURCE... TARGET", required=True, callback=checked)(
        command
    )


@click.command()
@union_options
@click.option(
    "-r", "-R", "--recursive", is_flag=True, help="Directories with all they hold; links as they are."
)
@click.option("-p", "--preserve", is_flag=True, help="Keep modes and times.")
@click.option("-T", "--no-target-directory", "is_name", is_flag=True, help="TARGET is the new name.")
@_pairs_argument
@click.pass_context
def cp(
    context: click.Context, paths: tuple[str, ...], recursive: bool, preserve: bool, is_name: bool
) -> None:
    """
    Copy files, within the union, out of it or into it.

    A path of the host begins with host:, as in "cp host:notes.txt /srv". A directory is not copied onto one
    that is there.
    """
    _for_pairs(
        context,
        paths,
        is_name=is_name,
        act=lambda actor, source, goal: actor.copy(source, goal, recursive=recursive, preserve=preserve),
    )


@click.command()
@union_options
@click.option("-T", "--no-target-directory", "is_name", is_flag=True, help="TARGET is the new name.")
@_pairs_argument
@click.pass_context
def mv(context: click.Context, paths: tuple[str, ...], is_name: bool) -> None:
    """
    Move or rename, within the union, out of it or into it.

    A path of the host begins with host:. A file that is there is replaced.
    """
    _for_pairs(context, paths, is_name=is_name, act=lambda actor, source, goal: actor.move(source, goal))


@click.command()
@union_options
@click.option("-r", "-R", "--recursive", is_flag=True, help="Directories with all they hold.")
@click.option("-d", "--dir", "directories", is_flag=True, help="Empty directories.")
@click.option("-f", "--force", is_flag=True, help="What isn't there is no failure.")
@paths_argument(required=True)
@click.pass_context
def rm(
    context: click.Context, paths: tuple[str, ...], recursive: bool, directories: bool, force: bool
) -> None:
    """Remove names; what lowers have of them is hidden by a whiteout."""
    _for_each(
        context,
        paths,
        lambda actor, path: actor.remove(path, recursive=recursive, force=force, directories=directories),
    )


def _mode(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """
    Read permission bits in octal digits.

    Raises:
        BadParameter: they are none.
    """
    if text is None:
        return None
    if not text.isdecimal() or not text.isascii() or set(text) & {"8", "9"} or int(text, 8) > 0o7777:
        raise click.BadParameter(f"{text!r} is no mode; give octal digits, such as 755.")
    return int(text, 8)


@click.command()
@union_options
@click.option("-p", "--parents", is_flag=True, help="Parents too; one that is there is no failure.")
@click.option("-m", "--mode", callback=_mode, metavar="MODE", help="Octal; by default 777 less the umask.")
@paths_argument(required=True)
@click.pass_context
def mkdir(context: click.Context, paths: tuple[str, ...], parents: bool, mode: int | None) -> None:
    """Make directories."""
    _for_each(context, paths, lambda actor, path: actor.mkdir(path, mode=mode, parents=parents))


@click.command()
@union_options
@click.option("-c", "--no-create", is_flag=True, help="Leave out what isn't there.")
@paths_argument(required=True)
@click.pass_context
def touch(context: click.Context, paths: tuple[str, ...], no_create: bool) -> None:
    """Make empty files, or set times to now."""
    _for_each(context, paths, lambda actor, path: actor.touch(path, create=not no_create))


@click.command()
@union_options
@click.option("-a", "--append", is_flag=True, help="At the end of what is there, as it comes.")
@click.argument("path", metavar="PATH", callback=checked)
@click.pass_context
def write(context: click.Context, path: str, append: bool) -> None:
    """
    Write standard input to a file.

    All of it is read first, and then the file is replaced in one step: nobody ever sees a part.
    """
    _for_each(context, (path,), lambda actor, goal: actor.write(goal, append=append))


COMMANDS: tuple[click.Command, ...] = (cp, mv, rm, mkdir, touch, write)
"""Those that change a union."""


@click.command()
@union_options
@paths_argument(required=False)
@click.pass_context
def changes(context: click.Context, paths: tuple[str, ...]) -> None:
    """
    Show what the upper changes.

    A: added; M: modified; m: metadata only; D: deleted, with all below; O: opaque, so that nothing the lowers
    have in a directory shows. With PATHs, only what is there and below.
    """
    with job_of(context) as job:
        if job.stack.upper is None:
            raise click.UsageError(f"Changes are those that an upper makes; {NO_UPPER}.")
        results: list[Mapping[str, object]] = []
        wanted = [str(path) for path in job.paths(paths)]
        walk = job.stack.changes()
        while True:
            change: Change | None = None
            with job.report.about(job.stack.root):
                change = next(walk, None)
            if change is None:
                break
            if wanted and not any(is_within(change.path, each) for each in wanted):
                continue
            if job.wish.json:
                results.append(documents.change(change))
            else:
                job.screen.put([people.change_line(change)])
        job.finish(results)


@click.group(no_args_is_help=False)
@union_options
def plan() -> None:
    """
    Say what a command would do, and do nothing.

    As in "plan rm -r /srv": one line for each step that would change the upper.
    """


for _command in COMMANDS:
    plan.add_command(_command)
