"""Puts the stages together over one set of backends."""

import logging
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from treadle.access.service import Access
from treadle.data.service import Data
from treadle.delivery.service import Delivery
from treadle.evaluation.service import JUDGE_JOB, Evaluation
from treadle.events.service import Events
from treadle.jobs.model import Job
from treadle.jobs.service import Jobs
from treadle.jobs.worker import Worker
from treadle.kernel.errors import Invalid, TreadleError, missing_extra
from treadle.kernel.event import acting
from treadle.loop.service import Loop
from treadle.monitoring.discovery import registered_monitors
from treadle.monitoring.service import Monitoring
from treadle.pipelines.service import STEP_JOB, Pipelines
from treadle.platform.runtimes import Exporters, Runtimes
from treadle.platform.settings import Settings, backend
from treadle.ports.blobs import Blobs
from treadle.ports.executor import Launch
from treadle.registry.lineage import Lineage
from treadle.registry.service import Registry
from treadle.registry.webhooks import Webhooks
from treadle.scope.service import Scope
from treadle.serving.log_files import InferenceLogs
from treadle.tracking.logged_models import LoggedModels
from treadle.tracking.service import Tracking
from treadle.tracking.traces import Traces
from treadle.tracking.views import Views
from treadle.training.service import TrainingService

log = logging.getLogger(__name__)
TRAINED_WITH = ("pandas", "sklearn", "skl2onnx", "onnx", "onnxruntime")


class Services:
    """The stages' services, the same whether they are embedded here or live behind a URL."""

    blobs: Blobs
    events: Events
    access: Access
    jobs: Jobs
    scope: Scope
    data: Data
    tracking: Tracking
    views: Views
    pipelines: Pipelines
    training: TrainingService
    evaluation: Evaluation
    registry: Registry
    lineage: Lineage
    delivery: Delivery
    monitoring: Monitoring
    loop: Loop

    @property
    def address(self) -> dict[str, str]:
        """The environment variables by which another process on this machine finds the same place."""
        raise NotImplementedError


STAGES: dict[str, type] = {
    "scope": Scope,
    "data": Data,
    "tracking": Tracking,
    "views": Views,
    "pipelines": Pipelines,
    "training": TrainingService,
    "evaluation": Evaluation,
    "registry": Registry,
    "lineage": Lineage,
    "delivery": Delivery,
    "monitoring": Monitoring,
    "loop": Loop,
    "jobs": Jobs,
    "events": Events,
    "access": Access,
}
"""Every stage with operations, by the name it has in routes, commands and on a platform."""


