"""What Prometheus is told: the metrics, how they are asked for, and how they are written down."""
