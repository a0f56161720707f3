"""What the parts are told: rendered, parsed again, and checked where a mistake would show only much later."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from localcluster import blueprint, dns, kubernetes, mesh, node
from localcluster.folders import Data
from localcluster.part import Part
from localcluster.pki import Authority
from localcluster.ports import API_SERVER, ETCD, GATEWAY, NODE_ADDRESS, PROMETHEUS, PROMETHEUS_CLUSTER_IP


@pytest.fixture
def authority(data: Data) -> Authority:
    return Authority(data.pki)


def only_file(part: Part, name: str) -> str:
    return next(text for path, text in part.files.items() if path.name == name)


def relabelled(series: dict[str, str]) -> dict[str, str] | None:
    """Apply the gateway job's rules as Prometheus does: anchored expressions, `;` between source labels."""
    settings = yaml.safe_load(yaml.safe_dump(mesh.prometheus_settings(Path("targets.json"), Path("rules"))))
    job = next(entry for entry in settings["scrape_configs"] if entry["job_name"] == "istio-gateway")
    labels = dict(series)
    for rule in job["metric_relabel_configs"]:
        value = ";".join(labels.get(name, "") for name in rule.get("source_labels", []))
        found = re.fullmatch(rule.get("regex", "(.*)"), value)
        match rule.get("action", "replace"):
            case "keep" if not found:
                return None
            case "labeldrop":
                labels = {key: text for key, text in labels.items() if not re.fullmatch(rule["regex"], key)}
            case "replace" if found:
                labels[rule["target_label"]] = found.expand(rule["replacement"].replace("$", "\\"))
    return labels


def test_requests_of_envoy_become_requests_of_istio() -> None:
    series = {
        "__name__": "envoy_cluster_upstream_rq",
        "cluster_name": "outbound|80|v1|web.vision.svc.cluster.local",
        "envoy_response_code": "503",
    }

    assert relabelled(series) == {
        "__name__": "istio_requests_total",
        "cluster_name": "outbound|80|v1|web.vision.svc.cluster.local",
        "destination_service": "web.vision.svc.cluster.local",
        "destination_service_name": "web",
        "destination_service_namespace": "vision",
        "response_code": "503",
        "reporter": "source",
        "source_workload": "istio-ingressgateway",
        "source_workload_namespace": "istio-system",
    }


@pytest.mark.parametrize("suffix", ["bucket", "sum", "count"])
def test_times_of_envoy_become_times_of_istio(suffix: str) -> None:
    series = {
        "__name__": f"envoy_cluster_upstream_rq_time_{suffix}",
        "cluster_name": "outbound|80||web.vision.svc.cluster.local",
    }

    labels = relabelled({**series, "le": "5"})

    assert labels is not None
    assert labels["__name__"] == f"istio_request_duration_milliseconds_{suffix}"
    assert labels["le"] == "5"
    assert "response_code" not in labels


@pytest.mark.parametrize(
    "series",
    [
        {"__name__": "envoy_cluster_upstream_cx_total", "cluster_name": "outbound|80||web.vision.svc.cluster.local"},
        {"__name__": "envoy_cluster_upstream_rq", "cluster_name": "xds-grpc", "envoy_response_code": "200"},
        {"__name__": "envoy_cluster_upstream_rq", "cluster_name": "BlackHoleCluster", "envoy_response_code": "200"},
    ],
)
def test_everything_else_is_dropped(series: dict[str, str]) -> None:
    assert relabelled(series) is None


def test_two_subsets_of_one_host_stay_two_series() -> None:
    def subset(name: str) -> dict[str, str] | None:
        return relabelled(
            {
                "__name__": "envoy_cluster_upstream_rq",
                "cluster_name": f"outbound|80|{name}|web.vision.svc.cluster.local",
            }
        )

    assert subset("v1") != subset("v2")


@pytest.mark.parametrize(
    ("statistic", "name"),
    [
        (
            "cluster.outbound|80||web.vision.svc.cluster.local;.upstream_rq_200",
            "outbound|80||web.vision.svc.cluster.local",
        ),
        ("cluster.xds-grpc.upstream_rq_200", "xds-grpc"),
    ],
)
def test_envoy_keeps_the_whole_name_of_a_cluster_in_one_label(statistic: str, name: str) -> None:
    tags = mesh.envoy_bootstrap()["stats_config"]["stats_tags"]  # type: ignore[index]
    found = re.match(tags[0]["regex"], statistic)

    assert found is not None
    assert found[2] == name
    assert statistic.replace(found[1], "") == "cluster.upstream_rq_200"


