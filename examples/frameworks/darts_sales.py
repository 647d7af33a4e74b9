"""Trains a model of Darts, which builds its own Trainer, with the monitor: past sales beside weather and calendar."""

import numpy as np
import pandas as pd
from darts import TimeSeries
from darts.models import BlockRNNModel

from mviz_lightning import MultimodalMonitor, UnimodalCollapse


def days(count: int, seed: int) -> tuple[TimeSeries, TimeSeries]:
    """Return sales, which follow the weather of the days before and their own past, and the weather."""
    draw = np.random.default_rng(seed)
    weather, sales = draw.normal(size=(count, 2)), np.zeros(count)
    for day in range(1, count):
        sales[day] = 0.6 * sales[day - 1] + 0.8 * weather[day - 1, 0] + 0.3 * draw.normal()
    times = pd.date_range("2024-01-01", periods=count)
    made = [TimeSeries.from_times_and_values(times, values.astype("float32")) for values in (sales, weather)]
    return made[0], made[1]


monitor = MultimodalMonitor({"sales": "past_target", "weather": "past_covariates"})
model = BlockRNNModel(
    input_chunk_length=8,
    output_chunk_length=1,
    n_epochs=6,
    random_state=0,
    pl_trainer_kwargs={"accelerator": "cpu", "callbacks": [monitor, UnimodalCollapse()], "enable_progress_bar": False},
)
(sales, weather), (later_sales, later_weather) = days(1000, 0), days(300, 1)
model.fit(sales, past_covariates=weather, val_series=later_sales, val_past_covariates=later_weather)
print(monitor.history)
