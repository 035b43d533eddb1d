"""What is observed for alerts, a module for each kind of thing; :mod:`c4_assets.runs.watch.look` puts them together."""
