"""Statistics: arrays in, estimates with intervals out (numpy and scipy only)."""

__all__: list[str] = []