class Embedded(Services):
    """All of Treadle in this process, over a home's backends."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        home = settings.folder
        cache = home / "cache"
        self.clock = settings.clock()
        self.database = backend("database", settings.database or f"sqlite:///{home / 'treadle.db'}")
        self.database.migrate()
        self.blobs = backend("blobs", settings.blobs or f"file://{home / 'blobs'}")
        self.executor = backend("executor", settings.executor or f"forkserver://{home / 'jobs'}")
        clock = {
            key: value for key, value in settings.environment().items() if key == "TREADLE_CLOCK"
        }
        self.target = backend(
            "target", settings.target or "local:", self.blobs, home / "endpoints", clock
        )
        runtime, exporter = Runtimes(), Exporters()
        logs = InferenceLogs(home / "endpoints")
        self.events = Events(self.database, self.clock)
        base = (self.database, self.events)
        self.access = Access(*base, self.clock)
        self.jobs = Jobs(*base, self.clock, self.executor)
        self.scope = Scope(*base, self.clock)
        self.data = Data(*base, self.clock, self.blobs, self.scope)
        self.tracking = Tracking(*base, self.clock, self.blobs)
        self.logged_models = LoggedModels(self.database, self.clock)
        self.views = Views(self.database, self.clock, self.tracking)
        self.traces = Traces(self.database, self.clock)
        self.pipelines = Pipelines(
            *base, self.clock, self.blobs, self.jobs, exporter, runtime, cache
        )
        self.training = TrainingService(*base, self.scope, self.data, self.tracking, self.pipelines)
        self.evaluation = Evaluation(
            *base,
            self.clock,
            self.blobs,
            self.jobs,
            self.scope,
            self.tracking,
            self.training,
            runtime,
            cache,
        )
        self.registry = Registry(*base, self.clock, self.evaluation, _key(home))
        self.delivery = Delivery(
            *base, self.clock, self.scope, self.data, self.registry, self.target, logs
        )
        self.registry.blockers.append(self.delivery.blockers)
        self.lineage = Lineage(
            self.database,
            self.blobs,
            self.scope,
            self.tracking,
            self.evaluation,
            self.registry,
            self.delivery.places,
        )
        self.webhooks = Webhooks(*base, self.clock)
        self.monitoring = Monitoring(
            *base,
            self.clock,
            self.blobs,
            self.scope,
            self.data,
            self.registry,
            self.delivery,
            logs,
            cache,
            registered_monitors,
        )
        self.loop = Loop(
            *base,
            self.clock,
            self.scope,
            self.training,
            self.evaluation,
            self.registry,
            self.delivery,
            self.monitoring,
        )

    @property
    def address(self) -> dict[str, str]:
        return {"TREADLE_HOME": self.settings.home, "TREADLE_URL": ""}

    def reconcile(self) -> int:
        """Let every stage take the step that it can take now. Returns how many things changed state."""
        reconcilers = (
            self.tracking,
            self.pipelines,
            self.training,
            self.evaluation,
            self.delivery,
            self.monitoring,
            self.webhooks,
        )
        with acting("treadle"):
            return sum(_shielded(stage.reconcile) for stage in reconcilers) + _shielded(
                self.loop.react
            )

    def worker(self, name: str, *, slots: int = 2) -> Worker:
        return Worker(name, self.jobs, self.executor, self._launch, slots=slots)

    def run_job(self, job: Job) -> None:
        """Do a job's work and report how it ended; this is what its process calls."""
        handlers = {STEP_JOB: self.pipelines.execute, JUDGE_JOB: self.evaluation.execute}
        with acting(job.actor, cause=job.cause):
            try:
                if job.kind not in handlers:
                    raise Invalid(f"No stage of this Treadle handles jobs of kind '{job.kind}'.")
                work: Any = handlers[job.kind]
                result = work(job.payload)
            except Exception as error:
                self.jobs.fail(job, _reason(error), final=not getattr(error, "retry", False))
                raise
            self.jobs.succeed(job, result)

    def close(self) -> None:
        self.target.close()
        self.executor.close()
        self.database.close()

    def __enter__(self) -> "Embedded":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self, job: Job) -> Launch:
        arguments = [sys.executable, "-m", "treadle.platform.job", job.id, str(job.attempt)]
        return Launch(
            name=job.attempt_name, arguments=arguments, environment=self.settings.environment()
        )


def _shielded(step: Callable[[], int]) -> int:
    """One stage's step. Its trouble is logged and stops no other stage; what needs the database is tried again later."""
    try:
        return step()
    except TreadleError as error:
        if error.retry:
            raise
        log.warning("%s: %s", step.__qualname__, error.message)
    except Exception:
        log.exception("%s failed", step.__qualname__)
    return 0


def _key(home: Path) -> bytes:
    """The home's signing key, made once and readable by its owner only."""
    file = home / ".signing.key"
    if not file.exists():
        aside = file.with_suffix(f".{secrets.token_hex(4)}")
        aside.touch(mode=0o600)
        aside.write_bytes(secrets.token_bytes(32))
        try:
            file.hardlink_to(aside)
        except FileExistsError:
            return file.read_bytes()
        finally:
            aside.unlink()
    return file.read_bytes()


def _reason(error: Exception) -> str:
    """What went wrong in a job, in a sentence; a library that an extra brings is named with its extra."""
    if (
        isinstance(error, ModuleNotFoundError)
        and (error.name or "").partition(".")[0] in TRAINED_WITH
    ):
        return missing_extra("train", f"'{error.name}'").message
    return str(error) if isinstance(error, TreadleError) else f"{type(error).__name__}: {error}"
