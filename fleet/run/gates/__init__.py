"""GATES BETWEEN WAVES: webhooks that are asked, and checks of what was found. Pure.

In scope: when a gate is asked, and what its answer means.
Out of scope: sending the request, which is in ``azure.webhooks``.
"""
