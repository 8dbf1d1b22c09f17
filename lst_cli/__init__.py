"""Learning long-tailed instance segmentation phase by phase."""

import os

__version__ = "0.2.0"

# detectron2 imports OpenCV where it finds it, and OpenCV fails to load on servers without a
# display library. Nothing here needs it; set the variable to 0 to have it all the same.
os.environ.setdefault("DETECTRON2_DISABLE_CV2", "1")
