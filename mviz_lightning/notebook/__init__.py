"""Results that show themselves: a sentence, diagrams, rows; as HTML, data and frames. Knows: plotting."""
