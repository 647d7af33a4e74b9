"""The adapter for Comet: pictures, sounds, tables, texts, notifications and files."""

from io import BytesIO

from mviz_lightning.sinks.base import LoggerSink, without_pictures
from mviz_lightning.sinks.records import Alert, FileRecord, MarkdownText, Picture, Sound, Table


class CometSink(LoggerSink):
    """Writes to a ``CometLogger`` of ``lightning`` or ``pytorch_lightning``."""

    def picture(self, key: str, record: Picture, step: int) -> None:
        """Write a picture with its caption as metadata."""
        about = {"caption": record.description} if record.description else None
        self.logger.experiment.log_image(BytesIO(record.png), name=key, step=step, metadata=about)

    def table(self, key: str, record: Table, step: int) -> None:
        """Write a table as a CSV file, which Comet shows as a table."""
        names, rows = without_pictures(record)
        self.logger.experiment.log_table(f"{key}.csv", [list(row) for row in rows], headers=names)

    def text(self, key: str, record: MarkdownText, step: int) -> None:
        """Write a text; Comet's texts have no names, so the key is in the metadata."""
        self.logger.experiment.log_text(record.markdown, step=step, metadata={"key": key})

    def alert(self, key: str, record: Alert, step: int) -> None:
        """Write the text, the title as one of the run's other values, and, for an alarm, a notification."""
        experiment = self.logger.experiment
        experiment.log_text(f"{record.title}\n\n{record.text}", step=step, metadata={"key": key})
        experiment.log_other(key, f"step {step}: {record.title}")
        if record.urgent:
            experiment.send_notification(record.title, additional_data={"step": step, "text": record.text})

    def sound(self, key: str, record: Sound, step: int) -> None:
        """Write a sound."""
        samples, rate = record.samples, record.rate
        self.logger.experiment.log_audio(samples, rate, normalize_data="OFF", file_name=f"{key}.wav", step=step)

    def file(self, key: str, record: FileRecord, step: int) -> None:
        """Write the file; it replaces the last one of this key."""
        name = f"{key}{record.path.suffix}"
        self.logger.experiment.log_asset(str(record.path), file_name=name, overwrite=True, step=step)
