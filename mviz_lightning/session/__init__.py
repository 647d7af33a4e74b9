"""The fixed examples of one validation set and what is measured on them. Knows: explainers, console, observation."""
