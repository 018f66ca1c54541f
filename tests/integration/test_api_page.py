"""The page at / and its parts: what is sent, with which headers, and to whom nothing is."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from producer.api.site import FOLDER, MEDIA_TYPES
from tests.integration.api import api_settings, asking, run, serving
from tests.integration.test_api_jobs import problem_of
from worker.local.stack import Endpoints

ASSETS = sorted(path.relative_to(FOLDER).as_posix() for path in (FOLDER / "assets").rglob("*.*"))


def policy_of(answer: httpx2.Response) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))


@pytest.mark.parametrize("changes", [{}, {"api_auth": "required"}, {"api_root_path": "/mill"}], ids=str)
def test_the_page_and_all_that_it_names_is_there_for_everyone(quiet: Endpoints, changes: dict[str, Any]) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet, **changes)) as api:
            page = await api.get("/")
            assert (page.status_code, page.headers["content-type"]) == (200, MEDIA_TYPES[".html"])
            named = re.findall(r'(?:href|src)="([^"#]+)"', page.text)
            assert any(name.endswith(".js") for name in named)
            for name in named:
                assert not re.match("[a-z]+:|/", name), "relative, so that it works below any path"
                assert (await api.get(f"/{name}")).status_code == 200

    run(main)


def test_each_part_has_its_type_and_is_not_sent_again_to_whom_has_it(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for path in ("", *ASSETS):
                answer = await api.get(f"/{path}")
                assert answer.headers["content-type"] == MEDIA_TYPES[re.sub(r".*(?=\.)|^$", "", path) or ".html"]
                assert answer.content == (FOLDER / (path or "index.html")).read_bytes()
                assert answer.headers["cache-control"] == "no-cache"
                etag = answer.headers["etag"]
                for tags in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
                    again = await api.get(f"/{path}", headers={"If-None-Match": tags})
                    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
                assert (await api.get(f"/{path}", headers={"If-None-Match": '"other"'})).status_code == 200

    run(main)


def test_texts_are_sent_packed_to_whom_can_unpack_them(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            for path, packs in (("/", True), ("/assets/app.js", True), ("/assets/fonts/instrument-sans.woff2", False)):
                packed = await api.get(path, headers={"Accept-Encoding": "gzip, br"})
                plain = await api.get(path, headers={"Accept-Encoding": "identity"})
                assert packed.content == plain.content
                assert packed.headers.get("content-encoding") == ("gzip" if packs else None)
                assert "content-encoding" not in plain.headers
                shorter = int(packed.headers["content-length"]) < int(plain.headers["content-length"])
                assert shorter is packs

    run(main)


def test_the_page_may_ask_this_api_alone_and_the_store_for_pictures(quiet: Endpoints) -> None:
    async def main() -> None:
        changes = {"s3_public_endpoint_url": "https://pictures.example:9000"}
        async with asking(api_settings(quiet, **changes)) as api:
            for path in ("/", "/assets/app.js"):
                answer = await api.get(path)
                policy = policy_of(answer)
                assert policy.pop("img-src") == "'self' blob: data: https://pictures.example:9000"
                own = {name for name, values in policy.items() if values == "'self'"}
                assert own == {"script-src", "style-src", "font-src", "connect-src", "manifest-src"}
                assert {policy[name] for name in policy.keys() - own} == {"'none'", "'script'"}
                assert policy["require-trusted-types-for"] == "'script'"
                headers = answer.headers
                assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
                assert headers["cross-origin-opener-policy"] == "same-origin"
                assert headers["cross-origin-resource-policy"] == "same-origin"
                assert headers["permissions-policy"] == "camera=(), microphone=(), geolocation=()"

    run(main)


def test_without_keys_for_the_store_pictures_come_from_nowhere_else(
    quiet: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")

    async def main() -> None:
        async with asking(api_settings(quiet, s3_access_key_id="", s3_secret_access_key="")) as api:
            assert policy_of(await api.get("/"))["img-src"] == "'self' blob: data:"

    run(main)


def test_nothing_else_is_to_be_had(quiet: Endpoints) -> None:
    async def main() -> None:
        async with asking(api_settings(quiet)) as api:
            nothing = ("", "fonts", "fonts/", "none.js", "index.html", "../index.html", "%2e%2e/index.html")
            for name in (*nothing, "..%2f..%2fsite.py", "%2fetc%2fpasswd", "app.js/", "app.js%00", "./app.js%2f.."):
                assert problem_of(await api.get(f"/assets/{name}")) == (404, "not-found"), name
            for path in ("/", "/assets/app.js"):
                assert problem_of(await api.post(path)) == (405, "method-not-allowed")
                strange = await api.get(path, headers={"Host": "evil.example"})
                assert problem_of(strange) == (421, "misdirected")

    run(main)


def test_the_head_of_the_page_has_its_headers_and_nothing_else(quiet: Endpoints) -> None:
    with serving(api_settings(quiet)) as url, httpx2.Client(base_url=url) as api:
        for path in ("/", "/assets/app.js"):
            whole, head = api.get(path), api.head(path)
            assert (head.status_code, head.content) == (200, b"")
            same = ("etag", "content-length", "content-type", "content-security-policy")
            assert [head.headers[name] for name in same] == [whole.headers[name] for name in same]
