"""Which certificates a command trusts."""

from __future__ import annotations

import os
import ssl

from app.cli.sign_in.connection import Connection
from app.settings import BadSetting


def verification(connection: Connection) -> ssl.SSLContext | bool:
    """Return the value of httpx' `verify`.

    Raises:
        BadSetting: The file with the authority cannot be used.
    """
    if connection.url.startswith("http://"):
        # Without TLS the certificates of the system need not be read, which takes 20 ms.
        return False
    if connection.unverified:
        return False
    if not connection.ca_file and not os.environ.get("SSL_CERT_FILE"):
        return True
    file = connection.ca_file or os.environ["SSL_CERT_FILE"]
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise BadSetting(f"the certificate authority {file} cannot be used ({error}); correct the file") from error
