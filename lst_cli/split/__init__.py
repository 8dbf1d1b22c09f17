"""`lst split`, `lst hold-out`, `lst init`: before training."""
