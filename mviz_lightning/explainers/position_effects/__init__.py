"""Maps of each modality's total effect over the positions of an example."""
