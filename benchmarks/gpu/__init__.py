"""`python -m benchmarks.gpu`: the device checks of one NVIDIA GPU."""
