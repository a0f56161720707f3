"""The operator's configuration: what is read, and the sentence for each way to get it wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from modelrelease.adapters.prometheus.sources import SourceDefinition
from modelrelease.settings import InvalidSettings, LogLevel, Source, load_settings, read_settings

ROOT = Path(__file__).parents[3]
IN_A_POD = {"POD_NAMESPACE": "modelrelease-system"}
LEAST = "providers: {default: {url: 'http://prometheus:9090'}}\n"


def refusal(text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(InvalidSettings) as caught:
        read_settings(text, IN_A_POD if environment is None else environment)
    return str(caught.value)


def test_the_least_is_one_address() -> None:
    settings = read_settings(LEAST, IN_A_POD)
    provider = settings.providers["default"]
    assert ("http://prometheus:9090", 15.0, 5.0) == (provider.url, provider.scrape_interval, provider.timeout)
    assert ("modelrelease-operator", "modelrelease-system") == (settings.lease.name, settings.lease.namespace)
    assert settings.lease.enabled
    assert settings.watch_namespace is None
    assert (LogLevel.INFO, 300.0, "cluster.local") == (
        settings.log_level,
        settings.resync_interval,
        settings.cluster_domain,
    )


def test_a_trailing_slash_would_double_in_the_address_of_a_query() -> None:
    settings = read_settings("providers: {default: {url: 'https://metrics.example.com/prometheus/'}}", IN_A_POD)
    assert "https://metrics.example.com/prometheus" == settings.providers["default"].url


@pytest.mark.parametrize("path", ["deploy/base/operator/config.yaml", "deploy/namespaced/config.yaml"])
def test_what_is_installed_can_be_read(path: str) -> None:
    settings = load_settings(ROOT / path, {"POD_NAMESPACE": "vision"})
    assert ["default"] == list(settings.providers)
    assert ("vision" if "namespaced" in path else None) == settings.watch_namespace


def test_an_empty_namespace_means_all() -> None:
    assert read_settings(LEAST + "watchNamespace: ''", IN_A_POD).watch_namespace is None


def test_a_lease_can_be_named_outside_of_a_pod() -> None:
    settings = read_settings(LEAST + "lease: {namespace: tools, duration: 1m}", {})
    assert ("tools", 60.0) == (settings.lease.namespace, settings.lease.duration)


def test_without_a_lease_no_namespace_is_needed() -> None:
    assert read_settings(LEAST + "lease: {enabled: false}", {}).lease.namespace is None


def test_a_source_has_what_the_adapter_needs() -> None:
    expected = {field.name: field.default for field in dataclasses.fields(SourceDefinition)}
    assert set(expected) == set(Source.model_fields)
    source = Source(
        requests_metric="requests_total", buckets_metric="seconds_bucket", arm_label="service", arm_value="x"
    )
    definition = SourceDefinition(**{**source.model_dump(), "target_labels": tuple(source.target_labels)})
    assert (
        SourceDefinition(
            requests_metric="requests_total", buckets_metric="seconds_bucket", arm_label="service", arm_value="x"
        )
        == definition
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "the configuration must be a mapping; the least is providers.default.url"),
        ("a: [", "the configuration is not YAML"),
        ("providers: {}", "providers: Dictionary should have at least 1 item"),
        ("providers: {default: {}}", "providers.default.url: Field required"),
        ("providers: {default: {url: prometheus}}", "providers.default.url: write an address such as http://"),
        (
            "providers: {default: {url: 'http://me:secret@prometheus'}}",
            "providers.default.url: credentials do not belong in an address: name a file in bearerTokenFile",
        ),
        (
            "providers: {default: {url: 'http://p', scrapeIntervall: 1s}}",
            "providers.default.scrapeIntervall: unknown field; did you mean scrapeInterval?",
        ),
        ("providers: {default: {url: 'http://p', timeout: 0s}}", "providers.default.timeout: must be longer than 0s"),
        (
            "providers: {default: {url: 'http://p', bearerTokenFile: /t, basicAuth: {username: a, passwordFile: /p}}}",
            "providers.default: give bearerTokenFile or basicAuth, not both",
        ),
        (
            "providers: {default: {url: 'http://p', certFile: /c}}",
            "providers.default: certFile and keyFile belong together: give both or neither",
        ),
        (LEAST + "metrics: {mostReleases: -1}", "metrics.mostReleases: Input should be greater than or equal to 0"),
        (LEAST + "logLevel: loud", "logLevel: Input should be 'debug', 'info', 'warning' or 'error'"),
        (LEAST + "color: red", "color: unknown field; known are providers, sources, gateways, lease, metrics"),
        (LEAST + "lease: {duration: 1s}", "lease.duration: must be at least 6s"),
        (LEAST + "resyncInterval: 1s", "configuration: resyncInterval must be at least 10s"),
        (LEAST + "resyncInterval: soon", "resyncInterval: 'soon' is not a duration; write for example 30s"),
        (
            LEAST + "sources: {mine: {requestsMetric: a, bucketsMetric: b, armLabel: c, armValue: '{pod}'}}",
            "sources.mine.armValue: only {service}, {namespace} and {domain} may stand in braces",
        ),
        (
            LEAST + "sources: {mine: {requestsMetric: 'a{', bucketsMetric: b, armLabel: c, armValue: d}}",
            "sources.mine.requestsMetric: String should match pattern",
        ),
    ],
)
def test_a_mistake_is_a_sentence_that_names_the_field(text: str, sentence: str) -> None:
    assert sentence in refusal(text)


def test_two_mistakes_are_two_sentences() -> None:
    said = refusal("providers: {default: {url: 'http://p', timeout: 0s}}\nlogLevel: loud")
    assert ["providers.default.timeout", "logLevel"] == [sentence.partition(":")[0] for sentence in said.split("; ")]


def test_outside_of_a_pod_the_own_namespace_has_no_meaning() -> None:
    assert "watchNamespace: POD_NAMESPACE is not set" in refusal(LEAST + "watchNamespace: $(POD_NAMESPACE)", {})
    assert "lease.namespace: POD_NAMESPACE is not set" in refusal(LEAST, {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"cannot read the configuration .*absent\.yaml: No such file"):
        load_settings(tmp_path / "absent.yaml", IN_A_POD)
