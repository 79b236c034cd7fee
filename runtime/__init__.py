"""What runs beside the camera."""
