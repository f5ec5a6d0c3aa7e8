"""Penstock: data and definitions out of systems and into others, in parallel, resumable and proven."""

__version__ = "0.1.0"
