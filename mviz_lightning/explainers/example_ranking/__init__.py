"""A ranking of examples by what drives their predictions: one modality, the interaction, or several effects."""
