"""The job kinds: a planner and a handler each."""
