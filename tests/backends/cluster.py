"""A small Kubernetes: kmock keeps the objects, and this makes them real on loopback.

Deployments become processes of the model server, Pods their rows; the API server's proxy reaches
them; a Gateway's controller accepts routes. What kmock does not do for itself is done here as a
real API server does it: server-side apply makes what is not there, objects have generations, lists
are selected by labels.
"""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp.web
import httpx
from kmock import KubernetesEmulator, Request, Server, resource

GRACE_SECONDS, LOOK_SECONDS = 0.3, 0.05
DEPLOYMENTS = resource("apps", "v1", "deployments")
PODS, SERVICES, SECRETS = (resource("", "v1", plural) for plural in ("pods", "services", "secrets"))
ROUTES = resource("gateway.networking.k8s.io", "v1", "httproutes")


class Pod:
    """One replica: a model server of its own."""

    def __init__(
        self, deployment: dict[str, Any], models: dict[str, Path], folder: Path, token: str
    ) -> None:
        self.name = f"{deployment['metadata']['name']}-{uuid4().hex[:5]}"
        self.uid, self.labels = uuid4().hex, deployment["spec"]["template"]["metadata"]["labels"]
        version = deployment["spec"]["template"]["spec"]["containers"][0]["image"].rpartition("/")[
            2
        ]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "treadle", "serve", f"{version}={models[version]}"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--state", str(folder / self.name)],
            env=os.environ | {"TREADLE_LOG_TOKEN": token},
            stdout=subprocess.DEVNULL,
        )
        self.ready = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def manifest(self, namespace: str) -> dict[str, Any]:
        about = {"name": self.name, "namespace": namespace, "uid": self.uid, "labels": self.labels}
        status = {"conditions": [{"type": "Ready", "status": str(self.ready)}]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "status": status}


