"""Types of batch objects that are read without registration by the user: one file each."""

from mviz_lightning.batch.adapters.frames import register_frames
from mviz_lightning.batch.adapters.graphs import register_graphs
from mviz_lightning.batch.adapters.objects import register_objects
from mviz_lightning.batch.adapters.tensordicts import register_tensordicts

# The last fitting registration is used; plain objects with attributes come first, so that all others override them.
register_objects()
register_frames()
register_graphs()
register_tensordicts()
