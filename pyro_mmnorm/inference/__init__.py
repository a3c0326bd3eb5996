"""Inference: training, posterior and predictive distributions of a model."""

__all__: list[str] = []
