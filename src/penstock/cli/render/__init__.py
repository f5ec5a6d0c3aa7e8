"""Everything that is printed: the same dataclasses as text and as JSON."""
