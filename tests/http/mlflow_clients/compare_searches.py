"""Compares searches: ``CLIENT'S-PYTHON compare_searches.py FILE URL [EVERY]``.

Searches MLflow's own database and a server for the same.

Prints each difference. With many runs, MLflow's own searches take long, so that only every so
manieth of them may be asked for.
"""

import itertools
import sys

import mlflow
from mlflow import MlflowClient

theirs = MlflowClient(
    tracking_uri=f"sqlite:///{sys.argv[1]}", registry_uri=f"sqlite:///{sys.argv[1]}"
)
ours = MlflowClient(tracking_uri=sys.argv[2], registry_uri=sys.argv[2])

FILTERS = [
    "",
    "metrics.loss < 0.3",
    "metrics.loss >= 0.5 and params.lr = '0.1'",
    "metrics.acc != 0.5",
    "params.opt LIKE 'a%'",
    "params.opt ILIKE 'a%'",
    "params.lr != '0.1'",
    "tags.note IS NULL",
    "tags.note IS NOT NULL and tags.team != 'a'",
    'tags.`team` = "a"',
    "attributes.status = 'FINISHED'",
    "status != 'FINISHED' and metrics.acc > 0.5",
    "attributes.run_name LIKE 'run-1%'",
    "start_time > 1700000100000",
    "end_time < 1700000100000",
]
if mlflow.__version__.startswith("2."):  # it cannot ask whether something is there
    FILTERS = [filter for filter in FILTERS if "NULL" not in filter]
ORDERS = [
    [],
    ["metrics.loss DESC"],
    ["metrics.acc ASC"],
    ["metrics.odd ASC"],
    ["params.opt ASC", "start_time ASC"],
    ["end_time DESC"],
]
VIEWS = (1, 2, 3)
EVERY = int(sys.argv[3]) if len(sys.argv) > 3 else 1
PAGE = 90 if EVERY == 1 else 1000


def every(client, experiments, filter, order, view):
    found, token = [], None
    while True:
        page = client.search_runs(experiments, filter, view, PAGE, order, token)
        found, token = found + list(page), page.token
        if not token:
            return found


def facts(run):
    # MLflow reads an infinity back as the largest double there is
    metrics = {
        key: repr(max(min(value, sys.float_info.max), -sys.float_info.max))
        for key, value in run.data.metrics.items()
    }
    info = run.info
    return (
        info.run_id,
        info.run_name,
        info.status,
        info.start_time,
        info.end_time,
        metrics,
        run.data.params,
        run.data.tags,
    )


names = [
    experiment.name
    for experiment in theirs.search_experiments()
    if experiment.name.startswith("exp")
]
there = [theirs.get_experiment_by_name(name).experiment_id for name in names]
here = [ours.get_experiment_by_name(name).experiment_id for name in names]
SEARCHES = list(itertools.product(FILTERS, ORDERS, VIEWS))[::EVERY]
for filter, order, view in SEARCHES:
    wanted = [facts(run) for run in every(theirs, there, filter, order, view)]
    found = [facts(run) for run in every(ours, here, filter, order, view)]
    if wanted != found:
        print("differs:", filter, order, view, len(wanted), len(found))
some = every(theirs, there, "", [], 1)[:30]
for run in some:
    for key in run.data.metrics:
        points = [
            [(p.step, p.timestamp, p.value) for p in c.get_metric_history(run.info.run_id, key)]
            for c in (theirs, ours)
        ]
        if key != "odd" and points[0] != points[1]:
            print("differs:", key, run.info.run_id)
models = [
    {
        (str(v.version), v.source, v.current_stage, str(v.tags))
        for v in c.search_model_versions("name='m1'")
    }
    for c in (theirs, ours)
]
if models[0] != models[1]:
    print("differs:", models)
print("compared", len(SEARCHES), "searches")
