"""What tests, benchmark and screenshots of the page share: a browser, its visitor, and servers with pictures."""
