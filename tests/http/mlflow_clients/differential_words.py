"""What the random walk over MLflow's protocol says: names, filters, odd values."""

import re
from typing import Any

IDS = ("run_id", "run_uuid", "experiment_id", "model_id", "trace_id", "request_id", "webhook_id")
UNORDERED = (
    "tags",
    "params",
    "metrics",
    "aliases",
    "events",
    "trace_metadata",
    "request_metadata",
    "model_inputs",
    "model_outputs",
)
NEW_IN_3 = ("model_id", "dataset_name", "dataset_digest", "models")
UNSEEN = ("workspace", "run_link", "mlflow.trace.infoFinalized", "mlflow.sourceRun")
"""Fields of answers that say nothing here: there is one workspace."""
NOBODY = (
    ("user_id", ""),
    ("user_id", "anonymous"),
    ("description", ""),
    ("schema", ""),
    ("profile", ""),
)
"""Fields that say as much as none: without accounts, users have no name that both know."""
KEYS = ["loss", "acc", "a/b", "lr"]
NAMES = ["alpha", "beta", "gamma", "delta"]
TIMES = [1_700_000_000_000, 1_700_000_100_000, 1_700_000_200_000]
ODD: dict[str, list[Any]] = {
    "string": [7, True, ["x"], {"a": 1}],
    "int64": ["x", 1.5, [1]],
    "int32": ["x", 1.5, [1]],
    "double": ["x", [1]],
    "bool": ["x", 3],
}
"""Values of wrong types, by the type that is wanted."""
FILTERS = {
    "runs/search": [
        "metrics.loss < 0.5",
        "params.lr = '0.1'",
        "tags.team = 'a'",
        "attributes.status = 'FINISHED'",
        "run_name LIKE 'al%'",
        "metrics.loss = 'x'",
        "nonsense",
    ],
    "experiments/search": ["name LIKE 'a%'", "tags.team = 'a'", "name = 'beta'", "nonsense"],
    "registered-models/search": ["name = 'alpha'", "name LIKE '%a'", "tags.team = 'a'", "x = 1"],
    "model-versions/search": ["name = 'alpha'", "run_id = 'x'", "tags.team = 'a'", "x = 1"],
    "logged-models/search": ["name = 'alpha'", "params.lr = '0.1'", "metrics.loss < 1"],
    "traces": ["tag.team = 'a'", "trace.status = 'OK'", "status = 'ERROR'", "timestamp_ms > 5"],
}
ORDERS = {
    "runs/search": ["metrics.loss DESC", "start_time ASC", "params.lr", "nonsense here"],
    "experiments/search": ["name DESC", "creation_time ASC", "experiment_id", "nonsense here"],
    "registered-models/search": ["name DESC", "last_updated_timestamp ASC", "nonsense here"],
    "model-versions/search": ["version_number DESC", "name ASC", "nonsense here"],
    "traces": ["timestamp_ms DESC", "timestamp_ms ASC"],
}
LEFT_OUT = re.compile(
    r"mlflow-artifacts|get-artifact|webhooks|graphql|server-info|/health|/version$|/v1/|ajax-api"
    r"|calculate-filter|traces/metrics|link-prompts|assessments|batchGet|traces/get"
)
"""Routes that the walk does not take: they carry files, or have tests of their own."""
