"""The routes of the loopback Hub: what each address of the Hub's HTTP API answers.

Every function takes the request, the parts of its address and its body, and gives JSON, bytes or a whole `Reply`.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

from tests.hub_repos import ATTRIBUTES, Blob, HubError, Reply, Repo, Tree

if TYPE_CHECKING:
    from tests.hub_handler import Handler

WHEN = "2026-01-01T00:00:00.000Z"


def whoami(h: "Handler", body: bytes) -> Any:
    if h.user is None:
        raise HubError(401, "", "Invalid username or password.")
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    return {"type": "user", "id": h.user, "name": h.user, "fullname": h.user, "orgs": [], "auth": token}


def create_repo(h: "Handler", body: bytes) -> Any:
    asked = json.loads(body)
    kind, name = asked.get("type") or "model", f"{asked.get('organization') or h.user}/{asked['name']}"
    if h.user != "me":
        raise HubError(403 if h.user else 401, "", f"You don't have the rights to create a {kind} under this namespace")
    url = f"{h.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
    if (kind, name) in h.hub.repos:
        return Reply(409, json.dumps({"error": f"You already created this {kind} repo", "url": url}).encode())
    repo = h.hub.repos[kind, name] = Repo(kind, name, private=asked.get("visibility") == "private")
    repo.commit("initial commit", {".gitattributes": Blob(ATTRIBUTES.encode())})
    return {"url": url, "name": name, "id": name}


def settings(h: "Handler", kind: str, name: str, body: bytes) -> Any:
    repo, asked = h.repo(kind, name, write=True), json.loads(body)
    repo.private = asked.get("visibility", "private" if repo.private else "public") == "private"
    repo.gated = asked.get("gated", repo.gated)
    return {"private": repo.private, "gated": repo.gated}


def info(h: "Handler", kind: str, name: str, revision: str | None, body: bytes) -> Any:
    repo = h.repo(kind, name)
    commit = repo.at(revision or "main")
    blobs = {path: {"size": len(blob.data), "blobId": blob.oid} for path, blob in commit.tree.items()}
    siblings = [{"rfilename": path, **(blobs[path] if h.query("blobs") else {})} for path in sorted(commit.tree)]
    return {"_id": name, "id": name, "author": name.partition("/")[0], "sha": commit.sha, "private": repo.private,
            "gated": repo.gated, "disabled": False, "tags": [], "downloads": 0, "likes": 0, "createdAt": WHEN,
            "lastModified": WHEN, "siblings": siblings}  # fmt: skip


def tree(h: "Handler", kind: str, name: str, revision: str, folder: str | None, body: bytes) -> Any:
    commit = h.repo(kind, name).at(revision)
    prefix, deep = f"{folder}/" if folder else "", h.query("recursive").lower() == "true"
    within = {path: path.removeprefix(prefix) for path in commit.entries if path.startswith(prefix)}
    if folder and not within:
        raise HubError(404, "EntryNotFound", f"{folder} does not exist on {revision}")
    last = (
        {"lastCommit": {"id": commit.sha, "title": commit.title, "date": WHEN}} if h.query("expand") == "true" else {}
    )
    found = [commit.entries[path] | last for path, rest in within.items() if deep or "/" not in rest]
    start, stop = int(h.query("cursor") or 0), int(h.query("cursor") or 0) + h.hub.page
    following = f"{h.hub.url}{urlsplit(h.path).path}?recursive={deep}&expand={h.query('expand')}&cursor={stop}"
    link = {"Link": f'<{following}>; rel="next"'} if stop < len(found) else {}
    return Reply(200, json.dumps(found[start:stop]).encode(), link)


def paths_info(h: "Handler", kind: str, name: str, revision: str, body: bytes) -> Any:
    entries = h.repo(kind, name).at(revision).entries
    return [entries[path] for path in parse_qs(body.decode()).get("paths", []) if path in entries]


def refs(h: "Handler", kind: str, name: str, body: bytes) -> Any:
    repo = h.repo(kind, name)

    def told(names: dict[str, str], folder: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": sha} for n, sha in names.items()]

    return {"branches": told(repo.branches, "heads"), "tags": told(repo.tags, "tags"), "converts": []}


def commits(h: "Handler", kind: str, name: str, revision: str, body: bytes) -> Any:
    made = list(h.repo(kind, name).commits.values())
    return [{"id": c.sha, "title": c.title, "message": "", "date": WHEN, "authors": []} for c in reversed(made)]


def add_tag(h: "Handler", kind: str, name: str, revision: str, body: bytes) -> Any:
    repo, tag = h.repo(kind, name, write=True), json.loads(body)["tag"]
    if tag in repo.tags:
        raise HubError(409, "", f"Tag reference exists already: {tag}")
    repo.tags[tag] = repo.at(revision).sha
    return {}


def delete_tag(h: "Handler", kind: str, name: str, tag: str, body: bytes) -> Any:
    if h.repo(kind, name, write=True).tags.pop(tag, None) is None:
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {tag}")
    return {}


def preupload(h: "Handler", kind: str, name: str, revision: str, body: bytes) -> Any:
    repo = h.repo(kind, name, write=True)
    held = repo.at(revision).tree

    def told(path: str, size: int) -> dict[str, Any]:
        oid = {"oid": held[path].sha256 or held[path].oid} if path in held else {}
        mode = "lfs" if repo.large(path, size) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, **oid}

    return {"files": [told(file["path"], file["size"]) for file in json.loads(body)["files"]]}


def lfs_batch(h: "Handler", kind: str | None, name: str, body: bytes) -> Any:
    repo = h.repo(kind, name, write=True)

    def told(oid: str, size: int) -> dict[str, Any]:
        address = f"{h.hub.url}/lfs/{repo.kind}/{repo.name}/{oid}"
        actions = {"actions": {"upload": {"href": address}, "verify": {"href": f"{address}/verify"}}}
        return {"oid": oid, "size": size, **({} if oid in repo.store else actions)}

    return {"transfer": "basic", "objects": [told(file["oid"], file["size"]) for file in json.loads(body)["objects"]]}


def lfs_put(h: "Handler", kind: str, name: str, oid: str, body: bytes) -> Any:
    if hashlib.sha256(body).hexdigest() != oid:
        raise HubError(400, "", "content does not match its sha256")
    h.hub.repos[kind, name].store[oid] = body
    return b""


def lfs_verify(h: "Handler", kind: str, name: str, oid: str, body: bytes) -> Any:
    if len(h.hub.repos[kind, name].store.get(oid, b"")) != json.loads(body)["size"]:
        raise HubError(404, "", "object not found")
    return {}


def add_commit(h: "Handler", kind: str, name: str, branch: str, body: bytes) -> Any:
    repo = h.repo(kind, name, write=True)
    header, *operations = [json.loads(line) for line in body.splitlines()]
    before = repo.at(branch)
    if header["value"].get("parentCommit", before.sha) != before.sha:
        raise HubError(412, "", "A commit has happened since. Please refresh and try again.")
    after = dict(before.tree)
    for operation in operations:
        OPERATIONS[operation["key"]](repo, after, operation["value"])
    made = repo.commit(header["value"]["summary"], after, branch)
    url = f"{h.hub.url}/{'datasets/' if kind == 'datasets' else ''}{name}/commit/{made.sha}"
    return {"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""}


def _put_regular(repo: Repo, tree: Tree, value: dict[str, str]) -> None:
    tree[value["path"]] = Blob(base64.b64decode(value["content"]))


def _put_large(repo: Repo, tree: Tree, value: dict[str, str]) -> None:
    if value["oid"] not in repo.store:
        raise HubError(400, "", f"LFS pointer pointed to a file that does not exist: {value['path']}")
    tree[value["path"]] = Blob(repo.store[value["oid"]], value["oid"])


def _delete(repo: Repo, tree: Tree, value: dict[str, str]) -> None:
    gone = [path for path in tree if re.match(re.escape(value["path"].rstrip("/")) + "(/|$)", path)]
    if not gone:
        raise HubError(404, "EntryNotFound", f"A file with this name doesn't exist: {value['path']}")
    for path in gone:
        del tree[path]


OPERATIONS = {"file": _put_regular, "lfsFile": _put_large, "deletedFile": _delete, "deletedFolder": _delete}


def resolve(h: "Handler", kind: str | None, name: str, revision: str, path: str, body: bytes) -> Any:
    repo, user = h.repo(kind, name), h.user
    if repo.gated and user != "me" and user not in repo.granted:
        raise HubError(403 if user else 401, "GatedRepo", f"Access to {name} is restricted.")
    commit = repo.at(revision)
    told = {"X-Repo-Commit": commit.sha}
    blob = commit.tree.get(path)
    if blob is None:
        raise HubError(404, "EntryNotFound", "Entry not found", told)
    if blob.sha256 is None:
        return _content(h, path, blob.data, {**told, "ETag": f'"{blob.oid}"'})
    linked = {"X-Linked-Size": str(len(blob.data)), "X-Linked-ETag": f'"{blob.sha256}"', "ETag": f'"{blob.oid}"'}
    store = f"{h.hub.store_url}/cdn/{repo.kind}/{name}/{commit.sha}/{quote(path)}"
    return Reply(302, b"", {**told, **linked, "Location": store})


def cdn(h: "Handler", kind: str, name: str, sha: str, path: str, body: bytes) -> Any:
    """The store behind the redirect: like a signed address, it asks for no token."""
    blob = h.hub.repos[kind, name].commits[sha].tree[path]
    return _content(h, path, blob.data, {"ETag": f'"{blob.sha256}"'})


def _content(h: "Handler", path: str, data: bytes, headers: dict[str, str]) -> Reply:
    """A file's content, or the range of it that was asked for."""
    h.file = path
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", h.headers.get("Range", ""))
    if not found:
        return Reply(200, data, {"Accept-Ranges": "bytes", **headers})
    first, last = found.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    stop = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= stop:
        raise HubError(416, "", "out of range", {"Content-Range": f"bytes */{len(data)}"})
    return Reply(206, data[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", **headers})


def validate_yaml(h: "Handler", body: bytes) -> Any:
    bare = not json.loads(body)["content"].startswith("---\n")
    return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}] if bare else []}


