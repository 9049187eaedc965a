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
from treadle.cli.rollouts import _digests
from treadle.delivery.manifests import RenderOptions, render, render_kserve
from treadle.delivery.pods import Manifest, PodOptions
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


FRONT = RenderOptions(namespace="models", gateway="front")
FULL = RenderOptions(
    namespace="models",
    gateway="front",
    from_namespaces=["ingress", "monitoring"],
    pods=PodOptions(
        log_claim="logs",
        callers_secret="callers",
        digests={"churn:3": f"sha256:{'a' * 64}"},
    ),
)


def rendered(
    wanted: EndpointSpec, options: RenderOptions = FRONT
) -> dict[tuple[str, str], Manifest]:
    found = render(wanted, IMAGE, options)
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


@pytest.mark.parametrize("options", [FRONT, FULL], ids=["few options", "all options"])
@pytest.mark.parametrize("way", WAYS)
def test_the_three_newest_kubernetes_take_them(way: str, options: RenderOptions) -> None:
    import kubernetes_validate  # takes a second to load

    versions = newest_versions()
    assert len(versions) == 3
    for manifest in rendered(WAYS[way], options).values():
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
            rule, hidden = one["spec"]["rules"]
            assert hidden["matches"][0]["path"]["value"] == "/churn/metrics"
            assert "backendRefs" not in hidden
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
    # The champion's number is its autoscaler's; to apply the manifest again does not undo it.
    assert "replicas" not in found["Deployment", "churn-3"]["spec"]
    assert found["HorizontalPodAutoscaler", "churn-3"]["spec"]["minReplicas"] == 3
    assert found["Deployment", "churn-4"]["spec"]["replicas"] == 1
    assert rendered(spec(SHADOW))["Deployment", "churn-4"]["spec"]["replicas"] == 3


def test_kserve_gets_the_canarys_share() -> None:
    (one,) = render_kserve(spec(CANARY), IMAGE)
    predictor = one["spec"]["predictor"]
    assert predictor["securityContext"]["runAsNonRoot"]
    assert predictor["automountServiceAccountToken"] is False
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
        render(spec(CANARY), image, RenderOptions(gateway=gateway))


def pod_of(options: RenderOptions = FRONT) -> Manifest:
    pod: Manifest = rendered(spec(), options)["Deployment", "churn-3"]["spec"]["template"]["spec"]
    return pod


def test_no_volume_takes_more_than_it_may() -> None:
    pod = pod_of()
    sizes = {one["name"]: one["emptyDir"]["sizeLimit"] for one in pod["volumes"]}
    assert sizes == {"state": "10240Mi", "tmp": "1024Mi"}
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["ephemeral-storage"] == "11264Mi"
    assert container["resources"]["requests"]["ephemeral-storage"] == "256Mi"


def test_logs_outlive_their_pods_on_a_claim_each_in_a_folder_of_its_own() -> None:
    pod = pod_of(FULL)
    (state,) = [one for one in pod["volumes"] if one["name"] == "state"]
    assert state["persistentVolumeClaim"] == {"claimName": "logs"}
    (container,) = pod["containers"]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert mounts["/var/lib/treadle"]["subPathExpr"] == "$(POD_NAME)"
    assert "POD_NAME" in {one["name"] for one in container["env"]}
    assert container["resources"]["limits"]["ephemeral-storage"] == "1024Mi"


def test_callers_come_from_a_secret_and_images_are_pinned() -> None:
    (container,) = pod_of(FULL)["containers"]
    assert container["args"] == ["serve", "--callers", "/etc/treadle/callers/callers.toml"]
    assert container["image"] == f"registry.example/churn:3@sha256:{'a' * 64}"
    assert {"name": "callers", "secret": {"secretName": "callers"}} in pod_of(FULL)["volumes"]


def test_only_pods_of_named_namespaces_may_ask_and_nothing_goes_out() -> None:
    policy = rendered(spec(), FULL)["NetworkPolicy", "churn"]["spec"]
    ((rule),) = policy["ingress"]
    label = "kubernetes.io/metadata.name"
    assert rule["from"] == [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {label: "ingress"}}},
        {"namespaceSelector": {"matchLabels": {label: "monitoring"}}},
    ]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy


def test_a_single_replica_has_no_budget_that_protects_nothing() -> None:
    assert ("PodDisruptionBudget", "churn") not in rendered(spec(replicas=1))
    assert ("PodDisruptionBudget", "churn") in rendered(spec(replicas=2))


def test_replicas_spread_over_nodes_and_zones_and_are_scraped() -> None:
    made = rendered(spec(CANARY))
    for name in ("churn-3", "churn-4"):
        deployment = made["Deployment", name]["spec"]
        template = deployment["template"]
        spread = template["spec"]["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in spread] == [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        ]
        assert all(
            one["labelSelector"]["matchLabels"] == deployment["selector"]["matchLabels"]
            for one in spread
        )
        assert template["metadata"]["annotations"]["prometheus.io/path"] == "/metrics"


@pytest.mark.parametrize("given", ["churn:3", "churn:3=abc", "=sha256:" + "a" * 64])
def test_a_digest_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(Invalid, match="no version with a digest"):
        _digests([given], ["churn:3"])


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
