"""The page for people: what the server takes, and a form to try a picture, in HTML alone.

FastAPI's own page loads its scripts from a public address, which a closed cluster does not reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
    "code,pre{background:#f2f2f2;padding:.1em .3em;white-space:pre-wrap}td{padding-right:1.5em;vertical-align:top}"
)
_FORM = (
    '<form method="post" action="predict?render=png" enctype="multipart/form-data">'
    '<input type="file" name="file" accept="image/jpeg,image/png" required> <button>Detect and draw</button></form>'
)


def page(description: Mapping[str, Any]) -> str:
    """The OpenAPI description as a page."""
    title = escape(description["info"]["title"])
    operations = [
        _operation(method, path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f'<h1>{title}</h1>{_FORM}<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{''.join(operations)}</html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {})
    rows = [
        (f"?{parameter['name']}" if parameter["in"] == "query" else parameter["name"], _about(parameter))
        for parameter in operation.get("parameters", [])
    ]
    rows += [("body", kind) for kind in body.get("content", {})]
    rows += [(code, response.get("description", "")) for code, response in operation["responses"].items()]
    table = "".join(f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in rows)
    texts = "".join(
        f"<p>{escape(text)}</p>" for text in (operation.get("description"), body.get("description")) if text
    )
    example = f"<pre>{escape(operation['x-example'])}</pre>" if "x-example" in operation else ""
    return f"<h2>{method.upper()} <code>{escape(path)}</code></h2>{texts}{example}<table>{table}</table>"


def _about(parameter: Mapping[str, Any]) -> str:
    schema = parameter["schema"]
    default = f" Default: {schema['default']}." if schema.get("default") is not None else ""
    values = f" {', '.join(schema['enum'])}" if "enum" in schema else ""
    return f"{parameter.get('description', '')}{default}{values}".strip()
