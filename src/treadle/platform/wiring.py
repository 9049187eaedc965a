"""Puts the stages together over one set of backends."""

import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import date
from functools import cached_property
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any

from treadle.events.head import Head, head_fault
from treadle.jobs.host import HostReader
from treadle.jobs.model import Job
from treadle.jobs.worker import Worker
from treadle.kernel.clock import Clock
from treadle.kernel.errors import Conflict, Invalid, TreadleError, is_passing, missing_extra
from treadle.kernel.event import acting
from treadle.kernel.stage import JOB, RECONCILE, Assembly
from treadle.monitoring.discovery import registered_monitors
from treadle.pipelines.service import STEP_JOB
from treadle.platform.addresses import backend
from treadle.platform.host import HostFigures
from treadle.platform.notifiers import open_notifier
from treadle.platform.occupancy import entered
from treadle.platform.rotation import tell_of_rotation
from treadle.platform.runtimes import runtime_of
from treadle.platform.seal import follows, is_new_to, note_head
from treadle.platform.settings import Settings
from treadle.platform.signing import KEY, KeyFile
from treadle.platform.stages import BUILT_IN, LocalServices, stages
from treadle.platform.step import reason
from treadle.ports.blobs import Blobs, make_place
from treadle.ports.database import Database, Led, create_tables, leading, loaded_tables
from treadle.ports.executor import Executor, Launch
from treadle.ports.notifier import OpenNotifier
from treadle.ports.online_store import OnlineStore, OpenOnlineStore
from treadle.ports.runtime import RuntimeByName
from treadle.ports.sandbox import KNOWN_STRENGTH, Sandbox
from treadle.ports.target import Target
from treadle.ports.tuner import TrialStore, Tuner, TunerOver
from treadle.serving.log_files import InferenceLogs
from treadle.training.answered_rows import EndpointsOf

if TYPE_CHECKING:
    from treadle.platform.sign_in import SignIn

log = logging.getLogger(__name__)
STEP_FUNCTION = "treadle.platform.step:run"


