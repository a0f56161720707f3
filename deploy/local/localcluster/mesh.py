"""The parts that carry and measure traffic: istiod, the Envoy gateway and Prometheus."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from localcluster.folders import PACKAGE, Data
from localcluster.part import Part, answers
from localcluster.pki import Authority, Identity
from localcluster.ports import ENVOY_ADMIN, GATEWAY, ISTIOD_GRPC, ISTIOD_HTTP, ISTIOD_MONITORING, PROMETHEUS, Listen

ISTIO_NAMESPACE = "istio-system"
_ISTIO_VERSION = "1.31.1"


def istiod(binary: Path, kubeconfig: Path, data: Data) -> Part:
    """Istio's control plane, outside the cluster's pods. Upstream Envoy has no `istio.*` filters and there is no
    certificate authority for workloads, so what needs either is off; routing is complete."""
    mesh = data.config / "mesh.yaml"
    settings = {
        "accessLogFile": "",
        "enableAutoMtls": False,
        "ingressControllerMode": "OFF",
        "rootNamespace": ISTIO_NAMESPACE,
        "defaultConfig": {"discoveryAddress": str(ISTIOD_GRPC)},
    }
    argv = (
        str(binary),
        "discovery",
        f"--kubeconfig={kubeconfig}",
        f"--meshConfig={mesh}",
        "--networksConfig=",
        f"--grpcAddr={ISTIOD_GRPC}",
        f"--httpAddr={ISTIOD_HTTP}",
        "--httpsAddr=",
        "--secureGRPCAddr=",
        f"--monitoringAddr={ISTIOD_MONITORING}",
        "--ctrlz_port=0",
        "--caCertFile=",
        "--keepaliveMaxServerConnectionAge=24h",
        "--log_output_level=default:warn",
    )
    environment = {
        "POD_NAMESPACE": ISTIO_NAMESPACE,
        "POD_NAME": "istiod-0",
        "REVISION": "default",
        "ENABLE_CA_SERVER": "false",
        "INJECTION_WEBHOOK_CONFIG_NAME": "",
        "VALIDATION_WEBHOOK_CONFIG_NAME": "",
        "PILOT_ENABLE_METADATA_EXCHANGE": "false",
        "PILOT_ENABLE_ALPN_FILTER": "false",
        "PILOT_ENABLE_GATEWAY_API": "false",
    }
    listens = (ISTIOD_GRPC, ISTIOD_HTTP, ISTIOD_MONITORING)
    return Part(
        "istiod",
        argv,
        answers(ISTIOD_HTTP, "/ready"),
        listens,
        environment,
        {mesh: yaml.safe_dump(settings)},
        ready_seconds=90,
    )


def gateway(binary: Path, data: Data) -> Part:
    """Envoy as Istio's ingress gateway, on the host: pods' addresses are routed to from here."""
    config = data.config / "envoy.yaml"
    argv = (
        str(binary),
        "-c",
        str(config),
        "--concurrency",
        "2",
        "--log-level",
        "warning",
        "--use-dynamic-base-id",
        "--drain-time-s",
        "1",
    )
    listens = (ENVOY_ADMIN, GATEWAY)
    return Part(
        "gateway",
        argv,
        answers(ENVOY_ADMIN, "/ready"),
        listens,
        files={config: yaml.safe_dump(envoy_bootstrap(), sort_keys=False)},
    )


def envoy_bootstrap() -> dict[str, object]:
    """Istio ends the name of a cluster in statistics with `;`; the tag expression below takes it off, so that one label
    holds the whole name. Histograms merge only when statistics are flushed: each second, as they are scraped."""
    return {
        "node": {
            "id": f"router~127.0.0.1~gw-0.{ISTIO_NAMESPACE}~{ISTIO_NAMESPACE}.svc.cluster.local",
            "cluster": f"istio-ingressgateway.{ISTIO_NAMESPACE}",
            "metadata": {
                "NAMESPACE": ISTIO_NAMESPACE,
                "LABELS": {"istio": "ingressgateway", "app": "istio-ingressgateway"},
                "ISTIO_VERSION": _ISTIO_VERSION,
                "CLUSTER_ID": "Kubernetes",
                "WORKLOAD_NAME": "istio-ingressgateway",
            },
        },
        "admin": {"address": _address(ENVOY_ADMIN)},
        "stats_flush_interval": "1s",
        "stats_config": {
            "use_all_default_tags": True,
            "stats_tags": [
                {"tag_name": "cluster_name", "regex": r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?);?\.)"}
            ],
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [_xds_cluster()]},
    }


def _xds_cluster() -> dict[str, object]:
    http2 = {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
    endpoint = {"endpoint": {"address": _address(ISTIOD_GRPC)}}
    return {
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": http2},
            }
        },
        "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(listen: Listen) -> dict[str, object]:
    return {"socket_address": {"address": listen.address, "port_value": listen.port}}


def pod_targets(server: str, authority: Authority, data: Data) -> Part:
    """Discovery of pods for Prometheus; ready when it has written its first list."""
    pair = authority.issue("prometheus", Identity("prometheus"))
    argv = (
        sys.executable,
        "-m",
        "localcluster.pod_targets",
        f"--server={server}",
        f"--authority={authority.pair.certificate}",
        f"--certificate={pair.certificate}",
        f"--key={pair.key}",
        f"--output={data.pod_targets}",
    )
    return Part("pod-targets", argv, data.pod_targets.exists, environment={"PYTHONPATH": str(PACKAGE.parent)})


def prometheus(binary: str, data: Data) -> Part:
    """Prometheus on the node's address, so that pods reach it too."""
    config = data.config / "prometheus.yaml"
    argv = (
        binary,
        f"--config.file={config}",
        f"--storage.tsdb.path={data.prometheus}",
        "--storage.tsdb.retention.time=2d",
        "--storage.tsdb.retention.size=4GB",
        f"--web.listen-address={PROMETHEUS}",
        "--web.enable-lifecycle",
        "--log.level=warn",
    )
    text = yaml.safe_dump(prometheus_settings(data.pod_targets, data.config / "rules"), sort_keys=False)
    return Part(
        "prometheus", argv, answers(PROMETHEUS, "/-/ready"), (PROMETHEUS,), files={config: text}, stop_seconds=20
    )


