"""One run → one self-contained HTML page; the same bytes every time."""

from orchestrator.report.page import render, render_bundle

__all__ = ["render", "render_bundle"]
