"""Asks a stock MLflow server and ours the same, in a random walk, and compares what they answer.

Calls are drawn from MLflow's own descriptors: most are valid, in others a field is missing, null
or of a wrong type. Ids are mapped between the servers, and times near now count as equal.
"""

import random
import re
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.http.mlflow_clients.differential_words import (
    FILTERS,
    IDS,
    KEYS,
    LEFT_OUT,
    NAMES,
    NEW_IN_3,
    NOBODY,
    ODD,
    ORDERS,
    TIMES,
    UNORDERED,
    UNSEEN,
)
from treadle.http import mlflow
from treadle.http.mlflow import protocol


class Ref(NamedTuple):
    """Something that both servers have, each under an id of its own."""

    kind: str
    ids: tuple[str, str]


class Difference(NamedTuple):
    """A call that the servers answer differently."""

    route: str
    ask: dict[str, Any]
    theirs: Any
    ours: Any

    @property
    def kind(self) -> str:
        """What differs, short enough to be counted and listed."""
        theirs, ours = self.theirs[:2], self.ours[:2]
        if theirs != ours:
            asked, told = self.ask["sent"], self.ask["messages"][1]
            about = " (wrong type)" if "Hint: Value was of type" in told else ""
            about += " (filter)" if asked.get("filter") or asked.get("order_by") else ""
            return f"{self.route}: {theirs} is {ours}{about}"
        return f"{self.route}: {path_of(self.theirs[2], self.ours[2])}"


def deliberate(difference: Difference) -> bool:
    """Whether a difference is one that the documentation lists with its reason."""
    file = Path(__file__).parents[3] / "docs" / "reference" / "mlflow-differences.toml"
    listed = tomllib.loads(file.read_text(encoding="utf-8"))["difference"]
    return any(re.search(one["found"], difference.kind) for one in listed)


