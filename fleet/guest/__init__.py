"""INSIDE THE VM: the wrapper that carries a script there and the receipt that comes back. Pure.

Belongs here: the text of the wrapper for sh and PowerShell, lossless encoding of environment and arguments,
reading and verifying receipts. Does not: how text reaches a VM (``azure/wire/run_command.py``).
"""
