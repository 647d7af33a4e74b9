"""Cross-modal interactions, the second stage of MultiViz (Liang et al. 2023)."""
