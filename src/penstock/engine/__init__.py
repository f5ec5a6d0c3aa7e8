"""The engine: moves items from plan to journal through workers, and never sees a row."""
