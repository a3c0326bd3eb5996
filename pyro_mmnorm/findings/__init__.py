"""Findings: deviations as tables by person and by region, and what they say about groups, stages and scores."""

from pyro_mmnorm.findings.endpoints import findings
from pyro_mmnorm.findings.measured import MEASURES
from pyro_mmnorm.findings.members import member_spread
from pyro_mmnorm.findings.tables import ALL_TARGETS, TEST_CONTROLS, poster_rule, region_table, subject_table

__all__ = [
    "ALL_TARGETS",
    "MEASURES",
    "TEST_CONTROLS",
    "findings",
    "member_spread",
    "poster_rule",
    "region_table",
    "subject_table",
]
