"""Nobody gets a file of the machine, and uploads stay small, few and in their folder."""

import http.client
import json
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from mdpr_fastreid.app.uploads import LARGEST, MOST, SECONDS_KEPT, make_room

API = "/gradio_api"


def asked(served, method, path, body=None, **headers):
    """Status and content of a request, whose path is sent as it is."""
    connection = http.client.HTTPConnection(urlsplit(served[0]).netloc, timeout=60)
    connection.putrequest(method, path, skip_host="Host" in headers)
    if body is not None and "Content-Length" not in headers:
        headers["Content-Length"] = str(len(body))
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def form(content, name="a.png"):
    """The body of an upload, and its type."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """An image and a text that are no part of the gallery."""
    folder = tmp_path_factory.mktemp("secret")
    Image.new("RGB", (48, 96), (1, 2, 3)).save(folder / "secret.png")
    (folder / "secret.txt").write_text("the secret")
    return folder


ADDRESSES = [
    "/file={}",
    f"{API}/file={{}}",
    f"{API}/file=//{{}}",
    f"{API}/file%3D{{}}",
    f"{API}/file/{{}}",
    f"{API}/proxy={{}}",
    "/proxy={}",
    "/static/{}",
    "/static/../../../../../../../../..{}",
    "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e{}",
    "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2f{}",
    "/assets//{}",
    "/svelte/../../../../../../..{}",
    "/custom_component/1/client/component/{}",
    f"{API}/custom_component/1/client/component/{{}}",
    f"{API}/stream/a/1/1/{{}}",
    "/{}",
    "/../../../../../../../..{}",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_serves_a_file_of_the_machine(served, people, secret, address):
    for path in (secret / "secret.txt", people[1][0], Path("/etc/passwd")):
        quoted = str(path).replace(" ", "%20").replace("<", "%3C").replace(">", "%3E")
        status, content = asked(served, "GET", address.format(quoted))
        assert status in (400, 403, 404), address
        assert b"the secret" not in content and b"root:" not in content and b"\x89PNG" not in content


def test_not_even_an_uploaded_file_comes_back(served):
    body, kind = form(b"what was uploaded")
    status, answer = asked(served, "POST", f"{API}/upload", body, **{"Content-Type": kind})
    assert status == 200
    (path,) = json.loads(answer)
    assert Path(path).is_file() and Path(path).is_relative_to(served[2])
    assert asked(served, "GET", f"{API}/file={path}")[0] == 404


@pytest.mark.parametrize("name", ["../../../evil.png", "/etc/evil.png", "..\\evil.png", 'a\\"b.png', "." * 300])
def test_an_uploads_name_leads_nowhere(served, name):
    body, kind = form(b"evil", name)
    status, answer = asked(served, "POST", f"{API}/upload", body, **{"Content-Type": kind})
    if status == 200:
        (path,) = json.loads(answer)
        assert Path(os.path.realpath(path)).is_relative_to(os.path.realpath(served[2]))
    assert status in (200, 400, 500)
    assert not Path("/etc/evil.png").exists() and not list(served[2].parent.glob("evil.png"))


def uploaded_event(served):
    """The number of the event that takes an upload, and what its other inputs are on a fresh page."""
    config = json.loads(asked(served, "GET", "/config")[1])
    upload = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "upload")
    event = next(one for one in config["dependencies"] if upload in one["inputs"])
    values = {part["id"]: part["props"].get("value") for part in config["components"]}
    return event["id"], [values[one] for one in event["inputs"][:-1]]


def crafted(served, file, session):
    """What is answered to an upload event with this file."""
    number, values = uploaded_event(served)
    content = json.dumps({"data": [*values, file], "fn_index": number, "session_hash": session}).encode()
    status, _ = asked(served, "POST", f"{API}/queue/join", content, **{"Content-Type": "application/json"})
    if status != 200:
        return status, b""
    return status, asked(served, "GET", f"{API}/queue/data?session_hash={session}")[1]


@pytest.mark.parametrize(
    "kind", ["image", "text", "address", "gallery", "relative", "nested", "link", "folder", "number"]
)
def test_a_file_that_was_not_uploaded_is_not_read(served, people, secret, kind):
    link = served[2] / "link.png"
    link.unlink(missing_ok=True)
    link.symlink_to(secret / "secret.png")
    path = {
        "image": str(secret / "secret.png"),
        "text": "/etc/passwd",
        "address": f"{served[0]}/theme.css",
        "gallery": str(people[1][0]),
        "relative": os.path.relpath(secret / "secret.png"),
        "nested": f"{served[2]}/../{secret / 'secret.png'}",
        "link": str(link),
        "folder": str(served[2]),
        "number": 3,
    }[kind]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert crafted(served, file, f"one{kind}") == (400, b"")
    assert crafted(served, [{"deeper": [file]}], f"deep{kind}") == (400, b"")
    link.unlink()


def test_a_file_that_was_uploaded_is_read_by_the_same_request(served, people):
    body, kind = form(people[1][0].read_bytes())
    (path,) = json.loads(asked(served, "POST", f"{API}/upload", body, **{"Content-Type": kind})[1])
    status, events = crafted(served, {"path": path, "meta": {"_type": "gradio.FileData"}}, "honest")
    assert status == 200 and b"12 hits" in events


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"\xff\xfe{\x00}\x00",
        b'{"data": [{"path": "/etc/passwd"}], "data": []',
        '{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}'.encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_request_of_the_page_is_refused(served, body):
    assert asked(served, "POST", f"{API}/queue/join", body, **{"Content-Type": "application/json"})[0] == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{API}/run/predict"),
        ("POST", f"{API}/api/predict"),
        ("POST", f"{API}/call/answer"),
        ("POST", f"{API}/component_server"),
        ("POST", f"{API}/process_recording"),
        ("GET", "/monitoring"),
        ("GET", f"{API}/openapi.json"),
        ("PUT", "/"),
        ("DELETE", f"{API}/upload"),
    ],
)
def test_what_the_page_does_not_use_is_not_there(served, method, path):
    body = b"{}" if method != "GET" else None
    assert asked(served, method, path, body)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_another_sites_name_does_not_lead_here(served, host):
    assert asked(served, "GET", "/config", Host=host)[0] == 421
    assert asked(served, "GET", "/config", Host="localhost:1")[0] == 200


def test_an_upload_that_is_too_large_or_of_unknown_length_is_not_read(served):
    _, kind = form(b"")
    length = str(LARGEST + 10_000)
    headers = {"Content-Type": kind, "Content-Length": length}
    assert asked(served, "POST", f"{API}/upload", b"", **headers)[0] == 413
    # Without a body: one that is left unread may reset the connection before the answer is read
    chunked = {"Content-Type": kind, "Transfer-Encoding": "chunked", "Content-Length": "-1"}
    assert asked(served, "POST", f"{API}/upload", **chunked)[0] in (400, 411)
    only_chunked = {"Content-Type": kind, "Transfer-Encoding": "chunked"}
    connection = http.client.HTTPConnection(urlsplit(served[0]).netloc, timeout=60)
    try:
        connection.request("POST", f"{API}/upload", body=iter([b"0"]), headers=only_chunked, encode_chunked=True)
        status = connection.getresponse().status
    except ConnectionError:  # it may have closed it before all was sent
        status = 411
    assert status == 411


def test_more_uploads_than_are_kept_are_refused_until_old_ones_are_gone(tmp_path):
    for number in range(MOST - 1):
        (tmp_path / f"{number}").mkdir()
    assert make_room(tmp_path)
    (tmp_path / "last").touch()
    assert not make_room(tmp_path)
    old = time.time() - SECONDS_KEPT - 1
    for path in (tmp_path / "0", tmp_path / "last"):
        os.utime(path, (old, old))
    assert make_room(tmp_path)
    assert len(list(tmp_path.iterdir())) == MOST - 2


def test_a_full_folder_is_said(served):
    body, kind = form(b"one more")
    made = [served[2] / f"full{number}" for number in range(MOST)]
    for path in made:
        path.mkdir()
    try:
        assert asked(served, "POST", f"{API}/upload", body, **{"Content-Type": kind})[0] == 429
    finally:
        for path in made:
            path.rmdir()
