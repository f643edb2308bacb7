"""THE REAL CLOUD: Azure Resource Manager behind the engine's ports.

Belongs here: sign-in, the one HTTP session, requests and answers of ARM (``wire/``, pure), inventory. Does
not: waiting, retrying or pacing, which are decisions of ``run/``.
"""
