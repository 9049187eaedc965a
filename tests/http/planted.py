"""Projects in which every text begins with a word that is found again wherever it shows."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from treadle.access.tables import uploads
from treadle.data.tables import erased_contents, erased_versions, erasures, labels
from treadle.delivery.tables import endpoints, rollouts
from treadle.evaluation.tables import evaluations
from treadle.incidents.tables import alerts, incidents, messages, silences
from treadle.jobs.tables import jobs
from treadle.kernel.clock import EPOCH
from treadle.kernel.entity import to_packed, to_text
from treadle.kernel.event import acting
from treadle.loop.tables import decisions, schedules
from treadle.monitoring.tables import log_files, slo_alerts, slo_counts, slo_cursors, windows
from treadle.pipelines.tables import pipeline_steps, pipelines
from treadle.platform.wiring import Embedded
from treadle.ports.online_store import OnlineRow
from treadle.ports.tree import put_files
from treadle.ports.tuner import SearchPlan
from treadle.registry.tables import approvals
from treadle.scope.feature_views import FeatureSource
from treadle.scope.model import About, ProjectSpec
from treadle.tracking.model import Dataset, Metric, ModelUse
from treadle.training.tables import answered_rows, grown_datasets, trainings
from treadle.tuning.model import StudyPlan

Row = dict[str, Any]
Things = dict[str, list[Any]]
"""The ways to name things of one owner, by kind (see ``Names``)."""


def named(word: str, numbers: Mapping[str, int], digest: str) -> Things:
    """Every way to name the things of a project whose names begin with a word."""
    run, model, logged, experiment = (
        f"{word}-run",
        f"{word}-model",
        f"m-{word}",
        numbers["experiment"],
    )
    files = f"mlflow-artifacts:/{experiment}"
    return {
        "project": [f"{word}-project"],
        "experiment": [experiment],
        "experiment's name": [f"{word}-experiment"],
        "run": [run],
        "run that may have begun": [run],
        "logged model": [logged],
        "trace": [f"tr-{word}"],
        "trace that may have begun": [f"tr-{word}"],
        "pipeline": [f"pipe_{word}"],
        "study": [f"{word}-study"],
        "verdict": [f"verdict_{word}"],
        "model": [model],
        "model's name": [model],
        "version": [f"{model}:1", f"{model}@old", model],
        "endpoint": [f"{word}-endpoint"],
        "erasure": [f"erasure_{word}"],
        "rollout": [f"rollout_{word}"],
        "incident": [incident_number(word)],
        "silence": [f"silence_{word}"],
        "content": [digest],
        "location": [
            *(f"models:/{model}/1", f"models:/{model}@old", f"models:/{logged}"),
            *(f"runs:/{run}/model", f"{files}/{run}/artifacts/model"),
            *(f"mlflow-artifacts://here/{experiment}/{run}/artifacts", f"{files}"),
            f"{files}/models/{logged}/artifacts",
        ],
    }


def incident_number(word: str) -> int:
    """The number of a project's incident: of an event that is not there."""
    return 10_000_000 + sum(word.encode())


def planted(home: Embedded, word: str) -> Things:
    """Make one of everything, with the word in each text of it."""
    project, run, model = f"{word}-project", f"{word}-run", f"{word}-model"
    tracking, text = home.tracking, f"{word}-text of a project"
    about = About(name=project, problem=text)
    source = FeatureSource(source=f"{word}.csv", keys=["airport"], at="hour")
    home.scope.declare(spec=ProjectSpec(project=about, features={f"{word}-view": source}))
    row = OnlineRow("JFK", 0, 0, to_packed({f"{word}-feature": text}))
    home.online_store().write(f"{project}/{word}-view", [row])
    made = tracking.create_experiment(
        name=f"{word}-experiment", project=project, tags={f"{word}-tag": text}
    )
    tracking.start_run(
        experiment=made.name,
        id=run,
        name=f"{word}-run-name",
        params={f"{word}-param": text},
        tags={f"{word}-tag": text, "mlflow.note.content": text},
        user=f"{word}-user",
    )
    metrics = [Metric(key=f"{word}-metric", value=1.0), Metric(key="loss", value=1.0)]
    tracking.log(run=run, metrics=metrics)
    tree = put_files(home.blobs, {f"{word}.csv": f"{word}-rows".encode()})
    file = home.blobs.put(f"{word}-content".encode())
    home.data.add(project=project, name=f"{word}-data", digest=tree)
    tracking.use_data(run=run, datasets=[Dataset(name=f"{word}-data", digest=tree, source=text)])
    tracking.add_artifact(run=run, path=f"{word}.txt", digest=file, bytes=10)
    logged = home.logged_models.create(
        id=f"m-{word}",
        experiment=made.id,
        name=f"{word}-net",
        run=run,
        type=text,
        params={f"{word}-p": text},
        tags={f"{word}-t": text},
    )
    tracking.use_models(run=run, models=[ModelUse(model=logged.id, direction="output")])
    root = logged.artifact_root
    tracking.put_artifact(root=root, path=f"{word}.bin", digest=file, bytes=10)
    trace = f"tr-{word}"
    info: dict[str, Any] = {
        "trace_id": trace,
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }
    info |= {"tags": {f"{word}-tag": text}, "request_preview": text}
    assessment = {"assessment_id": f"a-{word}", "rationale": text, "trace_id": trace}
    home.traces.put(experiment=made.id, info=info | {"assessments": [assessment]})
    span = {"span_id": "s1", "name": text, "start_time_unix_nano": "1"}
    home.traces.add_spans(experiment=made.id, spans=[(trace, span)], begun=lambda *_: info, tags={})
    search = SearchPlan(space={f"{word}-p": [text]}, directions=["minimize"], sampler="random")
    plan = StudyPlan(search=search, metrics=[f"{word}-metric"])
    home.tuning.start(project=project, name=f"{word}-study", plan=plan)
    home.tuning.ask(study=f"{word}-study")
    registry = home.registry
    registry.create_model(name=model, project=project, description=text, tags={f"{word}-tag": text})
    with acting(f"{word}-author"):
        registry.register_source(
            model=model,
            source=f"s3://{word}/model",
            run=run,
            description=text,
            tags={f"{word}-tag": text},
        )
    registry.set_alias(model=model, number=1, alias="old")
    home.views.save(
        name=f"{word}-view",
        project=project,
        experiments=[made.id],
        filter=f"tags.`{word}-tag` = '{text}'",
    )
    _fill_tables(home, word, tree)
    return named(word, {"experiment": made.id}, tree)


