"""Models that classify images: their versions, weights and engines."""
