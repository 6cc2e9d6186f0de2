"""ndtool: tiny neural networks, trained inside a weight-sharing teacher and taken to a Cortex-M."""

__version__ = "0.1.0"