class Embedded(LocalServices):
    """All of Treadle in this process, over a home's backends.

    Args:
        settings: The home, and the URLs of its backends.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stages = stages()
        home = settings.folder
        self.clock = settings.clock()
        self._online_store: OnlineStore | None = None
        self._opening = Lock()
        self._leads: bool | None = None
        self._noted: Head | None = None  # the copy of the head that this process has seen to
        with ExitStack() as opened:  # what was opened is closed again where the rest fails
            opened.enter_context(entered(home))
            self._keys = KeyFile(home)
            self.database = backend("database", settings.address("database"))
            opened.callback(self.database.close)
            self.database.migrate()
            self.blobs = backend("blobs", settings.address("blobs"))
            self.executor = backend("executor", settings.address("executor"))
            opened.callback(self.executor.close)
            self.sandbox: Sandbox = backend("sandbox", settings.address("sandbox"), home)
            clock = {k: v for k, v in settings.environment().items() if k == "TREADLE_CLOCK"}
            self.target = backend(
                "target", settings.address("target"), self.blobs, home / "endpoints", clock
            )
            opened.callback(self.target.close)
            self.assembly = self._assembled()
            for name, service in self.assembly.services.items():
                setattr(self, name, service)
            opened.callback(self.access.close)
            if not self.events.last_number():  # one that holds something has lost a missing place
                make_place(self.blobs)
            head = self.events.head()
            if not head.signature:
                self.events.sign_head()
            elif (
                isinstance(self.database, Led)  # others have the database of one home
                and is_new_to(home)
                and head_fault(head, self._keys())
            ):
                raise Conflict(
                    "The database is that of another home, whose approvals "
                    "this home's signing key cannot verify. Servers that share a database share "
                    f"the key: copy '{KEY}' of that home to '{home}'."
                )
            tell_of_rotation(self.database, self.events, self._keys())
            self._opened = opened.pop_all()

    def _assembled(self) -> Assembly:
        home, assembly = self.settings.folder, Assembly()
        provided: dict[Any, Any] = {
            Database: self.database,
            Clock: self.clock,
            Blobs: self.blobs,
            Executor: self.executor,
            Target: self.target,
            Sandbox: self.sandbox,
            HostReader: HostFigures(home),
            OpenOnlineStore: self.online_store,
            OpenNotifier: open_notifier,
            RuntimeByName: runtime_of,
            TunerOver: _tuner_over,
            InferenceLogs: InferenceLogs(home / "endpoints"),
        }
        for kind, value in provided.items():
            assembly.provide(kind, value)
        assembly.provide(EndpointsOf, lambda project: _endpoints(assembly, project))
        assembly.provide_named(
            cache=home / "cache",
            step_function=STEP_FUNCTION,
            keys=self._keys,
            find_monitors=registered_monitors,
            has_sign_in=self.settings.oidc_file is not None,
        )
        own_tables = [loaded_tables(stage) for stage in self.stages if stage not in BUILT_IN]
        create_tables(self.database, chain.from_iterable(own_tables))
        for stage in self.stages:
            assembly.add(stage)
        return assembly

    def online_store(self) -> OnlineStore:
        """Return the home's online store, which the first call opens.

        Raises:
            Unavailable: It does not answer.
        """
        with self._opening:
            if self._online_store is None:
                self._online_store = backend("online_store", self.settings.address("online_store"))
                self._opened.callback(self._online_store.close)
            return self._online_store

    @cached_property
    def sign_in(self) -> "SignIn | None":
        """How people sign in at an identity provider; None where they do not.

        Raises:
            TreadleError: The file that declares it is not usable.
        """
        file = self.settings.oidc_file
        if file is None:
            return None
        from treadle.platform.sign_in import sign_in_of  # loads an HTTP client

        return sign_in_of(file)

    @property
    def address(self) -> dict[str, str]:
        """Environment variables that lead another process to the same home."""
        own = {"TREADLE_HOME": self.settings.home, "TREADLE_URL": ""}
        return {**self.settings.variables(), **own}

    def reconcile(self) -> int:
        """Let every stage take the step that it can take now.

        Of several servers on one database, the one that leads does; the others stand by.

        Returns:
            How many things changed state.

        Raises:
            TreadleError: A step met an error that retrying may mend, such as a database that does
                not answer. Other errors of a step are logged and stop no other step.
            OSError: The system has no room, handles or memory for a step.
        """
        with acting("treadle"), leading(self.database) as leads:
            if leads != self._leads:
                self._leads = leads
                if not leads:
                    log.info("another server of this database reconciles; this one stands by")
                elif isinstance(self.database, Led):
                    log.info("this server reconciles for all of this database")
            steps = self.assembly.answers(RECONCILE) if leads else []
            return sum(_shielded(step.method) for step in steps)

    def worker(self, name: str, *, slots: int = 2) -> Worker:
        """A worker that runs this platform's jobs with its executor.

        Args:
            name: Name of the worker, unique among the workers of a queue.
            slots: Number of jobs that run at the same time.
        """
        return Worker(name, self.jobs, self.executor, self._launch, slots=slots)

    def run_job(self, job: Job) -> None:
        """Do a job's work and report how it ended; this is what its process calls.

        Args:
            job: The job, as its attempt was claimed.

        Raises:
            Exception: What the work raised, after it was reported. The job is tried again where the
                error says that retrying helps.
        """
        work = self.assembly.answer(JOB, job.kind)
        with acting(job.actor, cause=job.cause), self.data.reads.by_job(job.id):
            try:
                if work is None:
                    raise Invalid(f"No stage of this Treadle handles jobs of kind '{job.kind}'.")
                result = work(job.payload)
            except Exception as error:
                self.jobs.fail(job, reason(error), final=not getattr(error, "retry", False))
                raise
            self.jobs.succeed(job, result)

    def note_head(self) -> None:
        """Copy the head of the event log out of the database, where it has moved.

        A copy that does not fit the log is left as it is: it tells that events were cut off, or
        that the database is an older one.
        """
        head = self.events.head()
        if head != self._noted:
            if follows(self.events, self.settings.folder):
                note_head(self.settings.folder, head)
            else:
                log.error("the event log is not the one that this home has known; verify it")
            self._noted = head

    def close(self) -> None:
        """Close the target, the executor and the database, and leave the home, whatever fails."""
        # A home that is gone or broken is closed too.
        with self._opened, suppress(TreadleError, OSError):
            self.note_head()

    def __enter__(self) -> "Embedded":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def launch(self, name: str, module: str, *arguments: str, confined: bool) -> Launch:
        """What begins a process over this home.

        Args:
            name: Name of the process, as the executor knows it.
            module: The module that it runs.
            *arguments: What the module is given.
            confined: Whether it does a step of a pipeline, in a sandbox where there is one.
        """
        environment, confine = self.settings.environment(), ""
        if confined and (strength := self.sandbox.strength) != "off":
            environment[KNOWN_STRENGTH] = confine = strength
        command = [sys.executable, "-m", module, *arguments]
        return Launch(name=name, arguments=command, environment=environment, confine=confine)

    def _launch(self, job: Job) -> Launch:
        return self.launch(
            job.attempt_name,
            "treadle.platform.job",
            job.id,
            str(job.attempt),
            confined=job.kind == STEP_JOB,
        )


def _shielded(step: Callable[[], int]) -> int:
    """Do one stage's step; its trouble is logged and stops no other stage.

    What may succeed later is raised, and tried again.
    """
    try:
        return step()
    except Exception as error:
        if is_passing(error):
            raise
        if isinstance(error, TreadleError):
            log.warning("%s: %s", step.__qualname__, error.message)
        else:
            log.exception("%s failed", step.__qualname__)
    return 0


def _tuner_over(store: TrialStore) -> Tuner:
    """The tuner that is installed; Optuna takes half a second to load, and only tuning needs it."""
    try:
        from treadle.backends.tuner.optuna import OptunaTuner
    except ModuleNotFoundError as error:
        raise missing_extra("tune", "Optuna") from error
    return OptunaTuner(store)


def _endpoints(assembly: Assembly, project: str) -> list[tuple[str, date]]:
    """The endpoints of a project, with the days on which they began."""
    endpoints = assembly.services["delivery"].endpoints(project=project)
    return [(endpoint.name, endpoint.created_at.date()) for endpoint in endpoints]
