"""Unimodal importance, the first stage of MultiViz (Liang et al. 2023)."""
