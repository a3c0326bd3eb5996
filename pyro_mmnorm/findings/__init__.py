"""Findings: deviations summarised by person, region and group, and related to stages and scores."""

__all__: list[str] = []
