"""Windows, as far as a script meets it: what PowerShell for Linux lacks, played by small functions and programs.

In scope: where a PowerShell is found; one file for each thing that is played, which names the documentation it follows.
Out of scope: the sandbox that a guest runs in, which is in ``fleet.lab.guests.sandbox``; rules of scripted guests.
"""
