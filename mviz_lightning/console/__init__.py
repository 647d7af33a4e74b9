"""What a terminal or a notebook shows: a table at the end of a fit, progress of long work. Knows: explainers."""
