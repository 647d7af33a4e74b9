"""Sizes and colours that the pictures of several methods share."""

from mviz_lightning.plotting.canvas import TITLE_MARGIN, WIDTH

MARGIN = TITLE_MARGIN
"""Inches between the border of a picture and what it shows."""

GAP = 0.1
"""Inches between neighbouring panels."""

SCALE = 0.6
"""Inches for a colour bar and its numbers."""

PANEL = (WIDTH - 2 * MARGIN - 2 * GAP - SCALE) / 3
"""Inches: width of a panel where three stand side by side with a colour bar."""

LINE = 0.19
"""Inches: height of a line of text."""

COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"),
    *("#882255", "#332288", "#999933", "#661100", "#44AA99"),
)
"""Okabe and Ito's palette, which readers with any kind of colour vision can tell apart; from the eighth on, Tol's."""

INTERACTION = "#999999"
"""Colour of the interaction of modalities."""
