"""The list of stages: the only place that names them all."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from treadle.access.stage import STAGE as ACCESS
from treadle.data.stage import STAGE as DATA
from treadle.delivery.stage import STAGE as DELIVERY
from treadle.evaluation.stage import STAGE as EVALUATION
from treadle.events.stage import STAGE as EVENTS
from treadle.features.stage import STAGE as FEATURES
from treadle.incidents.stage import STAGE as INCIDENTS
from treadle.jobs.stage import STAGE as JOBS
from treadle.kernel.plugins import registered
from treadle.kernel.stage import Stage
from treadle.loop.stage import STAGE as LOOP
from treadle.monitoring.stage import STAGE as MONITORING
from treadle.pipelines.stage import STAGE as PIPELINES
from treadle.registry.stage import STAGE as REGISTRY
from treadle.scope.stage import STAGE as SCOPE
from treadle.tracking.stage import STAGE as TRACKING
from treadle.training.stage import STAGE as TRAINING
from treadle.tuning.stage import STAGE as TUNING

if TYPE_CHECKING:
    from sqlalchemy import Table

    from treadle.access.local import LocalAccess
    from treadle.access.service import Access
    from treadle.data.erasing.local import LocalErasures
    from treadle.data.erasing.service import Erasures
    from treadle.data.local import LocalData
    from treadle.data.quality import Quality
    from treadle.data.service import Data
    from treadle.delivery.local import LocalDelivery
    from treadle.delivery.service import Delivery
    from treadle.evaluation.local import LocalEvaluation
    from treadle.evaluation.service import Evaluation
    from treadle.events.local import LocalEvents
    from treadle.events.service import Events
    from treadle.features.service import Features
    from treadle.incidents.local import LocalIncidents
    from treadle.incidents.reviews import Reviews
    from treadle.incidents.service import Incidents
    from treadle.jobs.local import LocalJobs
    from treadle.jobs.service import Jobs
    from treadle.loop.local import LocalLoop
    from treadle.loop.service import Loop
    from treadle.monitoring.local import LocalMonitoring
    from treadle.monitoring.service import Monitoring
    from treadle.monitoring.slo.local import LocalSlos
    from treadle.monitoring.slo.service import Slos
    from treadle.pipelines.local import LocalPipelines
    from treadle.pipelines.service import Pipelines
    from treadle.ports.blobs import Blobs
    from treadle.registry.lineage import Lineage
    from treadle.registry.local import LocalRegistry
    from treadle.registry.local_webhooks import LocalWebhooks
    from treadle.registry.service import Registry
    from treadle.registry.webhooks import Webhooks
    from treadle.scope.local import LocalScope
    from treadle.scope.service import Scope
    from treadle.tracking.local import LocalTracking
    from treadle.tracking.local_logged_models import LocalLoggedModels
    from treadle.tracking.local_traces import LocalTraces
    from treadle.tracking.logged_models import LoggedModels
    from treadle.tracking.service import Tracking
    from treadle.tracking.traces import Traces
    from treadle.tracking.views import Views
    from treadle.training.local import LocalTraining
    from treadle.training.service import TrainingService
    from treadle.tuning.local import LocalTuning
    from treadle.tuning.service import Tuning

BUILT_IN: tuple[Stage, ...] = (
    EVENTS,
    ACCESS,
    JOBS,
    SCOPE,
    DATA,
    FEATURES,
    TRACKING,
    PIPELINES,
    TRAINING,
    EVALUATION,
    TUNING,
    REGISTRY,
    DELIVERY,
    MONITORING,
    INCIDENTS,
    LOOP,
)
"""In the order in which they are made: each may ask for what those before it provide."""

GROUP = "treadle.stage"
"""The group of entry points by which stages of other packages are found; each names a ``Stage``."""


def stages() -> tuple[Stage, ...]:
    """All stages: those built in, then those that installed packages register."""
    return (*BUILT_IN, *(entry.load() for entry in registered(GROUP)))


def tables_of(stages: Iterable[Stage]) -> "list[Table]":
    """The tables of some stages, by name.

    Args:
        stages: The stages.
    """
    from treadle.ports.database import loaded_tables  # loads what commands mostly do without

    tables = {table.name: table for stage in stages for table in loaded_tables(stage)}
    return [tables[name] for name in sorted(tables)]


class Services:
    """The stages' services, the same whether they are embedded here or live behind a URL."""

    blobs: "Blobs"
    events: "Events"
    access: "Access"
    jobs: "Jobs"
    scope: "Scope"
    data: "Data"
    quality: "Quality"
    erasure: "Erasures"
    features: "Features"
    tracking: "Tracking"
    logged_models: "LoggedModels"
    traces: "Traces"
    views: "Views"
    pipelines: "Pipelines"
    training: "TrainingService"
    evaluation: "Evaluation"
    tuning: "Tuning"
    registry: "Registry"
    lineage: "Lineage"
    webhooks: "Webhooks"
    delivery: "Delivery"
    slo: "Slos"
    monitoring: "Monitoring"
    incidents: "Incidents"
    reviews: "Reviews"
    loop: "Loop"

    @property
    def address(self) -> dict[str, str]:
        """Environment variables by which another process on this machine finds the same."""
        raise NotImplementedError


class LocalServices(Services):
    """The stages' services as the process has them that holds the database."""

    access: "LocalAccess"
    data: "LocalData"
    erasure: "LocalErasures"
    delivery: "LocalDelivery"
    evaluation: "LocalEvaluation"
    events: "LocalEvents"
    jobs: "LocalJobs"
    logged_models: "LocalLoggedModels"
    loop: "LocalLoop"
    slo: "LocalSlos"
    monitoring: "LocalMonitoring"
    incidents: "LocalIncidents"
    pipelines: "LocalPipelines"
    registry: "LocalRegistry"
    scope: "LocalScope"
    traces: "LocalTraces"
    tracking: "LocalTracking"
    training: "LocalTraining"
    tuning: "LocalTuning"
    webhooks: "LocalWebhooks"
