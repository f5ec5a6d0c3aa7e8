"""Servers and fixtures' building blocks that the tests start themselves."""
