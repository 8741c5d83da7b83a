"""The HTML page of a run: the same bytes every time, and nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template

from orchestrator.evidence import layout
from orchestrator.evidence.contents import contents_of
from orchestrator.model.version import TOOL_VERSION
from orchestrator.report import charts
from orchestrator.report.build import build, document
from orchestrator.report.page_tables import (
    SIGNS,
    fact_rows,
    file_rows,
    number,
    policy_rows,
    tag,
    utc,
)
from orchestrator.report.view import Outage, Step, View

_CHART_HEIGHT = 70.0


def render(run_dir: Path) -> str:
    """Return the HTML report of a run directory. Raises InputError when the run has not ended."""
    return render_page(build(layout.read_run_directory(run_dir), file=str(run_dir), page=True))


def render_bundle(files: Mapping[str, bytes]) -> bytes | None:
    """Return the report that a bundle's files render to, to compare with the one it holds.

    None for a run of another version of this tool, whose report may have looked different.
    Raises InputError when the files are no run.
    """
    contents = contents_of(files)
    plan = document(contents, layout.PLAN, "plan")
    if plan["tool"]["version"] != TOOL_VERSION:
        return None
    return render_page(build(contents, page=True)).encode()


def render_page(view: View) -> str:
    """Return the page. It is part of bundles, which are compared byte by byte."""
    return _template().render(
        v=view,
        phases=charts.phases([asdict(part) for part in view.phases]),
        timeline=_timeline(view),
        # What a bundle's page has always shown: facts of the survivor are told by its checks.
        gaps=[one for one in view.gaps if one.kind != "recovered-fact"],
        policy_rows=policy_rows(view.findings),
        fact_rows=fact_rows(one for one in view.facts if one.file == layout.FACTS),
        file_rows=file_rows(view.evidence.files),
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
    environment.filters.update(seconds=charts.seconds_text, utc=utc, number=number)
    environment.globals.update(signs=SIGNS, tag=tag)
    return environment.get_template("report.html.j2")


def _template_text(name: str) -> str:
    """The text of a template, from a folder or from the standalone verifier's archive."""
    folder = resources.files("orchestrator.report").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _timeline(view: View) -> dict[str, Any] | None:
    """The steps as rows, the outages as bands, writes per second below, on one scale."""
    steps = [step for step in view.steps if step.started_seconds is not None]
    if not steps:
        return None
    axis = charts.scale(view.until_seconds)
    rows = [{**_row(step, axis), "y": 8 + n * charts.ROW} for n, step in enumerate(steps)]
    top = 8 + len(rows) * charts.ROW + 8
    graphs = [
        {
            "title": rate.title["en"],
            "path": charts.area(rate.per_second, rate.bin_seconds, axis, _CHART_HEIGHT, rate.most),
            "most": rate.most,
            "y": top + 28 + n * (_CHART_HEIGHT + 34),
        }
        for n, rate in enumerate(view.rates)
    ]
    return {
        "rows": rows,
        "ticks": axis.ticks,
        "fault": axis.x(view.fault_seconds) if view.fault_seconds is not None else None,
        "bands": [
            {
                **asdict(one),
                "x": axis.x(one.from_seconds),
                "width": _band(axis, one, view.until_seconds),
            }
            for one in view.outages
        ],
        "graphs": graphs,
        "graph_height": _CHART_HEIGHT,
        "top": top,
        "height": top + 24 + len(graphs) * (_CHART_HEIGHT + 34),
        "width": charts.WIDTH,
        "left": charts.LEFT,
        "right": charts.WIDTH - charts.RIGHT,
    }


def _band(axis: charts.Scale, outage: Outage, until: float) -> float:
    end = outage.from_seconds + (outage.seconds or until)
    return round(max(axis.x(end) - axis.x(outage.from_seconds), 2.0), 2)


def _row(step: Step, axis: charts.Scale) -> dict[str, Any]:
    began, seconds = step.started_seconds or 0.0, step.seconds or 0.0
    x, end = axis.x(began), axis.x(began + seconds)
    text = charts.seconds_text(seconds)
    beside = end + 5
    fits = beside + charts.text_width(text) <= charts.WIDTH
    return {
        "id": step.id,
        "status": step.status,
        "x": x,
        "width": round(max(end - x, 2.0), 2),
        "text": text,
        "text_x": beside if fits else x - 5,
        "anchor": "start" if fits else "end",
    }
