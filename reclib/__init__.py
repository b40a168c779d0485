"""Recommendation as decisioning: one loop from signals to experiments."""

__version__ = "0.1.0"
