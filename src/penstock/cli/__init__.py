"""The command line: argument tree, project file, and the only module that prints."""
