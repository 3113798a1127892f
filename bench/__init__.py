"""Measurements too long and too dependent on the machine for tests: `python -m bench`. Nothing imports it."""
