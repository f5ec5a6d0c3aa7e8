"""The real command in a subprocess: exit codes, output, signals."""