def prometheus_settings(targets: Path, rules: Path) -> dict[str, object]:
    """Scrape the gateway each second, and every pod that asks for it by the usual annotations."""
    return {
        "global": {"scrape_interval": "5s", "scrape_timeout": "4s", "evaluation_interval": "5s"},
        "rule_files": [str(rules / "*.yaml")],
        "scrape_configs": [_gateway_job(), _pods_job(targets)],
    }


def _gateway_job() -> dict[str, object]:
    """Upstream Envoy counts the same requests under other names than Istio's proxy. They are renamed here, and only
    here, so that queries for Istio's metrics run unchanged. The destination's workload and subset are left out: Istio
    itself does not know them where no pod answered, and queries must not come to rely on them."""
    name = "__name__"
    host = r"outbound\|\d+\|[^|]*\|(([^.]+)\.([^.]+)\..+)"

    def to(label: str, replacement: str) -> dict[str, object]:
        return {"source_labels": ["cluster_name"], "regex": host, "target_label": label, "replacement": replacement}

    families = "envoy_cluster_upstream_rq|envoy_cluster_upstream_rq_time_(bucket|sum|count)"
    return {
        "job_name": "istio-gateway",
        "scrape_interval": "1s",
        "scrape_timeout": "900ms",
        "metrics_path": "/stats/prometheus",
        "params": {"filter": [r"^cluster\.outbound.*upstream_rq(_time|_[0-9]{3})$"]},
        "static_configs": [{"targets": [str(ENVOY_ADMIN)]}],
        "metric_relabel_configs": [
            {"source_labels": [name], "regex": families, "action": "keep"},
            {"source_labels": ["cluster_name"], "regex": host, "action": "keep"},
            to("destination_service", "$1"),
            to("destination_service_name", "$2"),
            to("destination_service_namespace", "$3"),
            {
                "source_labels": ["envoy_response_code"],
                "regex": "(.+)",
                "target_label": "response_code",
                "replacement": "$1",
            },
            {
                "source_labels": [name],
                "regex": "envoy_cluster_upstream_rq",
                "target_label": name,
                "replacement": "istio_requests_total",
            },
            {
                "source_labels": [name],
                "regex": "envoy_cluster_upstream_rq_time_(bucket|sum|count)",
                "target_label": name,
                "replacement": "istio_request_duration_milliseconds_$1",
            },
            {"target_label": "reporter", "replacement": "source"},
            {"target_label": "source_workload", "replacement": "istio-ingressgateway"},
            {"target_label": "source_workload_namespace", "replacement": ISTIO_NAMESPACE},
            # cluster_name stays: two subsets of one host would otherwise be one series with two values.
            {"regex": "envoy_.*", "action": "labeldrop"},
        ],
    }


def _pods_job(targets: Path) -> dict[str, object]:
    def meta(name: str) -> str:
        return f"__meta_kubernetes_pod_{name}"

    return {
        "job_name": "kubernetes-pods",
        "scrape_interval": "2s",
        "scrape_timeout": "1900ms",
        "file_sd_configs": [{"files": [str(targets)]}],
        "relabel_configs": [
            {"source_labels": [meta("annotation_prometheus_io_scrape")], "regex": "true", "action": "keep"},
            {"source_labels": [meta("phase")], "regex": "Pending|Succeeded|Failed", "action": "drop"},
            # Init containers have a target of their own with the same address: one scrape per pod is enough.
            {"source_labels": [meta("container_init")], "regex": "true", "action": "drop"},
            {
                "source_labels": [meta("annotation_prometheus_io_scheme")],
                "regex": "(https?)",
                "target_label": "__scheme__",
            },
            {
                "source_labels": [meta("annotation_prometheus_io_path")],
                "regex": "(.+)",
                "target_label": "__metrics_path__",
            },
            {
                "source_labels": [meta("ip"), meta("annotation_prometheus_io_port")],
                "regex": r"(.+);(\d+)",
                "target_label": "__address__",
                "replacement": "$1:$2",
            },
            {"regex": "__meta_kubernetes_pod_label_(.+)", "action": "labelmap"},
            {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            {"source_labels": [meta("name")], "target_label": "pod"},
        ],
    }
