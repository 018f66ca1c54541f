"""Refusals as boto3 tells them, and the same request again where boto3's standard mode would send it again.

Five attempts in all, with growing, jittered pauses; a store that fails all the time uses up the quota for that, and is
asked once a call from then on.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from html import unescape
from http.client import responses

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from botocore.retries.quota import RetryQuota

from worker.monitoring.metrics import RETRIES
from worker.s3.connections import Answer

SUCCESS = range(200, 300)
ATTEMPTS = 5
PASSING_STATUS = {500, 502, 503, 504}
PASSING_CODES = {"RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"}
TOO_MUCH_STATUS = 429
TOO_MUCH_CODES = {
    *("SlowDown", "RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException"),
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
    *("TooManyRequestsException", "PriorRequestNotComplete"),
}
PAUSE_S, PAUSE_TOO_MUCH_S, LONGEST_PAUSE_S = 0.05, 1.0, 20.0
COST, COST_TOO_MUCH = 14, 5
"""What a second attempt takes from the quota of 500; a request that succeeds at once gives one back."""
LONGEST_TEXT = 4096


class Retries:
    """Sends requests until they succeed, are refused, or have been tried often enough; safe in many threads."""

    def __init__(self) -> None:
        self._quota = RetryQuota()

    def send(self, operation: str, send: Callable[[], Answer]) -> Answer:
        """Return what ``send`` returns, if that is a success.

        Raises:
            ClientError: the store refused.
            ConnectionError, HTTPClientError: of botocore; it did not answer.
        """
        taken = 1
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = send()
            except (ConnectionError, HTTPClientError) as failed:
                error: Exception = failed
                passes, too_much = True, False
            else:
                if answer.status in SUCCESS:
                    self._quota.release(taken)
                    return answer
                error = refused = refusal(operation, answer)
                passes, too_much = _judge(answer.status, refused.response["Error"]["Code"])
            taken = COST_TOO_MUCH if too_much else COST
            if not passes or attempt == ATTEMPTS or not self._quota.acquire(taken):
                raise error
            RETRIES.labels("storage").inc()
            time.sleep(_pause_s(attempt, too_much))
        raise AssertionError("unreachable")


def refusal(operation: str, answer: Answer) -> ClientError:
    """Return the error that boto3 would raise; without a text of the store, its status is its code."""
    facts = {
        "Code": element("Code", answer) or str(answer.status),
        "Message": element("Message", answer) or responses.get(answer.status, "no reason given"),
        "Region": element("Region", answer) or answer.headers.get("x-amz-bucket-region", ""),
    }
    return ClientError({"Error": facts, "ResponseMetadata": {"HTTPStatusCode": answer.status}}, operation)


def element(name: str, answer: Answer) -> str:
    """Return the text of the first XML element of that name near the beginning of an answer; "" if there is none."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", answer.body[:LONGEST_TEXT].decode(errors="replace"))
    return unescape(found[1]).strip() if found else ""


def _judge(status: int, code: str) -> tuple[bool, bool]:
    """Return whether a refusal may pass, and whether it says that there is too much to do."""
    too_much = code in TOO_MUCH_CODES or status == TOO_MUCH_STATUS
    return too_much or status in PASSING_STATUS or code in PASSING_CODES, too_much


def _pause_s(attempt: int, too_much: bool) -> float:
    longest = min((PAUSE_TOO_MUCH_S if too_much else PAUSE_S) * 2 ** (attempt - 1), LONGEST_PAUSE_S)
    return random.uniform(0, longest)  # noqa: S311  # jitter is no secret
