"""What ``connect(url)`` is typed as is what it has: each operation, called through both."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.platform.test_platforms import served
from treadle.data.erasing.subject import Subject
from treadle.kernel.clock import EPOCH
from treadle.kernel.entity import from_packed, from_plain, replace, to_packed
from treadle.kernel.errors import TreadleError
from treadle.kernel.operation import Operation, operations
from treadle.kernel.stage import kinds_of, services_of
from treadle.platform.remote import connect
from treadle.platform.stages import BUILT_IN, Services
from treadle.platform.wiring import Embedded
from treadle.ports.runtime import SIGNATURE
from treadle.ports.tree import put_files
from treadle.ports.tuner import SearchPlan
from treadle.scope.feature_views import FeatureSource
from treadle.testing.platform import SPEC as ANY_SPEC
from treadle.tracking.model import Dataset
from treadle.training.model import TrainingFailed
from treadle.tuning.model import StudyPlan

SPEC = replace(
    ANY_SPEC, features={"weather": FeatureSource(source="rows.csv", keys=["airport"], at="hour")}
)
KINDS = kinds_of(BUILT_IN)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
LAST = ("delete", "remove", "take", "revoke")
"""Beginnings of operations that take away what others need."""


@pytest.mark.parametrize("service", sorted(KINDS))
def test_what_is_public_is_an_operation(service: str) -> None:
    """What only the database's process offers is in ``local.py``, and not in the remote's type."""
    kind = KINDS[service]
    public = {name for name in dir(kind) if not name.startswith("_")}
    assert public == set(operations(kind))


@pytest.mark.parametrize("service", sorted(KINDS))
def test_a_local_service_changes_no_operation(service: str) -> None:
    declared = services_of(BUILT_IN)[service]
    local = declared.load_here()
    for name, operation in operations(declared.load()).items():
        assert getattr(local, name) is operation.function


def test_every_operation_does_the_same_embedded_and_remotely(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_WEBHOOK_HOSTS", "127.0.0.1")
    monkeypatch.setattr("treadle.tuning.service.LEASE_SECONDS", 3600.0)  # no trial is lost
    one, other = open_home("one"), open_home("other")
    known, known_there = filled(one), filled(other)
    succeeded = set()
    with served(other) as url, connect(url, token=known_there["token"]) as remote:
        for service, operation in in_order():
            here = outcome(one, service, operation, known)
            there = outcome(remote, service, operation, known_there)
            assert here == there, f"{service}.{operation.name}"
            if here[0] == "gave":
                succeeded.add(f"{service}.{operation.name}")
    calls = [f"{service}.{operation.name}" for service, operation in in_order()]
    assert set(calls) - succeeded == WITHOUT_A_MODEL


WITHOUT_A_MODEL = {
    *("data.snapshot", "features.materialise"),  # the project has no folder
    *("training.start", "training.run_steps", "training.backfill", "training.get"),
    *("evaluation.request", "evaluation.get", "registry.register"),
    *("jobs.get", "jobs.cancel", "jobs.retry", "jobs.log"),
    *("pipelines.start", "pipelines.get", "pipelines.cancel"),
    *(f"delivery.{name}" for name in ("endpoint", "rollout", "deploy", "abort", "pause")),
    *(f"delivery.{name}" for name in ("resume", "promote", "roll_back", "remove", "spec")),
    *("delivery.forecast", "monitoring.performance", "monitoring.traffic"),
}
"""Operations that are refused, the same way through both, where nothing was trained."""


def in_order() -> list[tuple[str, Operation]]:
    """All operations by service: queries first, and last of all what takes away."""
    every = [(name, one) for name, kind in KINDS.items() for one in operations(kind).values()]
    return sorted(
        every, key=lambda pair: (pair[1].kind == "command", pair[1].name.startswith(LAST))
    )


def filled(home: Embedded) -> dict[str, Any]:
    """Arguments by operation and parameter, or by parameter alone, of what is made here."""
    home.scope.declare(spec=SPEC)
    experiment = home.tracking.create_experiment(name="tried", project="p").id
    run = home.tracking.start_run(project="p", name="first", params={"depth": "3"}).id
    model = home.logged_models.create(
        experiment=experiment, name="net", run=run, type="", params={}, tags={}
    ).id
    trace = {"trace_id": "tr-1", "request_time": "2026-01-01T00:00:00Z", "state": "OK"}
    home.traces.put(experiment=experiment, info=trace)
    home.registry.create_model(name="m")
    for _ in range(2):
        home.registry.register_source(model="m", source="models:/somewhere", run=run)
    home.registry.set_alias(model="m", number=1, alias="old")
    home.views.save(name="view", project="p", experiments=[experiment])
    hook = home.webhooks.create(
        name="hook", address="http://127.0.0.1:9/", events=["MODEL_VERSION CREATED"]
    )
    token = home.access.create_token(name="root", role="admin").secret
    home.access.create_token(name="laptop", user="ada")
    tree = put_files(home.blobs, {"rows.csv": b"y\n1\n"})
    for name in ("new", "rows"):
        home.data.add(project="p", name=name, digest=tree)
    home.tracking.use_data(
        run=run, datasets=[Dataset(name="rows", digest=tree, source_type="", source="", context="")]
    )
    home.data.add(project="q", name="seen", digest=put_files(home.blobs, {"a.csv": b"z\n7\n"}))
    erasure = home.erasure.begin([Subject(key="z", value="7")], "q").id
    home.data.add(project="r", name="seen", digest=put_files(home.blobs, {"b.csv": b"z\n7\n"}))
    stopped = home.erasure.begin([Subject(key="z", value="7")], "r").id
    with home.database.write() as transaction:
        failed = TrainingFailed(run=run, project="p", error="out of memory")
        incident = home.events.append(transaction, failed)
    home.incidents.react()
    silence = home.incidents.silence(project="p", until=FAR, kind="drift").id
    home.reviews.add_follow_up(incident=incident, text="ask")
    search = SearchPlan(space={"x": [1, 2]}, directions=["minimize"], sampler="random")
    tuned = StudyPlan(search=search, metrics=["loss"])
    home.tuning.start(project="p", name="tuned", plan=tuned)
    for _ in range(12):
        home.tuning.ask(study="tuned")
    for number in range(10):
        told: dict[str, Any] = {"study": "tuned", "number": number, "attempt": 1}
        home.tuning.tell(**told, state="finished", metrics={"loss": float(number)})
    return {
        "incident": incident,
        "silence": silence,
        "incidents.silence.until": FAR,
        "aligned": True,
        "study": "tuned",
        "attempt": 1,
        "tuning.start.plan": tuned,
        "tuning.beat.number": 10,
        "tuning.report.number": 10,
        "tuning.report.value": 0.5,
        "tuning.trial.number": 0,
        "tuning.drop.number": 10,
        "tuning.tell.number": 11,
        "tuning.tell.state": "failed",
        "erasure": erasure,
        "erasure.abandon.erasure": stopped,
        "erasure.check.subject": Subject(key="z", value="7"),
        "subjects": [Subject(key="y", value="1")],
        "erasure.start.project": "p",
        "erasure.plan.project": "p",
        "token": token,
        "run": run,
        "runs": [run],
        "a": run,
        "b": run,
        "key": "loss",
        "metric": "loss",
        "experiments": [experiment],
        "tracking.experiment.id": experiment,
        "tracking.change_experiment.id": experiment,
        "tracking.delete_experiment.id": experiment,
        "tracking.restore_experiment.id": experiment,
        "tracking.add_history.runs": [],
        "tracking.delete_tag.key": "colour",
        "tracking.log.tags": {"colour": "red"},
        "tracking.add_artifact.digest": tree,
        "logged_models.get.id": model,
        "logged_models.artifacts.id": model,
        "registry.register_package.package": put_files(home.blobs, {SIGNATURE: b"{}"}),
        "registry.register_package.project": "m",
        "registry.add_package.package": put_files(home.blobs, {SIGNATURE: b"{}"}),
        "registry.add_package.number": 2,
        "logged_models.set_tags.id": model,
        "logged_models.delete.id": model,
        "traces.get.id": "tr-1",
        "traces.spans.id": "tr-1",
        "views.name": "view",
        "webhooks.get.id": hook.id,
        "webhooks.delete.id": hook.id,
        "webhooks.create.events": ["MODEL_VERSION CREATED"],
        "address": "http://127.0.0.1:9/",
        "name": "new",
        "scope.project.name": "p",
        "scope.declare.spec": SPEC,
        "tracking.resolve.ref": run,
        "quality.profile.name": "rows",
        "quality.check.name": "rows",
        "quality.check.digest": tree,
        "quality.diff.name": "rows",
        "quality.suggest.name": "rows",
        "quality.leaks.name": "rows",
        "quality.personal.name": "rows",
        "old": tree,
        "new": tree,
        "registry.model.name": "m",
        "registry.create_model.name": "n",
        "registry.change_model.name": "m",
        "registry.delete_model.name": "n",
        "registry.remove_alias.alias": "old",
        "views.save.name": "view",
        "views.get.name": "view",
        "views.look.name": "view",
        "views.remove.name": "view",
        "subject": "project:p",
        "project": "p",
        "model": "m",
        "number": 1,
        "version": "m:1",
        "ref": "m:1",
        "digest": tree,
        "data.changes.old": tree,
        "data.changes.new": tree,
        "data": tree,
        "thing": f"data:{tree}",
        "since": EPOCH,
        "until": EPOCH,
        "start": EPOCH,
        "access.revoke_token.name": "laptop",
        "view": "weather",
        "features.read.keys": [{"airport": "JFK"}, {"airport": None}],
        "features.erase.keys": [{"airport": "JFK"}],
        "user": "ada",
        "role": "viewer",
        "stage": "Staging",
    }


def outcome(services: Services, service: str, operation: Operation, known: dict[str, Any]) -> Any:
    """What an operation gives, as its type says, or how it refuses."""
    arguments = {
        name: argument(f"{service}.{operation.name}.{name}", parameter.kind, known)
        for name, parameter in operation.parameters.items()
        if parameter.required or f"{service}.{operation.name}.{name}" in known
    }
    try:
        value = getattr(getattr(services, service), operation.name)(**arguments)
    except TreadleError as error:
        return "refused", type(error).__name__
    packed = from_plain(from_packed(to_packed(value), object), operation.result)
    assert packed == value, f"{service}.{operation.name} gives what its annotation does not say"
    return "gave", type(value).__name__, len(value) if isinstance(value, list) else None


def argument(path: str, kind: Any, known: dict[str, Any]) -> Any:
    """A value for a parameter: a known one, or an empty or unknown one of its type."""
    name = path.rpartition(".")[2]
    for place in (path, name):
        if place in known:
            return known[place]
    text = inspect.formatannotation(kind)
    if "list[" in text:
        return []
    if "dict[" in text:
        return {}
    return 1 if "int" in text.split("[")[0] else "x"
