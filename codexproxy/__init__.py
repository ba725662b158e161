"""A pool of ChatGPT accounts behind one endpoint."""

# pyproject.toml has the same.
VERSION = "0.1.0"
