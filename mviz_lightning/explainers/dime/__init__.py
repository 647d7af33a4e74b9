"""DIME: unimodal contributions and multimodal interactions of single predictions (Lyu et al. 2022)."""
