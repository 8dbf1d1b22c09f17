"""The network of section 3.2, on detectron2."""
