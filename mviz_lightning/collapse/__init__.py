"""When a modality counts as collapsed, and the proof. Knows: checkpoint, metrics, modalities, notebook."""
