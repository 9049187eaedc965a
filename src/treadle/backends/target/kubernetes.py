"""Endpoints as Kubernetes objects: applied, weighed and observed through the API server, their logs gathered here.

A change goes in three steps, so that it costs no request: what is new runs first; once all of it is ready, the route and the
endpoint's Service move to it; what nobody is sent to any more goes a while later.
"""

import base64
import json
import logging
import re
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

from treadle.delivery import manifests
from treadle.delivery.manifests import NAME, VERSION, Manifest, name_of, replicas_of
from treadle.kernel.entity import Entity, from_json, replace, to_json
from treadle.kernel.errors import Corrupt, Invalid, TreadleError, Unavailable, missing_extra
from treadle.ports.blobs import Blobs
from treadle.ports.target import EndpointSpec, EndpointStatus, Replica, Role, Variant
from treadle.serving import log_access
from treadle.serving.inference_log import records
from treadle.serving.log_access import LogFile

MANAGER, MANAGED, ENDPOINT = "treadle", "app.kubernetes.io/managed-by", "treadle/endpoint"
LOOK_SECONDS, KEEP_SECONDS, FRESH_SECONDS = 1.0, 30.0, 2.0
TIMEOUT_SECONDS = 10.0
_GENERATION = "treadle/generation"
_PATHS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
}
_OURS = (
    "HTTPRoute",
    "Service",
    "Deployment",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Secret",
    "ConfigMap",
)
_MARK = struct.Struct("<4sQI")  # magic, where the source was read to, checksum
_MARK_MAGIC = b"\xf7TRB"
_LOG_PATH = re.compile(
    r"\d{4}-\d\d-\d\d/[\w-]+\.log"
)  # what a pod says is not trusted to stay in its folder
log = logging.getLogger(__name__)


class State(Entity):
    """What the cluster keeps of an endpoint: what is wanted, since when (microseconds) it is all in place, and what was before."""

    spec: EndpointSpec
    in_place: int = 0
    since: int = 0
    before: dict[str, Role] = {}  # version → its role in the generation before

    def role(self, version: str, at: int) -> tuple[Role, int]:
        """The role of a version at a moment, and the generation it had it in."""
        now = self.in_place == self.spec.generation and at >= self.since
        roles = {variant.version: variant.role for variant in self.spec.variants}
        known = roles if now else {**roles, **self.before}
        return known.get(version, "champion"), self.spec.generation - (not now)


