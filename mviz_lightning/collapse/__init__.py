"""The rule for a collapsed modality, and its proof. Knows: checkpoint, metrics, modalities, notebook."""
