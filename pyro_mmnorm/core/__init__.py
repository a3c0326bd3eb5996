"""Core: errors, files, progress and types that every other package uses."""

__all__: list[str] = []
