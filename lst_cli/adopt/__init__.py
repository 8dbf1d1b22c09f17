"""`lst adopt`: a workspace whose base phase is an existing detectron2 Mask R-CNN."""
