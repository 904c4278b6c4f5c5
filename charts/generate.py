"""Writes what is generated in the charts: CRD templates, descriptions in values.schema.json, READMEs.

The comment above a key in values.yaml is its documentation; types are the schema's. `--check` writes nothing
and exits 1 if anything is stale; what is documented nowhere, or has no schema, is an error.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
CRDS = HERE.parent / "crds"
SUBCHART_KEYS = ("global", "enabled")
"""What Helm and parent charts set on a subchart: in the schema, not in values.yaml."""
_HEADER = "| value | type | default | |"


class GenerateError(Exception):
    """The sources contradict each other; the text names the key."""


@dataclass(frozen=True)
class Documented:
    """Comments of a values.yaml by path (`operator.replicas`), and the heading under which each path lies."""

    comments: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)


def read_comments(text: str) -> Documented:
    """Return the comment right above each key; `## Heading` starts a section."""
    found = Documented()
    stack: list[tuple[int, str]] = []
    comment: list[str] = []
    section = ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("## "):
            section, comment = stripped.removeprefix("## "), []
        elif stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
        else:
            key = re.match(r"( *)([A-Za-z][A-Za-z0-9]*):", line)
            if key is not None:
                indent = len(key[1])
                stack = [*(entry for entry in stack if entry[0] < indent), (indent, key[2])]
                path = ".".join(name for _, name in stack)
                found.sections[path] = section
                if comment:
                    found.comments[path] = " ".join(comment)
            comment = []
    return found


def described(schema: dict[str, Any], documented: Documented) -> dict[str, Any]:
    """Return the schema with the description of each property that values.yaml documents."""
    return schema | {"properties": dict(_describe(schema["properties"], documented, ""))}


def _describe(
    properties: dict[str, Any], documented: Documented, prefix: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in properties.items():
        path = f"{prefix}{name}"
        if path in SUBCHART_KEYS:
            yield name, node
            continue
        if path not in documented.sections:
            raise GenerateError(
                f"{path} is in values.schema.json, not in values.yaml: add it, with a comment"
            )
        if path not in documented.comments:
            raise GenerateError(f"{path} has no comment in values.yaml: say above it what it is")
        rest = {key: value for key, value in node.items() if key != "description"}
        new = {"description": documented.comments[path]} | rest
        if "properties" in node:
            new["properties"] = dict(_describe(node["properties"], documented, f"{path}."))
        yield name, new


def undescribed(values: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the paths of values that the schema does not have."""
    for name, value in values.items():
        node = schema["properties"].get(name)
        if node is None:
            yield f"{prefix}{name}"
        elif isinstance(value, dict) and "properties" in node:
            yield from undescribed(value, node, f"{prefix}{name}.")


def rows(
    values: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, str, str]]:
    """Yield (path, type, default, description) of each value, groups with their description alone."""
    for name, node in schema["properties"].items():
        path = f"{prefix}{name}"
        if path in SUBCHART_KEYS:
            continue
        if "properties" in node:
            yield path, "", "", node["description"]
            yield from rows(values.get(name) or {}, node, root, f"{path}.")
        else:
            default = json.dumps(values.get(name), ensure_ascii=False)
            yield path, _type(node, root), default, node["description"]


def _type(node: dict[str, Any], root: dict[str, Any]) -> str:
    """Return a node's type in a word or two."""
    if "$ref" in node:
        name = str(node["$ref"]).rpartition("/")[2]
        node = root["definitions"][name]
        if name in {"duration", "quantity"}:
            return name
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    kind = node["type"]
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def readme(
    chart: dict[str, Any], values: dict[str, Any], schema: dict[str, Any], documented: Documented
) -> str:
    """Return the README of a chart."""
    kubernetes = chart["kubeVersion"].removesuffix("-0")
    lines = [
        "<!-- Generated from values.yaml and values.schema.json by `make generate`; do not edit. -->",
        f"# {chart['name']}",
        "",
        chart["description"],
        "",
        f"Version {chart['version']}, for Kubernetes {kubernetes}; [how to install](../../docs/install.md).",
    ]
    section = None
    for path, kind, default, description in rows(values, schema, schema):
        if documented.sections[path] != section:
            section = documented.sections[path]
            lines += ["", f"## {section or 'Values'}", "", _HEADER, "|---|---|---|---|"]
        cells = (f"`{path}`", kind, f"`{default}`" if default else "", description)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def crd_template(text: str) -> str:
    """Return a CRD as a template of the chart: with its labels, and kept when the release goes."""
    if "{{" in text:
        raise GenerateError("a CRD holds {{, which Helm would take for its own")
    parts: list[str] = re.split(r"(?<=\nmetadata:\n)(  name: \S+\n)", text, maxsplit=1)
    head, name, rest = parts
    return (
        f"{head.replace('by `pointsman crd generate`', 'and charts/generate.py')}{name}"
        '  labels:\n    {{- include "pointsman-crds.labels" . | nindent 4 }}\n'
        '  {{- with include "pointsman-crds.annotations" . | trim }}\n'
        "  annotations:\n    {{- . | nindent 4 }}\n  {{- end }}\n"
        f"{rest}"
    )


def wanted() -> dict[Path, str]:
    """Return every generated file with its text."""
    files = {
        HERE / "pointsman-crds" / "templates" / crd.name: crd_template(crd.read_text("utf-8"))
        for crd in sorted(CRDS.glob("*.yaml"))
    }
    for folder in (HERE / "pointsman", HERE / "pointsman-crds"):
        text = (folder / "values.yaml").read_text("utf-8")
        documented, values = read_comments(text), yaml.safe_load(text)
        schema = json.loads((folder / "values.schema.json").read_text("utf-8"))
        unknown = sorted(undescribed(values, schema))
        if unknown:
            raise GenerateError(f"{folder.name}: values.schema.json does not have {', '.join(unknown)}")
        schema = described(schema, documented)
        chart = yaml.safe_load((folder / "Chart.yaml").read_text("utf-8"))
        files[folder / "values.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        files[folder / "README.md"] = readme(chart, values, schema, documented)
    return files


def stale(files: dict[Path, str]) -> Iterator[tuple[Path, str]]:
    """Yield (path, difference) of each file that is not as it must be."""
    for path, text in files.items():
        current = path.read_text("utf-8") if path.exists() else ""
        if current != text:
            lines = (current.splitlines(keepends=True), text.splitlines(keepends=True))
            yield path, "".join(difflib.unified_diff(*lines, str(path), f"{path} (generated)"))
    templates = HERE / "pointsman-crds" / "templates"
    for path in sorted(templates.glob("*.yaml")):
        if path not in files:
            yield path, f"{path}: belongs to no kind; delete it\n"


def main(arguments: list[str]) -> int:
    """Write, or with `--check` only tell; return the exit code."""
    try:
        files = wanted()
    except GenerateError as error:
        print(error, file=sys.stderr)
        return 1
    found = list(stale(files))
    for path, difference in found:
        if "--check" in arguments:
            print(difference, end="")
        elif path in files:
            path.write_text(files[path], "utf-8")
            print(f"wrote {path.relative_to(HERE.parent)}")
        else:
            print(difference, end="", file=sys.stderr)
    if "--check" in arguments and found:
        print("stale: run `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
