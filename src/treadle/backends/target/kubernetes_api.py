"""Talks to a cluster's API server about the objects of one namespace."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from treadle.delivery import manifests
from treadle.delivery.pods import PORT, Manifest
from treadle.kernel.errors import Invalid, TreadleError, Unavailable, missing_extra
from treadle.serving import log_access

MANAGER, MANAGED = "treadle", "app.kubernetes.io/managed-by"
TIMEOUT_SECONDS = 10.0
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


class ApiServer:
    """The API server of a cluster.

    Args:
        context: The context of the kubeconfig; empty takes the current one, and inside a cluster
            the pod's own account.
        namespace: The namespace of all objects.
        server: The URL of an API server without login; empty takes that of the context.

    Raises:
        Invalid: No cluster can be reached this way, or the package `kubernetes` is not installed.
    """

    def __init__(self, context: str, namespace: str, server: str) -> None:
        self._namespace = namespace
        self._client = _client(context, server)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object; None where there is none of the name.

        Args:
            kind: The object's kind.
            name: Its name.

        Raises:
            Invalid: The API server refuses.
            Unavailable: The API server does not answer.
        """
        item: dict[str, Any] | None = self._call("GET", f"{self._path(kind)}/{name}")
        return item

    def find(self, kind: str, labels: dict[str, str]) -> list[dict[str, Any]]:
        """Return the objects of a kind that have labels.

        Args:
            kind: The objects' kind.
            labels: The labels.

        Raises:
            Invalid: The API server refuses.
            Unavailable: The API server does not answer.
        """
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        answer = self._call("GET", self._path(kind), query=[("labelSelector", selector)])
        return list(answer["items"]) if answer else []

    def put(self, manifest: Manifest) -> None:
        """Apply on the server: what is not there is created, and fields of others stay.

        Args:
            manifest: The object; its namespace and its manager's label are filled in.

        Raises:
            Invalid: The API server refuses the object, or knows no such kind or namespace.
            Unavailable: The API server does not answer.
        """
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

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, and what belongs to it after it; one that is gone is no error.

        Args:
            kind: The object's kind.
            name: Its name.

        Raises:
            Invalid: The API server refuses.
            Unavailable: The API server does not answer.
        """
        self._call(
            "DELETE", f"{self._path(kind)}/{name}", query=[("propagationPolicy", "Background")]
        )

    def ask(self, pod: dict[str, Any], path: str, token: str = "", start: int = 0) -> bytes:
        """Return a pod's answer, by way of the API server; nothing while the pod does not answer.

        Args:
            pod: The pod.
            path: The path that is asked for, with a slash first.
            token: The key to the pod's log; empty for what needs none.
            start: From which byte on a log file is read.
        """
        name = f"{pod['metadata']['name']}:{PORT}"
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

    def _path(self, kind: str) -> str:
        return _PATHS[kind].format(self._namespace)

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
            answer = self._client.call_api(
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
