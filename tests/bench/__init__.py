"""The benchmark: this project beside its peers, in one run, on one core. `python -m tests.bench --help`."""
