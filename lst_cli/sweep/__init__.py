"""`lst sweep`: many runs and one table."""