_REPO = r"/api/(datasets|models)/([^/]+/[^/]+)"
_WEB = r"/(?:(datasets)/)?([^/]+/[^/]+)"
_STORE = r"(dataset|model)/([^/]+/[^/]+)"
ROUTES: tuple[tuple[str, Callable[..., Any]], ...] = (
    (r"GET /api/whoami-v2", whoami),
    (r"POST /api/repos/create", create_repo),
    (r"POST /api/validate-yaml", validate_yaml),
    (rf"GET {_REPO}(?:/revision/([^/]+))?", info),
    (rf"GET {_REPO}/tree/([^/]+)(?:/(.+))?", tree),
    (rf"POST {_REPO}/paths-info/([^/]+)", paths_info),
    (rf"GET {_REPO}/refs", refs),
    (rf"GET {_REPO}/commits/([^/]+)", commits),
    (rf"POST {_REPO}/tag/([^/]+)", add_tag),
    (rf"DELETE {_REPO}/tag/([^/]+)", delete_tag),
    (rf"PUT {_REPO}/settings", settings),
    (rf"POST {_REPO}/preupload/([^/]+)", preupload),
    (rf"POST {_REPO}/commit/([^/]+)", add_commit),
    (rf"POST {_WEB}\.git/info/lfs/objects/batch", lfs_batch),
    (rf"PUT /lfs/{_STORE}/([0-9a-f]{{64}})", lfs_put),
    (rf"POST /lfs/{_STORE}/([0-9a-f]{{64}})/verify", lfs_verify),
    (rf"(?:GET|HEAD) {_WEB}/resolve/([^/]+)/(.+)", resolve),
    (rf"(?:GET|HEAD) /cdn/{_STORE}/([^/]+)/(.+)", cdn),
)
