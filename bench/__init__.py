"""Races against peers and raw floors, run with `make bench`."""
