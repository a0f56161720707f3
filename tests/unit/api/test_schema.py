"""The CRD: structural, told in sentences, strict where users write and lenient where the operator does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelrelease.api.durations import format_duration
from modelrelease.api.model import Model
from modelrelease.api.schema import crd, editor_schema, resource_schema, structural
from modelrelease.api.spec import ModelReleaseSpec, Strategy, default_steps
from modelrelease.api.validations import VALIDATIONS
from modelrelease.cli.generate import FILES, main

ROOT = Path(__file__).parents[3]
BOUNDS = {"maxLength", "maxItems", "maximum", "minLength", "minItems", "minimum", "pattern", "enum"}


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def part(name: str) -> dict[str, Any]:
    properties: Any = resource_schema()["properties"]
    found: dict[str, Any] = properties[name]
    return found


@pytest.mark.parametrize("path", FILES)
def test_generated_files_are_what_the_code_says(path: str) -> None:
    expected = FILES[path]()
    assert expected == (ROOT / path).read_text(encoding="utf-8"), "run `python -m modelrelease.cli.generate`"


def test_generate_writes_every_file_below_the_given_folder(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert set(FILES) == written


def test_nothing_is_left_that_a_structural_schema_may_not_have() -> None:
    forbidden = {
        "$ref",
        "$defs",
        "anyOf",
        "allOf",
        "oneOf",
        "title",
        "default",
        "nullable",
        "additionalProperties",
        "const",
    }
    assert [] == [(path, key) for path, node in nodes(resource_schema()) for key in forbidden & node.keys()]


def test_every_node_has_a_type() -> None:
    assert [] == [path for path, node in nodes(resource_schema()) if "type" not in node]


@pytest.mark.parametrize("name", ["spec", "status"])
def test_every_field_is_described_in_a_sentence(name: str) -> None:
    silent = [
        path
        for path, node in nodes(part(name), name)
        if not path.endswith("[]") and not str(node.get("description", "")).endswith(".")
    ]
    assert [] == silent


def test_every_field_of_a_spec_says_its_default_unless_it_is_required() -> None:
    without_need = {"spec.strategy", "spec.analysis", "spec.traffic", "spec.env"}
    optional = [
        f"{path}.{name}"
        for path, node in nodes(part("spec"), "spec")
        for name, child in node.get("properties", {}).items()
        if name not in node.get("required", ()) and child["type"] in {"string", "integer", "number", "boolean"}
    ]
    said = {path for path, node in nodes(part("spec"), "spec") if "Default" in node.get("description", "")}
    silent = {path for path in optional if path not in said} - without_need
    absent_means_nothing = {
        "spec.env[].value",
        "spec.analysis.errorRate.ceiling",
        "spec.analysis.latencyP99.ceilingMilliseconds",
    }
    assert absent_means_nothing == silent


def test_defaults_are_said_as_people_write_them() -> None:
    strategy = part("spec")["properties"]["strategy"]["properties"]
    default = Strategy.model_fields["step_deadline"].default
    assert strategy["stepDeadline"]["description"].endswith(f"Default: {format_duration(default)}.")
    assert strategy["holdAutoscaler"]["description"].endswith("Default: true.")
    assert strategy["advance"]["description"].endswith("Default: Evidence.")
    weights = ", ".join(str(step.weight) for step in default_steps())
    assert strategy["steps"]["description"].endswith(f"Default: {weights}.")


def test_strings_and_lists_of_a_spec_are_bounded_because_rules_cost_by_the_longest_input() -> None:
    template = "spec.workload.template."
    unbounded = [
        path
        for path, node in nodes(part("spec"), "spec")
        if not path.startswith(template)
        and (
            (node["type"] == "string" and not {"maxLength", "enum"} & node.keys())
            or (node["type"] == "array" and "maxItems" not in node)
        )
    ]
    assert [] == unbounded


def test_a_status_has_no_bounds_so_that_no_write_of_it_is_refused() -> None:
    assert [] == [(path, key) for path, node in nodes(part("status"), "status") for key in BOUNDS & node.keys()]
    required = {path: node["required"] for path, node in nodes(part("status"), "status") if "required" in node}
    assert {"status.conditions[]": ["type"]} == required


def test_only_what_nobody_can_name_beforehand_keeps_unknown_fields() -> None:
    preserving = {path for path, node in nodes(resource_schema()) if node.get("x-kubernetes-preserve-unknown-fields")}
    template = ".spec.workload.template"
    inside = {template, f"{template}.metadata", f"{template}.spec", f"{template}.spec.containers[]"}
    snapshot = {path.replace(".spec", ".status.snapshot", 1) for path in inside}
    assert inside | snapshot | {".status.judge", ".status.stableTemplate"} == preserving


def test_lists_merge_by_what_identifies_their_items() -> None:
    kinds = {path: node.get("x-kubernetes-list-type") for path, node in nodes(resource_schema()) if "items" in node}
    assert "map" == kinds[".spec.env"]
    assert "map" == kinds[".status.conditions"]
    assert "atomic" == kinds[".spec.strategy.steps"]
    assert {"set"} == {kinds[path] for path in (".spec.traffic.hosts", ".spec.analysis.errorRate.codes")}


def test_every_rule_is_where_its_path_says() -> None:
    found = {
        (path.removeprefix("."), rule["message"])
        for path, node in nodes(resource_schema())
        for rule in node.get("x-kubernetes-validations", ())
    }
    assert {(validation.path, validation.message) for validation in VALIDATIONS} == found


def test_columns_point_at_fields_that_exist() -> None:
    paths = {path for path, _ in nodes(resource_schema())} | {".metadata.creationTimestamp"}
    version: Any = crd()["spec"]
    columns = version["versions"][0]["additionalPrinterColumns"]
    pointed = {column["jsonPath"].partition("[")[0] for column in columns}
    assert set() == pointed - paths
    assert ["Image", "Phase", "Step", "Weight", "Message", "Age"] == [
        column["name"] for column in columns if not column.get("priority")
    ]


def test_a_union_is_refused_rather_than_guessed() -> None:
    class Either(Model):
        value: int | str = 0

    with pytest.raises(ValueError, match="no unions"):
        structural(Either, strict=True)


def test_exclusive_bounds_are_flags_in_openapi_and_numbers_in_json_schema() -> None:
    def ratio(root: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = root["properties"]["analysis"]["properties"]["latencyP99"]["properties"]["maxRatio"]
        return found

    assert {"minimum": 1, "exclusiveMinimum": True, "maximum": 100} == {
        key: value for key, value in ratio(part("spec")).items() if "imum" in key
    }
    editor: Any = editor_schema()["properties"]
    assert {"exclusiveMinimum": 1, "maximum": 100} == {
        key: value for key, value in ratio(editor["spec"]).items() if "imum" in key
    }


def test_an_editor_marks_unknown_fields_but_not_inside_a_pod_template() -> None:
    editor: Any = editor_schema()
    assert "status" not in editor["properties"]
    assert editor["properties"]["spec"]["additionalProperties"] is False
    assert (
        editor["properties"]["spec"]["properties"]["workload"]["properties"]["template"]["additionalProperties"] is True
    )
    assert [] == [(path, key) for path, node in nodes(editor) for key in node if key.startswith("x-kubernetes")]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_read_as_they_are_written(path: Path) -> None:
    documents = [
        each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each["kind"] == "ModelRelease"
    ]
    assert 1 == len(documents)
    written = documents[0]["spec"]
    spec = ModelReleaseSpec.model_validate(written)
    read = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert written == read
