"""The commands over the HTTP API do what they do over Redis."""

from __future__ import annotations

import json

from tests.integration.conftest import Hand
from tests.support import one_line, run_seedmill
from worker.local.stack import Endpoints


def test_a_job_goes_its_way_over_http(quiet: Endpoints, quiet_api: str, hand: Hand) -> None:
    done = run_seedmill("submit", "7..9", "--id", "mine", "--force", "--url", quiet_api)
    assert (done.returncode, done.stdout) == (0, "mine\n"), done.stderr
    assert [message.seeds for message in hand.take()] == [(7, 8), (9,)]
    hand.finish("mine", (7, 8, 9), bad=(9,))
    waited = run_seedmill("wait", "mine", "--json", environment={"SEEDMILL_API_URL": quiet_api})
    job = hand.client.get("mine")
    wanted = {**job.to_dict(), "results": [result.to_dict() for result in job.results()]}
    assert (waited.returncode, json.loads(waited.stdout)) == (1, wanted), waited.stderr
    letters = run_seedmill("dead", "list", "--json", "--url", quiet_api)
    assert json.loads(letters.stdout) == json.loads(json.dumps([one.to_dict() for one in hand.client.dead_letters()]))
    conflict = run_seedmill("submit", "8", "--id", "mine", "--url", quiet_api)
    assert (conflict.returncode, "exists already with other seeds" in one_line(conflict.stderr)) == (2, True)
