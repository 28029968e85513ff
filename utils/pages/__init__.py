"""Reports of runs as web pages: each one file that opens from disk and asks for nothing else."""
