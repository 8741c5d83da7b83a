"""From the files of a run to the values that the template shows. Pure but for reading the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from orchestrator.evidence import layout, log
from orchestrator.evidence.contents import Contents, contents_of
from orchestrator.model.errors import InputError
from orchestrator.model.fact import timestamp
from orchestrator.model.policy import STATUSES
from orchestrator.report import charts

_OWN = {layout.REPORT, layout.MANIFEST, layout.MANIFEST_ENVELOPE}
_ORDER = {status: number for number, status in enumerate(STATUSES)}
_TARGETS = {
    "rto_seconds": ("Recovery time", "恢复时间", "RTO", " s"),
    "rpo_seconds": ("Data loss, seconds", "数据丢失（秒）", "RPO", " s"),
    "rpo_transactions": ("Data loss, transactions", "数据丢失（事务）", "RPO", ""),
    "rebuild_seconds": ("Site rebuilt from nothing", "站点从零重建", "rebuild", " s"),
}
_CHART_HEIGHT = 70.0


def render(run_dir: Path) -> str:
    """Return the HTML report of a run directory. Raises InputError when the run has not ended."""
    return _render(Contents(layout.read_run_directory(run_dir)), file=str(run_dir))


def render_bundle(files: Mapping[str, bytes]) -> bytes | None:
    """Return the report that a bundle's files render to, to compare with the one it holds.

    None for a run of another version of this tool, whose report may have looked different.
    Raises InputError when the files are no run.
    """
    contents = contents_of(files)
    plan = _document(contents, layout.PLAN, "plan")
    if plan["tool"]["version"] != version("anlan"):
        return None
    return _render(contents).encode()


def _render(contents: Contents, *, file: str = "") -> str:
    plan = _document(contents, layout.PLAN, "plan", file=file)
    run = _document(contents, layout.RUN, "run", file=file)
    findings = None
    if layout.FINDINGS in contents:
        findings = _document(contents, layout.FINDINGS, "finding", file=file)
    raw = contents.raw()
    facts = _facts(contents)
    return _template().render(
        plan=plan,
        run=run,
        d=run["derived"],
        titles={step["id"]: step["title"] for step in plan["steps"]},
        retried=_retried(raw),
        targets=[_target(target) for target in run["derived"]["targets"]],
        findings=_findings(findings),
        clocks=[fact for fact in facts if fact["kind"] == "clock_offset"],
        phases=charts.phases(run["derived"]["phases"]),
        timeline=_timeline(run["derived"], raw),
        gaps=_gaps(run["derived"], findings, facts),
        facts=facts,
        evidence=_evidence(contents),
        version=version("anlan"),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(_template_text),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(seconds=charts.seconds_text, utc=_utc, number=_number)
    return environment.get_template("report.html.j2")


def _template_text(name: str) -> str:
    """The text of a template, from a folder or from the standalone verifier's archive."""
    folder = resources.files("orchestrator.report").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _document(contents: Contents, path: str, schema: str, *, file: str = "") -> dict[str, Any]:
    if path not in contents:
        raise InputError(
            f"there is no {path.rsplit('/', maxsplit=1)[-1]}: the run has not ended",
            "resume it (`anlan drill resume RUN`), or list the runs with `anlan drill history`",
            file=file,
        )
    name = f"{file}:{path}" if file else path
    data: dict[str, Any] = contents.document(path, schema, file=name)
    return data


def _utc(text: str) -> str:
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


def _target(target: Mapping[str, Any]) -> dict[str, Any]:
    title, chinese, short, unit = _TARGETS.get(target["name"], (target["name"], "", "", ""))
    return {
        **target,
        "title": title,
        "zh": chinese,
        "short": short,
        "unit": unit,
        "state": {True: "pass", False: "fail", None: "unknown"}[target["met"]],
    }


