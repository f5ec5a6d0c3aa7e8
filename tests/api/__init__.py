"""The project file and the public Python API."""
