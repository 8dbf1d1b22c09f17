"""Detections and AP."""