def _findings(findings: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Failures first, then what is unknown, each by severity."""
    if findings is None:
        return []
    return sorted(
        findings["findings"],
        key=lambda item: (_ORDER[item["status"]], item["severity"], item["policy"]),
    )


def _retried(raw: Mapping[str, Any]) -> dict[str, list[str]]:
    """Why each step was tried again, by its id."""
    found: dict[str, list[str]] = {}
    for entry in raw.get("steps", []):
        if isinstance(entry, dict) and entry.get("kind") == "retry":
            found.setdefault(str(entry["step"]), []).append(str(entry["error"]))
    return found


def _moments(raw: Mapping[str, Any], name: str, kind: str, origin: int) -> list[float]:
    """Seconds since the first step of the entries of a kind in a journal."""
    entries = raw.get(name, [])
    return [
        (entry["t"] - origin) / 1e9
        for entry in entries
        if isinstance(entry, dict) and entry.get("kind") == kind
    ]


def _timeline(derived: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """The steps as rows, the outages as bands, writes per second below, on one scale."""
    steps = [step for step in derived["steps"] if step["started_seconds"] is not None]
    journal = [entry for entry in raw.get("steps", []) if isinstance(entry, dict)]
    if not steps or not journal:
        return None
    origin = int(journal[0]["t"])
    until = max(step["started_seconds"] + (step["seconds"] or 0) for step in steps)
    axis = charts.scale(until)
    rows = [
        _row(number, step, axis)
        for number, step in enumerate(derived["steps"])
        if step["started_seconds"] is not None
    ]
    rows = [{**row, "y": 8 + number * charts.ROW} for number, row in enumerate(rows)]
    fault = [
        (entry["t"] - origin) / 1e9
        for entry in journal
        if entry.get("kind") == "mark" and entry.get("name") == "fault"
    ]
    top = 8 + len(rows) * charts.ROW + 8
    graphs: list[dict[str, Any]] = []
    for name, kind, title in (
        ("ledger", "acknowledged", "Database writes acknowledged per second"),
        ("availability", "ok", "ERP writes through the front door per second"),
    ):
        moments = _moments(raw, name, kind, origin)
        if not moments:
            continue
        width, values = charts.rates(moments, until)
        most = max(values)
        path = charts.area(values, width, axis, _CHART_HEIGHT, most)
        y = top + 28 + len(graphs) * (_CHART_HEIGHT + 34)
        graphs.append({"title": title, "path": path, "most": most, "y": y, "name": name})
    height = top + 24 + len(graphs) * (_CHART_HEIGHT + 34)
    return {
        "rows": rows,
        "ticks": axis.ticks,
        "fault": axis.x(fault[0]) if fault else None,
        "bands": [
            {"x": axis.x(one["from_seconds"]), "width": _band(axis, one, until), **one}
            for one in derived["outages"]
        ],
        "graphs": graphs,
        "graph_height": _CHART_HEIGHT,
        "top": top,
        "height": height,
        "width": charts.WIDTH,
        "left": charts.LEFT,
        "right": charts.WIDTH - charts.RIGHT,
    }


def _band(axis: charts.Scale, outage: Mapping[str, Any], until: float) -> float:
    end = outage["from_seconds"] + (outage["seconds"] or until)
    return round(max(axis.x(end) - axis.x(outage["from_seconds"]), 2.0), 2)


def _row(number: int, step: Mapping[str, Any], axis: charts.Scale) -> dict[str, Any]:
    began, seconds = step["started_seconds"], step["seconds"] or 0.0
    x, end = axis.x(began), axis.x(began + seconds)
    text = charts.seconds_text(seconds)
    beside = end + 5
    fits = beside + charts.text_width(text) <= charts.WIDTH
    return {
        **step,
        "x": x,
        "width": round(max(end - x, 2.0), 2),
        "text": text,
        "text_x": beside if fits else x - 5,
        "anchor": "start" if fits else "end",
    }


def _gaps(
    derived: Mapping[str, Any],
    findings: Mapping[str, Any] | None,
    facts: Sequence[Mapping[str, Any]],
) -> list[tuple[str, str, str]]:
    """(kind, what, why) of everything that was not observed: none of it counts as a pass."""
    gaps = [
        ("target", _TARGETS.get(target["name"], (target["name"],))[0], "was not measured")
        for target in derived["targets"]
        if target["met"] is None
    ]
    gaps += [
        ("check", f"{one['step']} · {one['name']}", one["detail"])
        for one in derived["checks"]
        if one["ok"] is None
    ]
    gaps += [
        ("step", step["id"], "was not run")
        for step in derived["steps"]
        if step["status"] == "not_run"
    ]
    if findings is None:
        gaps.append(("policies", "all policies", "no facts were collected in this run"))
    else:
        gaps += [
            ("policy", finding["policy"], finding["reason"])
            for finding in findings["findings"]
            if finding["status"] in {"unknown", "expired"}
        ]
    gaps += [
        ("fact", f"{fact['kind']} of {fact['subject']}", f"{fact['status']}: {fact['error']}")
        for fact in facts
        if fact["status"] != "observed"
    ]
    return gaps


def _facts(contents: Contents) -> Sequence[Mapping[str, Any]]:
    if layout.FACTS not in contents:
        return []
    document = contents.document(layout.FACTS, "facts", file=layout.FACTS)
    facts: Sequence[Mapping[str, Any]] = document["facts"]
    return facts


def _evidence(contents: Contents) -> dict[str, Any]:
    """Every file with its digest, the signing keys, and where the log holds the run."""
    files = [
        {"path": path, "size_bytes": len(content), "sha256": contents.digest(path)}
        for path, content in sorted(contents.items())
        if path not in _OWN
    ]
    keys: set[str] = set()
    for path, content in contents.items():
        if path.endswith(".dsse.json") and path not in _OWN:
            keys |= {item["keyid"] for item in json.loads(content)["signatures"]}
    proven = (contents[path] for path in layout.PROOFS.values() if path in contents)
    proofs = [log.parse_proof(content) for content in proven]
    entries = [log.parse_entry(proof.leaf, proof.index) for proof in proofs]
    logged = [
        {"kind": one.kind, "index": one.index, "digest": one.digest, "time": timestamp(one.time)}
        for one in entries
    ]
    return {"files": files, "keys": sorted(keys), "log": logged}
