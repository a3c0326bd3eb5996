"""Results: their schema, the measures of a person, and the files of a run."""

__all__: list[str] = []
