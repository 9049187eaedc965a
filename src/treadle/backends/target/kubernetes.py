"""Implements the target port with Kubernetes objects, and gathers the logs of their pods.

A change takes three steps, so that it fails no request: new variants start first; once all of
them are ready, the route and the endpoint's Service move to them; variants that get no more
requests are removed some time later.
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
from treadle.serving.log_access import LogFile
from treadle.serving.log_batch import records

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
_MARK = struct.Struct("<4sQI")  # magic, position up to which the source was read, checksum
_MARK_MAGIC = b"\xf7TRB"
_LOG_PATH = re.compile(r"\d{4}-\d\d-\d\d/[\w-]+\.log")  # others might lead out of the log's folder
log = logging.getLogger(__name__)


class State(Entity):
    """What the cluster stores of an endpoint.

    Attributes:
        spec: The desired state.
        in_place: The newest generation that was fully in place.
        since: Since when it is in place, in microseconds since 1970.
        before: The role of each version in the generation before.
    """

    spec: EndpointSpec
    in_place: int = 0
    since: int = 0
    before: dict[str, Role] = {}

    def role(self, version: str, at: int) -> tuple[Role, int]:
        """Return the role that a version had at a moment, and the generation it had it in.

        Args:
            version: The version's reference.
            at: Microseconds since 1970.
        """
        current = self.in_place == self.spec.generation and at >= self.since
        roles = {variant.version: variant.role for variant in self.spec.variants}
        if not current:
            roles |= self.before
        generation = self.spec.generation if current else self.spec.generation - 1
        return roles.get(version, "champion"), generation


class Kubernetes:
    """Endpoints as Deployments and Services of a cluster.

    Without a context in the URL the current one is used, and inside a cluster the pod's own
    account. The query's fields: `image` names the versions' images; `gateway` the Gateway that
    weighs variants and mirrors requests to shadows (without one only whole versions can be rolled
    out); `address` is where clients send requests, with `{endpoint}` in it; `server` is an API
    server without login, such as a proxy.

    Args:
        url: `kubernetes://CONTEXT/NAMESPACE?image=REGISTRY/{model}:{number}&gateway=NAME`.
        blobs: Not used, since images hold the models.
        folder: Where pods' logs are gathered.
        environment: Not used, since images hold the environment.
    """

    def __init__(self, url: str, blobs: Blobs, folder: Path, environment: dict[str, str]) -> None:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if "{number}" not in options.get("image", ""):
            raise Invalid(
                f"The target '{url}' wants an image with {{number}} in it: "
                "kubernetes://…?image=registry/{model}:{number}"
            )
        self.url, self._folder, self._blobs, self._environment = url, folder, blobs, environment
        self._image, self._gateway = options["image"], options.get("gateway", "")
        self._namespace = parts.path.strip("/") or "default"
        self._address = options.get("address", f"http://{{endpoint}}.{self._namespace}.svc")
        self._api = _client(parts.netloc, options.get("server", ""))
        self._look_at = 0.0
        self._seen: dict[str, tuple[float, EndpointStatus | None]] = {}
        self._read: dict[Path, int] = {}  # by gathered file: how far its source was read

    def apply(self, spec: EndpointSpec) -> None:
        """Apply what an endpoint should be; `tend` brings it into place.

        Args:
            spec: What the endpoint should be.
        """
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
        """Return what an endpoint is, at most `FRESH_SECONDS` ago; None for one not applied.

        Args:
            name: The endpoint's name.
        """
        at, status = self._seen.get(name, (0.0, None))
        if time.monotonic() - at > FRESH_SECONDS:
            status = self._observed(name)
            self._seen[name] = (time.monotonic(), status)
        return status

    def remove(self, name: str) -> None:
        """Remove an endpoint's objects; may be repeated.

        Args:
            name: The endpoint's name.
        """
        for kind in _OURS:
            for item in self._list(kind, {NAME: name}):
                self._delete(kind, item["metadata"]["name"])
        self._seen.pop(name, None)

    def endpoints(self) -> list[str]:
        """Return the endpoints' names."""
        states = self._list("ConfigMap", {ENDPOINT: "true"})
        return sorted(state["metadata"]["labels"][NAME] for state in states)

    def tend(self) -> None:
        """Take each endpoint a step further, and gather what its pods have logged."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_SECONDS
        try:
            names = self.endpoints()
        except TreadleError as error:  # without the API server, what runs continues to run
            log.warning("%s", error.message)
            return
        for name in names:
            try:
                self._step(name)
                self._gather(name)
            except TreadleError as error:  # the other endpoints are tended all the same
                log.warning("endpoint '%s': %s", name, error.message)

    def close(self) -> None:
        """Close the connections to the API server."""
        self._api.close()

    # Steps of a change

    def _step(self, name: str) -> None:
        state = self._state(name)
        if state is None or not self._all_deployed(state.spec):
            return
        spec = state.spec
        generation = str(spec.generation)
        for manifest in manifests.switches(spec, self._gateway):
            current = self._get(manifest["kind"], manifest["metadata"]["name"])
            annotations = current["metadata"].get("annotations", {}) if current else {}
            if annotations.get(_GENERATION) != generation:
                manifest["metadata"]["annotations"] = {_GENERATION: generation}
                self._put(manifest)
        if not self._switched(spec):
            return
        if state.in_place != spec.generation:
            self._keep(replace(state, in_place=spec.generation, since=_now()))
        elif _now() - state.since > KEEP_SECONDS * 1e6:
            self._prune(spec)

    def _all_deployed(self, spec: EndpointSpec) -> bool:
        return all(self._deployed(spec, variant) for variant in spec.variants)

    def _deployed(self, spec: EndpointSpec, variant: Variant) -> bool:
        """Whether a variant has its replicas, all of them ready and none of an older make."""
        deployment = self._get("Deployment", name_of(spec, variant))
        if deployment is None:
            return False
        status = deployment.get("status") or {}
        if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
            return False
        desired = replicas_of(spec, variant)
        counts = [status.get(count) or 0 for count in ("readyReplicas", "updatedReplicas")]
        return deployment["spec"]["replicas"] == desired and min(counts) >= desired

    def _switched(self, spec: EndpointSpec) -> bool:
        """Whether the gateway has accepted the newest route."""
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
        """Remove the versions that are no variant any more."""
        kept = {name_of(spec, variant) for variant in spec.variants} | {spec.name}
        for kind in ("Deployment", "Service"):
            for item in self._list(kind, {NAME: spec.name}):
                if item["metadata"]["name"] not in kept:
                    self._delete(kind, item["metadata"]["name"])

    def _observed(self, name: str) -> EndpointStatus | None:
        state = self._state(name)
        if state is None:
            return None
        spec = state.spec
        champion = next(variant for variant in spec.variants if variant.role == "champion")
        in_place = state.in_place == spec.generation and self._all_deployed(spec)
        generation = spec.generation if in_place else spec.generation - 1
        labels = {NAME: name, VERSION: champion.version.rpartition(":")[2]}
        pods = self._list("Pod", labels)
        replicas = [self._replica(name, pod, generation) for pod in pods]
        return EndpointStatus(
            name=name, generation=spec.generation, wanted=spec.replicas, replicas=replicas
        )

    def _replica(self, name: str, pod: dict[str, Any], generation: int) -> Replica:
        conditions = (pod.get("status") or {}).get("conditions", [])
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in conditions
        )
        metrics = self._ask(pod, "/metrics") if ready else b""
        return Replica(
            url=self._address.format(endpoint=name),
            pid=crc32(pod["metadata"]["uid"].encode()),
            generation=generation,
            ready=ready,
            requests=int(_metric(metrics, b"treadle_requests_total")),
            busy_seconds=_metric(metrics, b"treadle_request_seconds_total"),
        )

    # Logs

    def _gather(self, name: str) -> None:
        """Fetch what the endpoint's pods have logged since the last time."""
        state, secret = self._state(name), self._get("Secret", f"{name}-log")
        if state is None or secret is None:
            return
        token = _decoded(secret)
        for pod in self._list("Pod", {NAME: name}):
            listing = self._ask(pod, log_access.PATH, token)
            for file in from_json(listing, list[LogFile]) if listing else []:
                if not _LOG_PATH.fullmatch(file.path):
                    raise Corrupt(
                        f"Pod '{pod['metadata']['name']}' tells of the log file "
                        f"'{file.path[:80]}', which is no name of one."
                    )
                source = self._folder / name / "log" / file.path
                copy = source.with_name(f"{pod['metadata']['uid']}-{source.name}")
                start = self._read.setdefault(copy, _read_to(copy))
                if file.bytes > start:
                    part = self._ask(pod, f"{log_access.PATH}/{file.path}", token, start=start)
                    self._read[copy] += _append(copy, part, start, state)

    def _ask(self, pod: dict[str, Any], path: str, token: str = "", start: int = 0) -> bytes:
        """A pod's answer, by way of the API server; nothing while the pod does not answer."""
        name = f"{pod['metadata']['name']}:{manifests.PORT}"
        headers = {}
        if token:
            headers[log_access.TOKEN_HEADER.decode()] = token
            headers[log_access.FROM_HEADER.decode()] = str(start)
        try:
            answer = self._call(
                "GET", f"{self._path('Pod')}/{name}/proxy{path}", headers=headers, raw=True
            )
        except TreadleError:
            return b""
        return bytes(answer or b"")

    # API server

    def _state(self, name: str) -> State | None:
        stored = self._get("ConfigMap", f"{name}-endpoint")
        return from_json(stored["data"]["state"].encode(), State) if stored else None

    def _keep(self, state: State) -> None:
        content = {"data": {"state": to_json(state).decode()}}
        name = state.spec.name
        manifest = self._made("ConfigMap", f"{name}-endpoint", name, content)
        manifest["metadata"]["labels"][ENDPOINT] = "true"
        self._put(manifest)

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
        item: dict[str, Any] | None = self._call("GET", f"{self._path(kind)}/{name}")
        return item

    def _list(self, kind: str, labels: dict[str, str]) -> list[dict[str, Any]]:
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        answer = self._call("GET", self._path(kind), query=[("labelSelector", selector)])
        return list(answer["items"]) if answer else []

    def _put(self, manifest: Manifest) -> None:
        """Apply on the server: what is not there is created, and fields of others stay."""
        manifests.placed(manifest, self._namespace)
        manifest["metadata"]["labels"][MANAGED] = MANAGER
        query = [("fieldManager", MANAGER), ("force", "true")]
        path = f"{self._path(manifest['kind'])}/{manifest['metadata']['name']}"
        headers = {"Content-Type": "application/apply-patch+yaml"}
        if self._call("PATCH", path, query=query, headers=headers, body=manifest) is None:
            raise Invalid(
                f"The cluster takes no {manifest['kind']} in namespace '{self._namespace}': "
                f"the namespace or the kind ({manifest['apiVersion']}) is not there."
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
        """The API server's answer; None for an object or a kind that does not exist."""
        with _translated(f"{method} {path}") as missing:
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
def _translated(what: str) -> Iterator[list[str]]:
    """Turn the API server's refusals into Treadle's errors; what is missing is listed instead."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    missing: list[str] = []
    try:
        yield missing
    except ApiException as error:
        if error.status != 404:
            is_json = str(error.body)[:1] == "{"
            reason = json.loads(error.body).get("message", "") if is_json else error.reason
            raise Invalid(f"The cluster refused {what}: {error.status} {reason}") from error
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
            f"No cluster can be reached: {error}. "
            "Name a context as in kubernetes://CONTEXT/NAMESPACE?…"
        ) from error
    return client.ApiClient()


def _decoded(secret: dict[str, Any]) -> str:
    plain = secret.get("stringData", {}).get("token")
    return plain or base64.b64decode(secret["data"]["token"]).decode()


def _metric(text: bytes, name: bytes) -> float:
    """The sum of a metric's samples in Prometheus' text format."""
    return sum(
        float(line.rpartition(b" ")[2])
        for line in text.splitlines()
        if line.startswith(name + b"{")
    )


def _append(file: Path, content: bytes, start: int, state: State) -> int:
    """Append whole records, each with the role that its version had when it was written.

    Records and the position up to which the source was read are written in one piece, so nothing
    is kept twice. Returns how many bytes of the content were taken.
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
    """How far a gathered file's source was read; what a crash left after the last mark is cut."""
    if not file.exists():
        return 0
    content = file.read_bytes()
    position = content.rfind(_MARK_MAGIC)
    while position >= 0:
        part = content[position : position + _MARK.size]
        if len(part) == _MARK.size:
            _, read, checksum = _MARK.unpack(part)
            if crc32(read.to_bytes(8, "little")) == checksum:
                with file.open("r+b") as handle:
                    handle.truncate(position + _MARK.size)
                return int(read)
        position = content.rfind(_MARK_MAGIC, 0, position)
    with file.open("r+b") as handle:
        handle.truncate(0)
    return 0


def _now() -> int:
    return time.time_ns() // 1000
