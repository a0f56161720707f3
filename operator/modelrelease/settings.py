"""The operator's own configuration: one YAML file, by default from the ConfigMap `modelrelease-config`.

What a release may name but must not choose is here: addresses and credentials of Prometheus (as files, so that a
rotated secret is read anew), and the definitions of metric sources. Read once at the start; an error ends the process
with a sentence per wrong field, because an operator that runs with half a configuration would judge wrongly.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from modelrelease.api.durations import Duration
from modelrelease.api.permissions import LEASE_NAME
from modelrelease.errors import InvalidResource
from modelrelease.metric_source import Section, Source

OWN_NAMESPACE = "$(POD_NAMESPACE)"
"""Written in the file for the namespace that the operator runs in."""

Namespace = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
GatewayName = Annotated[str, Field(max_length=317, pattern=r"^[a-z0-9][-a-z0-9]*/[a-z0-9][-.a-z0-9]*$")]
EntryName = Annotated[str, Field(min_length=1, max_length=63)]


class InvalidSettings(InvalidResource):
    """The configuration file cannot be used; the message has a sentence per wrong field."""


class BasicAuth(Section):
    """A user name and a password."""

    username: str = Field(min_length=1, description="Name of the user.")
    password_file: Path = Field(description="File with the password, read before each query.")


class Provider(Section):
    """One Prometheus."""

    url: str = Field(
        description="Address of its HTTP API, without /api/v1.", json_schema_extra={"pattern": r"^https?://[^\s@]+$"}
    )
    scrape_interval: Duration = Field(
        default=15.0,
        description="How often it scrapes what releases are judged by; how old a sample may be depends on it.",
    )
    timeout: Duration = Field(default=5.0, description="Longest wait for the answer to a query.")
    bearer_token_file: Path | None = Field(
        default=None, description="File with a bearer token, read before each query. Default: no authorization."
    )
    ca_file: Path | None = Field(
        default=None, description="Certificate authorities to trust. Default: those of the image."
    )
    basic_auth: BasicAuth | None = Field(
        default=None, description="User name and password, in place of a token. Default: no authorization."
    )
    cert_file: Path | None = Field(
        default=None, description="Client certificate for mTLS; it is read anew when it changes. Default: none."
    )
    key_file: Path | None = Field(default=None, description="Key of the client certificate. Default: none.")

    @property
    def shows_itself(self) -> bool:
        """Whether it asks who asks."""
        return any(one is not None for one in (self.bearer_token_file, self.basic_auth, self.cert_file))

    def files(self) -> list[Path]:
        """All that it names."""
        basic = self.basic_auth.password_file if self.basic_auth is not None else None
        named = (self.bearer_token_file, basic, self.ca_file, self.cert_file, self.key_file)
        return [path for path in named if path is not None]

    def with_files(self, moved: Callable[[Path], Path]) -> Provider:
        """The same with its files elsewhere."""
        fields = ("bearer_token_file", "ca_file", "cert_file", "key_file")
        found: dict[str, object] = {name: moved(path) for name in fields if (path := getattr(self, name)) is not None}
        if self.basic_auth is not None:
            file = moved(self.basic_auth.password_file)
            found["basic_auth"] = self.basic_auth.model_copy(update={"password_file": file})
        return self.model_copy(update=found)

    @model_validator(mode="after")
    def _shows_itself_in_one_way(self) -> Self:
        if self.bearer_token_file is not None and self.basic_auth is not None:
            raise ValueError("give bearerTokenFile or basicAuth, not both")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile belong together: give both or neither")
        return self

    @field_validator("url")
    @classmethod
    def _is_a_base_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("write an address such as http://prometheus.monitoring:9090")
        if parts.username or parts.password:
            raise ValueError("credentials do not belong in an address: name a file in bearerTokenFile")
        return url.rstrip("/")

    @field_validator("scrape_interval", "timeout")
    @classmethod
    def _takes_time(cls, seconds: float) -> float:
        if seconds <= 0:
            raise ValueError("must be longer than 0s")
        return seconds


class LeaseSettings(Section):
    """Leadership among replicas."""

    enabled: bool = Field(default=True, description="False only for a single process outside of the cluster.")
    name: str = Field(
        default=LEASE_NAME,
        min_length=1,
        max_length=253,
        description="Name of the Lease. The published Role allows only the default.",
    )
    namespace: Namespace | None = Field(
        default=None, description="Namespace of the Lease. Default: the one that the operator runs in."
    )
    duration: Duration = Field(
        default=15.0, description="A standby takes over when the Lease was not renewed for so long. At least 6s."
    )

    @field_validator("duration")
    @classmethod
    def _can_be_renewed(cls, seconds: float) -> float:
        if seconds < 6:
            raise ValueError("must be at least 6s, or one slow request loses the Lease")
        return seconds


class MetricsSettings(Section):
    """The operator's own metrics."""

    most_releases: int = Field(
        default=200,
        ge=0,
        le=10_000,
        description="Releases under way that are shown one by one, at most; each is about 18 series. "
        "0: only totals over all releases.",
    )


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(Section):
    """Configuration of the ModelRelease operator."""

    providers: dict[EntryName, Provider] = Field(
        min_length=1, description="Prometheus servers by the name that analysis.provider of a release gives."
    )
    sources: dict[EntryName, Source] = Field(
        default_factory=dict,
        description="Metric sources by the name that analysis.source of a release gives, beside Istio and Inference; "
        "one of these names replaces what is built in.",
    )
    gateways: dict[GatewayName, list[GatewayName]] = Field(
        default_factory=dict,
        description="Workloads, as namespace/name, that serve a Gateway, by its namespace/name. Needed where the "
        "operator cannot read the Gateway or see its pods, as when it is installed for one namespace.",
    )
    lease: LeaseSettings = Field(default_factory=LeaseSettings, description="Leadership among replicas.")
    metrics: MetricsSettings = Field(default_factory=MetricsSettings, description="The operator's own metrics.")
    watch_namespace: Namespace | None = Field(
        default=None,
        description=f"The only namespace to watch; {OWN_NAMESPACE} is the operator's own. Default: all namespaces.",
    )
    cluster_domain: str = Field(
        default="cluster.local", min_length=1, max_length=253, description="DNS domain of the cluster's Services."
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="What is logged: debug, info, warning or error.")
    resync_interval: Duration = Field(
        default=300.0, description="How often all releases are looked at without an event. At least 10s."
    )

    @model_validator(mode="after")
    def _resync_is_rare(self) -> Self:
        if self.resync_interval < 10:
            raise ValueError("resyncInterval must be at least 10s, or it would load the API server")
        return self


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Read the file; `environment` gives POD_NAMESPACE. Raises InvalidSettings."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSettings(f"cannot read the configuration {path}: {error.strerror}") from error
    return read_settings(text, environment)


