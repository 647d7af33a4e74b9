"""The fixed examples of a validation set and their measurements. Knows: explainers, console, observation, report."""
