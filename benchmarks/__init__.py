"""Every figure that the project promises, printed beside its bounds: `uv run python -m benchmarks NAME [--write]`."""