def read_settings(text: str, environment: Mapping[str, str]) -> Settings:
    """Read the content of a configuration file. Raises InvalidSettings."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidSettings(f"the configuration is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidSettings("the configuration must be a mapping; the least is providers.default.url")
    own = environment.get("POD_NAMESPACE")
    _expand_own_namespace(raw, own)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise InvalidSettings("; ".join(_sentences(error))) from error
    if settings.lease.enabled and settings.lease.namespace is None:
        if not own:
            raise InvalidSettings(
                "lease.namespace: POD_NAMESPACE is not set, so name the namespace or set lease.enabled to false"
            )
        return settings.model_copy(update={"lease": settings.lease.model_copy(update={"namespace": own})})
    return settings


def read_provider(path: Path) -> Provider:
    """One Prometheus, described in a file of its own; files that it names are beside that. Raises InvalidSettings."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSettings(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return provider_of(raw, str(path)).with_files(lambda named: path.parent / named.expanduser())


def provider_of(raw: object, whence: str) -> Provider:
    """One Prometheus as it stands in the configuration. Raises InvalidSettings, which says whence it came."""
    try:
        return Provider.model_validate(raw)
    except ValidationError as error:
        raise InvalidSettings(f"{whence}: {'; '.join(_sentences(error, Provider))}") from error


def _expand_own_namespace(raw: dict[str, object], own: str | None) -> None:
    if raw.get("watchNamespace") == OWN_NAMESPACE:
        if not own:
            raise InvalidSettings(f"watchNamespace: POD_NAMESPACE is not set, so {OWN_NAMESPACE} has no meaning here")
        raw["watchNamespace"] = own
    elif raw.get("watchNamespace") == "":
        raw["watchNamespace"] = None


def _sentences(error: ValidationError, whole: type[Section] = Settings) -> list[str]:
    """whole: what the file holds."""
    sentences = []
    for detail in error.errors(include_url=False):
        path = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "configuration"
        if detail["type"] == "extra_forbidden":
            sentences.append(f"{path}: unknown field{_suggestion(detail['loc'], whole)}")
        else:
            sentences.append(f"{path}: {detail['msg'].removeprefix('Value error, ')}")
    return sentences


def _suggestion(location: tuple[int | str, ...], whole: type[Section]) -> str:
    """The known field that was probably meant."""
    sections: dict[str, type[Section]] = {
        "providers": Provider,
        "sources": Source,
        "lease": LeaseSettings,
        "metrics": MetricsSettings,
    }
    section = sections.get(str(location[0]), whole) if len(location) > 1 else whole
    known = [to_camel(name) for name in section.model_fields]
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
