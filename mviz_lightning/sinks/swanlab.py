"""The adapter for SwanLab: pictures, sounds, tables, texts and pages."""

from typing import Any

from mviz_lightning.sinks.base import LoggerSink, fenced, without_pictures
from mviz_lightning.sinks.records import Alert, FileRecord, MarkdownText, Picture, Sound, Table


class SwanLabSink(LoggerSink):
    """Writes to a ``SwanLabLogger`` of ``swanlab.integration.pytorch_lightning``."""

    @property
    def takes(self) -> tuple[type, ...]:
        """All kinds; sounds only if the package soundfile is installed, because SwanLab needs it for sounds."""
        kinds = super().takes
        try:
            import soundfile  # noqa: F401
        except (ImportError, OSError):  # the package, or the library that it loads, is missing
            return tuple(kind for kind in kinds if kind is not Sound)
        return kinds

    def picture(self, key: str, record: Picture, step: int) -> None:
        """Write a picture with its caption."""
        import swanlab

        self._log(key, swanlab.Image(record.pixels, caption=record.description or None), step)

    def table(self, key: str, record: Table, step: int) -> None:
        """Write a table without its pictures."""
        import swanlab

        names, rows = without_pictures(record)
        self._log(key, swanlab.echarts.Table().add(names, [list(row) for row in rows]), step)

    def text(self, key: str, record: MarkdownText, step: int) -> None:
        """Write a text."""
        import swanlab

        self._log(key, swanlab.Text(record.markdown), step)

    def alert(self, key: str, record: Alert, step: int) -> None:
        """Write the text: SwanLab has no alerts."""
        import swanlab

        text = f"**{record.title}**\n\n{fenced(self.ended.text_of(record, step))}"
        self._log(key, swanlab.Text(text, caption=record.title), step)

    def sound(self, key: str, record: Sound, step: int) -> None:
        """Write a sound."""
        import swanlab

        self._log(key, swanlab.Audio(record.samples.T, sample_rate=record.rate), step)

    def file(self, key: str, record: FileRecord, step: int) -> None:
        """Write a page, which SwanLab shows unchanged; pages of earlier steps are kept."""
        import swanlab

        self._log(key, swanlab.Html(record.path), step)

    def _log(self, key: str, media: Any, step: int) -> None:
        self.logger.experiment.log({key: media}, step=step)
