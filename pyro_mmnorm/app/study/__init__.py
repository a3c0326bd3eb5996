"""Study: the poster's study as one command."""

__all__: list[str] = []
