"""One file or folder for each system, behind the ports of core."""
