"""Renders an endpoint as Kubernetes objects."""

import re
from typing import Any

from treadle.kernel.errors import Invalid
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.log_access import LOG_TOKEN

PORT, PORT_NAME, STATE = 8080, "http", "/var/lib/treadle"
READY, LIVE = "/ping", "/"
_USER = 65532
NAME, VERSION, ROLE = "app.kubernetes.io/name", "treadle/version", "treadle/role"

_OBJECT_NAME = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"  # of a Service, the strictest there is

Manifest = dict[str, Any]


def render(
    spec: EndpointSpec,
    image: str,
    *,
    namespace: str = "default",
    gateway: str = "",
    max_replicas: int = 0,
) -> list[Manifest]:
    """Render everything that an endpoint needs in a cluster.

    That is a Deployment and a Service for each variant, a disruption budget, a network policy, an
    autoscaler, and what directs the requests.

    Args:
        spec: The endpoint.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        namespace: The namespace of all objects.
        gateway: A Gateway's name. With it an HTTPRoute gives each variant its weight and mirrors
            requests to a shadow.
        max_replicas: The autoscaler's largest number of replicas; 0 is four times the endpoint's.

    Raises:
        Invalid: The image is the same for every version, a rollout is under way and no gateway is
            named, or Kubernetes takes no such name.
    """
    _refuse_names(spec, namespace, *([gateway] if gateway else []))
    if "{number}" not in image:
        raise Invalid(
            f"--image '{image}' is the same for every version. "
            "Write {number} where the version stands, as in 'registry/churn:{number}'."
        )
    if len(spec.variants) > 1 and not gateway:
        raise Invalid(
            f"Endpoint '{spec.name}' is rolling a version out; "
            "a --gateway is needed to weigh its variants."
        )
    manifests = workload(spec, image)
    champion = next(variant for variant in spec.variants if variant.role == "champion")
    manifests += [_scaler(spec, champion, max_replicas), *switches(spec, gateway)]
    return [placed(manifest, namespace) for manifest in manifests]


def workload(spec: EndpointSpec, image: str, *, log_secret: str = "") -> list[Manifest]:
    """Render what runs: a Deployment and a Service for each variant, and what keeps them safe.

    Args:
        spec: The endpoint.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        log_secret: The name of a Secret with a `token` that permits to read the inference log;
            empty where nobody may read it.
    """
    manifests: list[Manifest] = []
    for variant in spec.variants:
        manifests += [_deployment(spec, variant, image, log_secret), _service(spec, variant)]
    return [*manifests, _budget(spec), _network(spec)]


def switches(spec: EndpointSpec, gateway: str) -> list[Manifest]:
    """Render what directs requests: the endpoint's Service, which is the champion's, and a route.

    Args:
        spec: The endpoint.
        gateway: The Gateway that the route belongs to; empty for no route.
    """
    champion = next(variant for variant in spec.variants if variant.role == "champion")
    service = _service(spec, champion)
    service["metadata"] = {"name": spec.name, "labels": {NAME: spec.name}}
    return [service, _route(spec, gateway)] if gateway else [service]


def placed(manifest: Manifest, namespace: str) -> Manifest:
    """Set a manifest's namespace, and return the same manifest.

    Args:
        manifest: The manifest; it is changed.
        namespace: The namespace.
    """
    manifest["metadata"]["namespace"] = namespace
    return manifest


def render_kserve(spec: EndpointSpec, image: str, *, namespace: str = "default") -> list[Manifest]:
    """Render the endpoint as a KServe InferenceService of the newest variant and its share.

    Args:
        spec: The endpoint.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        namespace: The namespace of the object.

    Raises:
        Invalid: A variant is a shadow, which KServe does not support, or Kubernetes takes no such
            name.
    """
    _refuse_names(spec, namespace)
    if any(variant.role == "shadow" for variant in spec.variants):
        raise Invalid(
            "KServe mirrors no requests, so a shadow step cannot be rendered for it. Use --gateway."
        )
    newest = spec.variants[-1]
    predictor: Manifest = {
        "minReplicas": spec.replicas,
        "containers": [_container(newest, image)],
        "volumes": _volumes(),
    }
    if newest.role == "candidate":
        predictor["canaryTrafficPercent"] = round(newest.weight * 100)
    metadata = {"name": spec.name, "namespace": namespace, "labels": {NAME: spec.name}}
    return [
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": metadata,
            "spec": {"predictor": predictor},
        }
    ]


def _refuse_names(spec: EndpointSpec, *others: str) -> None:
    """Refuse names that no object of a cluster can have."""
    for name in (spec.name, *(name_of(spec, variant) for variant in spec.variants), *others):
        if not re.fullmatch(_OBJECT_NAME, name):
            raise Invalid(
                f"'{name}' cannot name anything in Kubernetes: use lower-case letters, digits and "
                "hyphens, 63 at most, and a letter first. Name an endpoint so with: "
                "treadle deploy VERSION --to NAME"
            )


