"""`lst report` and `lst status`: everything a workspace knows."""
