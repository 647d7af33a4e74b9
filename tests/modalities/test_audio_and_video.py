"""Audio that is seen and heard, and video: units, baselines, pictures, and sounds read back from every sink."""

import wave
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import wandb
from helpers.modality_checks import BLUE, RED, drawn, made, where
from helpers.wandb_file import history
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from mviz_lightning import Modality, explain
from mviz_lightning.batch import Segments
from mviz_lightning.callbacks.reporter import Reporter
from mviz_lightning.errors import ConfigurationError
from mviz_lightning.explainers import DIME, CrossModalInteraction, ErrorAnalysis, Explanation, UnimodalImportance
from mviz_lightning.explainers.dime.result import DIMEResult
from mviz_lightning.explainers.drawing import DrawingContext
from mviz_lightning.modalities import Audio, Video
from mviz_lightning.plotting.labels import Labels
from mviz_lightning.session.explanation_history import ExplanationHistory, TimedResult
from mviz_lightning.session.history import History
from mviz_lightning.sinks import FileSink, Sink, TensorBoardSink, WandbSink
from mviz_lightning.sinks.records import Dashboard, Sound
from mviz_lightning.testing import MemorySink

RATE = 8000
HALF = torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0, 0.25])
PCM = [0, 16384, -16384, 32767, -32767, 8192]
"""The same as 16 bits."""


def samples_of(values: Any, **options: Any) -> Any:
    found = made(values, **{"sample_rate": RATE, **options}).sound(0)
    return None if found is None else found.tolist()


def read(data: bytes) -> tuple[int, npt.NDArray[np.int16]]:
    """Return the rate and the ``(T, C)`` samples of a file."""
    with wave.open(BytesIO(data)) as file:
        assert (file.getsampwidth(), file.getcomptype()) == (2, "NONE")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return file.getframerate(), samples


# What is heard


def test_samples_are_those_of_the_waveform() -> None:
    assert samples_of(HALF[None]) == [[level] for level in PCM]
    assert samples_of(HALF[None, None]) == [[level] for level in PCM]
    assert samples_of(HALF[None, :, None], time_axis=1) == [[level] for level in PCM]
    assert samples_of(torch.stack([HALF, -HALF])[None]) == [[level, -level] for level in PCM]
    assert made(HALF[None], sample_rate=RATE).sound(0).dtype == np.int16


def test_what_is_louder_than_16_bits_is_scaled_and_what_is_quieter_stays() -> None:
    assert samples_of(8 * HALF[None]) == [[level] for level in PCM]
    assert samples_of((HALF[None] * 2**15).clamp(max=2**15 - 1).to(torch.int16))[4] == [-32767]
    assert samples_of(torch.tensor([[0.5, -0.001]])) == [[16384], [-33]]
    assert samples_of(torch.zeros(1, 3)) == [[0], [0], [0]]


def test_what_is_no_number_is_silent() -> None:
    assert samples_of(torch.tensor([[float("nan"), 0.5, float("inf"), -float("inf")]])) == [[0], [16384], [0], [0]]


def test_padding_is_not_heard() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    assert samples_of(HALF[None], mask="m", others={"m": mask}) == [[level] for level in PCM[:4]]
    assert samples_of(HALF[None], mask="m", others={"m": 0 * mask}) is None


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (torch.rand(1, 40), {"kind": "audio", "sample_rate": None}),
        (torch.rand(1, 20, 40), {}),
        (torch.rand(1, 1, 20, 40), {}),
        (torch.rand(1, 1), {}),
        (torch.rand(1, 40, 2), {"kind": "series"}),
    ],
    ids=["no sample rate", "a spectrogram", "one with a channel", "a single sample", "a series"],
)
def test_not_everything_can_be_heard(values: Tensor, options: dict[str, Any]) -> None:
    assert samples_of(values, **options) is None


def test_what_has_a_sample_rate_is_audio_in_seconds() -> None:
    modality_type = made(torch.rand(2, 4000), sample_rate=8000, max_segments=2)
    assert isinstance(modality_type, Audio)
    assert modality_type.names(0) == ["0-0.25 s", "0.25-0.5 s"]
    # Of spectrograms, only rate= tells how long a step is.
    assert made(torch.rand(2, 20, 40), sample_rate=8000, max_segments=4).names(0)[0] == "low, steps 1-40"


@pytest.mark.parametrize("rate", [0, -8000, 44.1, "8000"])
def test_an_impossible_sample_rate_is_refused(rate: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"Modality\('x', sample_rate={rate!r}\): give"):
        Modality("x", sample_rate=rate)


# What is seen of a waveform


