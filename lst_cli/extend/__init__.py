"""`lst extend`: classes added to a finished model."""
