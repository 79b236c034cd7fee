"""The lean runtime on an NVIDIA GPU. Importing it needs neither a CUDA package nor a driver."""