class Kubernetes:
    """``kubernetes://CONTEXT/NAMESPACE?image=REGISTRY/{model}:{number}&gateway=NAME``.

    Without a context the current one is used, inside a cluster the pod's own account. ``gateway`` names the Gateway that weighs
    variants and mirrors to shadows; without one only whole versions can be rolled out. ``address`` is where clients ask, with
    ``{endpoint}`` in it; ``server`` an API server without login, as a proxy gives it.
    """

    def __init__(self, url: str, blobs: Blobs, folder: Path, environment: dict[str, str]) -> None:
        parts = urlsplit(url)
        given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if "{number}" not in given.get("image", ""):
            raise Invalid(
                f"The target '{url}' wants an image with {{number}} in it: kubernetes://…?image=registry/{{model}}:{{number}}"
            )
        self.url, self._folder, self._blobs, self._environment = url, folder, blobs, environment
        self._image, self._gateway = given["image"], given.get("gateway", "")
        self._namespace = parts.path.strip("/") or "default"
        self._address = given.get("address", f"http://{{endpoint}}.{self._namespace}.svc")
        self._api = _client(parts.netloc, given.get("server", ""))
        self._look_at = 0.0
        self._seen: dict[str, tuple[float, EndpointStatus | None]] = {}
        self._read: dict[Path, int] = {}  # gathered file → how far its source was read

    def apply(self, spec: EndpointSpec) -> None:
        secret = f"{spec.name}-log"
        if self._get("Secret", secret) is None:
            token = {"token": secrets.token_urlsafe(32)}
            self._put(self._made("Secret", secret, spec.name, {"stringData": token}))
        before = self._state(spec.name)
        if before is None:
            self._keep(State(spec=spec))
        elif before.spec.generation != spec.generation:
            roles = {variant.version: variant.role for variant in before.spec.variants}
            self._keep(State(spec=spec, in_place=before.in_place, since=before.since, before=roles))
        elif before.spec != spec:
            self._keep(replace(before, spec=spec))
        for manifest in manifests.workload(spec, self._image, log_secret=secret):
            self._put(manifest)
        self._seen.pop(spec.name, None)

    def observe(self, name: str) -> EndpointStatus | None:
        at, status = self._seen.get(name, (0.0, None))
        if time.monotonic() - at > FRESH_SECONDS:
            status = self._observed(name)
            self._seen[name] = (time.monotonic(), status)
        return status

    def remove(self, name: str) -> None:
        for kind in _OURS:
            for found in self._list(kind, {NAME: name}):
                self._delete(kind, found["metadata"]["name"])
        self._seen.pop(name, None)

    def endpoints(self) -> list[str]:
        return sorted(
            found["metadata"]["labels"][NAME]
            for found in self._list("ConfigMap", {ENDPOINT: "true"})
        )

    def tend(self) -> None:
        """Take each endpoint a step on, and gather what its replicas have logged."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        try:
            names = self.endpoints()
        except TreadleError as error:  # the cluster is away: what runs goes on running
            log.warning("%s", error.message)
            return
        for name in names:
            try:
                self._step(name)
                self._gather(name)
            except TreadleError as error:  # one endpoint's trouble stops no other
                log.warning("endpoint '%s': %s", name, error.message)

    def close(self) -> None:
        self._api.close()

    # What a change goes through

    def _step(self, name: str) -> None:
        state = self._state(name)
        if state is None or not all(
            self._deployed(state.spec, variant) for variant in state.spec.variants
        ):
            return
        spec = state.spec
        for manifest in manifests.switches(spec, self._gateway):
            there = self._get(manifest["kind"], manifest["metadata"]["name"])
            if there is None or there["metadata"].get("annotations", {}).get(_GENERATION) != str(
                spec.generation
            ):
                manifest["metadata"]["annotations"] = {_GENERATION: str(spec.generation)}
                self._put(manifest)
        if not self._switched(spec):
            return
        if state.in_place != spec.generation:
            self._keep(replace(state, in_place=spec.generation, since=_now()))
        elif _now() - state.since > KEEP_SECONDS * 1e6:
            self._prune(spec)

    def _deployed(self, spec: EndpointSpec, variant: Variant) -> bool:
        """Whether as many replicas of a variant are ready as it should have, and none of an older make is left."""
        found = self._get("Deployment", name_of(spec, variant))
        if found is None:
            return False
        status, wanted = found.get("status") or {}, replicas_of(spec, variant)
        if status.get("observedGeneration", 0) < found["metadata"].get("generation", 0):
            return False
        counts = [status.get(count) or 0 for count in ("readyReplicas", "updatedReplicas")]
        return found["spec"]["replicas"] == wanted and min(counts) >= wanted

    def _switched(self, spec: EndpointSpec) -> bool:
        """Whether the gateway has taken the route as it is now."""
        if not self._gateway:
            return True
        route = self._get("HTTPRoute", spec.name)
        if route is None:
            return False
        newest = route["metadata"].get("generation", 0)
        accepted = [
            condition
            for parent in (route.get("status") or {}).get("parents", [])
            for condition in parent.get("conditions", [])
            if condition["type"] == "Accepted" and condition.get("observedGeneration", 0) >= newest
        ]
        return bool(accepted) and all(condition["status"] == "True" for condition in accepted)

    def _prune(self, spec: EndpointSpec) -> None:
        """End the versions that are no variant any more."""
        wanted = {name_of(spec, variant) for variant in spec.variants} | {spec.name}
        for kind in ("Deployment", "Service"):
            for found in self._list(kind, {NAME: spec.name}):
                if found["metadata"]["name"] not in wanted:
                    self._delete(kind, found["metadata"]["name"])

    def _observed(self, name: str) -> EndpointStatus | None:
        state = self._state(name)
        if state is None:
            return None
        spec = state.spec
        champion = next(variant for variant in spec.variants if variant.role == "champion")
        there = state.in_place == spec.generation and all(
            self._deployed(spec, v) for v in spec.variants
        )
        labels = {NAME: name, VERSION: champion.version.rpartition(":")[2]}
        replicas = [
            self._replica(name, pod, spec.generation if there else spec.generation - 1)
            for pod in self._list("Pod", labels)
        ]
        return EndpointStatus(
            name=name, generation=spec.generation, wanted=spec.replicas, replicas=replicas
        )

    def _replica(self, name: str, pod: dict[str, Any], generation: int) -> Replica:
        conditions = (pod.get("status") or {}).get("conditions", [])
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in conditions
        )
        told = self._ask(pod, "/metrics") if ready else b""
        return Replica(
            url=self._address.format(endpoint=name),
            pid=crc32(pod["metadata"]["uid"].encode()),
            generation=generation,
            ready=ready,
            requests=int(_metric(told, b"treadle_requests_total")),
            busy_seconds=_metric(told, b"treadle_request_seconds_total"),
        )

    # The logs

    def _gather(self, name: str) -> None:
        """Bring what the endpoint's pods have logged since it was last brought."""
        state, secret = self._state(name), self._get("Secret", f"{name}-log")
        if state is None or secret is None:
            return
        token = _decoded(secret)
        for pod in self._list("Pod", {NAME: name}):
            told = self._ask(pod, log_access.PATH, token)
            for file in from_json(told, list[LogFile]) if told else []:
                if not _LOG_PATH.fullmatch(file.path):
                    raise Corrupt(
                        f"Pod '{pod['metadata']['name']}' tells of the log file '{file.path[:80]}', which is no name of one."
                    )
                to = self._folder / name / "log" / file.path
                to = to.with_name(f"{pod['metadata']['uid']}-{to.name}")
                if file.bytes > self._read.setdefault(to, _read_to(to)):
                    part = self._ask(
                        pod, f"{log_access.PATH}/{file.path}", token, start=self._read[to]
                    )
                    self._read[to] += _append(to, part, self._read[to], state)

    def _ask(self, pod: dict[str, Any], path: str, token: str = "", start: int = 0) -> bytes:
        """What a pod's model server says, by way of the API server; nothing while it does not answer."""
        name = f"{pod['metadata']['name']}:{manifests.PORT}"
        headers = (
            {log_access.TOKEN_HEADER.decode(): token, log_access.FROM_HEADER.decode(): str(start)}
            if token
            else {}
        )
        try:
            answer = self._call(
                "GET", f"{self._path('Pod')}/{name}/proxy{path}", headers=headers, raw=True
            )
        except TreadleError:
            return b""
        return bytes(answer or b"")

    # The API server

    def _state(self, name: str) -> State | None:
        found = self._get("ConfigMap", f"{name}-endpoint")
        return from_json(found["data"]["state"].encode(), State) if found else None

    def _keep(self, state: State) -> None:
        made = self._made(
            "ConfigMap",
            f"{state.spec.name}-endpoint",
            state.spec.name,
            {"data": {"state": to_json(state).decode()}},
        )
        made["metadata"]["labels"][ENDPOINT] = "true"
        self._put(made)

    def _made(self, kind: str, name: str, endpoint: str, content: Manifest) -> Manifest:
        return {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "labels": {NAME: endpoint}},
            **content,
        }

    def _path(self, kind: str) -> str:
        return _PATHS[kind].format(self._namespace)

    def _get(self, kind: str, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._call("GET", f"{self._path(kind)}/{name}")
        return found

    def _list(self, kind: str, labels: dict[str, str]) -> list[dict[str, Any]]:
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        found = self._call("GET", self._path(kind), query=[("labelSelector", selector)])
        return list(found["items"]) if found else []

    def _put(self, manifest: Manifest) -> None:
        """Server-side apply: what is not there is made, what is there becomes this, fields of others stay."""
        manifests.placed(manifest, self._namespace)
        manifest["metadata"]["labels"][MANAGED] = MANAGER
        query = [("fieldManager", MANAGER), ("force", "true")]
        path = f"{self._path(manifest['kind'])}/{manifest['metadata']['name']}"
        kind = {"Content-Type": "application/apply-patch+yaml"}
        if self._call("PATCH", path, query=query, headers=kind, body=manifest) is None:
            raise Invalid(
                f"The cluster takes no {manifest['kind']} in namespace '{self._namespace}': the namespace or the kind "
                f"({manifest['apiVersion']}) is not there."
            )

    def _delete(self, kind: str, name: str) -> None:
        self._call(
            "DELETE", f"{self._path(kind)}/{name}", query=[("propagationPolicy", "Background")]
        )

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        body: Manifest | None = None,
        raw: bool = False,
    ) -> Any:
        """What the API server answers; None for what it does not have."""
        with _told(f"{method} {path}") as missing:
            answer = self._api.call_api(
                path,
                method,
                query_params=query or [],
                header_params={"Accept": "*/*" if raw else "application/json", **(headers or {})},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=TIMEOUT_SECONDS,
            )
            return answer.data if raw else json.loads(answer.data)
        assert missing
        return None


