"""What a picture costs beside the mathematics that it shows: DIME of four OpenMoji examples.

    python tests/benchmarks/pictures.py [--repeats 5]

Prints the median seconds an example of evaluating and fitting, with encodings reused and with plain forwards, of
drawing its picture, and the ratios. Takes about a minute on two cores.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

from cost import load_example
from lightning import seed_everything
from torch.utils.data import DataLoader

from mviz_lightning.explainers import DIME, Explanation
from mviz_lightning.explainers.dime.figure import ExplanationFigure
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.session.config import SessionConfig
from mviz_lightning.session.session import Session

EXAMPLES = 4


def completed(*, reuse: bool) -> Session:
    """Return a session of the example's untrained model."""
    seed_everything(0, verbose=False)
    example = load_example()
    data = example.load_data()
    module = example.OpenMojiClassifier(len(data.vocabulary.words), len(data.class_names))
    config = example.make_monitor(data, []).config
    settings = {"target": config.target, "class_names": config.class_names, "reuse": reuse}
    session = Session(SessionConfig(config.modalities, explainers=(DIME(num_examples=EXAMPLES),), **settings))
    for start, batch in enumerate(DataLoader(data.validation, batch_size=128)):
        session.collect(batch, lambda count, first=128 * start: range(first, first + count))
        session.dry_run(module)
    session.complete()
    session.run()
    return session


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Return the median seconds an example, after one run to warm up."""
    action()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append((time.perf_counter() - started) / EXAMPLES)
    return statistics.median(times)


def explanations(session: Session) -> list[Explanation]:
    return list(session.explain(session.config.explainers[0]).result.examples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    reusing, plain = completed(reuse=True), completed(reuse=False)
    found = explanations(reusing)
    context = DrawingContext(reusing.modality_types, Labels(reusing.task, reusing.config.class_names))
    figure = ExplanationFigure(context, "dime")
    mathematics = seconds(lambda: explanations(reusing), repeats)
    everything = seconds(lambda: explanations(plain), max(1, repeats // 5))
    drawing = seconds(lambda: [figure.picture(explanation) for explanation in found], repeats)
    print("| an example's | seconds | share of the mathematics |\n|---|---|---|")
    for name, value in (("plain forwards", everything), ("reused encodings", mathematics), ("picture", drawing)):
        print(f"| {name} | {value:.3f} | {value / mathematics:.2f} |")


if __name__ == "__main__":
    main()
