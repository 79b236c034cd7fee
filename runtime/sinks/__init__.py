"""Where frames go: files, screens, streams, events."""
