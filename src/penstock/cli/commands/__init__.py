"""One file a command: its arguments, one call of the API, one thing to show."""
