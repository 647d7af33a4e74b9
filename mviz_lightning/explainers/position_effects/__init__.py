"""Where each modality matters: its total effect at every position of an example."""
