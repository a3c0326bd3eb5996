"""Data: tables on disk become a validated cohort, and a cohort becomes a batch in model units."""

__all__: list[str] = []
