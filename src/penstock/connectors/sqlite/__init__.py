"""SQLite: rows in and out as Arrow through one copy of the library, exact also for files of other programs."""
