"""rnnfast beside its peers: `python -m benchmarks`, or `make bench`, which sets up what it needs."""
