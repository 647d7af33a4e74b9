"""Contribution shares: what each modality explains alone, and what all explain together (Sobol' indices)."""
