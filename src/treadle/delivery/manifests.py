"""An endpoint as Kubernetes objects: what `treadle up` does with processes, a cluster does with these."""

from typing import Any

from treadle.kernel.errors import Invalid
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.log_access import LOG_TOKEN

PORT, PORT_NAME, STATE = 8080, "http", "/var/lib/treadle"
READY, LIVE = "/ping", "/"
_USER = 65532
NAME, VERSION, ROLE = "app.kubernetes.io/name", "treadle/version", "treadle/role"

Manifest = dict[str, Any]


def render(
    spec: EndpointSpec,
    image: str,
    *,
    namespace: str = "default",
    gateway: str = "",
    max_replicas: int = 0,
) -> list[Manifest]:
    """Everything that an endpoint needs: for each variant a Deployment and a Service, one route that weighs them, and what keeps them safe.

    ``image`` holds ``{model}`` and ``{number}`` where a version's image does. With a ``gateway`` the route is a Gateway API
    HTTPRoute that gives each variant its weight and mirrors to a shadow. Raises Invalid when a rollout needs a gateway and none is named.
    """
    if "{number}" not in image:
        raise Invalid(
            f"--image '{image}' is the same for every version. Write {{number}} where the version stands, as in 'registry/churn:{{number}}'."
        )
    if len(spec.variants) > 1 and not gateway:
        raise Invalid(
            f"Endpoint '{spec.name}' is rolling a version out; a --gateway is needed to weigh its variants."
        )
    found = workload(spec, image)
    champion = next(variant for variant in spec.variants if variant.role == "champion")
    found += [_scaler(spec, champion, max_replicas), *switches(spec, gateway)]
    return [placed(manifest, namespace) for manifest in found]


def workload(spec: EndpointSpec, image: str, *, log_secret: str = "") -> list[Manifest]:
    """What runs: for each variant a Deployment and a Service, and what keeps them safe.

    With a ``log_secret`` (the name of a Secret that holds a ``token``) the inference log may be read by who has the token.
    """
    found: list[Manifest] = []
    for variant in spec.variants:
        found += [_deployment(spec, variant, image, log_secret), _service(spec, variant)]
    return [*found, _budget(spec), _network(spec)]


def switches(spec: EndpointSpec, gateway: str) -> list[Manifest]:
    """What decides who gets the requests: the endpoint's own Service, which is the champion's, and with a gateway a route."""
    champion = next(variant for variant in spec.variants if variant.role == "champion")
    service = _service(spec, champion)
    service["metadata"] = {"name": spec.name, "labels": {NAME: spec.name}}
    return [service, _route(spec, gateway)] if gateway else [service]


def placed(manifest: Manifest, namespace: str) -> Manifest:
    manifest["metadata"]["namespace"] = namespace
    return manifest


def render_kserve(spec: EndpointSpec, image: str, *, namespace: str = "default") -> list[Manifest]:
    """The endpoint as a KServe InferenceService: the newest variant, and the share of the requests that it gets."""
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
        "image": image.format(model=model, number=number),
        "args": ["serve"],  # the model, the address and the state's place are the image's own
        "env": [
            {"name": "PORT", "value": str(PORT)},
            *([{"name": LOG_TOKEN, "valueFrom": token}] if log_secret else []),
        ],
        "lifecycle": {
            "preStop": {"sleep": {"seconds": 5}}
        },  # until nobody sends anything here any more
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
    """Requests come in by one port; nothing goes out: a model server asks nobody."""
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
    """Weights in hundredths of a percent, which add up to 10,000."""
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
    """As many as its part of the requests needs; a shadow sees them all."""
    part = 1.0 if variant.role == "shadow" else variant.weight
    return max(1, -(-round(spec.replicas * part * 100) // 100))


def _selector(spec: EndpointSpec, variant: Variant) -> dict[str, str]:
    return {NAME: spec.name, VERSION: variant.version.rpartition(":")[2]}


def name_of(spec: EndpointSpec, variant: Variant) -> str:
    """What a variant's Deployment and Service are called."""
    return f"{spec.name}-{variant.version.rpartition(':')[2]}"
