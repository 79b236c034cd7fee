"""Where frames come from: decoders in child processes."""
