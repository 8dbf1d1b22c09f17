"""Learning long-tailed instance segmentation phase by phase."""

__version__ = "0.1.0"
