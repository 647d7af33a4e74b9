"""Multimodal prediction, the fourth stage of MultiViz (Liang et al. 2023)."""
