"""Types of batch objects that are read without being registered by the user: one file each."""

from mviz_lightning.batch.adapters.frames import register_frames
from mviz_lightning.batch.adapters.graphs import register_graphs
from mviz_lightning.batch.adapters.objects import register_objects
from mviz_lightning.batch.adapters.tensordicts import register_tensordicts

# Of several that fit, the last counts: an object with attributes is what is nothing else.
register_objects()
register_frames()
register_graphs()
register_tensordicts()
