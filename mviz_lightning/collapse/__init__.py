"""When a modality counts as collapsed, and the proof from its raw inputs. Knows: checkpoint, metrics, modalities."""
