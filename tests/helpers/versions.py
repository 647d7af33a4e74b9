"""What tests expect of some versions of what is installed."""

import matplotlib as mpl

WHOLE_PIXELS = tuple(map(int, mpl.__version__.split(".")[:2])) < (3, 11)
"""Matplotlib before 3.11 rounds the width of each letter to whole pixels; later ones, and the canvas, do not."""
