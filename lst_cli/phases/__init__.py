"""Phase arithmetic: numpy and the standard library, no images, no network."""

# The paper: b and T on LVIS v0.5, whose 1,230 classes have training instances. They stand here for
# the help of `lst split`, which loads no numpy.
BASE, PHASES, LVIS_CLASSES = 270, 6, 1230
