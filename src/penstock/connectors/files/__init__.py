"""Folders of data files as a connection: each table is a sub-folder or a file, published in one atomic step."""
