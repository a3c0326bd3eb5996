"""Every figure that the project promises, printed beside what is asked: `uv run python -m benchmarks`."""