def test_a_waveform_stands_above_its_spectrogram_where_it_is_loud() -> None:
    burst = torch.zeros(1, 4000)
    burst[0, 1000:2000] = torch.sin(torch.arange(1000) * 2)
    pixels = drawn(made(burst, sample_rate=RATE), width=400).astype(int)
    upper = (pixels[: int(len(pixels) * 0.3)].max(-1) < 90).nonzero()
    assert (upper[1].min() / 400, upper[1].max() / 400) == pytest.approx((0, 1), abs=0.01)  # silence is a line
    tall = (pixels[: int(len(pixels) * 0.3)].max(-1) < 90).sum(0) > 10
    assert (tall.argmax() / 400, 1 - tall[::-1].argmax() / 400) == pytest.approx((0.25, 0.5), abs=0.012)
    lower = pixels[int(len(pixels) * 0.4) : int(len(pixels) * 0.8)]
    assert where(lower, tuple(lower[0, 0]))[0] == 0  # the colour of silence
    bright = lower[..., 0].max(0) > 200
    assert (bright.argmax() / 400, 1 - bright[::-1].argmax() / 400) == pytest.approx((0.25, 0.5), abs=0.04)


def test_colours_of_a_waveforms_map_are_where_their_segments_are() -> None:
    noise = torch.rand(1, 4000, generator=torch.Generator().manual_seed(0)) * 0.001
    noise[0, 0] = 1
    pixels = drawn(made(noise, sample_rate=RATE, max_segments=4), [0, 0, 1, -1])
    assert where(pixels[:20], RED)[:2] == pytest.approx((0.5, 0.75), abs=0.02)
    assert where(pixels, BLUE)[:2] == pytest.approx((0.75, 1), abs=0.02)


# Video


def frames(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_segments_are_patches_in_blocks_of_time() -> None:
    modality_type = made(frames(2, 4, 3, 4, 4), max_segments=8)
    assert isinstance(modality_type, Video)
    assert isinstance(modality_type.segments, Segments)
    assert modality_type.segments.index.shape == (1, 4, 1, 4, 4)
    first, second = [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2, [[4, 4, 5, 5]] * 2 + [[6, 6, 7, 7]] * 2
    assert modality_type.segments.index[0, :, 0].tolist() == [first, first, second, second]
    assert modality_type.names(0)[3:5] == ["step 2, row 2, col 2", "step 4, row 1, col 1"]
    assert made(frames(2, 4, 3, 4, 4), max_segments=2, rate=2).names(0) == ["1 s, row 1, col 1", "1 s, row 1, col 2"]


@pytest.mark.parametrize(
    ("shape", "blocks"), [((2, 16, 3, 64, 64), 48), ((2, 16, 1, 32, 64), 48), ((2, 2, 3, 64, 64), 48)]
)
def test_a_video_has_up_to_49_segments(shape: tuple[int, ...], blocks: int) -> None:
    assert blocks - 8 <= made(frames(*shape)).segments.count(0) <= 49


@pytest.mark.parametrize(
    ("axes", "options"),
    [((0, 1, 2, 3, 4), {}), ((0, 2, 1, 3, 4), {}), ((0, 1, 3, 4, 2), {}), ((0, 2, 1, 3, 4), {"time_axis": 2})],
)
def test_channels_are_found_wherever_they_are(axes: tuple[int, ...], options: Any) -> None:
    values = frames(2, 6, 3, 8, 8)
    plain, moved = made(values, mean=0, std=1), made(values.permute(axes).contiguous(), mean=0, std=1, **options)
    assert torch.equal(moved.segments.index, plain.segments.index.permute(axes))
    assert torch.equal(moved.segments.baseline, plain.segments.baseline.permute(axes))
    assert (moved.pixels(1) == plain.pixels(1)).all()


def test_time_axis_settles_it_where_both_look_like_channels() -> None:
    assert made(frames(2, 3, 4, 8, 8)).segments.index.shape[1:3] == (3, 1)
    assert made(frames(2, 3, 4, 8, 8), time_axis=2).segments.index.shape[1:3] == (1, 4)


def test_a_masked_patch_has_the_mean_picture() -> None:
    values = frames(3, 4, 3, 6, 6)
    modality_type = made(values, max_segments=1)
    masked = modality_type.segments.mask(values, torch.zeros(3, 1, dtype=torch.bool), torch.arange(3))
    expected = values.double().mean((0, 1)).float()
    assert torch.equal(masked, expected.expand_as(masked))
    assert modality_type.baseline == "the mean picture"
    assert made(values, baseline="zero").baseline == "0"


def test_padded_frames_are_no_segments_and_do_not_count_for_the_mean() -> None:
    values, mask = frames(2, 4, 1, 4, 4), torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])
    modality_type = made(values, max_segments=8, mask="m", others={"m": mask})
    assert [modality_type.segments.count(example) for example in range(2)] == [8, 0]
    assert (modality_type.segments.index[0, 2:] == -1).all()
    assert torch.allclose(
        modality_type.segments.baseline, values[0, :2].mean(0).expand_as(modality_type.segments.baseline)
    )
    assert modality_type.names(0)[0] == "step 1, row 1, col 1"
    assert (modality_type.pixels(1) == 255).all()
    assert drawn(modality_type, np.ones(8)).std() > 1


