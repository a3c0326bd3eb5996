"""Figures: results in, matplotlib Axes out."""

from pyro_mmnorm.plots.brain import brain_map, brain_maps
from pyro_mmnorm.plots.calibration import coverage_curve, group_forest, sd_by_region, z_against
from pyro_mmnorm.plots.centile_charts import centiles
from pyro_mmnorm.plots.distribution import coverage_by, pit_histogram, qq, worm
from pyro_mmnorm.plots.findings import group_heatmap, region_bars, score_scatter, significance_frequency, subject_boxes
from pyro_mmnorm.plots.ppc import ppc
from pyro_mmnorm.plots.shapes import brain_svg_shapes
from pyro_mmnorm.plots.stages import frequency_bars, stage_boxes
from pyro_mmnorm.plots.training_curves import active_units, held_out_fit, history_curves, latent_use

__all__ = [
    "active_units",
    "brain_map",
    "brain_maps",
    "brain_svg_shapes",
    "centiles",
    "coverage_by",
    "coverage_curve",
    "frequency_bars",
    "group_forest",
    "group_heatmap",
    "held_out_fit",
    "history_curves",
    "latent_use",
    "pit_histogram",
    "ppc",
    "qq",
    "region_bars",
    "score_scatter",
    "sd_by_region",
    "significance_frequency",
    "stage_boxes",
    "subject_boxes",
    "worm",
    "z_against",
]
