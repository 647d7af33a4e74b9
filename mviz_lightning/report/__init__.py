"""A run looked at later, from its files alone: the page, and the plain objects behind it. Knows: sinks, functional."""
