"""Limits on what a run asks of others: calls a second and a minute, calls at once, connections, rows a second."""

from penstock.engine.limits.gate import PoliteGate
from penstock.engine.limits.limiter import Limiter, LimiterState, Slot
from penstock.engine.limits.registry import Limiters, LimitKey
from penstock.engine.limits.settings import stricter

__all__ = ["LimitKey", "Limiter", "LimiterState", "Limiters", "PoliteGate", "Slot", "stricter"]