def _fill_tables(home: Embedded, word: str, tree: str) -> None:
    """What only pipelines, rollouts and monitors make, as rows."""
    project, text = f"{word}-project", f"{word}-text of a project"
    by: dict[str, Any] = {"actor": f"{word}-actor"}
    verdict, rollout, endpoint = f"verdict_{word}", f"rollout_{word}", f"{word}-endpoint"
    rows: list[tuple[Any, dict[str, Any]]] = [
        (
            pipelines,
            {
                "id": f"pipe_{word}",
                "project": project,
                "code": tree,
                "file": text,
                "datasets": "{}",
                "parameters": f'{{"{word}":1}}',
                "plan": "[]",
                "step_timeout_seconds": 1.0,
                "asof": EPOCH,
                "state": "failed",
                "error": text,
                "started_at": EPOCH,
                **by,
            },
        ),
        (
            pipeline_steps,
            {
                "pipeline": f"pipe_{word}",
                "name": text,
                "place": 0,
                "state": "failed",
                "cached": False,
                "seconds": 0.0,
                "error": text,
            },
        ),
        (
            trainings,
            {
                "run": f"{word}-run",
                "project": project,
                "pipeline": f"pipe_{word}",
                "state": "failed",
                "error": text,
                "parameters": "{}",
                **by,
            },
        ),
        (
            evaluations,
            {
                "id": verdict,
                "run": f"{word}-run",
                "project": project,
                "package": tree,
                "holdout": tree,
                "job": f"job_{word}",
                "state": "given",
                "outcome": "refused",
                "reason": text,
                "rows": 1,
                "findings": "[]",
                "at": EPOCH,
                **by,
            },
        ),
        (
            endpoints,
            {
                "name": endpoint,
                "project": project,
                "model": f"{word}-model",
                "generation": 0,
                "created_at": EPOCH,
            },
        ),
        (
            rollouts,
            {
                "id": rollout,
                "endpoint": endpoint,
                "model": f"{word}-model",
                "number": 1,
                "steps": "[]",
                "position": 0,
                "hold_seconds": 0.0,
                "min_requests": 1,
                "state": "aborted",
                "reason": text,
                "gates": "[]",
                "step_started_at": EPOCH,
                "created_at": EPOCH,
                "ended_at": EPOCH,
                **by,
            },
        ),
        (
            windows,
            {
                "endpoint": endpoint,
                "start": EPOCH,
                "end": EPOCH,
                "state": "complete",
                "champion": f"{word}-model:1",
                "rows": 1,
                "errors": 0,
                "labels": 0,
                "latency_ms_p99": 1.0,
                "drift": "[]",
                "measures": "[]",
            },
        ),
        (
            slo_counts,
            {"endpoint": endpoint, "condition": text, "until": EPOCH, "good": 1, "total": 1},
        ),
        (
            slo_cursors,
            {"endpoint": endpoint, "conditions": "[]", "files": "{}", "windows": "{}"},
        ),
        (
            slo_alerts,
            {
                "endpoint": endpoint,
                "slo": text,
                "severity": "page",
                "project": project,
                "since": EPOCH,
            },
        ),
        (
            log_files,
            {"endpoint": endpoint, "day": word, "digest": tree, "rows": 1, "bytes": 1},
        ),
    ]
    rows += _more_rows(word, tree)
    with home.database.write() as transaction:
        for table, row in rows:
            transaction.execute(table.insert().values(row))


