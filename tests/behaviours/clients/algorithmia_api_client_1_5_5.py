"""What a user of PyPI's algorithmia-api-client 1.5.5 does, with the client as it is published."""

import os

import algorithmia_api_client as client

API, OWNER_KEY, ADMIN_KEY, COMMIT = (os.environ[name] for name in ("API", "OWNER_KEY", "ADMIN_KEY", "COMMIT"))


def connection(key):
    prefix = {"Authorization": "Simple"}
    return client.ApiClient(client.Configuration(host=API, api_key={"Authorization": key}, api_key_prefix=prefix))


algorithms, admin = client.AlgorithmsApi(connection(OWNER_KEY)), connection(ADMIN_KEY)

settings = client.SettingsMandatory(
    source_visibility="closed", license="apl", network_access="full", pipeline_enabled=True
)
request = client.CreateRequest(name="sieve", details=client.Details(label="Sieve"), settings=settings)
created = algorithms.create_algorithm("ada", request)
assert created.name == "sieve", created
assert algorithms.get_algorithm("ada", "sieve").version_info is None, "it was never compiled"
try:
    algorithms.create_algorithm("ada", request)
    raise SystemExit("created twice")
except client.rest.ApiException as refusal:
    assert refusal.status in (400, 409) and '"code":1002' in refusal.body.replace(" ", ""), refusal.body

built = algorithms.compile_algorithm("ada", "sieve")
assert built.compilation.successful and built.version_info.git_hash == COMMIT, built
assert built.build.status == "succeeded" and built.build.started_at is not None, built

version = client.VersionRequest(
    details=client.Details(label="Sieve"),
    settings=client.SettingsPublish(algorithm_callability="private"),
    version_info=client.VersionInfoPublish(version_type="minor", insights_enabled=False),
)
published = algorithms.publish_algorithm("ada", "sieve", version)
assert published.version_info.semantic_version == "0.1.0", published

versions = algorithms.get_algorithm_versions("ada", "sieve", limit=1, published=True)
assert [one.version_info.git_hash for one in versions.results] == [COMMIT], versions
assert algorithms.get_algorithm_hash_version("ada", "sieve", COMMIT).settings.algorithm_callability == "private"
builds = algorithms.get_algorithm_builds("ada", "sieve", limit=100).results
assert algorithms.get_algorithm_build_by_id("ada", "sieve", builds[0].build_id).commit_sha, builds
assert algorithms.get_algorithm_build_logs("ada", "sieve", builds[0].build_id).logs is not None

update = client.UpdateRequest(details=client.Details(label="The sieve"), settings=client.Settings(network_access="isolated"))
algorithms.update_algorithm("ada", "sieve", update)
assert algorithms.get_algorithm("ada", "sieve").details.label == "The sieve"
algorithms.delete_algorithm("ada", "sieve")
try:
    algorithms.get_algorithm("ada", "sieve")
    raise SystemExit("found after it was deleted")
except client.rest.ApiException as refusal:
    assert refusal.status == 404 and "No such algorithm" in refusal.body, refusal.body

registry = client.Registry(name="third", registry_url="registry.example/third", registry_auth="of an older version")
registered = client.RegistriesApi(admin).create_registry(registry)
assert registered.registry_url == "registry.example/third" and registered.created_at, registered
