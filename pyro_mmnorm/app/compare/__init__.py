"""Compare: several runs on the same people, side by side."""

__all__: list[str] = []
