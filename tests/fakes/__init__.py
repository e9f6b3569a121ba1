"""Stand-ins with knobs. They speak the real interface and misbehave when a test says so."""
