"""The adapter for Trackio: pictures, sounds, tables, texts, alerts and pages."""

from typing import Any

from mviz_lightning.sinks.base import LoggerSink, is_picture
from mviz_lightning.sinks.records import Alert, FileRecord, MarkdownText, Picture, Pixels, Sound, Table


class TrackioSink(LoggerSink):
    """Writes to the run of a :class:`mviz_lightning.loggers.TrackioLogger`, or of any logger of that class name."""

    def picture(self, key: str, record: Picture, step: int) -> None:
        """Write a picture with its caption."""
        import trackio

        self._log(key, trackio.Image(record.pixels, caption=record.description or None), step)

    def table(self, key: str, record: Table, step: int) -> None:
        """Write a table with its pictures."""
        import trackio

        rows = [[_cell(cell) for cell in row] for row in record.rows]
        self._log(key, trackio.Table(columns=list(record.columns), data=rows), step)

    def text(self, key: str, record: MarkdownText, step: int) -> None:
        """Write a text."""
        import trackio

        self._log(key, trackio.Markdown(record.markdown), step)

    def alert(self, key: str, record: Alert, step: int) -> None:
        """Send an alert, which Trackio prints, stores, and posts to the run's webhook."""
        import trackio

        level = trackio.AlertLevel.WARN if record.urgent else trackio.AlertLevel.INFO
        self.logger.experiment.alert(record.title, record.text, level=level, step=step)

    def sound(self, key: str, record: Sound, step: int) -> None:
        """Write a sound."""
        import trackio

        self._log(key, trackio.Audio(record.samples, sample_rate=record.rate), step)

    def file(self, key: str, record: FileRecord, step: int) -> None:
        """Write a page, which the dashboard shows unchanged; pages of earlier steps are kept."""
        import trackio

        self._log(key, trackio.Html(record.path), step)

    def _log(self, key: str, media: Any, step: int) -> None:
        self.logger.experiment.log({key: media}, step=step)


def _cell(cell: str | float | Pixels) -> Any:
    import trackio

    return trackio.Image(cell) if is_picture(cell) else cell
