"""The cheap way to an object store: requests of our own, signed as boto3 signs them, on connections that are kept.

Made for the few calls that each seed costs. Endpoint, region, keys and certificates are those that boto3 finds; where
boto3 would do what this cannot, boto3 does it. worker.storage is its only user.

CPU milliseconds of the client for a put of 1 KB and of 55 KB (best of six rounds, eight threads, rclone's S3 server,
two busy cores): boto3 1.37 and 1.39, botocore's signer over urllib3 0.51 and 0.54, our signing over urllib3 0.37 and
0.44, over http.client 0.22 and 0.27, the obstore package 0.17 and 0.25, and this 0.15 and 0.22.
"""