class Cluster(KubernetesEmulator):
    """``models`` are the images: version → model folder."""

    def begin(self, models: dict[str, Path], folder: Path) -> None:
        self.models, self.folder = models, folder
        self.pods: dict[tuple[str, str], list[Pod]] = {}  # (namespace, deployment) → its pods
        self.calls: list[str] = []
        self.lacks: set[resource] = set()  # kinds that this cluster does not know
        self.lies: bytes = b""  # what pods say of their logs' files, if not the truth

    async def _handle(self, request: Request) -> aiohttp.web.StreamResponse:
        if request.subresource and request.subresource.startswith("proxy"):
            return await self._proxied(request)
        self.calls.append(f"{request.method} {request.resource}")
        if (
            request.resource is not None
            and str(request.method).upper().endswith("PATCH")
            and request.name
        ):
            if request.resource in self.lacks:
                return aiohttp.web.json_response(
                    {"message": "the server could not find the requested resource"}, status=404
                )
            return self._applied(request)
        selector = request.params.get("labelSelector")
        if request.resource is not None and request.name is None and selector is not None:
            wanted = dict(part.split("=", 1) for part in selector.split(","))
            return aiohttp.web.json_response(
                {"items": self.found(request.resource, request.namespace or "", wanted)}
            )
        return await super()._handle(request)

    def found(self, kind: resource, namespace: str, labels: dict[str, str]) -> list[dict[str, Any]]:
        if kind == PODS:
            every = [
                pod.manifest(n)
                for (n, _), pods in self.pods.items()
                if n == namespace
                for pod in pods
            ]
        else:
            every = [
                o.raw
                for (k, n, _), o in self.objects.items()
                if k == kind and n == namespace and not o.deleted
            ]
        return [one for one in every if labels.items() <= one["metadata"].get("labels", {}).items()]

    def _applied(self, request: Request) -> aiohttp.web.StreamResponse:
        """Server-side apply by one manager."""
        assert request.headers["Content-Type"] == "application/apply-patch+yaml"
        assert request.params["fieldManager"] == "treadle"
        given = json.loads(request.body)
        assert request.resource is not None and request.name is not None
        key = (request.resource, request.namespace, request.name)
        known = self.objects[key] if key in self.objects and not self.objects[key].deleted else None
        before = dict(known.raw) if known is not None else {}
        generation = before.get("metadata", {}).get("generation", 0)
        if before.get("spec") != given.get("spec"):
            generation += 1
        given["metadata"] = {"uid": uuid4().hex, **given["metadata"], "generation": generation}
        if "status" in before:
            given["status"] = before["status"]
        if key in self.objects:
            self.objects[key].create(given)
        else:
            self.objects[key] = given
        return aiohttp.web.json_response(given)

    async def _proxied(self, request: Request) -> aiohttp.web.StreamResponse:
        name = (request.name or "").partition(":")[0]
        pod = next((pod for pods in self.pods.values() for pod in pods if pod.name == name), None)
        if pod is None:
            return aiohttp.web.json_response({"message": f"pods '{name}' not found"}, status=404)
        path = "/" + (request.subresource or "").removeprefix("proxy").lstrip("/")
        if self.lies and path == "/log":
            return aiohttp.web.Response(body=self.lies)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower().startswith("x-treadle")
        }
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(pod.url + path, headers=headers) as answer,
            ):
                return aiohttp.web.Response(body=await answer.read(), status=answer.status)
        except aiohttp.ClientError as error:
            return aiohttp.web.json_response({"message": str(error)}, status=503)

    async def run(self) -> None:
        """The controllers: make Deployments' pods, and say how they are; accept routes."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        there = {key: o for key, o in list(self.objects.items()) if not o.deleted}
        wanted = {
            (n or "", name): o.raw for (kind, n, name), o in there.items() if kind == DEPLOYMENTS
        }
        for key in list(self.pods):
            self._scale(key, wanted[key]["spec"]["replicas"] if key in wanted else 0)
        for key, deployment in wanted.items():
            self._make(key, deployment)
            pods = self.pods[key]
            ready = len([pod for pod in pods if pod.ready])
            status = {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": len(pods),
            }
            deployment["status"] = {**status, "readyReplicas": ready, "updatedReplicas": len(pods)}
            there[DEPLOYMENTS, key[0], key[1]].patch({"status": deployment["status"]})
        for (kind, _, _), route in there.items():
            if kind == ROUTES:
                accepted = {
                    "type": "Accepted",
                    "status": "True",
                    "observedGeneration": route.raw["metadata"]["generation"],
                }
                route.patch({"status": {"parents": [{"conditions": [accepted]}]}})

    def _make(self, key: tuple[str, str], deployment: dict[str, Any]) -> None:
        pods = self.pods.setdefault(key, [])
        while len(pods) < deployment["spec"]["replicas"]:
            container = deployment["spec"]["template"]["spec"]["containers"][0]
            (secret,) = [
                e["valueFrom"]["secretKeyRef"]["name"] for e in container["env"] if "valueFrom" in e
            ]
            token = self.objects[SECRETS, key[0], secret].raw["stringData"]["token"]
            pods.append(Pod(deployment, self.models, self.folder, token))
        for pod in pods:
            with suppress(httpx.TransportError):
                pod.ready = pod.ready or httpx.get(f"{pod.url}/ping").status_code == 200

    def _scale(self, key: tuple[str, str], most: int) -> None:
        pods = self.pods[key]
        while len(pods) > most:
            self.end(pods.pop())
        if not pods and not most:
            del self.pods[key]

    def end(self, pod: Pod) -> None:
        pod.process.send_signal(signal.SIGTERM)
        pod.process.wait(timeout=30)

    # What the cluster's network does

    def ask(self, endpoint: str, namespace: str = "default", **request: Any) -> httpx.Response:
        """A request through the Gateway: to a variant by the weights, and to a shadow too."""
        rule = self.objects[ROUTES, namespace, endpoint].raw["spec"]["rules"][0]
        backends = rule["backendRefs"]
        (backend,) = random.choices(backends, [one["weight"] for one in backends])
        answer = httpx.post(f"{self._served(namespace, backend['name'])}/invocations", **request)
        for mirror in [
            f["requestMirror"]["backendRef"]
            for f in rule["filters"]
            if f["type"] == "RequestMirror"
        ]:
            httpx.post(f"{self._served(namespace, mirror['name'])}/invocations", **request)
        return answer

    def _served(self, namespace: str, service: str) -> str:
        selector = self.objects[SERVICES, namespace, service].raw["spec"]["selector"]
        every = [pod for (n, _), pods in self.pods.items() if n == namespace for pod in pods]
        return random.choice(
            [pod.url for pod in every if pod.ready and selector.items() <= pod.labels.items()]
        )


@contextmanager
def running(models: dict[str, Path], folder: Path) -> Iterator[tuple[Cluster, str]]:
    """A cluster in a thread, and its API server's URL."""
    cluster, loop = Cluster(), asyncio.new_event_loop()
    cluster.begin(models, folder)
    ready, stop = threading.Event(), asyncio.Event()
    url: list[str] = []

    async def live() -> None:
        async with cluster, Server(cluster) as server:
            controllers = asyncio.create_task(cluster.run())
            url.append(str(server.url).rstrip("/"))
            ready.set()
            await stop.wait()
            controllers.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=[live()])
    thread.start()
    assert ready.wait(30)
    try:
        yield cluster, url[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        for pod in [pod for pods in cluster.pods.values() for pod in pods]:
            cluster.end(pod)
