"""Contact sheets, plots and pages: what people look at."""
