"""Temporary."""
import inspect
from contextlib import contextmanager, suppress
from mviz_lightning.engine.isolation import isolated
class StopStep(BaseException):
    pass
@contextmanager
def muted(module, *, seed=0):
    with isolated(module, seed=seed):
        yield
def call_step(module, step, batch):
    with suppress(StopStep):
        return step(module, batch) if callable(step) else getattr(module, step)(batch, 0)
