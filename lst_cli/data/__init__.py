"""Annotation files and images."""
