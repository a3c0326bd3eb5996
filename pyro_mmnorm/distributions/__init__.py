"""Distributions of regions and of latents, with their tails in the log domain."""

__all__: list[str] = []
