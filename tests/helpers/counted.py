"""A module with a global variable that others change."""

SEEN: list[int] = []
