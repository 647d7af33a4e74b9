"""Texts with placeholder tokens for items of other modalities: learned from a batch, split, and rebuilt.

``placeholders`` has the tokens, ``blocks`` finds the runs of placeholders of a text, and ``dealing`` assigns items to
rows. ``tokenwise`` and ``media`` read and write the leaves, ``learning`` finds them in a first batch, and ``splicing``
puts the blocks of one example into the text of another.
"""
