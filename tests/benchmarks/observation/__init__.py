"""Modules in the styles that people write, and what the monitor finds of each with ``modalities=`` alone."""