def test_containerd_has_folders_and_socket_of_its_own(data: Data) -> None:
    part = node.containerd("containerd", data)
    config = tomllib.loads(only_file(part, "containerd.toml"))
    runtime = config["plugins"]["io.containerd.grpc.v1.cri"]

    assert config["root"] == str(data.containerd_root)
    assert config["state"] == str(data.containerd_state)
    assert config["grpc"]["address"] == str(data.containerd_socket)
    assert runtime["restrict_oom_score_adj"] is True, "or runc dies where CAP_SYS_RESOURCE is missing"
    network = json.loads(only_file(part, "10-modelrelease-local.conflist"))
    assert Path(runtime["cni"]["conf_dir"]) in {path.parent for path in part.files}
    assert network["plugins"][0]["ipam"]["dataDir"].startswith(str(data.root))


def test_socket_names_fit_into_the_kernels_limit_however_deep_the_data_lies(tmp_path: Path) -> None:
    deep = Data(tmp_path / ("d" * 90) / ("e" * 90))

    assert len(str(deep.containerd_socket) + ".ttrpc") < 100


def test_kubelet_asks_who_calls(data: Data, authority: Authority) -> None:
    client = node.Client(Path("kubelet"), data.kubeconfig)
    config = yaml.safe_load(only_file(node.kubelet(client, data, authority), "kubelet.yaml"))

    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["failCgroupV1"] is False
    assert config["containerRuntimeEndpoint"] == f"unix://{data.containerd_socket}"


def test_api_server_of_the_cluster_is_published_and_that_of_a_test_is_not(data: Data, authority: Authority) -> None:
    def words(*, published: bool) -> tuple[str, ...]:
        settings = kubernetes.ApiServer(
            API_SERVER, ETCD, authority, data.audit_log, "", data.config, published=published
        )
        return kubernetes.api_server(Path("kube-apiserver"), settings).argv

    assert "--endpoint-reconciler-type=lease" in words(published=True)
    assert "--endpoint-reconciler-type=none" in words(published=False)
    assert "--authorization-mode=Node,RBAC" in words(published=False)


def test_audit_leaves_reads_out_and_keeps_writes() -> None:
    policy = yaml.safe_load(blueprint.manifest("audit-policy.yaml"))

    assert {"level": "None", "verbs": ["get", "list", "watch"]} in policy["rules"]
    assert policy["rules"][-1] == {"level": "Metadata"}


def test_dns_serves_the_clusters_domain_and_asks_a_resolver_of_the_machine(data: Data) -> None:
    part = dns.coredns(Path("coredns"), data.kubeconfig, data)
    text = only_file(part, "Corefile")

    assert f"kubernetes {dns.DOMAIN} " in text
    assert f"bind {NODE_ADDRESS}" in text
    assert only_file(part, "resolv.conf").startswith("nameserver ")


@pytest.mark.parametrize("name", ["istio-system.yaml", "dns.yaml", "gateway.yaml"])
def test_manifests_are_complete_objects(name: str) -> None:
    text = blueprint.manifest(name)
    documents = list(yaml.safe_load_all(text))

    assert "${" not in text
    assert all({"apiVersion", "kind", "metadata"} <= document.keys() for document in documents)


def test_pods_find_prometheus_at_the_documented_address() -> None:
    documents = list(yaml.safe_load_all(blueprint.manifest("istio-system.yaml")))
    by_kind = {
        document["kind"]: document for document in documents if document["metadata"]["name"].startswith("prometheus")
    }

    assert by_kind["Service"]["spec"]["clusterIP"] == PROMETHEUS_CLUSTER_IP
    assert by_kind["EndpointSlice"]["endpoints"][0]["addresses"] == [PROMETHEUS.address]
    assert by_kind["EndpointSlice"]["ports"][0]["port"] == PROMETHEUS.port


def test_gateway_listens_on_the_loopback_address_only() -> None:
    gateway = yaml.safe_load(blueprint.manifest("gateway.yaml"))
    services = [d for d in yaml.safe_load_all(blueprint.manifest("istio-system.yaml")) if d["kind"] == "Service"]
    ingress = next(service for service in services if service["metadata"]["name"] == "istio-ingressgateway")

    (server,) = gateway["spec"]["servers"]
    assert server["bind"] == GATEWAY.address == "127.0.0.1"
    assert server["port"]["number"] == ingress["spec"]["ports"][0]["port"]
    assert ingress["spec"]["ports"][0]["targetPort"] == GATEWAY.port
