"""Error analysis: the part of a wrong prediction that is wrong (MultiViz)."""
