"""The adapter for MLflow: pictures, tables, texts and files; scalars under names that MLflow accepts."""

import re
from collections.abc import Mapping
from typing import Any

from mviz_lightning.sinks.base import LoggerSink, logged_key, without_pictures
from mviz_lightning.sinks.portable_names import told_apart
from mviz_lightning.sinks.records import Alert, Dashboard, FileRecord, MarkdownText, Picture, Table

LONGEST = 200
"""Largest number of characters of a name: MLflow accepts up to 250, and the logger may add a prefix."""

REFUSED = re.compile(
    r"""
    (?P<plus>(?<![+-])\+(?![+-]))  # the one between two modalities
    | (?P<hyphen>-)
    | [^A-Za-z0-9_/. -]            # what MLflow refuses
    | \.(?=x)                      # what would read as one of our own codes
    | (?:(?<=/)|(?<=\A))\.+(?=/|\Z)  # a folder "." or ".."
    | (?<=/)/+ | \A/+ | /+\Z       # a folder without a name
    """,
    re.VERBOSE,
)
"""Parts of a key that are replaced in a name."""


def mlflow_name(key: str) -> str:
    """Return the name of a key in MLflow; different keys get different names.

    MLflow accepts letters, digits, ``_``, ``/``, ``.``, ``-`` and spaces. Between two modalities, ``+`` becomes ``-``.
    A hyphen is doubled, and any other character becomes its code.

    Args:
        key: A key, with the monitor's prefix.

    Example:
        >>> mlflow_name("mviz/total/image"), mlflow_name("mviz/interaction/image+text")
        ('mviz/total/image', 'mviz/interaction/image-text')
        >>> mlflow_name("mviz/class/t-shirt/total/image"), mlflow_name("mviz/a:b")
        ('mviz/class/t--shirt/total/image', 'mviz/a.x3a.b')
    """
    name = REFUSED.sub(_code, key)
    return name if len(name) <= LONGEST else told_apart(name[: LONGEST - 9], key)


def _code(found: re.Match[str]) -> str:
    if found["plus"]:
        return "-"
    return "--" if found["hyphen"] else "".join(f".x{ord(character):x}." for character in found[0])


class MLflowSink(LoggerSink):
    """Writes to a ``MLFlowLogger`` of ``lightning`` or ``pytorch_lightning``.

    Lightning deletes characters that MLflow refuses from the names of scalars. Then ``a+b`` and ``ab`` become one name,
    and every row gives a warning. So during a run of the trainer, the logger gets the monitor's scalars under the names
    of :func:`mlflow_name`. All other scalars, and those of other loggers, keep their names.
    """

    def open(self, dashboard: Dashboard) -> None:
        """Rename the monitor's scalars in this logger to names that MLflow accepts."""
        known = vars(self.logger).get("log_metrics")
        renamed = known if isinstance(known, _RenamedMetrics) else _RenamedMetrics(self.logger.log_metrics)
        renamed.beginnings[id(self)] = f"{dashboard.name}/"
        self.logger.log_metrics = renamed

    def close(self) -> None:
        """Restore the logger's own method, once no monitor needs the renaming."""
        known = vars(self.logger).get("log_metrics")
        if isinstance(known, _RenamedMetrics):
            known.beginnings.pop(id(self), None)
            if not known.beginnings:
                del self.logger.log_metrics

    def key(self, key: str) -> str:
        """Return the name of a key, with the logger's own prefix."""
        return logged_key(self.logger, mlflow_name(key))

    def picture(self, key: str, record: Picture, step: int) -> None:
        """Write a picture, which appears among the charts of the run; MLflow has no captions."""
        self.logger.experiment.log_image(self.logger.run_id, record.pixels, key=key, step=step)

    def table(self, key: str, record: Table, step: int) -> None:
        """Append the rows to the table of this key."""
        names, rows = without_pictures(record)
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        data = {name: list(column) for name, column in zip(names, columns, strict=True)}
        self.logger.experiment.log_table(self.logger.run_id, data, f"{key}.json")

    def text(self, key: str, record: MarkdownText, step: int) -> None:
        """Write the text; it replaces the last one of this key."""
        self.logger.experiment.log_text(self.logger.run_id, record.markdown, f"{key}.md")

    def alert(self, key: str, record: Alert, step: int) -> None:
        """Write the text as a file, and its title as a tag of the run, which the list of runs can show."""
        client, run = self.logger.experiment, self.logger.run_id
        client.log_text(run, f"{record.title}\n\n{self.ended.text_of(record, step)}\n", f"{key}.txt")
        client.set_tag(run, key, f"step {step}: {record.title}")

    def file(self, key: str, record: FileRecord, step: int) -> None:
        """Write the file; it replaces the last one of this key."""
        self.logger.experiment.log_artifact(self.logger.run_id, str(record.path), key.rpartition("/")[0] or None)


class _RenamedMetrics:
    """Replaces ``log_metrics`` of a logger, and renames the scalars of monitors.

    Args:
        log_metrics: The method of the logger.

    Attributes:
        beginnings: Monitor -> beginning of its keys.
    """

    def __init__(self, log_metrics: Any) -> None:
        self._log_metrics, self.beginnings = log_metrics, dict[int, str]()

    def __call__(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        beginnings = tuple(self.beginnings.values())
        named = {mlflow_name(key) if key.startswith(beginnings) else key: value for key, value in metrics.items()}
        self._log_metrics(named, step)
