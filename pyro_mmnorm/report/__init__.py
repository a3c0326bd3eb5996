"""Report: one self-contained page from a run folder."""

__all__: list[str] = []
