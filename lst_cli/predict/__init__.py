"""`lst predict`: a trained phase's model on any images."""
