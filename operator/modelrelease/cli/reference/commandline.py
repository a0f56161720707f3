"""The plugin's commands as they explain themselves, and the form of their answers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

from modelrelease.api.model import Model
from modelrelease.cli.app import COMMANDS, PROGRAM, application
from modelrelease.cli.exits import MEANINGS
from modelrelease.cli.reference.markdown import code, table
from modelrelease.cli.reference.markdown import page as whole_page

_WIDTH = 100
_STEERING = "SteeringView"
ANSWERS = {
    "status": "StatusView with a name, else StatusList",
    "watch": "StatusView",
    **dict.fromkeys(("promote", "abort", "pause", "resume", "retry"), _STEERING),
    "wait": "WaitView",
    "history": "HistoryView",
    "plan": "PlanView",
    "backtest": "BacktestView",
    "check": "CheckView",
    "explain": "StoryView",
    "report": "StoryView",
}


def page() -> str:
    """Each command, the numbers that all end with, and their answers for programs."""
    return whole_page(
        "kubectl modelrelease",
        "operator/modelrelease/cli",
        f"A plugin for kubectl; `{PROGRAM} COMMAND -h` says the same as this page.",
        *(part for name in COMMANDS for part in (f"## {name}", f"```text\n{_help(name)}```")),
        "## Exit status",
        table(("status", "meaning"), ((code(str(status.value)), f"{text}.") for status, text in MEANINGS.items())),
        "## Answers as JSON",
        "With `-o json` or `-o yaml` a command answers with one object, `watch` with one per line. Within a minor "
        "version fields are only added: none is renamed, removed or given another type. Times are RFC 3339 in UTC; "
        "what ends in `Seconds` or `Milliseconds` says its unit; error rates and shares are between 0 and 1, weights "
        "are per cent.",
        table(("command", "answer"), ((code(name), answer) for name, answer in ANSWERS.items())),
        *(part for name, one in shapes().items() for part in (f"### {name}", one.get("description", ""), _fields(one))),
    )


def _help(name: str) -> str:
    written = io.StringIO()
    with redirect_stdout(written):
        application()(args=[name, "-h"], prog_name=PROGRAM, standalone_mode=False, terminal_width=_WIDTH)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"


def _views() -> Iterator[type[Model]]:
    """What commands answer with, in the order of the commands, each once."""
    seen: set[str] = set()
    for module in dict.fromkeys(COMMANDS.values()):
        for name, view in vars(import_module(f"modelrelease.cli.commands.{module}")).items():
            is_view = name.endswith(("View", "List")) and isinstance(view, type) and issubclass(view, Model)
            if is_view and name not in seen:
                seen.add(name)
                yield view


def shapes() -> dict[str, dict[str, Any]]:
    """JSON schema of each object that an answer is made of, the answers themselves first."""
    found: dict[str, dict[str, Any]] = {}
    parts: dict[str, dict[str, Any]] = {}
    for view in _views():
        schema = view.model_json_schema(by_alias=True, mode="serialization")
        parts |= {name: part for name, part in schema.pop("$defs", {}).items() if "properties" in part}
        found[view.__name__] = schema
    return found | {name: part for name, part in sorted(parts.items()) if name not in found}


def types(shape: dict[str, Any]) -> dict[str, str]:
    """Type by field."""
    return {name: _type(field) for name, field in shape["properties"].items()}


def _fields(shape: dict[str, Any]) -> str:
    return table(
        ("field", "type", "meaning"),
        ((code(name), _type(field), field.get("description", "")) for name, field in shape["properties"].items()),
    )


def _type(field: dict[str, Any]) -> str:
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    if options:
        return f"{_type(options[0])} or null"
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    return str(field.get("format") or field.get("type", "any"))
