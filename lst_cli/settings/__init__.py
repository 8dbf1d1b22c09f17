"""Settings of a run: models, presets, reading and overriding."""