def path_of(theirs: Any, ours: Any, at: str = "") -> str:
    """The first place at which two answers differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            if key not in ours or key not in theirs:
                return f"{at}.{key} is only {'theirs' if key in theirs else 'ours'}"
            if theirs[key] != ours[key]:
                return path_of(theirs[key], ours[key], f"{at}.{key}")
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            return f"{at} has {len(theirs)} is {len(ours)}"
        for one, other in zip(theirs, ours, strict=True):
            if one != other:
                return path_of(one, other, f"{at}[]")
    return f"{at}: {theirs!r:.60} is {ours!r:.60}"


class Walk:
    """A walk over two servers.

    Args:
        theirs: URL of the stock server.
        ours: URL of the server that is compared with it.
        release: Its major release, 2 or 3.
        seed: Seed of the walk.
    """

    def __init__(self, theirs: str, ours: str, release: int, seed: int) -> None:
        self.clients = [httpx.Client(base_url=url, timeout=60) for url in (theirs, ours)]
        self.random = random.Random(seed)
        self.refs: dict[str, list[Ref]] = {"experiment_id": [Ref("experiment_id", ("0", "0"))]}
        self.calls = 0
        self.statuses: Counter[int] = Counter()
        self.tokens: list[Ref] = []
        answered = {protocol.shape(*route.split(" ", 1)) for route in mlflow.answered()}
        version = protocol.table().versions[0 if release == 2 else 1]
        self.release = release
        self.routes = [
            (route, facts)
            for route, facts in protocol.table().routes.items()
            if protocol.shape(*route.split(" ", 1)) in answered
            and not LEFT_OUT.search(route)
            and (release == 3 or facts.client == version)
            and not (release == 2 and "/3.0/" in route)
        ]

    def steps(self, many: int) -> Iterator[Difference]:
        """Make calls. Yields those that differ."""
        for _ in range(many):
            route, facts = self.random.choice(self.routes)
            if re.search("delete|restore", route.split("/", 3)[3]) and self.random.random() < 0.6:
                continue
            difference = self.compare(route, self.settled(route, self.ask(route, facts)))
            if difference is not None:
                yield difference

    def ask(self, route: str, facts: protocol.Facts) -> dict[str, Any]:
        """Fields for a call; ids are references."""
        ask: dict[str, Any] = {}
        for name, kind in facts.fields.items():
            if self.release == 2 and name in NEW_IN_3:
                continue
            if name in facts.required or self.random.random() < 0.45:
                ask[name] = self.value(route, name, kind)
        if self.random.random() < 0.2 and ask:
            name = self.random.choice(list(ask))
            wrong = [None, "", *ODD.get(facts.fields[name], [])]
            change = self.random.choice(wrong)
            ask.pop(name) if change is None and self.random.random() < 0.5 else ask.update(
                {name: change}
            )
        return ask

    def settled(self, route: str, ask: dict[str, Any]) -> dict[str, Any]:
        """A request without what the two servers take differently on purpose.

        What only one of them accepts would make everything after it different.
        """
        for name in ("tags", "params", "metrics", "request_metadata", "models", "datasets"):
            if isinstance(ask.get(name), list):
                ask[name] = ask[name][:1]
        if re.search(r"POST .*/(runs/create|mlflow/traces|logged-models)$", route):
            ask.setdefault("experiment_id", self.ref("experiment_id"))
        if route.endswith("runs/create"):
            ask.setdefault("start_time", TIMES[0])
        if route.endswith("runs/update") and "status" in ask:
            ask.setdefault("end_time", TIMES[1])
        if route.startswith("PATCH") and route.endswith("traces/{request_id}"):
            ask.setdefault("timestamp_ms", TIMES[2])
            ask["status"] = self.random.choice(["OK", "ERROR"])
        if "experiments/search" in route:
            ask.setdefault("max_results", 100)
        if "source" in ask and (
            self.release == 2 or not (ask.get("run_id") or ask.get("model_id"))
        ):
            ask["source"] = "s3://b/m"
        for name in ("datasets", "deployment_job_id"):
            if "search" in route or name == "deployment_job_id":
                ask.pop(name, None)
        return ask

    def ref(self, kind: str) -> Any:
        known = self.refs.get(kind, [])
        if not known or self.random.random() < 0.05:
            return "999" if kind == "experiment_id" else "nobody"
        return self.random.choice(known[-4:])

    def value(self, route: str, name: str, kind: str) -> Any:
        """A value that most often is valid for a field."""
        some = self.random.choice
        if name in ("run_id", "run_uuid", "source_run_id"):
            return self.ref("run_id")
        if name in ("experiment_id", "model_id"):
            return self.ref(name)
        if name in ("trace_id", "request_id"):
            return self.ref("trace_id")
        if name in ("experiment_ids", "run_ids", "trace_ids", "request_ids"):
            of = {"experiment_ids": "experiment_id", "run_ids": "run_id"}.get(name, "trace_id")
            return [self.ref(of) for _ in range(self.random.randint(1, 3))]
        special = self.special(route, name)
        if special is not None:
            return special
        if kind.endswith("[]"):
            return [self.value(route, name, kind[:-2]) for _ in range(self.random.randint(0, 2))]
        if kind in protocol.table().messages:
            inner = protocol.table().messages[kind]
            known = inner.keys() - (NEW_IN_3 if self.release == 2 else ())
            return {key: self.value(route, key, one) for key, one in inner.items() if key in known}
        if "|" in kind:
            return some(kind.split("|"))
        plain: dict[str, Callable[[], Any]] = {
            "bool": lambda: some([True, False]),
            "int64": lambda: some([0, 1, 2, 3, -1]),
            "int32": lambda: some([0, 1, 2, 3]),
            "double": lambda: some([0.25, 0.75, 1, "NaN", "Infinity"]),
        }
        return plain.get(kind, lambda: some(["a", "b", "0.1", ""]))()

    def location(self) -> dict[str, Any]:
        """Where traces are, as clients of 3.x say it."""
        of = {"experiment_id": self.ref("experiment_id")}
        return {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": of}

    def trace_info(self) -> dict[str, Any]:
        """The facts of a trace, as clients of 3.x begin it."""
        some = self.random.choice
        return {
            "trace_id": f"tr-{self.random.getrandbits(128):032x}",
            "trace_location": self.location(),
            "request_time": some(["2023-11-14T22:13:20Z", "2023-11-14T22:15:00.250Z"]),
            "execution_duration": some(["1.500s", "0.010s"]),
            "state": some(["OK", "ERROR", "IN_PROGRESS"]),
            "tags": {"team": some("ab")},
            "trace_metadata": {"lr": some("ab")},
        }

    def special(self, route: str, name: str) -> Any:
        """A value for what a field's name tells more of than its type; None for other fields."""
        some = self.random.choice
        place = route.split("/mlflow/")[1]
        group = "traces" if place.startswith("traces") else place
        if name == "trace":
            return {"trace_info": self.trace_info()}
        if name == "locations":
            return [self.location() for _ in range(self.random.randint(1, 2))]
        if name == "filter":
            return some(["", *FILTERS.get(group, [])])
        if name == "order_by" and "logged-models" not in route:
            return some([[], [some(ORDERS.get(group, ["x"]))]])
        if name == "page_token":
            return some(["", "", "nonsense"])
        if name == "max_results":
            return some([1, 2, 100, 100, 0, -1, 10**6])
        if name in ("name", "new_name", "experiment_name", "run_name"):
            fresh = "experiments/" in route and name != "experiment_name"
            return some(NAMES) + (str(self.calls) if fresh else "")
        if name in ("key", "metric_key", "tag_key"):
            return some([*KEYS, "team"]) if "tag" in route else some(KEYS)
        if "timestamp" in name or name in ("start_time", "end_time"):
            return some(TIMES)
        if name == "version":
            return some(["1", "2", "3", "x"])
        if name == "source":
            return some(["mlflow-artifacts:/0/x/artifacts/m", "s3://b/m"])
        if name in ("artifact_location", "trace_location", "run_link"):
            return "s3://bucket/here" if name == "artifact_location" else None
        if name == "stage":
            return some(["Staging", "production", "None", "nowhere"])
        if name == "stages":
            return some([["Staging"], [], ["None", "Production"]])
        if name == "alias":
            return some(["champion", "best", "latest", "v1"])
        if name == "model_json":
            return some(['{"run_id": "r", "artifact_path": "m", "flavors": {}}', "nonsense"])
        return None

    def compare(self, route: str, ask: dict[str, Any]) -> Difference | None:
        """Make one call at both servers."""
        answers = [self.send(side, route, ask) for side in (0, 1)]
        self.calls += 1
        self.statuses[answers[0].status_code] += 1
        bodies = [self.body(answer) for answer in answers]
        if answers[0].is_success and answers[1].is_success:
            self.learn(*bodies)
        seen = []
        for side, (answer, body) in enumerate(zip(answers, bodies, strict=True)):
            code = body.get("error_code") if isinstance(body, dict) else None
            meaning = self.meaning(side, body) if answer.is_success else None
            seen.append((answer.status_code, code, meaning))
        if seen[0] == seen[1]:
            return None
        shown = {"sent": ask, "messages": [answer.text[:300] for answer in answers]}
        return Difference(route, shown, seen[0], seen[1])

    def send(self, side: int, route: str, ask: dict[str, Any]) -> httpx.Response:
        method, path = route.split(" ", 1)
        fields = resolved(ask, side)
        for name in re.findall(r"{(\w+)}", path):
            value = fields.get(name)
            path = path.replace(f"{{{name}}}", str(value or "nobody"))
        client = self.clients[side]
        if method == "GET":
            params = {k: v for k, v in fields.items() if v is not None and not isinstance(v, dict)}
            return client.get(path, params=params)
        return client.request(method, path, json=fields)

    def body(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            return answer.text

    def learn(self, theirs: Any, ours: Any) -> None:
        """Remember what the servers have made under ids of their own."""
        if isinstance(theirs, dict) and isinstance(ours, dict):
            for name in theirs.keys() & ours.keys():
                kind = {"request_id": "trace_id", "run_uuid": "run_id"}.get(name, str(name))
                if name in (*IDS, "run_name", "name") and isinstance(theirs[name], str):
                    if name in ("run_name", "name") and theirs[name] == ours[name]:
                        continue
                    ref = Ref(kind, (theirs[name], str(ours[name])))
                    known = self.refs.setdefault(kind, [])
                    if not any(
                        one.ids[0] == ref.ids[0] or one.ids[1] == ref.ids[1] for one in known
                    ):
                        known.append(ref)
                else:
                    self.learn(theirs[name], ours[name])
        if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours) == 1:
            self.learn(theirs[0], ours[0])

    def meaning(self, side: int, value: Any, name: str = "") -> Any:
        """An answer with the ids that both servers know under one name."""
        if isinstance(value, dict):
            fields = {key: self.meaning(side, one, key) for key, one in value.items()}
            return {
                key: one
                for key, one in fields.items()
                if not (key == "model_id" and "current_stage" in fields)
                and one not in ([], {})
                and key not in UNSEEN
                and (key, one) not in NOBODY
            }
        if isinstance(value, list):
            parts = [self.meaning(side, one, name) for one in value]
            parts = [x for x in parts if not isinstance(x, dict) or x.get("key") not in UNSEEN]
            return sorted(parts, key=repr) if name in UNORDERED else parts
        if name == "next_page_token":
            return bool(value)
        if isinstance(value, int) and abs(value - time.time() * 1000) < 3_600_000:
            return "now"
        if isinstance(value, str):
            for index, ref in enumerate(self.refs["experiment_id"]):
                root = f"mlflow-artifacts:/{ref.ids[side]}"
                if value == root or value.startswith(f"{root}/"):
                    value = f"artifacts of {index}{value[len(root) :]}"
                    break
            if re.match(r"\d{4}-\d\d-\d\dT", value):
                return "a time"
            named = name in ("run_name", "name", "value")
            for kind, known in sorted(self.refs.items(), key=lambda one: "name" not in one[0]):
                for index, ref in enumerate(known):
                    fits = named if "name" in kind else name in (*IDS, "value", "source_run_id")
                    if value == ref.ids[side] and fits:
                        return f"{kind} {index}"
                    if kind in ("run_id", "model_id", "trace_id") and len(ref.ids[side]) > 8:
                        value = value.replace(ref.ids[side], f"{kind} {index}")
        return value


def resolved(value: Any, side: int) -> Any:
    """A request's fields as one of the servers knows them."""
    if isinstance(value, Ref):
        return value.ids[side]
    if isinstance(value, dict):
        return {key: resolved(one, side) for key, one in value.items()}
    if isinstance(value, list):
        return [resolved(one, side) for one in value]
    return value
