"""Registers `memory:` and `fault+SCHEME:` for whoever has this folder on the path: the tests, and commands they start.

Entry points name attributes of this module (see the folder beside it).
"""

from penstock.testing.faults import FaultConnector

memory = FaultConnector("memory")
file = FaultConnector("file")
sqlite = FaultConnector("sqlite")
duckdb = FaultConnector("duckdb")
postgresql = FaultConnector("postgresql")
