"""All kinds of batches, by name."""

from batches import absent, arrays, containers, graphs, packed, several, slices, streams
from batches.kind import Kind

KINDS: dict[str, Kind] = {
    name: kind
    for family in (containers, arrays, slices, packed, graphs, absent, several, streams)
    for name, kind in family.KINDS.items()
}
