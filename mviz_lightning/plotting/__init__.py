"""What all figures share: canvas, labels, fitted text, trust in a map. Knows: functional, sinks."""
