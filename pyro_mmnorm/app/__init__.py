"""Application: the command line and the steps of a run."""

__all__: list[str] = []
