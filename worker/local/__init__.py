"""The embedded stack: a real Valkey, a real S3 server and a real worker as child processes, without Docker."""
