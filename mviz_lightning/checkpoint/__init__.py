"""State in checkpoints: plain types, read back part by part. Knows: errors."""
