"""Classifier and mask heads."""
