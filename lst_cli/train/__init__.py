"""`lst train-base`, `lst step`, `lst train-joint`: training a phase."""
