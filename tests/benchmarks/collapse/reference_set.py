"""Which of the validation examples a monitor keeps, so that regressions can be fitted again without training."""

from collections import defaultdict
from collections.abc import Mapping

from data import Data
from torch import Tensor

from mviz_lightning import MultimodalMonitor


def reference_indices(monitor: MultimodalMonitor, data: Data) -> list[int]:
    """Return where the monitor's examples stand among the validation examples."""
    places = defaultdict(list)  # some examples are equal
    for number, row in enumerate(_rows(data.validation)):
        places[row].append(number)
    return [places[row].pop() for row in _rows(monitor._run.session._ready()[0].probe.leaves)]


def _rows(columns: Mapping[str, Tensor]) -> list[bytes]:
    """Return the bytes of every example."""
    parts = [columns[name].reshape(len(columns[name]), -1).contiguous().numpy() for name in sorted(columns)]
    return [b"".join(part[k].tobytes() for part in parts) for k in range(len(parts[0]))]
