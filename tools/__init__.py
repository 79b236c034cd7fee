"""The command line, doctor, synthetic scenes, training."""
