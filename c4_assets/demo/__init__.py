"""A demonstration without a real imager: rendered drops, a small imaging database, the real model."""
