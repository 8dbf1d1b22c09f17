"""`lst eval`: running the network and scoring its detections."""
