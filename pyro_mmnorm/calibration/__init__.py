"""Calibration: raw z to z and p, fitted on held-out controls (numpy and scipy only)."""

__all__: list[str] = []
