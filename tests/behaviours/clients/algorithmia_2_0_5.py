"""What a user of PyPI's algorithmia 2.0.5 does, with the client as it is published."""

import json
import os

import Algorithmia

API, OWNER_KEY, ADMIN_KEY = (os.environ[name] for name in ("API", "OWNER_KEY", "ADMIN_KEY"))
REGISTRY, COMMIT = os.environ["REGISTRY"], os.environ["COMMIT"]

client = Algorithmia.client(OWNER_KEY, API)
sieve = client.algo("ada/sieve")
assert not sieve.exists()
settings = {"source_visibility": "closed", "license": "apl", "network_access": "full", "pipeline_enabled": True}
created = sieve.create(details={"label": "Sieve"}, settings=settings, version_info={"sample_input": "100"})
assert sieve.exists()
assert created["name"] == "sieve" and created["resource_type"] == "algorithm", created
assert sieve.get_algorithm_id() == created["id"]

built = sieve.compile()
assert built["compilation"]["successful"], built
assert built["version_info"]["git_hash"] == COMMIT, built
assert sieve.compile()["version_info"]["git_hash"] == COMMIT, "the same digest is the same version"

published = sieve.publish(version_info={"version_type": "major", "release_notes": "the first", "sample_input": "7"})
assert published["version_info"]["semantic_version"] == "0.1.0", published
try:
    sieve.publish(version_info={"version_type": "minor"})
    raise SystemExit("published twice")
except Exception as refusal:
    assert "409" in str(refusal), refusal

versions = sieve.versions(limit=10, published=True)["results"]
assert [version["version_info"]["git_hash"] for version in versions] == [COMMIT], versions
assert sieve.versions(callable="True")["results"], "no callable version"
assert sieve.info(COMMIT)["version_info"]["semantic_version"] == "0.1.0"
builds = sieve.get_builds()["results"]
assert builds and builds[0]["status"] == "succeeded", builds
assert sieve.get_build(builds[0]["build_id"])["commit_sha"], builds
assert "logs" in sieve.get_build_logs(builds[0]["build_id"])

# The registry endpoints, by uuid, as its raw helpers reach them.
by_id = "/v1/algorithms/" + created["id"]
renamed = client.putHelper(by_id, json.dumps({"details": {"label": "The sieve"}}))
assert renamed["details"]["label"] == "The sieve", renamed
push = client.postJsonHelper(
    by_id + "/versions/" + COMMIT + "/registry", {"registry_id": REGISTRY}, parse_response_as_json=False
)
assert push.status_code == 204, push
statuses = client.getJsonHelper(by_id + "/versions/" + COMMIT + "/registry")
assert [status["registry_id"] for status in statuses] == [REGISTRY], statuses

admin = Algorithmia.client(ADMIN_KEY, API)
registry = admin.postJsonHelper("/v1/registries", {"name": "second", "registry_url": "registry.example/second"})
path = "/v1/registries/" + registry["id"]
moved = admin.putHelper(path, json.dumps({"name": "second", "registry_url": "registry.example/third"}))
assert moved["registry_url"] == "registry.example/third", moved
assert len(admin.getJsonHelper("/v1/registries")) == 2
assert isinstance(admin.deleteHelper(path), dict)
assert len(client.getJsonHelper("/v1/registries")) == 1
