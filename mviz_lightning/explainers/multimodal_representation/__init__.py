"""Multimodal representations, the third stage of MultiViz (Liang et al. 2023)."""