def _deployment(spec: EndpointSpec, variant: Variant, image: str, log_secret: str = "") -> Manifest:
    labels = {**_selector(spec, variant), ROLE: variant.role}
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(variant, image, log_secret)],
        "volumes": _volumes(),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name_of(spec, variant), "labels": labels},
        "spec": {
            "replicas": replicas_of(spec, variant),
            "selector": {"matchLabels": _selector(spec, variant)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _container(variant: Variant, image: str, log_secret: str = "") -> Manifest:
    token = {"secretKeyRef": {"name": log_secret, "key": "token"}}
    model, _, number = variant.version.partition(":")
    return {
        "name": "model",
        "image": image.replace("{model}", model).replace("{number}", number),
        "args": ["serve"],  # the image sets the model, the address and the state's folder
        "env": [
            {"name": "PORT", "value": str(PORT)},
            *([{"name": LOG_TOKEN, "valueFrom": token}] if log_secret else []),
        ],
        # Runs until no more requests are sent here.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "ports": [{"name": PORT_NAME, "containerPort": PORT}],
        "startupProbe": {
            "httpGet": {"path": READY, "port": PORT_NAME},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        "readinessProbe": {"httpGet": {"path": READY, "port": PORT_NAME}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": LIVE, "port": PORT_NAME}, "periodSeconds": 10},
        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": STATE},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _volumes() -> list[Manifest]:
    return [{"name": name, "emptyDir": {}} for name in ("state", "tmp")]


def _service(spec: EndpointSpec, variant: Variant) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name_of(spec, variant), "labels": _selector(spec, variant)},
        "spec": {
            "selector": _selector(spec, variant),
            "ports": [{"name": PORT_NAME, "port": 80, "targetPort": PORT_NAME}],
        },
    }


def _scaler(spec: EndpointSpec, champion: Variant, most: int) -> Manifest:
    cpu = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name_of(spec, champion), "labels": {NAME: spec.name}},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": name_of(spec, champion),
            },
            "minReplicas": spec.replicas,
            "maxReplicas": max(most or 4 * spec.replicas, spec.replicas),
            "metrics": [cpu],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def _budget(spec: EndpointSpec) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": spec.name, "labels": {NAME: spec.name}},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {NAME: spec.name}}},
    }


def _network(spec: EndpointSpec) -> Manifest:
    """Requests come in by one port; nothing goes out, because a model server connects nowhere."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": spec.name, "labels": {NAME: spec.name}},
        "spec": {
            "podSelector": {"matchLabels": {NAME: spec.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": PORT_NAME}]}],
        },
    }


def _route(spec: EndpointSpec, gateway: str) -> Manifest:
    """A route with weights in hundredths of a percent, which add up to 10,000."""
    answering = [variant for variant in spec.variants if variant.role != "shadow"]
    weights = [round(variant.weight * 10_000) for variant in answering]
    weights[0] += 10_000 - sum(weights)
    backends = [
        {"name": name_of(spec, variant), "port": 80, "weight": weight}
        for variant, weight in zip(answering, weights, strict=True)
    ]
    rule: Manifest = {
        "matches": [{"path": {"type": "PathPrefix", "value": f"/{spec.name}"}}],
        "backendRefs": backends,
    }
    rewrite = {
        "type": "URLRewrite",
        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
    }
    mirrors = [
        {
            "type": "RequestMirror",
            "requestMirror": {"backendRef": {"name": name_of(spec, variant), "port": 80}},
        }
        for variant in spec.variants
        if variant.role == "shadow"
    ]
    rule["filters"] = [rewrite, *mirrors]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": spec.name, "labels": {NAME: spec.name}},
        "spec": {"parentRefs": [{"name": gateway}], "rules": [rule]},
    }


def replicas_of(spec: EndpointSpec, variant: Variant) -> int:
    """Return how many replicas a variant has, by its share of the requests; a shadow sees all.

    Args:
        spec: The endpoint.
        variant: One of its variants.
    """
    part = 1.0 if variant.role == "shadow" else variant.weight
    return max(1, -(-round(spec.replicas * part * 100) // 100))


def _selector(spec: EndpointSpec, variant: Variant) -> dict[str, str]:
    return {NAME: spec.name, VERSION: variant.version.rpartition(":")[2]}


def name_of(spec: EndpointSpec, variant: Variant) -> str:
    """Return the name of a variant's Deployment and Service.

    Args:
        spec: The endpoint.
        variant: One of its variants.
    """
    return f"{spec.name}-{variant.version.rpartition(':')[2]}"
