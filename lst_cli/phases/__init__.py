"""Phase arithmetic: numpy and the standard library, no images, no network."""

# Defaults are here for the help of the commands, which loads no numpy.

# The paper: b and T on LVIS v0.5, whose 1,230 classes have training instances.
BASE, PHASES, LVIS_CLASSES = 270, 6, 1230
# `lst hold-out`: a class in fewer images is rare, where the tables' tail ends; and the share of the
# images that is set aside.
RARE_BELOW, HELD_OUT_SHARE = 10, 0.15
