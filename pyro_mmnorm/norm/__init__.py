"""Norm: a trained model with its calibrators, its sites and its files."""

__all__: list[str] = []
