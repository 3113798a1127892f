"""Scaling laws fitted to tables of runs: load, fit, compare, forecast, design. Torch-free."""

from analysis.api import compare, design, fit, forecast, load

__all__ = ["compare", "design", "fit", "forecast", "load"]
