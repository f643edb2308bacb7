"""Scripts for Windows under a real PowerShell. What PowerShell for Linux lacks is played by ``fleet.lab.guests.windows``."""
