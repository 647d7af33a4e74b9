"""Read the user's own step: how it calls the model, what its outputs mean, where the labels are. Knows: engine.

``recorder`` watches one call of the step. ``provenance`` is the graph that it records: where each tensor came from.
``heads`` derives scores, targets and tasks from the losses and metrics. ``recipe`` turns a part of the graph into a
function of a batch, and ``ways`` into ways of calling the model; ``native_check`` compares them with the scores that
the step computed itself.
"""
