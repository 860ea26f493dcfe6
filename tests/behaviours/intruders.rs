//! Bad input and bad intent: generated bodies bring nothing down, and a tenant who names what
//! belongs to others reaches nothing of theirs.

use anyhow::{Context, Result, ensure};
use harness::claim::prove;
use harness::scene::{COMMIT, Scene};
use harness::services::{Service, creation_of};
use reqwest::Method;
use serde_json::{Value, json};

/// Bodies of each kind; half of them are well-formed JSON of the wrong shape, half are damaged.
const BODIES: usize = 500;

/// A small generator, seeded anew each time; a failure prints the body itself.
struct Mischief(u64);

impl Mischief {
    fn new() -> Result<Self> {
        Ok(Self(getrandom::u64()? | 1))
    }

    fn below(&mut self, bound: usize) -> usize {
        // Xorshift: any sequence will do that does not repeat soon.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    /// A value that no one expects.
    fn value(&mut self) -> Value {
        match self.below(10) {
            0 => Value::Null,
            1 => json!(-1),
            2 => json!(1e300),
            3 => json!([[]]),
            4 => json!({"registry_id": {"registry_id": []}}),
            5 => json!("../../../etc/passwd"),
            6 => json!("\u{0}\u{202e}\u{feff}'\"`;--"),
            7 => json!("a".repeat(70_000)),
            8 => json!("registry.example:99999/UPPER//x@sha256:zz"),
            _ => json!(true),
        }
    }

    /// Puts such values into random places of a body.
    fn misshape(&mut self, body: &mut Value) {
        match body {
            Value::Object(fields) => {
                for field in fields.values_mut() {
                    if self.below(4) == 0 { *field = self.value() } else { self.misshape(field) }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.misshape(item)),
            _ => {}
        }
    }

    /// Changes some bytes, or cuts the rest off.
    fn damage(&mut self, body: &Value) -> Vec<u8> {
        let mut bytes = body.to_string().into_bytes();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            bytes[at] = self.below(256) as u8;
        }
        if self.below(3) == 0 {
            bytes.truncate(self.below(bytes.len()));
        }
        bytes
    }

    fn body(&mut self, sample: &Value) -> Vec<u8> {
        let mut body = sample.clone();
        self.misshape(&mut body);
        if self.below(2) == 0 { self.damage(&body) } else { body.to_string().into_bytes() }
    }
}

/// Resident memory of a process in KiB.
fn memory(service: &Service) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[test]
fn generated_bodies_are_refused_and_bring_nothing_down() {
    prove(async {
        let scene = Scene::start().await?;
        let (drayage, mut mischief) = (&scene.drayage, Mischief::new()?);
        let calls = [
            (
                "/v1/registries".to_owned(),
                json!({"name": "n", "registry_url": "r.example/x",
                "registry_username": "u", "registry_password": "p"}),
            ),
            (
                "/v1/algorithms/ada".to_owned(),
                json!({"name": "n", "details": {"label": "l"}, "settings": {}}),
            ),
            (scene.algorithm.path("/compile"), scene.stored_push()),
            (
                scene.algorithm.path("/version"),
                json!({"version_info": {"version_type": "major"},
                "details": {"label": "l"}, "settings": {"a": 1}}),
            ),
            (scene.algorithm.path(&format!("/versions/{COMMIT}/registry")), scene.own_credentials()),
            ("/v1/users/grace/keys".to_owned(), json!({"key_label": "l", "key_type": "ManagementKey"})),
        ];
        let mut pod = scene.pod("runners", &format!(":{COMMIT}"));
        pod["spec"]["initContainers"] = pod["spec"]["containers"].clone();
        pod["spec"]["volumes"] = json!([{"name": "v", "image": {"reference": "r.example/x:1"}}]);
        let review = creation_of(&pod);
        let mut flat = (0, 0);
        for number in 0..BODIES {
            let (path, sample) = &calls[number % calls.len()];
            let body = mischief.body(sample);
            let key = if path.contains("/ada") { &scene.algorithm.key } else { &drayage.admin_key };
            let answer = drayage.call_with_bytes(Method::POST, path, key, Some(body.clone())).await;
            let answer = answer.with_context(|| format!("{} bytes\n{}", body.len(), drayage.api.log()))?;
            ensure!(answer.status < 500, "{path}: {}\n{}", answer.text, String::from_utf8_lossy(&body));
            let body = mischief.body(&review);
            let answer = drayage.post_review(body.clone()).await?;
            let known = matches!(answer.status, 200 | 400 | 413);
            ensure!(known, "{}: {}\n{}", answer.status, answer.text, String::from_utf8_lossy(&body));
            if number == BODIES / 2 {
                flat = (memory(&drayage.api)?, memory(&drayage.webhook)?);
            }
        }
        for (service, half) in [(&drayage.api, flat.0), (&drayage.webhook, flat.1)] {
            let now = memory(service)?;
            ensure!(now < half + (16 << 10), "memory grew from {half} to {now} KiB");
            service.ready().await?;
        }
        ensure!(!drayage.log().contains("panicked"), "{}", drayage.log());
        ensure!(drayage.post_review(vec![b' '; 9 << 20]).await?.status == 413);
        drayage.admit(&scene.pod("runners", ":unknown")).await?;
        Ok(())
    });
}

#[test]
fn tenant_reaches_nothing_of_others() {
    prove(async {
        let scene = Scene::start().await?;
        let (drayage, victim) = (&scene.drayage, &scene.algorithm);
        drayage.compile(victim, &scene.own_push()).await?;
        drayage.pushed(victim, COMMIT, &scene.registry).await?;
        let builds = drayage.get(&victim.path("/builds")).await?;
        let build = builds["results"][0]["build_id"].as_str().context("a build")?.to_owned();
        let before = drayage.get(&victim.path("/versions")).await?;

        let intruder = drayage.algorithm("mallory", "primes").await?;
        let body = scene.stored_push();
        for reference in [&victim.reference, &victim.id, "ADA/primes", "ada/PRIMES", "ada%2Fprimes"] {
            let version = format!("/versions/{COMMIT}");
            let (build, logs) = (format!("/builds/{build}"), format!("/builds/{build}/logs"));
            let registry = format!("{version}/registry");
            let reads = ["", "/versions", &version, "/builds", &build, &logs, &registry];
            let writes = ["/compile", "/version", "/versions", &registry];
            let reads = reads.map(|path| (Method::GET, path, None));
            let writes = writes.map(|path| (Method::POST, path, Some(&body)));
            let others = [(Method::PUT, "", Some(&body)), (Method::DELETE, "", None)];
            for (method, path, body) in reads.into_iter().chain(writes).chain(others) {
                let path = format!("/v1/algorithms/{reference}{path}");
                let answer = drayage.call(method.clone(), &path, &intruder.key, body).await?;
                ensure!(matches!(answer.status, 403 | 404), "{method} {path}: {}", answer.text);
            }
        }
        // What is not an address of somebody else's algorithm is looked for in one's own.
        for tag in [COMMIT, &scene.image.digest, "../../ada/primes", "latest@sha256:0"] {
            let body =
                json!({"commitSha": tag, "registry_push_credentials": {"registry_id": scene.registry}});
            let path = intruder.path("/compile");
            let answer = drayage.call(Method::POST, &path, &intruder.key, Some(&body)).await?;
            ensure!(matches!(answer.status, 200 | 400), "{}", answer.text);
            ensure!(answer.json()["compilation"]["successful"] != true, "{}", answer.text);
        }
        let path = intruder.path(&format!("/builds/{build}"));
        drayage.call(Method::GET, &path, &intruder.key, None).await?.expect(404)?;
        let keys = drayage.call(Method::GET, "/v1/users/ada/keys", &intruder.key, None).await?;
        keys.expect(403)?;
        let path = "/v1/algorithms/ada";
        let planted = json!({"name": "planted", "details": {"label": "l"}, "settings": {}});
        drayage.call(Method::POST, path, &intruder.key, Some(&planted)).await?.expect(403)?;
        ensure!(drayage.get(&victim.path("/versions")).await? == before);
        Ok(())
    });
}
