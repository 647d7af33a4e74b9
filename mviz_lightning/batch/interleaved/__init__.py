"""Texts in which tokens stand for items of other modalities: learned from a batch, taken apart and put together again.

``placeholders`` names the tokens, ``blocks`` finds the stretches of a text that stand for items, ``dealing`` tells
which items belong to which row. ``tokenwise`` and ``media`` read and write the leaves, ``learning`` finds them in a
first batch, and ``splicing`` puts the blocks of one example into the text of another.
"""
