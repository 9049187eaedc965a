"""Renders an endpoint as Kubernetes objects."""

import re

from treadle.delivery.pods import (
    NAME,
    PORT_NAME,
    Manifest,
    PodOptions,
    deployment,
    name_of,
    selector,
    template,
)
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.ports.target import EndpointSpec, Variant

METRICS = "/metrics"

_OBJECT_NAME = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"  # of a Service, the strictest there is


class RenderOptions(Entity):
    """What a cluster's owner decides about an endpoint.

    Attributes:
        namespace: The namespace of all objects.
        gateway: A Gateway's name. With it an HTTPRoute gives each variant its weight and mirrors
            requests to a shadow; it leads to no metrics.
        max_replicas: The autoscaler's largest number of replicas; 0 is four times the endpoint's.
        from_namespaces: Namespaces whose pods may ask, beside those of the endpoint's own: that of
            the Gateway, that of Prometheus.
        pods: What the pods have.
    """

    namespace: str = "default"
    gateway: str = ""
    max_replicas: int = 0
    from_namespaces: list[str] = []
    pods: PodOptions = PodOptions()


USUAL = RenderOptions()
"""Where a cluster's owner has decided nothing."""


def render(spec: EndpointSpec, image: str, options: RenderOptions = USUAL) -> list[Manifest]:
    """Render everything that an endpoint needs in a cluster.

    That is a Deployment and a Service for each variant, a disruption budget where there are
    replicas to keep, a network policy in both directions, an autoscaler, and what directs the
    requests.

    Args:
        spec: The endpoint.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        options: What the cluster's owner decides.

    Raises:
        Invalid: The image is the same for every version, a rollout is under way and no gateway is
            named, or Kubernetes takes no such name.
    """
    named = [options.namespace, *options.from_namespaces, options.gateway]
    _refuse_names(spec, *filter(None, [*named, *options.pods.names]))
    if "{number}" not in image:
        raise Invalid(
            f"--image '{image}' is the same for every version. "
            "Write {number} where the version stands, as in 'registry/churn:{number}'."
        )
    if len(spec.variants) > 1 and not options.gateway:
        raise Invalid(
            f"Endpoint '{spec.name}' is rolling a version out; "
            "a --gateway is needed to weigh its variants."
        )
    manifests = workload(spec, image, pods=options.pods)
    champion = next(variant for variant in spec.variants if variant.role == "champion")
    scaler = _scaler(spec, champion, options.max_replicas)
    for manifest in manifests:
        if manifest["kind"] == "NetworkPolicy":
            manifest["spec"]["ingress"][0]["from"] = _askers(options.from_namespaces)
        if _is_scaled_by(scaler, manifest):
            del manifest["spec"]["replicas"]  # to apply it again would undo the autoscaler's
    manifests += [scaler, *switches(spec, options.gateway)]
    return [placed(manifest, options.namespace) for manifest in manifests]


def workload(spec: EndpointSpec, image: str, *, pods: PodOptions) -> list[Manifest]:
    """Render what runs: a Deployment and a Service for each variant, and what keeps them safe.

    Args:
        spec: The endpoint.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        pods: What the pods have.
    """
    manifests: list[Manifest] = []
    for variant in spec.variants:
        manifests += [deployment(spec, variant, image, pods), _service(spec, variant)]
    if spec.replicas > 1:  # it lets one at a time go: of a single one it protects nothing
        manifests.append(_budget(spec))
    return [*manifests, _network(spec)]


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


def render_kserve(spec: EndpointSpec, image: str, options: RenderOptions = USUAL) -> list[Manifest]:
    """Render the endpoint as a KServe InferenceService of the newest variant and its share.

    Args:
        spec: The endpoint.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        options: What the cluster's owner decides: the namespace, and what the pods have.

    Raises:
        Invalid: A variant is a shadow, which KServe does not support, or Kubernetes takes no such
            name.
    """
    _refuse_names(spec, options.namespace, *options.pods.names)
    if any(variant.role == "shadow" for variant in spec.variants):
        raise Invalid(
            "KServe mirrors no requests, so a shadow step cannot be rendered for it. Use --gateway."
        )
    newest = spec.variants[-1]
    pod = template(newest, image, options.pods)
    del pod["terminationGracePeriodSeconds"]  # which KServe sets
    predictor: Manifest = {"minReplicas": spec.replicas, **pod}
    if newest.role == "candidate":
        predictor["canaryTrafficPercent"] = round(newest.weight * 100)
    metadata = {"name": spec.name, "namespace": options.namespace, "labels": {NAME: spec.name}}
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


def _service(spec: EndpointSpec, variant: Variant) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name_of(spec, variant), "labels": selector(spec, variant)},
        "spec": {
            "selector": selector(spec, variant),
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


def _is_scaled_by(scaler: Manifest, manifest: Manifest) -> bool:
    target = scaler["spec"]["scaleTargetRef"]
    return bool(
        (manifest["kind"], manifest["metadata"]["name"]) == (target["kind"], target["name"])
    )


def _askers(namespaces: list[str]) -> list[Manifest]:
    """Who may ask: pods of the endpoint's own namespace, and of those that are named."""
    own: Manifest = {"podSelector": {}}
    label = "kubernetes.io/metadata.name"
    return [own, *({"namespaceSelector": {"matchLabels": {label: one}}} for one in namespaces)]


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
    # A rule without backends forwards nothing: metrics are for those who reach the pods.
    hidden = {"matches": [{"path": {"type": "PathPrefix", "value": f"/{spec.name}{METRICS}"}}]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": spec.name, "labels": {NAME: spec.name}},
        "spec": {"parentRefs": [{"name": gateway}], "rules": [rule, hidden]},
    }
