"""Arrays in, PNG bytes out: the pictures of fovea, one per file; this room knows no torch.

Every picture is a function of its arguments alone: equal arguments give equal bytes, whatever the user's matplotlib is
set to. In each file `draw` makes the figure and the public function turns it into bytes, so tests can look inside.
matplotlib is imported when the first picture is drawn.
"""

from fovea.pictures.confusion import confusion_matrix
from fovea.pictures.contact_sheet import contact_sheet
from fovea.pictures.curves import learning_curves
from fovea.pictures.filters import filters
from fovea.pictures.mistakes import mistakes
from fovea.pictures.overlay import overlay
from fovea.pictures.reliability import reliability_diagram
from fovea.pictures.sweep import sweep

__all__ = [
    "confusion_matrix",
    "contact_sheet",
    "filters",
    "learning_curves",
    "mistakes",
    "overlay",
    "reliability_diagram",
    "sweep",
]
