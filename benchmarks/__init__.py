"""Speed beside other people's programs, measured so that anyone can repeat it: python -m benchmarks --help."""
