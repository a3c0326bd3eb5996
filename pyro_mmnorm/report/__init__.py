"""One self-contained HTML page from a run folder."""

from pyro_mmnorm.report.page import build_report

__all__ = ["build_report"]