def _more_rows(word: str, tree: str) -> list[tuple[Any, Row]]:
    """What jobs, the loop, labels, approvals and rows from production leave."""
    project, model, text = f"{word}-project", f"{word}-model", f"{word}-text of a project"
    job: Row = {"id": f"job_{word}", "kind": "step", "payload": f'{{"said": "{text}"}}'}
    job |= {"state": "failed", "attempt": 1, "max_attempts": 1, "allowance": 1}
    job |= {"timeout_seconds": 1.0, "due_at": EPOCH, "cancel_requested": False, "error": text}
    job |= {"actor": f"{word}-actor", "created_at": EPOCH, "ended_at": EPOCH}
    approval: Row = {"model": model, "number": 1, "by": f"{word}-approver", "at": EPOCH}
    approval |= {"comment": text, "verdict": f"verdict_{word}", "package": tree, "signature": "0"}
    number = sum(word.encode())  # of an event that is not there
    decision: Row = {"rule": "retrain", "event": number, "outcome": "held", "reason": text}
    answered: Row = {"project": project, "label_event": number, "digest": tree, "rows": 1}
    grown: Row = {"project": project, "digest": tree, "source": tree, "answers": 1, "collected": 1}
    label: Row = {"project": project, "request": f"{word}-request", "value": 1.0, "at": EPOCH}
    result = {"places": [{"project": project, "what": text, "rows": 1}]}
    erasure: Row = {"id": f"erasure_{word}", "project": project, "state": "done"}
    erasure |= {"fingerprints": "[]", "sealed": "", "result": to_text(result)}
    erasure |= {"started_at": EPOCH, "ended_at": EPOCH, "actor": f"{word}-actor"}
    gone = word.encode().hex().ljust(64, "0")
    replaced: Row = {"project": project, "name": f"{word}-data", "digest": gone}
    replaced |= {"successor": tree, "erasure": f"erasure_{word}", "at": EPOCH}
    content: Row = {"digest": gone, "project": project, "erasure": f"erasure_{word}"}
    return [
        (erasures, erasure),
        (erased_versions, replaced),
        (erased_contents, content | {"removed": True}),
        (jobs, job),
        (approvals, approval),
        (decisions, decision | {"project": project, "at": EPOCH}),
        (schedules, {"project": project, "schedule": f"{word}-schedule", "looked_at": EPOCH}),
        (labels, label | {"word": f'"{text}"', "event": number}),
        (answered_rows, answered | {"unmatched": f'["{word}-request"]'}),
        (grown_datasets, grown | {"label_event": number}),
        *_incident_rows(word),
        (uploads, {"digest": tree, "project": project, "actor": f"{word}-actor", "at": EPOCH}),
    ]


def _incident_rows(word: str) -> list[tuple[Any, Row]]:
    """An incident with an alert, a silence and a message."""
    project, endpoint, text = f"{word}-project", f"{word}-endpoint", f"{word}-text of a project"
    number = incident_number(word)
    times: Row = {"opened_at": EPOCH, "began_at": EPOCH, "last_at": EPOCH, "resolved_at": EPOCH}
    incident: Row = {"id": number, "project": project, "endpoint": endpoint, "title": text}
    incident |= {"severity": "page", "state": "resolved", "times_opened": 1, "review": "{}"}
    incident |= {"acknowledged_by": f"{word}-actor", "resolved_by": f"{word}-actor"}
    incident |= {"acknowledged_at": EPOCH, "roles": to_text({f"{word}-role": text})}
    alert: Row = {"incident": number, "key": word, "kind": "drift", "endpoint": endpoint}
    alert |= {"severity": "page", "says": text, "count": 1, "metric": "", "labelled": False}
    alert |= {"first_event": 1, "last_event": 1, "first_at": EPOCH, "last_at": EPOCH}
    alert |= {"since": EPOCH, "runbook": text, "cleared_at": EPOCH}
    silence: Row = {"id": f"silence_{word}", "project": project, "endpoint": endpoint}
    silence |= {"kind": "drift", "severity": "page", "reason": text, "by": f"{word}-actor"}
    far = EPOCH + timedelta(days=100 * 365)
    message: Row = {"id": f"message_{word}", "incident": number, "times_opened": 1}
    message |= {"change": "opened", "severity": "page", "route_key": word, "route": text}
    message |= {"state": "dead", "due_at": EPOCH, "attempts": 8, "next_at": EPOCH, "error": text}
    return [
        (incidents, incident | times),
        (alerts, alert),
        (silences, silence | {"until": far, "created_at": EPOCH}),
        (messages, message),
    ]


def planted_webhook(home: Embedded, word: str) -> str:
    """Make a webhook, which belongs to no project, and return its id; it needs
    ``TREADLE_WEBHOOK_HOSTS`` to allow 127.0.0.1."""
    return home.webhooks.create(
        name=f"{word}-hook",
        address=f"http://127.0.0.1:9/{word}",
        events=["MODEL_VERSION CREATED"],
        description=f"{word}-hooks",
    ).id
