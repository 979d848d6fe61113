"""
The face of `mutate`: one method for each operation.

Each takes the upper's lock, so that what is looked at is still true when it is changed, lets `plan.py` decide
and `apply.py` do. Paths are texts of the union; every error is an `OSError` with errno and these texts, the
store's own error being its cause (E2).
"""

from __future__ import annotations

import errno
import os
import stat as _stat
import weakref
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext, suppress
from functools import partial
from io import RawIOBase
from typing import Final, Literal, NamedTuple, TypeGuard, TypeVar, cast

from unionpath.model.change import Attributes
from unionpath.model.entry import Kind, Stat
from unionpath.model.errors import UnsupportedOperation, oserror
from unionpath.model.layer import LayerView
from unionpath.model.parts import Parts, check_text, show_parts
from unionpath.model.store import WHY_NOT_OPENED, Capability
from unionpath.model.text import before_children, name_of, parent_of
from unionpath.model.writable import RawMode, WritableDirectory, WritableStore
from unionpath.mutate import plan as planner
from unionpath.mutate.apply import Application, Ready, identity_of
from unionpath.mutate.clearing import delete
from unionpath.mutate.copy_up import stage
from unionpath.mutate.handle import COPIES, DeferredFile
from unionpath.mutate.marks import Marks
from unionpath.mutate.plan import Facts, RenameMode
from unionpath.mutate.steps import CopyUp, Duplicate, Link, Make, Plan, Remove, Rename, Write
from unionpath.mutate.survey import Survey
from unionpath.mutate.work import WorkArea
from unionpath.resolve.resolver import Resolver
from unionpath.stores.transfer import sync, transfer

_LARGE: Final = 4 << 20
"""Bytes from which on a file is copied up without keeping other writers waiting."""
_T = TypeVar("_T")


