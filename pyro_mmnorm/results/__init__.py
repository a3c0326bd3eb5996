"""Results: their schema, the figures of a person, and the files of a run."""

__all__: list[str] = []
