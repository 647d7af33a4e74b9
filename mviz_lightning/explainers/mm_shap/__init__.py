"""MM-SHAP: the share of every modality in the Shapley values of all segments (Parcalabescu & Frank 2023)."""
