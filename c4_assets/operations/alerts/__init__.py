"""From conditions to incidents to messages, and out through a site's channels."""
