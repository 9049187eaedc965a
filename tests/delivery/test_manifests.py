"""Rendered manifests are what Kubernetes takes, fit together, and name paths that the model server
has.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.desk import open_desk
from tests.serving.scripted import engine, variant
from tests.serving.test_server import call
from treadle.delivery.manifests import Manifest, render, render_kserve
from treadle.kernel.errors import Conflict, Invalid
from treadle.platform.wiring import Embedded
from treadle.ports.target import EndpointSpec, Variant
from treadle.serving.server import ModelServer

IMAGE = "registry.example/{model}:{number}"


def spec(*others: Variant, replicas: int = 3) -> EndpointSpec:
    left = 1 - sum(v.weight for v in others if v.role == "candidate")
    return EndpointSpec(
        name="churn",
        generation=1,
        variants=[Variant(version="churn:3", package="p", weight=left), *others],
        replicas=replicas,
    )


CANARY = Variant(version="churn:4", package="q", role="candidate", weight=0.01)
SHADOW = Variant(version="churn:4", package="q", role="shadow", weight=0.0)
WAYS = {
    "alone": spec(),
    "canary": spec(CANARY),
    "shadow": spec(SHADOW),
    "one replica": spec(replicas=1),
}


def rendered(wanted: EndpointSpec) -> dict[tuple[str, str], Manifest]:
    found = render(wanted, IMAGE, namespace="models", gateway="front")
    named = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(named) == len(found), "names are used once"
    return named


def newest_versions() -> list[str]:
    """The three newest versions that the validator knows."""
    folder = Path(str(find_spec("kubernetes_validate").origin)).parent  # type: ignore[union-attr]
    known = {
        tuple(map(int, p.name.lstrip("v").split("-")[0].split(".")[:2]))
        for p in folder.glob("kubernetes-json-schema/v*")
    }
    return [f"{major}.{minor}" for major, minor in sorted(known)[-3:]]


@pytest.mark.parametrize("way", WAYS)
def test_the_three_newest_kubernetes_take_them(way: str) -> None:
    import kubernetes_validate  # takes a second to load

    versions = newest_versions()
    assert len(versions) == 3
    for manifest in rendered(WAYS[way]).values():
        if (
            "gateway" not in manifest["apiVersion"]
        ):  # a resource of its own, which core schemas do not know
            for version in versions:
                kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("way", WAYS)
def test_selectors_ports_and_names_fit_together(way: str) -> None:
    found = rendered(WAYS[way])
    pods = [one["spec"]["template"] for (kind, _), one in found.items() if kind == "Deployment"]
    labels = [pod["metadata"]["labels"] for pod in pods]

    def selected(wanted: dict[str, str]) -> int:
        return sum(wanted.items() <= each.items() for each in labels)

    for (kind, name), one in found.items():
        assert one["metadata"]["namespace"] == "models"
        if kind in ("Deployment", "Service"):
            wanted = one["spec"]["selector"]
            assert selected(wanted.get("matchLabels", wanted)) == 1
        if kind in ("PodDisruptionBudget", "NetworkPolicy"):
            wanted = one["spec"].get("selector") or one["spec"]["podSelector"]
            assert selected(wanted["matchLabels"]) == len(pods)
        if kind == "HorizontalPodAutoscaler":
            assert ("Deployment", one["spec"]["scaleTargetRef"]["name"]) in found
            assert one["spec"]["minReplicas"] <= one["spec"]["maxReplicas"]
        if kind == "HTTPRoute":
            (rule,) = one["spec"]["rules"]
            backends = rule["backendRefs"] + [
                f["requestMirror"]["backendRef"] for f in rule["filters"] if "requestMirror" in f
            ]
            assert all(("Service", each["name"]) in found for each in backends)
            assert sum(each["weight"] for each in rule["backendRefs"]) == 10_000
        del name
    (container,) = {
        tuple(port["name"] for c in pod["spec"]["containers"] for port in c["ports"])
        for pod in pods
    }
    assert container == ("http",)


def test_probes_ask_for_paths_that_the_server_has(tmp_path: Path) -> None:
    server = ModelServer("churn")
    (pod,) = [
        one["spec"]["template"]["spec"]
        for (kind, _), one in rendered(spec()).items()
        if kind == "Deployment"
    ]
    probes = {
        name: pod["containers"][0][name]["httpGet"]["path"]
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert [call(server, "GET", probes[name]).status_code for name in probes] == [503, 503, 200]
    server.engines["churn"] = engine(tmp_path, variant(tmp_path, "m:1"))
    assert [call(server, "GET", probes[name]).status_code for name in probes] == [200, 200, 200]


def test_a_pod_may_do_nothing_it_does_not_need() -> None:
    for (kind, _), one in rendered(spec(CANARY)).items():
        if kind != "Deployment":
            continue
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"/var/lib/treadle", "/tmp"} == {
            mount["mountPath"] for mount in container["volumeMounts"]
        }


def test_weights_and_images_are_the_variants() -> None:
    found = rendered(spec(CANARY))
    backends = found["HTTPRoute", "churn"]["spec"]["rules"][0]["backendRefs"]
    assert [(each["name"], each["weight"]) for each in backends] == [
        ("churn-3", 9900),
        ("churn-4", 100),
    ]
    images = [
        found["Deployment", name]["spec"]["template"]["spec"]["containers"][0]["image"]
        for name in ("churn-3", "churn-4")
    ]
    assert images == ["registry.example/churn:3", "registry.example/churn:4"]
    assert [found["Deployment", name]["spec"]["replicas"] for name in ("churn-3", "churn-4")] == [
        3,
        1,
    ]
    assert rendered(spec(SHADOW))["Deployment", "churn-4"]["spec"]["replicas"] == 3


def test_kserve_gets_the_canarys_share() -> None:
    (one,) = render_kserve(spec(CANARY), IMAGE)
    assert (one["kind"], one["spec"]["predictor"]["canaryTrafficPercent"]) == (
        "InferenceService",
        1,
    )
    assert "canaryTrafficPercent" not in render_kserve(spec(), IMAGE)[0]["spec"]["predictor"]
    with pytest.raises(Invalid, match="mirrors no requests"):
        render_kserve(spec(SHADOW), IMAGE)


@pytest.mark.parametrize(
    ("image", "gateway", "message"),
    [
        ("registry/churn", "front", "the same for every version"),
        (IMAGE, "", "a --gateway is needed"),
    ],
)
def test_what_cannot_be_rendered_is_told(image: str, gateway: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        render(spec(CANARY), image, gateway=gateway)


def test_an_endpoint_is_rendered_as_its_rollout_stands(open_home: Callable[..., Embedded]) -> None:
    desk = open_desk(open_home, steps=["10%", "100%"], approve=["production"])
    desk.platform.delivery.deploy(version=desk.register().ref)
    with pytest.raises(Conflict, match="waits for an approval"):
        desk.platform.delivery.spec(endpoint="p")
    desk.platform.registry.approve(model="p", number=1)
    desk.wait()
    second: Any = desk.register()
    desk.platform.delivery.deploy(version=second.ref)
    desk.platform.registry.approve(model="p", number=2)
    desk.wait()
    found = desk.platform.delivery.spec(endpoint="p")
    assert [(one.version, one.weight) for one in found.variants] == [("p:1", 0.9), ("p:2", 0.1)]
