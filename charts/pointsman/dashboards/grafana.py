"""What Grafana calls panels, rows, variables and a dashboard, as far as `build.py` needs them. Pure."""

from __future__ import annotations

from typing import Any, Final

SCHEMA: Final = 39
"""Of Grafana 10.4 and later."""
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
WIDTH: Final = 24
TAG: Final = "pointsman"

Panel = dict[str, Any]


def target(expr: str, legend: str = "", ref: str = "A", *, table: bool = False) -> dict[str, Any]:
    """Return a query; `table`: the newest values as rows."""
    found = {"refId": ref, "expr": expr, "legendFormat": legend, "datasource": DATASOURCE}
    return found | ({"instant": True, "range": False, "format": "table"} if table else {"range": True})


def panel(kind: str, title: str, queries: list[dict[str, Any]], *, w: int, h: int, **more: Any) -> Panel:
    """Return a panel of `w` columns (24 are a row) and `h` lines."""
    size = {"w": w, "h": h}
    return {
        "type": kind,
        "title": title,
        "datasource": DATASOURCE,
        "targets": queries,
        "gridPos": size,
    } | more


def fields(unit: str, **custom: Any) -> dict[str, Any]:
    """Return how values are shown."""
    steps, color = custom.pop("steps", None), custom.pop("color", None)
    defaults: dict[str, Any] = {"unit": unit, "custom": custom}
    if color:
        defaults["color"] = color
    if steps:
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {"defaults": defaults, "overrides": []}


def bad_above(limit: float) -> list[dict[str, Any]]:
    """Return thresholds: green, and red from `limit` on."""
    return [{"color": "green", "value": None}, {"color": "red", "value": limit}]


def stat(
    title: str,
    expr: str,
    unit: str = "short",
    *,
    bad: float | None = None,
    bad_below: float | None = None,
    says: str = "",
) -> Panel:
    """Return one number, red from `bad` on, or below `bad_below`."""
    steps = bad_above(bad) if bad is not None else [{"color": "text", "value": None}]
    if bad_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": bad_below}]
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    found = panel("stat", title, [target(expr)], w=3, h=4, options=options, description=says)
    return found | {"fieldConfig": fields(unit, steps=steps)}


def lines(
    title: str,
    queries: dict[str, str],
    unit: str = "short",
    *,
    w: int = 8,
    says: str = "",
    stack: bool = False,
) -> Panel:
    """Return curves; `queries`: legend → expression."""
    made = [target(expr, legend, chr(65 + i)) for i, (legend, expr) in enumerate(queries.items())]
    custom: dict[str, Any] = {"fillOpacity": 10, "lineWidth": 1, "showPoints": "never"}
    if stack:
        custom |= {"fillOpacity": 40, "stacking": {"mode": "normal"}}
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    found = panel("timeseries", title, made, w=w, h=8, options=options, description=says)
    return found | {"fieldConfig": fields(unit, **custom)}


def states(title: str, expr: str, legend: str, *, says: str = "") -> Panel:
    """Return a timeline of which series was there."""
    options = {"mergeValues": True, "showValue": "never", "alignValue": "left", "rowHeight": 0.8}
    found = panel(
        "state-timeline", title, [target(expr, legend)], w=12, h=8, options=options, description=says
    )
    return found | {"fieldConfig": fields("short", fillOpacity=80, color={"mode": "palette-classic"})}


def table(title: str, columns: dict[str, str], *, w: int = 12, h: int = 8, unit: str = "short") -> Panel:
    """Return a table; `columns`: name of the value → expression. Rows are joined by their labels."""
    made = [target(expr, "", chr(65 + i), table=True) for i, expr in enumerate(columns.values())]
    names = {"Value" if len(made) == 1 else f"Value #{chr(65 + i)}": name for i, name in enumerate(columns)}
    tidy = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
    ]
    found = panel("table", title, made, w=w, h=h, transformations=tidy)
    return found | {"fieldConfig": fields(unit, filterable=True)}


def row(title: str, *panels: Panel) -> list[Panel]:
    """Return a heading and its panels."""
    return [
        {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": WIDTH, "h": 1}},
        *panels,
    ]


def quantiles(metric: str, where: str = "", by: str = "") -> dict[str, str]:
    """Return the median and the 95th and 99th percentile of a histogram; `by`: one more label."""
    kept = f"le, {by}" if by else "le"
    of = f"sum by ({kept}) (rate({metric}_bucket{where}[$__rate_interval]))"
    legend = f" {{{{{by}}}}}" if by else ""
    return {f"p{q}{legend}": f"histogram_quantile(0.{q}, {of})" for q in ((50, 95) if by else (50, 95, 99))}


def laid_out(panels: list[Panel]) -> list[Panel]:
    """Give every panel its number and its place: left to right, then the next line."""
    x = y = tallest = 0
    for number, one in enumerate(panels, start=1):
        place = one["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        one["id"] = number
        one["gridPos"] = {"x": x, "y": y} | place
        x, tallest = x + place["w"], max(tallest, place["h"])
    return panels


def query_variable(name: str, query: str, *, every: bool = False) -> dict[str, Any]:
    """Return a variable whose values are a label's; `every`: several at a time, all by default."""
    found: dict[str, Any] = {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }
    if every:
        found |= {"multi": True, "includeAll": True, "current": {"text": ["All"], "value": ["$__all"]}}
    return found


def dashboard(name: str, title: str, variables: list[dict[str, Any]], panels: list[Panel]) -> dict[str, Any]:
    """Return a dashboard as Grafana imports it."""
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    others = {
        "type": "dashboards",
        "title": "Pointsman",
        "tags": [TAG],
        "keepTime": True,
        "includeVars": True,
    }
    return {
        "uid": f"pointsman-{name}",
        "title": f"Pointsman / {title}",
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [others],
        "templating": {"list": [source, *variables]},
        "panels": laid_out(panels),
    }


def labelled(*names: str) -> str:
    """Return a legend of the labels' values."""
    return " ".join(f"{{{{{name}}}}}" for name in names)


def rates(by: str, metric: str, where: str = "") -> dict[str, str]:
    """Return legend and expression: a counter's rate by labels (`tier, direction`)."""
    names = [name.strip() for name in by.split(",")]
    braced = f"{{{where}}}" if where else ""
    return {labelled(*names): f"sum by ({by}) (rate({metric}{braced}[$__rate_interval]))"}


def over(part: str, whole: str) -> str:
    """Return a quotient of two expressions."""
    return f"{part} / {whole}"
