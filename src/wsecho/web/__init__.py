"""What wsecho shows to browsers; it knows nothing of the wire."""
