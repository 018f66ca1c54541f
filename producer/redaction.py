"""What hides passwords in texts that people and logs get to see."""

from __future__ import annotations

import re


def redact(url: str) -> str:
    """Return ``url`` without its password and options, fit for messages and logs."""
    head, at, place = url.rpartition("@")
    place = place.partition("?")[0]
    if not at:
        return place
    scheme, separator, user = head.partition("://")
    if separator and "?" in user:  # the password may be on either side of the @
        return f"{scheme}://***"
    return f"{scheme}://{user.partition(':')[0]}:***@{place}" if separator else f"***@{place}"


def one_line(error: Exception) -> str:
    """Return what an error of a library says, in one line and without passwords."""
    return hide_credentials(" ".join(str(error).split()))


def hide_credentials(text: str) -> str:
    """Return ``text`` without the passwords of the URLs in it, even of those that lack their scheme.

    An object's URI has no user: all that stands before the ``@`` may be a key.
    """
    text = re.sub(r"(?i)\b(s3://)[^\s/:@]*(?::.*)?@", r"\1***@", text)
    return re.sub(r"((?:\w+://)?[^\s/:@]*):\S*@", r"\1:***@", text)
