"""MARCO: where its weights come from, how it sees an image, and the engine that runs it."""
