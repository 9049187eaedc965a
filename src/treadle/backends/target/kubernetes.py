"""Implements the target port with Kubernetes objects, and gathers the logs of their pods.

A change takes three steps, so that it fails no request: new variants start first; once all of
them are ready, the route and the endpoint's Service move to them; variants that get no more
requests are removed some time later.
"""

import logging
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

from treadle.backends.target.kubernetes_api import ApiServer
from treadle.backends.target.kubernetes_logs import PodLogs
from treadle.backends.target.kubernetes_pods import exits_of_pod
from treadle.backends.target.kubernetes_state import ENDPOINT, State, keep, object_of, state_of
from treadle.delivery import manifests
from treadle.delivery.pods import NAME, VERSION, PodOptions, name_of, replicas_of
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, TreadleError
from treadle.ports.blobs import Blobs
from treadle.ports.target import EndpointSpec, EndpointStatus, Replica, Variant

LOOK_SECONDS, KEEP_SECONDS, FRESH_SECONDS = 1.0, 30.0, 2.0
_GENERATION = "treadle/generation"
_OURS = (
    "HTTPRoute",
    "Service",
    "Deployment",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Secret",
    "ConfigMap",
)
log = logging.getLogger(__name__)


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

    Raises:
        Invalid: The URL names no image for each version, no cluster can be reached, or the package
            `kubernetes` is not installed.
    """

    def __init__(self, url: str, blobs: Blobs, folder: Path, environment: dict[str, str]) -> None:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if "{number}" not in options.get("image", ""):
            raise Invalid(
                f"The target '{url}' wants an image with {{number}} in it: "
                "kubernetes://…?image=registry/{model}:{number}"
            )
        self.url, self._blobs, self._environment = url, blobs, environment
        self._image, self._gateway = options["image"], options.get("gateway", "")
        self._namespace = parts.path.strip("/") or "default"
        self._address = options.get("address", f"http://{{endpoint}}.{self._namespace}.svc")
        self._api = ApiServer(parts.netloc, self._namespace, options.get("server", ""))
        self._logs = PodLogs(self._api, folder)
        self._look_at = 0.0
        self._seen: dict[str, tuple[float, EndpointStatus | None]] = {}

    def apply(self, spec: EndpointSpec) -> None:
        """Apply what an endpoint should be; `tend` brings it into place.

        Args:
            spec: What the endpoint should be.

        Raises:
            Invalid: The API server refuses.
            Unavailable: The API server does not answer.
        """
        secret = f"{spec.name}-log"
        if self._api.get("Secret", secret) is None:
            token = {"token": secrets.token_urlsafe(32)}
            self._api.put(object_of("Secret", secret, spec.name, {"stringData": token}))
        before = state_of(self._api, spec.name)
        if before is None:
            keep(self._api, State(spec=spec))
        elif before.spec.generation != spec.generation:
            roles = {variant.version: variant.role for variant in before.spec.variants}
            keep(
                self._api,
                State(spec=spec, in_place=before.in_place, since=before.since, before=roles),
            )
        elif before.spec != spec:
            keep(self._api, replace(before, spec=spec))
        for manifest in manifests.workload(spec, self._image, pods=PodOptions(log_secret=secret)):
            self._api.put(manifest)
        self._seen.pop(spec.name, None)

    def observe(self, name: str) -> EndpointStatus | None:
        """Return what an endpoint is, at most `FRESH_SECONDS` ago; None for one not applied.

        Args:
            name: The endpoint's name.

        Raises:
            Invalid: The API server refuses.
            Unavailable: The API server does not answer.
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

        Raises:
            Invalid: The API server refuses.
            Unavailable: The API server does not answer.
        """
        for kind in _OURS:
            for item in self._api.find(kind, {NAME: name}):
                self._api.delete(kind, item["metadata"]["name"])
        self._seen.pop(name, None)

    def endpoints(self) -> list[str]:
        """Return the endpoints' names.

        Raises:
            Invalid: The API server refuses.
            Unavailable: The API server does not answer.
        """
        states = self._api.find("ConfigMap", {ENDPOINT: "true"})
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
                self._logs.gather(name)
            except TreadleError as error:  # the other endpoints are tended all the same
                log.warning("endpoint '%s': %s", name, error.message)

    def close(self) -> None:
        """Close the connections to the API server."""
        self._api.close()

    def _step(self, name: str) -> None:
        state = state_of(self._api, name)
        if state is None or not self._all_deployed(state.spec):
            return
        spec = state.spec
        generation = str(spec.generation)
        for manifest in manifests.switches(spec, self._gateway):
            current = self._api.get(manifest["kind"], manifest["metadata"]["name"])
            annotations = current["metadata"].get("annotations", {}) if current else {}
            if annotations.get(_GENERATION) != generation:
                manifest["metadata"]["annotations"] = {_GENERATION: generation}
                self._api.put(manifest)
        if not self._switched(spec):
            return
        if state.in_place != spec.generation:
            keep(self._api, replace(state, in_place=spec.generation, since=_now()))
        elif _now() - state.since > KEEP_SECONDS * 1e6:
            self._prune(spec)

    def _all_deployed(self, spec: EndpointSpec) -> bool:
        return all(self._deployed(spec, variant) for variant in spec.variants)

    def _deployed(self, spec: EndpointSpec, variant: Variant) -> bool:
        """Whether a variant has its replicas, all of them ready and none of an older make."""
        deployment = self._api.get("Deployment", name_of(spec, variant))
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
        route = self._api.get("HTTPRoute", spec.name)
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
            for item in self._api.find(kind, {NAME: spec.name}):
                if item["metadata"]["name"] not in kept:
                    self._api.delete(kind, item["metadata"]["name"])

    def _observed(self, name: str) -> EndpointStatus | None:
        state = state_of(self._api, name)
        if state is None:
            return None
        spec = state.spec
        champion = next(variant for variant in spec.variants if variant.role == "champion")
        in_place = state.in_place == spec.generation and self._all_deployed(spec)
        generation = spec.generation if in_place else spec.generation - 1
        labels = {NAME: name, VERSION: champion.version.rpartition(":")[2]}
        pods = self._api.find("Pod", labels)
        replicas = [self._replica(name, pod, generation) for pod in pods]
        return EndpointStatus(
            name=name,
            generation=spec.generation,
            wanted=spec.replicas,
            replicas=replicas,
            exits=[exits for pod in pods if (exits := exits_of_pod(pod))],
        )

    def _replica(self, name: str, pod: dict[str, Any], generation: int) -> Replica:
        conditions = (pod.get("status") or {}).get("conditions", [])
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in conditions
        )
        metrics = self._api.ask(pod, "/metrics") if ready else b""
        return Replica(
            url=self._address.format(endpoint=name),
            pid=crc32(pod["metadata"]["uid"].encode()),
            generation=generation,
            ready=ready,
            requests=int(_metric(metrics, b"treadle_requests_total")),
            busy_seconds=_metric(metrics, b"treadle_request_seconds_total"),
        )


def _metric(text: bytes, name: bytes) -> float:
    """The sum of a metric's samples in Prometheus' text format."""
    return sum(
        float(line.rpartition(b" ")[2])
        for line in text.splitlines()
        if line.startswith(name + b"{")
    )


def _now() -> int:
    return time.time_ns() // 1000
