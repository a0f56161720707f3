"""A status on a real API server: nothing of it is pruned or refused, and kubectl shows it."""

from __future__ import annotations

from typing import Any

from integration.crd.releases import Releases
from localcluster.controlplane import ControlPlane
from modelrelease.api.status import ReleaseStatus, dump_status, parse_status

LEAST = {"image": "harbor.example.com/vision/yolov8-detect:v1.2.0", "workload": {"deployment": "yolov8-detect"}}
TEXTS = {"date-time": "2026-11-21T12:00:00.123456Z"}


def sample(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """A value with every field of a JSON schema, so that a new field is tried without being named here."""
    if "$ref" in schema:
        return sample(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return sample(next(option for option in schema["anyOf"] if option.get("type") != "null"), definitions)
    if "enum" in schema:
        return schema["enum"][-1]
    match schema.get("type"):
        case "object" if "properties" in schema:
            return {name: sample(field, definitions) for name, field in schema["properties"].items()}
        case "object":
            return {"any": {"nested": [1, "two", None, {"three": 3.5}]}}
        case "array":
            return [sample(schema["items"], definitions)]
        case "integer":
            return max(7, schema.get("minimum", 0))
        case "number":
            return schema.get("exclusiveMinimum", schema.get("minimum", 0)) + 0.25
        case "boolean":
            return not schema.get("default", False)
        case "string":
            return _text(schema)
        case kind:
            raise AssertionError(f"no sample for {kind}")


def _text(schema: dict[str, Any]) -> str:
    if "format" in schema:
        return TEXTS[schema["format"]]
    if "pattern" in schema:
        return "5xx" if "xx" in schema["pattern"] else "90s"
    return f"{schema.get('title', 'text')} of a release"


def full_status() -> ReleaseStatus:
    schema = ReleaseStatus.model_json_schema(by_alias=True)
    return parse_status(sample(schema, schema["$defs"]))


def test_every_field_of_a_status_comes_back(releases: Releases) -> None:
    releases.create("round-trip", LEAST)
    status = full_status()
    releases.write_status("round-trip", dump_status(status))
    stored = releases.read("round-trip")["status"]
    assert dump_status(status) == stored
    assert status == parse_status(stored)


def test_the_sample_leaves_no_field_at_its_default() -> None:
    default, full = ReleaseStatus(), full_status()
    same = [name for name in ReleaseStatus.model_fields if getattr(default, name) == getattr(full, name)]
    assert same == []


def test_the_initial_status_can_be_written(releases: Releases) -> None:
    releases.create("initial", LEAST)
    releases.write_status("initial", dump_status(ReleaseStatus()))
    assert ReleaseStatus() == parse_status(releases.read("initial")["status"])


def test_a_status_outside_of_todays_bounds_is_still_written(releases: Releases) -> None:
    """An older or newer operator, or a release that began before a bound was tightened, must not be stopped by it."""
    releases.create("unbounded", LEAST)
    status = {"phase": "Unheard", "message": "m" * 20_000, "snapshot": {"strategy": {"steps": [{"weight": 300}]}}}
    releases.write_status("unbounded", status)
    assert status == releases.read("unbounded")["status"]


def test_a_status_cannot_be_written_with_the_spec(installed: ControlPlane, releases: Releases) -> None:
    releases.create("separate", LEAST)
    installed.kubectl(
        "patch", "mr", "separate", "--namespace=vision", "--type=merge", '--patch={"status":{"phase":"Succeeded"}}'
    )
    assert "status" not in releases.read("separate")


def test_columns_show_a_release_at_a_glance(installed: ControlPlane, releases: Releases) -> None:
    releases.create("columns", LEAST)
    status = {
        "tag": "v1.2.0",
        "phase": "Progressing",
        "progress": "3/5",
        "weight": 20,
        "message": "Waits for evidence.",
    }
    releases.write_status("columns", status)
    head, row = installed.kubectl("get", "mr", "columns", "--namespace=vision").splitlines()
    assert ["NAME", "IMAGE", "PHASE", "STEP", "WEIGHT", "MESSAGE", "AGE"] == head.split()
    assert ["columns", "v1.2.0", "Progressing", "3/5", "20", "Waits", "for", "evidence."] == row.split()[:-1]


def test_conditions_can_be_waited_for_and_releases_selected(installed: ControlPlane, releases: Releases) -> None:
    releases.create("waited", LEAST)
    condition = {"type": "Succeeded", "status": "True", "reason": "Promoted", "lastTransitionTime": TEXTS["date-time"]}
    releases.write_status("waited", {"phase": "Succeeded", "conditions": [condition | {"observedGeneration": 1}]})
    said = installed.kubectl("wait", "--for=condition=Succeeded", "mr/waited", "--namespace=vision", "--timeout=5s")
    assert "condition met" in said
    selected = installed.kubectl(
        "get", "mr", "--namespace=vision", "--field-selector=status.phase=Succeeded", "--output=name"
    )
    assert "modelrelease.modelrelease.dev/waited" in selected.split()
