"""Which certificate authorities are trusted: the system's, and those of ``azure.ca_file`` beside them."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from fleet.documents.files import open_to_read
from fleet.errors import InvalidInput, Problem


def trusting(ca_file: str) -> ssl.SSLContext:
    """Return a context that trusts a file's authorities too. Raises InvalidInput if it holds none."""
    context = ssl.create_default_context()
    try:
        os.close(open_to_read(Path(ca_file)))  # a pipe would be waited for
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        message = f"azure.ca_file cannot be read as PEM certificates: {error}"
        raise InvalidInput([Problem("ca_file", message, found=ca_file)]) from error
    return context
