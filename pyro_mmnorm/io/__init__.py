"""Tables on disk in, cohorts out."""

from pyro_mmnorm.io.first_config import UNKNOWN, first_config
from pyro_mmnorm.io.inspection import Inspection, inspect_config
from pyro_mmnorm.io.tables import input_files, read_cohort, read_table

__all__ = ["UNKNOWN", "Inspection", "first_config", "input_files", "inspect_config", "read_cohort", "read_table"]
