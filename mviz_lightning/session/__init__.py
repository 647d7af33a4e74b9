"""The fixed examples of one validation set and all that is measured on them. Knows: explainers, console, observation."""
