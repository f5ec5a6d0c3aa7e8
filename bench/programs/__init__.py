"""Bare library paths, each the shortest program that does the job with one library and nothing else."""