class Engine:
    """Changes one stack through its upper, `layers[0]`."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        workdir: WritableStore | None,
        rename_mode: RenameMode,
        durability: Literal["auto", "strict", "volatile"],
        adopt: bool,
        told: bool,
    ) -> None:
        """
        Check that the upper can be written over these lowers, and clear what dead writers left.

        `told`: what is changed has to be told to the resolver, since no watch will.

        Raises:
            UnsupportedOperation: the upper's store can't be written.
            ValueError: it was written over others (E3); a volatile writer died (E7); a mode of renaming that
                its format has no words for (R4).
        """
        upper = resolver.layers[0]
        if Capability.WRITABLE not in upper.store.capabilities:
            raise UnsupportedOperation(
                f"{upper.name} can't be written to, so it can't be the upper of a stack"
            )
        if rename_mode == "redirect" and upper.format.redirection("/x") is None:
            raise ValueError(
                "rename_dir='redirect' needs an upper with whiteouts='overlayfs' and without userxattr;"
                " use rename_dir='copy'"
            )
        self._resolver = resolver
        self._upper: LayerView = upper
        self._store = cast("WritableStore", upper.store)
        self._rename_mode: RenameMode = rename_mode
        self._durable = durability != "volatile"
        self._told = told
        self._renames = Capability.RENAMES in upper.store.capabilities
        self._work = WorkArea(
            upper,
            workdir,
            [_mark_of(layer, upper) for layer in resolver.layers[1:]],
            volatile=not self._durable,
            adopt=adopt,
        )
        self._marks = Marks(upper, self._work, sync=durability == "strict", durable=self._durable)
        self._deferred: weakref.WeakSet[DeferredFile] = weakref.WeakSet()
        self._work.check()

    def recover(self) -> None:
        """Clear what writers left that died."""
        self._work.recover()
        self._locked(lambda _work: None, "/")  # which finishes a removal that was begun

    def close(self) -> None:
        """End this writer's session; the next change begins a new one."""
        self._work.close()

    # --- operations --------------------------------------------------------------------------------

    def unlink(self, path: str) -> None:
        """Remove a name that isn't a directory's (D1, D2)."""
        self._change(lambda survey: self.plan_unlink(path, survey), path)

    def rmdir(self, path: str) -> None:
        """Remove a directory that shows no names (D3)."""
        self._change(lambda survey: self.plan_rmdir(path, survey), path)

    def rmtree(self, path: str) -> None:
        """Remove a directory with all that it shows, by one whiteout at most (D7)."""
        self._change(lambda survey: self.plan_rmtree(path, survey), path)

    def mkdir(self, path: str, permissions: int) -> None:
        """Make a directory (D4, D6)."""
        self._change(lambda survey: self.plan_mkdir(path, permissions, survey), path)

    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link."""
        check_text(target)
        if not target:
            raise oserror(errno.ENOENT, target, path)
        self._change(lambda survey: self.plan_symlink(path, target, survey), path)

    def link(self, path: str, existing: str) -> None:
        """Give `existing` a second name (C8)."""
        self._change(lambda survey: self.plan_link(path, existing, survey), existing, path)

    def rename(self, path: str, target: str) -> None:
        """Move an object, replacing what the target has (R1-R6)."""
        self._change(lambda survey: self.plan_rename(path, target, survey), path, target)

    def change(self, path: str, attributes: Attributes, follow: bool = True) -> None:
        """Set metadata (C5)."""
        self._change(lambda survey: self.plan_change(path, attributes, follow, survey), path)

    def adorn(self, path: str, attributes: Attributes) -> None:
        """Set what the upper has a place for of a copied object's metadata."""
        attributes = _within(attributes, self._store.capabilities)
        if attributes != Attributes():
            self.change(path, attributes)

    def set_xattr(
        self, path: str, attribute: str, value: bytes | None, present: bool | None, follow: bool = True
    ) -> None:
        """
        Set an extended attribute, or remove it (None); `present`: it has to be there already, or must not be.

        Raises:
            OSError: ENODATA, EEXIST; as `change`.
        """

        def plan(survey: Survey) -> Plan:
            steps = self.plan_change(path, Attributes(xattrs=((attribute, value),)), follow, survey)
            known = present is not None and survey.getxattr(path, attribute, follow) is not None
            if present is not None and known != present:
                raise oserror(errno.ENODATA if present else errno.EEXIST, path)
            return steps

        self._change(plan, path)

    def stat(self, path: str) -> Stat:
        """Stat what the union shows."""
        return self._resolver.stat(path)

    def copy_up(self, path: str, follow: bool = True) -> None:
        """Bring an object to the upper (C1)."""
        self._change(lambda survey: self.plan_copy_up(path, follow, survey), path)

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, all or nothing (C11)."""
        opened = self._locked(lambda work: self._write(work, path, data), path)
        if opened is None:
            return
        # A file with several names, or a FIFO, whose reader may keep us waiting: others shan't.
        try:
            with opened:
                view = memoryview(data)
                while view:
                    view = view[opened.write(view) or 0 :]
        except OSError as error:
            raise self._placed(error, path, None) from error

    def put(self, path: str, source: Callable[[], RawIOBase], attributes: Attributes | None = None) -> None:
        """
        Write a whole file of what a reader gives, all or nothing, in bounded memory; then set `attributes`.

        Raises:
            OSError: as `write`, and what the reader raises.
        """
        staged: list[str] = []
        litter = _Litter()
        with self._work.held():
            try:
                if self._renames:
                    staged.append(self._locked(lambda _work: self._work.new_name(), path))
                    with closing(source()) as reader:
                        self._stage_stream(staged[0], reader, path)
                self._locked(lambda work: self._put(work, path, source, staged, attributes), path)
            finally:
                if staged:
                    litter.directory, litter.names = self._work.staging, staged
                    litter.clear()

    def open(self, path: str, mode: RawMode, permissions: int = 0o666) -> RawIOBase:
        """
        Open a regular file in a mode that writes, as `io.FileIO` does (C1, C4).

        Raises:
            OSError: ENOENT for `rb+`, EEXIST for `x`, EISDIR, ENXIO, EACCES; as a change does.
        """
        return self._locked(lambda work: self._open(work, path, mode, permissions), path)

    # --- plans: what would be done, without doing it -------------------------------------------------

    def plan_unlink(self, path: str, survey: Survey | None = None) -> Plan:
        """Say what `unlink` does."""
        return planner.unlink(self._survey(survey).facts(path, below=True))

    def plan_rmdir(self, path: str, survey: Survey | None = None) -> Plan:
        """Say what `rmdir` does."""
        return planner.rmdir(self._survey(survey).facts(path, below=True, names=True))

    def plan_rmtree(self, path: str, survey: Survey | None = None) -> Plan:
        """Say what `rmtree` does."""
        return planner.rmtree(self._survey(survey).facts(path, below=True))

    def plan_mkdir(self, path: str, permissions: int = 0o777, survey: Survey | None = None) -> Plan:
        """Say what `mkdir` does."""
        # What mkdir(2) heeds of a mode.
        return self._plan_make(path, Kind.DIRECTORY, permissions & 0o1777, "", survey)

    def plan_symlink(self, path: str, target: str, survey: Survey | None = None) -> Plan:
        """Say what `symlink` does."""
        return self._plan_make(path, Kind.SYMLINK, 0o777, target, survey)

    def plan_touch(self, path: str, permissions: int = 0o666, survey: Survey | None = None) -> Plan:
        """Say what making an empty file does."""
        return self._plan_make(path, Kind.FILE, permissions, "", survey)

    def plan_link(self, path: str, existing: str, survey: Survey | None = None) -> Plan:
        """Say what `link` does."""
        survey = self._survey(survey)
        source = survey.facts(existing, data=True)
        if source.kind is None:  # said before the new name is looked at
            raise oserror(errno.ENOENT, existing, path)
        return planner.link(survey.facts(path, marked=True), source, self._store.capabilities)

    def plan_rename(self, path: str, target: str, survey: Survey | None = None) -> Plan:
        """Say what `rename` does."""
        survey = self._survey(survey)
        source = survey.facts(path, below=True, data=True)
        is_directory = source.kind is Kind.DIRECTORY
        goal = survey.facts(target, below=True, marked=True, names=is_directory)
        if source.path == goal.path and source.kind is not None and name_of(target) != name_of(goal.path):
            # The same name in another case: it is spelled so from now on (N5).
            spelled = before_children(parent_of(goal.path)) + name_of(target)
            goal = Facts(target, spelled, None, None, special=goal.special)
            source = source._replace(below=False)
        pure, redirect = True, None
        if is_directory and not source.special:
            pure = all(layer == 0 for layer, _directory in self._resolver.sources(source.path))
            if not pure and self._rename_mode == "redirect" and source.path != goal.path:
                redirect = survey.redirect(source.path, goal.path)
                if self._marks.format.redirection(redirect) is None:
                    raise oserror(errno.EXDEV, path, target, hint="the old path is too long for a redirect")
        return planner.rename(
            source,
            goal,
            self._rename_mode,
            self._store.capabilities,
            same_object=survey.is_same_object(source, goal),
            pure=pure,
            redirect=redirect,
        )

    def plan_change(
        self, path: str, attributes: Attributes, follow: bool = True, survey: Survey | None = None
    ) -> Plan:
        """Say what `change` does."""
        for attribute, _value in attributes.xattrs:
            if self._marks.format.is_private_attribute(attribute):
                raise oserror(
                    errno.EPERM, path, hint=f"{attribute} marks layers and can't be set through a union"
                )
        facts = self._survey(survey).facts(path, follow, itself=True)
        return planner.change(facts, attributes, self._store.capabilities)

    def plan_copy_up(self, path: str, follow: bool = True, survey: Survey | None = None) -> Plan:
        """Say what `copy_up` does."""
        return planner.copy_up(self._survey(survey).facts(path, follow, data=True))

    def plan_write(self, path: str, size: int = 0) -> Plan:
        """Say what `write` of so many bytes does; nothing, if it writes into a file that stays."""
        survey = self._survey(None)
        facts = survey.facts(path, True, marked=True)
        return planner.write(facts, size, in_place=self._must_write_in_place(survey, facts)) or ()

    def _plan_make(self, path: str, kind: Kind, permissions: int, target: str, survey: Survey | None) -> Plan:
        facts = self._survey(survey).facts(path, marked=True)
        return planner.make(facts, kind, permissions, self._store.capabilities, target=target)

    def _survey(self, survey: Survey | None) -> Survey:
        return survey or Survey(self._resolver, self._marks)

    # --- doing it ----------------------------------------------------------------------------------

    def _change(self, plan: Callable[[Survey], Plan], path: str, path2: str | None = None) -> None:
        def act(work: _Operation) -> None:
            self._apply(work, plan(work.survey))

        self._locked(act, path, path2)

    def _locked(self, act: Callable[[_Operation], _T], path: str, path2: str | None = None) -> _T:
        """
        Do something under the lock; if it finds that a large file has to be copied up, copy that first
        without.

        Raises:
            OSError: with the union's paths (E2).
        """
        ready: dict[str, Ready] = {}
        litter = _Litter()
        try:
            try:
                return self._work.run(lambda: self._operate(act, ready, litter))
            except _Large as large:
                with self._work.held():
                    return self._locked_after_copying(act, large, ready, litter)
            finally:
                litter.clear()
        except OSError as error:
            placed = self._placed(error, path, path2)
            if placed is error:
                raise
            raise placed from error

    def _operate(self, act: Callable[[_Operation], _T], ready: dict[str, Ready], litter: _Litter) -> _T:
        if self._renames:
            litter.directory = self._work.staging
        table = self._marks.table
        if table is not None and table.pending():
            # Another writer died in the middle of a removal while we had the stack open.
            self._mend_table()
        operation = _Operation(self._survey(None), ready, litter, self._resolver.prober.skipped)
        if not self._told:
            return act(operation)
        # What is trusted for a time to be there may be long gone: a change asks the layers themselves.
        with self._resolver.fresh():
            return act(operation)

    def _locked_after_copying(
        self, act: Callable[[_Operation], _T], large: _Large, ready: dict[str, Ready], litter: _Litter
    ) -> _T:
        """Copy large files without keeping other writers waiting, until the operation finds no more."""
        with ExitStack() as held:
            while True:
                held.close()  # one at a time: two paths may have one lock
                held.enter_context(self._work.copying(large.path))
                self._stage_large(large.path, ready)
                try:
                    return self._work.run(partial(self._operate, act, ready, litter))
                except _Large as other:
                    large = other
                finally:
                    litter.names += [each.name for each in ready.values()]

    def _apply(
        self,
        work: _Operation,
        plan: Plan,
        *,
        content: bytes | RawIOBase = b"",
        mode: RawMode | None = None,
    ) -> RawIOBase | None:
        self._check_large(work, plan)
        self._check_faultless(work)
        try:
            opened = self._application(work).run(plan, content=content, mode=mode)
        except BaseException:
            self._tell(plan)
            raise
        self._tell(plan)
        self._follow(plan)
        return opened

    def _check_faultless(self, work: _Operation) -> None:
        """Refuse to change what was seen without a layer that failed: skipping is for reading (L8)."""
        if self._resolver.prober.skipped != work.skipped:
            raise oserror(
                errno.EIO, "/", hint="a layer failed, and on_layer_error='skip' is for reading only"
            )

    def _check_large(self, work: _Operation, plan: Plan) -> None:
        if not self._renames:
            return
        for step in plan:
            is_file = isinstance(step, CopyUp) and step.kind is Kind.FILE and step.data
            if is_file and step.path not in work.ready and work.survey.status(step.path).st_size >= _LARGE:
                raise _Large(step.path)

    def _application(self, work: _Operation) -> Application:
        return Application(
            self._upper,
            self._work,
            self._marks,
            directories=work.survey.directories,
            origins=work.survey.origin,
            listing=lambda path: self._resolver.listing(path, passing=True),
            ready=work.ready,
            settled=lambda: self._check_faultless(work),
            durable=self._durable,
            litter=work.litter.names,
        )

    def _tell(self, plan: Plan) -> None:
        """Tell the resolver which names the plan concerns, where no watch does."""
        if not self._told:
            return
        for step in plan:
            self._resolver.changed(step.path)
            if isinstance(step, (Rename, Duplicate)):
                self._resolver.changed(step.target)

    def _follow(self, plan: Plan) -> None:
        """Have open files that aren't copied up follow their names, or lose them, now that it is done."""
        if not self._deferred:
            return
        for step in plan:
            if isinstance(step, (Remove, Rename, Write, Make, Link)):
                self._orphan(step.path, step.target if isinstance(step, Rename) else None)

    def _orphan(self, path: str, target: str | None) -> None:
        """Have the files that are open but not copied up follow their names, or lose them."""
        for file in tuple(self._deferred):
            place = file.path
            if target is not None and (place == target or place.startswith(target + "/")):
                file.orphaned = True
            elif place == path or place.startswith(path + "/"):
                if target is None:
                    file.orphaned = True
                else:
                    file.path = target + place[len(path) :]

    def _stage_large(self, path: str, ready: dict[str, Ready]) -> None:
        """Copy a large file into the work area, if it still has to be copied up."""
        survey = self._survey(None)
        facts = survey.facts(path)
        if facts.in_upper or facts.kind is not Kind.FILE:
            return
        name = self._work.run(self._work.new_name)
        staging = self._work.staging
        try:
            status = stage(survey.origin(facts.path), staging, name, self._upper, durable=self._durable)
        except BaseException:
            with suppress(OSError):
                delete(staging, name)
            raise
        ready[facts.path] = Ready(name, identity_of(status))

    def _placed(self, error: OSError, path: str, path2: str | None) -> OSError:
        """Put the union's paths on an error of the upper or of a layer (E2)."""
        if error.filename == path and error.filename2 == path2:
            return error
        raised = oserror(error.errno or errno.EIO, path, path2)
        place = self._store.place
        where = place if self._upper.name == place else f"{self._upper.name!r} ({place})"
        for note in getattr(error, "__notes__", ()):
            raised.add_note(note)
        raised.add_note(f"while changing the upper {where}: {error}")
        return raised

    # --- files -------------------------------------------------------------------------------------

    def _write(self, work: _Operation, path: str, data: bytes) -> RawIOBase | None:
        facts = work.survey.facts(path, True, marked=True, data=True)
        if facts.kind is Kind.FILE:
            self._check_may_write(work.survey, facts)
        steps = planner.write(facts, len(data), in_place=self._must_write_in_place(work.survey, facts))
        if steps is None:
            return self._open_found(work, facts, "wb", path)
        self._apply(work, steps, content=data)
        return None

    def _stage_stream(self, name: str, reader: RawIOBase, path: str) -> None:
        try:
            with closing(self._work.staging.open_new(name, "wb")) as target:
                transfer(reader, target)
                if self._durable:
                    sync(target)
        except OSError as error:
            raise self._placed(error, path, None) from error

    def _put(
        self,
        work: _Operation,
        path: str,
        source: Callable[[], RawIOBase],
        staged: list[str],
        attributes: Attributes | None,
    ) -> None:
        facts = work.survey.facts(path, True, marked=True)
        if facts.kind is Kind.FILE:
            self._check_may_write(work.survey, facts)
        steps = planner.write(facts, 0, in_place=self._must_write_in_place(work.survey, facts))
        attributes = attributes and _within(attributes, self._store.capabilities)
        if steps is None:
            # What was read is in the work area; the source may be the very file that is cut now.
            reader = self._work.staging.open(staged[0]) if staged else source()
            with closing(reader), self._open_found(work, facts, "wb", path) as target:
                transfer(reader, target)
        else:
            step = cast("Write", steps[-1])._replace(change=attributes, staged=staged[0] if staged else None)
            with closing(source()) if not staged else nullcontext(b"") as content:
                self._apply(work, (*steps[:-1], step), content=content)
            attributes = None
        if attributes is not None:
            survey = self._survey(None)
            self._apply(work, planner.change(survey.facts(path, True), attributes, self._store.capabilities))

    def _must_write_in_place(self, survey: Survey, facts: Facts) -> bool:
        """
        Tell whether a file can't be replaced by another: it has more names, or its owner couldn't be kept.
        """
        if not facts.in_upper or facts.kind is not Kind.FILE:
            return False
        status, uid = survey.status(facts.path), os.geteuid()
        foreign = Capability.OWNERS in self._store.capabilities and uid not in (0, status.st_uid)
        return status.st_nlink > 1 or foreign

    def _check_may_write(self, survey: Survey, facts: Facts) -> None:
        """
        Refuse what the operating system would refuse: a replaced file is never asked for its own mode (E10).
        """
        if Capability.MODES not in self._store.capabilities or os.geteuid() == 0:
            return
        if facts.in_upper:
            directory, name = survey.holder(facts)
            directory.open_writable(name, "rb+").close()
        elif not survey.status(facts.path).st_mode & _stat.S_IWUSR:
            # Copied up, it would belong to us, and still refuse.
            raise oserror(errno.EACCES, facts.asked)

    def _open(self, work: _Operation, path: str, mode: RawMode, permissions: int) -> RawIOBase:
        facts = work.survey.facts(path, not mode.startswith("x"), marked=True, data=True)
        if facts.kind is None and mode == "rb+":
            raise oserror(errno.ENOENT, path)
        if facts.kind is None or mode.startswith("x"):
            steps = planner.make(facts, Kind.FILE, permissions, self._store.capabilities)
            opened = self._apply(work, steps, mode=mode)
            assert opened is not None
            return opened
        return self._open_found(work, facts, mode, path)

    def _open_found(self, work: _Operation, facts: Facts, mode: RawMode, path: str) -> RawIOBase:
        """Open what is there for writing."""
        if facts.special or facts.kind is Kind.DIRECTORY:
            raise oserror(errno.EISDIR, path)
        truncate = mode.startswith("w")
        if facts.incomplete:
            self._apply(work, planner.copy_up(facts))
        if facts.in_upper:
            directory, name = work.survey.holder(facts)
            return directory.open_writable(name, mode, truncate=truncate)
        assert facts.kind is not None
        if facts.kind is not Kind.FILE:
            raise oserror(WHY_NOT_OPENED[facts.kind], path)
        self._check_may_write(work.survey, facts)
        if not truncate:
            return self._open_deferred(facts.path, work.survey.status(facts.path), mode)
        opened = self._apply(work, planner.copy_up(facts, data=False), mode=mode)
        return opened or self._open_in_upper(work.survey, facts.path, mode)

    def _open_in_upper(self, survey: Survey, path: str, mode: RawMode) -> RawIOBase:
        """Open a file that the upper has, or has had a moment ago."""
        application = self._application(_Operation(survey, {}, _Litter(), self._resolver.prober.skipped))
        return application.directory(parent_of(path)).open_writable(name_of(path), mode)

    def _open_deferred(self, path: str, status: Stat, mode: RawMode) -> RawIOBase:
        file = DeferredFile(self._resolver.open(path), path, identity_of(status)[:2], mode, self)
        self._deferred.add(file)
        return file

    def promoted(self, file: DeferredFile) -> RawIOBase:
        """Give the upper's file for one that was opened in a lower, copied up if nobody did that yet (C9)."""
        opened = self._locked(lambda work: self._promoted(work, file), file.path)
        self._deferred.discard(file)
        return opened

    def met(self, file: DeferredFile) -> RawIOBase | None:
        """Give the upper's file for one opened in a lower, if it has been copied up meanwhile (C9)."""
        if file.orphaned:
            return None
        try:
            survey = self._survey(None)
            facts = survey.facts(file.path, data=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not facts.in_upper or facts.kind is not Kind.FILE or facts.incomplete:
            return None
        if COPIES.contradict(survey.status(facts.path), file.origin):
            return None
        opened = self._open_in_upper(self._survey(None), file.path, cast("RawMode", file.mode))
        self._deferred.discard(file)
        return opened

    def _promoted(self, work: _Operation, file: DeferredFile) -> RawIOBase:
        path = file.path
        mode = cast("RawMode", file.mode)
        if file.orphaned:
            return self._orphan_copy(file, mode)
        facts = work.survey.facts(path, data=True)
        is_other = facts.in_upper and COPIES.contradict(work.survey.status(path), file.origin)
        if facts.kind is not Kind.FILE or is_other:
            # Removed, or renamed: to where, only whoever did it knows. Better no write than a lost one.
            raise oserror(errno.ESTALE, path, hint="someone removed or renamed the file since it was opened")
        opened = self._apply(work, planner.copy_up(facts), mode=mode)
        return opened or self._open_in_upper(work.survey, path, mode)

    def _orphan_copy(self, file: DeferredFile, mode: RawMode) -> RawIOBase:
        """
        Copy a file that has lost its name: what is written to it vanishes with it, as for any removed file.
        """
        if not self._renames:
            raise oserror(
                errno.ESTALE, str(file.name), hint="its name is gone, and this upper keeps no files without"
            )
        staging, name = self._work.staging, self._work.new_name()
        try:
            with staging.open_new(name, "wb", 0o600) as copy:
                transfer(file.source, copy)
            return staging.open_writable(name, mode)
        finally:
            delete(staging, name)

    def _mend_table(self) -> None:
        """Bring the side table in order after a crash."""
        table = self._marks.table
        assert table is not None
        table.mend()
        for parts in table.pending():
            self._application(
                _Operation(self._survey(None), {}, _Litter(), self._resolver.prober.skipped)
            ).clear_removed(show_parts(parts))


class _Litter:
    """Names in the work area that are of no use any more."""

    __slots__ = ("directory", "names")

    def __init__(self) -> None:
        self.directory: WritableDirectory | None = None
        self.names: list[str] = []

    def clear(self) -> None:
        """
        Clear them; others need not wait for this.

        The operation is over. What can't be cleared now is cleared at the end of the session, or by the next
        who opens the upper (E5), so it is no fault of the operation.
        """
        while self.names:
            name = self.names.pop()
            if self.directory is not None:
                with suppress(OSError):
                    delete(self.directory, name)


class _Operation(NamedTuple):
    """One operation under way, under the lock."""

    survey: Survey
    ready: dict[str, Ready]
    """Large files that are staged already, by the paths that they are copies of."""
    litter: _Litter
    skipped: int
    """How many faults of layers had been skipped when it began."""


class _Large(Exception):
    """A large file has to be copied up before the operation goes on."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def _within(attributes: Attributes, capabilities: Capability) -> Attributes:
    """Leave out what the upper has no place for: a copy keeps what can be kept."""
    if Capability.MODES not in capabilities:
        attributes = attributes._replace(permissions=None)
    if Capability.TIMES not in capabilities:
        attributes = attributes._replace(times=None, now=False)
    if Capability.XATTRS not in capabilities:
        attributes = attributes._replace(xattrs=())
    return attributes


def _mark_of(layer: LayerView, upper: LayerView) -> str:
    """
    Say in one line which tree a layer is; for later processes, unless the upper itself lives in this one
    only.
    """
    place = layer.store.real_path
    if place is None:
        place = layer.store.place
        in_memory = place.startswith("memory:") and "//" not in place
        place = "memory" if in_memory and upper.store.real_path is not None else place
    identity = layer.store.identity
    # Whiteouts are about names as they are shown.
    shown = f" at {show_parts(identity[2])}" if _is_shown_elsewhere(identity) else ""
    return f"{layer.format.name} {place}{shown}"


def _is_shown_elsewhere(identity: object) -> TypeGuard[tuple[str, object, Parts]]:
    return isinstance(identity, tuple) and cast("tuple[object, ...]", identity)[0] == "at"
