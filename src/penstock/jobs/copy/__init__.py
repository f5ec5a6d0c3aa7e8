"""The copy job: tables, queries and files from a source to a target.

settings -> survey -> planner -> handler; expressions, casts and watermark are the algebra they need.
"""

from penstock.jobs.copy.planner import ConnectorOf, CopyJob, CopyOptions
from penstock.jobs.copy.survey import Choice

__all__ = ["Choice", "ConnectorOf", "CopyJob", "CopyOptions"]
