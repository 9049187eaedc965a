"""Renders what runs for a variant of an endpoint: its pods, and the Deployment that keeps them."""

from typing import Any

from treadle.kernel.entity import Entity
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.log_access import LOG_TOKEN

PORT, PORT_NAME, STATE = 8080, "http", "/var/lib/treadle"
READY, LIVE = "/ping", "/"
CALLERS = "/etc/treadle/callers"
_USER = 65532
_TEMPORARY_GB = 1
NAME, VERSION, ROLE = "app.kubernetes.io/name", "treadle/version", "treadle/role"

Manifest = dict[str, Any]


class PodOptions(Entity):
    """What the pods of an endpoint have.

    Attributes:
        log_secret: The name of a Secret with a `token` that permits to read the inference log;
            empty where nobody may read it.
        log_gb: Gigabytes that a pod's inference log and package may take.
        log_claim: A PersistentVolumeClaim that keeps inference logs, a folder for each pod; empty
            keeps a log for as long as its pod.
        callers_secret: The name of a Secret whose `callers.toml` says who may ask, and how often;
            empty lets anybody ask who reaches the pods.
        digests: Digest of an image (`sha256:…`) by version, such as `churn:3`: where it is known,
            that very image runs, whatever becomes of its tag.
    """

    log_secret: str = ""
    log_gb: float = 10.0
    log_claim: str = ""
    callers_secret: str = ""
    digests: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """The names of objects that are there already."""
        return list(filter(None, (self.log_secret, self.log_claim, self.callers_secret)))


def deployment(spec: EndpointSpec, variant: Variant, image: str, options: PodOptions) -> Manifest:
    """Render the Deployment of a variant.

    Args:
        spec: The endpoint.
        variant: One of its variants.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        options: What the pods have.
    """
    labels = {**selector(spec, variant), ROLE: variant.role}
    scraped = {"scrape": "true", "port": str(PORT), "path": "/metrics"}
    annotations = {f"prometheus.io/{name}": value for name, value in scraped.items()}
    pod = template(variant, image, options)
    pod["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(spec, variant)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name_of(spec, variant), "labels": labels},
        "spec": {
            "replicas": replicas_of(spec, variant),
            "selector": {"matchLabels": selector(spec, variant)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }


def template(variant: Variant, image: str, options: PodOptions) -> Manifest:
    """Render the pods of a variant: nobody in particular, who may do nothing that is not needed.

    Args:
        variant: The variant.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        options: What the pods have.
    """
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(variant, image, options)],
        "volumes": _volumes(options),
    }


def image_of(variant: Variant, image: str, options: PodOptions) -> str:
    """Return the image of a variant.

    Args:
        variant: The variant.
        image: The images' name, with `{model}` and `{number}` where a version's image has them.
        options: Holds the digests of images.
    """
    model, _, number = variant.version.partition(":")
    tagged = image.replace("{model}", model).replace("{number}", number)
    digest = options.digests.get(variant.version)
    return f"{tagged}@{digest}" if digest else tagged


def _container(variant: Variant, image: str, options: PodOptions) -> Manifest:
    token = {"secretKeyRef": {"name": options.log_secret, "key": "token"}}
    pod = {"fieldRef": {"fieldPath": "metadata.name"}}
    callers = ["--callers", f"{CALLERS}/callers.toml"] if options.callers_secret else []
    return {
        "name": "model",
        "image": image_of(variant, image, options),
        "args": ["serve", *callers],  # the image sets the model, the address and the state's folder
        "env": [
            {"name": "PORT", "value": str(PORT)},
            *([{"name": LOG_TOKEN, "valueFrom": token}] if options.log_secret else []),
            *([{"name": "POD_NAME", "valueFrom": pod}] if options.log_claim else []),
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
        "resources": {
            "requests": {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "256Mi"},
            "limits": {"memory": "1Gi", "ephemeral-storage": _size(_local_gb(options))},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": _mounts(options),
    }


def _mounts(options: PodOptions) -> list[Manifest]:
    own = {"subPathExpr": "$(POD_NAME)"} if options.log_claim else {}
    mounts: list[Manifest] = [
        {"name": "state", "mountPath": STATE, **own},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if options.callers_secret:
        mounts.append({"name": "callers", "mountPath": CALLERS, "readOnly": True})
    return mounts


def _volumes(options: PodOptions) -> list[Manifest]:
    kept: Manifest = {"emptyDir": {"sizeLimit": _size(options.log_gb)}}
    if options.log_claim:
        kept = {"persistentVolumeClaim": {"claimName": options.log_claim}}
    volumes = [
        {"name": "state", **kept},
        {"name": "tmp", "emptyDir": {"sizeLimit": _size(_TEMPORARY_GB)}},
    ]
    if options.callers_secret:
        volumes.append({"name": "callers", "secret": {"secretName": options.callers_secret}})
    return volumes


def _local_gb(options: PodOptions) -> float:
    """Gigabytes of its node's disk that a pod may take: a claim's are elsewhere."""
    return _TEMPORARY_GB + (0 if options.log_claim else options.log_gb)


def _size(gb: float) -> str:
    return f"{round(gb * 1024)}Mi"


def replicas_of(spec: EndpointSpec, variant: Variant) -> int:
    """Return how many replicas a variant has, by its share of the requests; a shadow sees all.

    Args:
        spec: The endpoint.
        variant: One of its variants.
    """
    part = 1.0 if variant.role == "shadow" else variant.weight
    return max(1, -(-round(spec.replicas * part * 100) // 100))


def selector(spec: EndpointSpec, variant: Variant) -> dict[str, str]:
    """Return the labels by which a variant's pods are known.

    Args:
        spec: The endpoint.
        variant: One of its variants.
    """
    return {NAME: spec.name, VERSION: variant.version.rpartition(":")[2]}


def name_of(spec: EndpointSpec, variant: Variant) -> str:
    """Return the name of a variant's Deployment and Service.

    Args:
        spec: The endpoint.
        variant: One of its variants.
    """
    return f"{spec.name}-{variant.version.rpartition(':')[2]}"
