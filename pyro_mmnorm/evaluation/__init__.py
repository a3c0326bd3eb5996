"""Evaluation: the calibration report on test controls."""

__all__: list[str] = []
