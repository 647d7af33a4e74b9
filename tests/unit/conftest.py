"""The same examples on every machine and in every run: a failing property can be handed to someone else."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, max_examples=25)
settings.load_profile("repeatable")