def test_the_middle_of_every_block_is_shown_with_the_normalisation_undone() -> None:
    pixels = torch.randint(256, (1, 4, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    normalised = (pixels / 255 - 0.4) / 0.3
    shown = made(normalised, mean=0.4, std=0.3, max_segments=8).pixels(0)
    assert shown.shape == (5, 11, 3)
    for left, step in ((0, 1), (6, 3)):
        assert (shown[:, left : left + 5] == pixels[0, step].permute(1, 2, 0).numpy()).all()
    assert (shown[:, 5] == 255).all()


def test_contrast_is_that_of_all_pictures() -> None:
    values = torch.zeros(1, 2, 1, 4, 4)
    values[0, 0, ..., 0], values[0, 1] = -2, 2
    shown = made(values, max_segments=8).pixels(0)
    assert (shown[0, 0, 0], shown[0, 1, 0], shown[0, 5, 0]) == (0, 128, 255)


@pytest.mark.parametrize("inputs", [True, False])
def test_a_segments_colour_is_on_its_frame(*, inputs: bool) -> None:
    modality_type = made(torch.ones(1, 8, 3, 24, 24), mean=0, std=1, max_segments=49)
    weights = np.zeros(modality_type.segments.count(0))
    assert len(weights) == 48
    weights[12], weights[47] = 1, -1  # the first patch of the second block, the last of the fourth
    pixels = drawn(modality_type, weights, inputs=inputs, width=196)
    assert where(pixels, RED) == pytest.approx((0.51, 0.51 + 0.49 / 4, 0, 0.49 / 3), abs=0.015)
    assert where(pixels, BLUE) == pytest.approx((1 - 0.49 / 4, 1, 1 - 0.49 / 3, 1), abs=0.015)


@pytest.mark.parametrize(
    ("shape", "options", "error"),
    [
        ((2, 3, 4, 4), {}, r"kind='video' of 'x': expected \(N, T, C, H, W\), .* found \(2, 3, 4, 4\)"),
        ((2, 0, 3, 4, 4), {}, r"kind='video' of 'x': expected .* found \(2, 0, 3, 4, 4\)"),
        ((2, 6, 3, 4, 4), {"time_axis": 3}, "time_axis=3 of 'x': give 1 or 2"),
        ((2, 6, 3, 4, 4), {"superpixels": True}, "superpixels=True of 'x': the segments of a video are patches"),
        ((2, 6, 3, 4, 4), {"baseline": "blur"}, "baseline='blur' of 'x': give 'zero', 'mean' or a number"),
    ],
)
def test_an_impossible_video_is_refused(shape: tuple[int, ...], options: Any, error: str) -> None:
    with pytest.raises(ConfigurationError, match=error):
        made(torch.zeros(shape), **{"kind": "video", **options})


# Sounds in loggers and files

STEREO = Sound("mviz/sound/example_7/speech", np.array([[1, -1], [32767, -32767], [0, 12]], np.int16), 16_000)
MONO = Sound("mviz/sound/example_8/speech", np.array(PCM, np.int16)[:, None], RATE)


@pytest.mark.parametrize("sound", [MONO, STEREO])
def test_a_file_holds_the_samples_to_the_last_bit(tmp_path: Path, sound: Sound) -> None:
    FileSink(tmp_path).write([sound], 3)
    rate, samples = read((tmp_path / f"{sound.key.removeprefix('mviz/')}.wav").read_bytes())
    assert rate == sound.rate
    np.testing.assert_array_equal(samples, sound.samples)


def test_tensorboard_plays_the_mean_of_the_channels(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    TensorBoardSink(logger).write([MONO, STEREO], 5)
    logger.finalize("success")
    found = EventAccumulator(str(tmp_path), size_guidance={"audio": 0}).Reload()
    assert found.Tags()["audio"] == [MONO.key, STEREO.key]
    for sound in (MONO, STEREO):
        (event,) = found.Audio(sound.key)
        rate, samples = read(event.encoded_audio_string)
        assert (event.step, rate) == (5, sound.rate)
        np.testing.assert_allclose(samples[:, 0], sound.samples.mean(1), atol=1)


@pytest.fixture
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.setup(wandb.Settings(mode="offline", silent=True))
    yield
    wandb.finish()
    wandb.teardown()


@pytest.mark.usefixtures("_offline")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb.*")
def test_wandb_plays_all_channels_without_soundfile(tmp_path: Path) -> None:
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="tests")
    WandbSink(logger).write([MONO, STEREO], 5)
    folder = Path(logger.experiment.dir)
    wandb.finish()
    wandb.teardown()
    (row,) = history(tmp_path)
    assert row["trainer/global_step"] == 5
    for sound in (MONO, STEREO):
        assert row[f"{sound.key}._type"] == "audio-file"
        rate, samples = read((folder / row[f"{sound.key}.path"]).read_bytes())
        assert rate == sound.rate
        np.testing.assert_array_equal(samples, sound.samples)


# Which examples are heard, and when


class Tones(nn.Module):
    """Two logits of a waveform and a table."""

    def forward(self, wave: Tensor, table: Tensor) -> Tensor:
        loud, first = wave.abs().mean(1), table[:, 0]
        return torch.stack([loud + first + loud * first, 0 * loud], 1)


def report(method: Any, **options: Any) -> Any:
    batch = (frames(64, 200) - 0.5, frames(64, 3), torch.arange(64) % 2)
    modalities = {"speech": Modality("0", kind="audio", **options), "table": "1"}
    return batch, explain(Tones(), [batch], modalities=modalities, target="2", explainers=[method], pin=[5])


METHODS = [DIME(num_examples=2), UnimodalImportance(num_examples=2), CrossModalInteraction(num_examples=2)]


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_examples_that_are_explained_are_heard(tmp_path: Path, method: Any) -> None:
    batch, found = report(method, sample_rate=RATE)
    found.save(tmp_path)
    files = {path.parent.name: path for path in tmp_path.rglob("*.wav")}
    assert {path.name for path in files.values()} == {"speech.wav"}
    assert "example_5" in files
    assert sorted(files) == sorted({path.stem.split("-")[0] for path in (tmp_path / method.name).glob("example_*.png")})
    rate, samples = read(files["example_5"].read_bytes())
    assert rate == RATE
    np.testing.assert_allclose(samples[:, 0], batch[0][5] * 32767, atol=0.51)


def test_mistakes_are_heard_and_what_was_rescued(tmp_path: Path) -> None:
    _, found = report(ErrorAnalysis(num_examples=3), sample_rate=RATE)
    found.save(tmp_path)
    result = found.results["errors"]
    assert result.worst
    positions = {case.position for case in (*result.worst, *result.rescued)}
    assert {path.parent.name for path in tmp_path.rglob("speech.wav")} == {f"example_{place}" for place in positions}


def test_without_a_sample_rate_nothing_is_heard(tmp_path: Path) -> None:
    report(METHODS[0])[1].save(tmp_path)
    assert list(tmp_path.rglob("example_5.png"))
    assert not list(tmp_path.rglob("*.wav"))


def shown(sinks: list[Sink], *, show_inputs: bool, times: int = 2) -> None:
    """Write the explanation of one example by two methods, several times."""
    kinds = {"speech": made(frames(3, 400) - 0.5, sample_rate=RATE)}
    reporter = Reporter(History(["speech"]), ExplanationHistory(), Dashboard("mviz", []), sinks)
    reporter.drawings[""] = DrawingContext(kinds, Labels("multiclass"), show_inputs)
    result = DIMEResult(examples=[Explanation(1, 17, 0, 0, 0.5, [])])
    for step in range(times):
        for method in ("a", "b"):
            reporter.show(TimedResult(DIME(name=method), result, "fit", step, step), with_trainer_row=False)


def test_an_example_is_heard_once_whatever_explains_it_and_however_often() -> None:
    sink = MemorySink()
    shown([sink], show_inputs=True)
    (heard,) = [(record.key, step) for record, step, _ in sink.records if isinstance(record, Sound)]
    assert heard == ("mviz/sound/example_17/speech", 0)
    assert len(sink.images) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("_offline")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb.*")
@pytest.mark.parametrize("show_inputs", [True, False])
def test_hidden_inputs_are_heard_nowhere(tmp_path: Path, *, show_inputs: bool) -> None:
    board = TensorBoardLogger(tmp_path / "board", name="", version="")
    (tmp_path / "wandb").mkdir()  # W&B before 0.20 writes elsewhere instead
    run = WandbLogger(save_dir=tmp_path / "wandb", offline=True, project="tests")
    shown([FileSink(tmp_path / "files"), TensorBoardSink(board), WandbSink(run)], show_inputs=show_inputs)
    board.finalize("success")
    wandb.finish()
    wandb.teardown()
    events = EventAccumulator(str(tmp_path / "board"), size_guidance={"audio": 0}).Reload()
    rows = history(tmp_path / "wandb")
    heard = [
        len(events.Tags()["audio"]),
        sum(value == "audio-file" for row in rows for value in row.values()),
        len(list((tmp_path / "files").rglob("*.wav"))),
        len(list((tmp_path / "wandb").rglob("*.wav"))),
    ]
    assert heard == ([1, 1, 1, 1] if show_inputs else [0, 0, 0, 0])
    assert len(rows) == 4
