"""Total effects within classes and subgroups: for whom the model uses a modality."""
