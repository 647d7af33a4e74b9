"""Error analysis: what failed where the model is wrong (MultiViz)."""
