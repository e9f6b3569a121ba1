"""Properties are about what holds, not about how fast a busy machine finds out."""

from hypothesis import settings

settings.register_profile("without deadline", settings(), deadline=None)
settings.load_profile("without deadline")
