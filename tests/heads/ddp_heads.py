"""Trains a model with two heads on several processes; run with a folder, their number and a scenario."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.headed import MODALITIES, Headed, examples
from helpers.toy import trainer

from mviz_lightning import MultimodalMonitor, UnimodalCollapse
from mviz_lightning.explainers import DIME
from mviz_lightning.session.session import Session


def failing(name: str, module: Any) -> None:
    """Let head ``verb`` fail on the second process alone, in the dry run or in a run."""
    before = getattr(Session, name)

    def broken(session: Session, *given: Any) -> Any:
        if session.name == "verb" and module.global_rank == 1:
            raise RuntimeError("unwell")
        return before(session, *given)

    setattr(Session, name, broken)


def main(scenario: str, folder: Path, devices: int) -> None:
    module, watch = Headed(rate=1e-4), MultimodalMonitor(MODALITIES, num_examples=64, explainers=[DIME(num_examples=2)])
    if scenario != "plain":
        failing({"untried": "try_further", "unread": "_read"}[scenario], module)
    tell = UnimodalCollapse(patience=1)
    settings: dict[str, Any] = {"strategy": "ddp", "devices": devices} if devices > 1 else {}
    chosen = trainer(folder, watch, tell, **settings)
    training, validation = (DataLoader(examples(count), batch_size=32 // devices) for count in (64, 128))  # type: ignore[arg-type,var-annotated]
    chosen.fit(module, training, validation)
    found = {
        "rows": [row.values for row in watch.history],
        "heads": [row.heads for row in watch.history],
        "notes": [row.note for row in watch.history],
        "states": {name: int(one.state) for name, one in tell.verdicts.items()},
        "explained": [(one.explainer, one.step) for one in watch.explanation_history.entries],
    }
    (folder / f"{scenario}{chosen.global_rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[3], Path(sys.argv[1]), int(sys.argv[2]))