@contextmanager
def _told(what: str) -> Iterator[list[str]]:
    """The API server's refusals as ours; what it does not have is put on the list instead."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    missing: list[str] = []
    try:
        yield missing
    except ApiException as error:
        if error.status != 404:
            said = (
                json.loads(error.body).get("message", "")
                if str(error.body)[:1] == "{"
                else error.reason
            )
            raise Invalid(f"The cluster refused {what}: {error.status} {said}") from error
        missing.append(what)
    except HTTPError as error:
        raise Unavailable(f"The cluster does not answer {what}: {error}") from error


def _client(context: str, server: str) -> Any:
    try:
        from kubernetes import client, config
    except ModuleNotFoundError as error:
        raise missing_extra("kubernetes", "Deploying to Kubernetes") from error
    if server:
        return client.ApiClient(client.Configuration(host=server))
    load: Callable[..., Any] = config.load_kube_config
    try:
        if not context and Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
            config.load_incluster_config()
            return client.ApiClient()
        load(context=context or None)
    except config.ConfigException as error:
        raise Invalid(
            f"No cluster can be reached: {error}. Name a context as in kubernetes://CONTEXT/NAMESPACE?…"
        ) from error
    return client.ApiClient()


def _decoded(secret: dict[str, Any]) -> str:
    plain = secret.get("stringData", {}).get("token")
    return plain or base64.b64decode(secret["data"]["token"]).decode()


def _metric(told: bytes, name: bytes) -> float:
    """The sum of a metric's samples in Prometheus' text."""
    return sum(
        float(line.rpartition(b" ")[2])
        for line in told.splitlines()
        if line.startswith(name + b"{")
    )


def _append(file: Path, content: bytes, start: int, state: State) -> int:
    """Keep whole records, with the role their version had at their time. Gives how many bytes were taken.

    What was read and what was kept are written in one piece, so nothing is ever kept twice.
    """
    taken, pieces = 0, []
    for batch, end in records(content):
        batch.facts.role, batch.facts.generation = state.role(batch.facts.version, batch.facts.at)
        pieces += batch.encoded()
        taken = end
    if not taken:
        return 0
    file.parent.mkdir(parents=True, exist_ok=True)
    read = start + taken
    mark = _MARK.pack(_MARK_MAGIC, read, crc32(read.to_bytes(8, "little")))
    with file.open("ab") as handle:
        handle.write(b"".join([*map(bytes, pieces), mark]))
    return taken


def _read_to(file: Path) -> int:
    """How far a gathered file's source was read; what a crash left behind the last mark is cut off."""
    if not file.exists():
        return 0
    content = file.read_bytes()
    place = content.rfind(_MARK_MAGIC)
    while place >= 0:
        part = content[place : place + _MARK.size]
        if len(part) == _MARK.size:
            _, read, checksum = _MARK.unpack(part)
            if crc32(read.to_bytes(8, "little")) == checksum:
                with file.open("r+b") as handle:
                    handle.truncate(place + _MARK.size)
                return int(read)
        place = content.rfind(_MARK_MAGIC, 0, place)
    with file.open("r+b") as handle:
        handle.truncate(0)
    return 0


def _now() -> int:
    return time.time_ns() // 1000
