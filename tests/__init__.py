"""The tests: one folder for each part, `parts` for the servers they start."""
